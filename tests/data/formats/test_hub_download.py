"""From a hub: downloaded or streamed once, then read without a network; wrong names at once."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("datasets")

from tests.data.formats.fake_hub import serve
from tests.data.formats.hub_files import JAT_FEATURES, write_parquet, write_readme

# Each line of standard input is [name, options]; for each, what came of it is written.
READ = """
import json, sys
from mugato.data.registry import open_source
for line in sys.stdin:
    name, options = json.loads(line)
    try:
        source = open_source(name, "train", **options)
        print(json.dumps([source[i].actions["action"].tolist() for i in range(len(source))]))
    except ValueError as error:
        print(json.dumps(str(error)))
"""
PONG, FIRST, REACH = ("jat:atari-pong", {}), ("jat:atari-pong", {"rows": 2}), ("jat:mujoco-ant", {})


def read(wanted: list, endpoint: str, home: Path) -> list:
    """Open data sets in a process whose hub is at `endpoint` (the address is read at import)."""
    variables = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "NO_PROXY": "*"}
    done = subprocess.run(
        [sys.executable, "-c", READ],
        input="\n".join(map(json.dumps, wanted)),
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.thorough
def test_downloaded_once_and_read_without_a_network(tmp_path: Path):
    rng = np.random.default_rng(0)
    actions = [[0, 1, 2], [5], [3, 4]]
    columns = {
        "continuous_observations": [rng.normal(size=(len(a), 3)).tolist() for a in actions],
        "discrete_actions": actions,
        "rewards": [[0.0] * len(a) for a in actions],
    }
    hub = tmp_path / "hub"
    for config in ("atari-pong", "mujoco-ant"):
        write_parquet(hub / config, {"train": columns, "test": columns}, JAT_FEATURES)
    write_readme(hub, ["atari-pong", "mujoco-ant"], ["train", "test"])
    unknown = [("jat:atari-alien", {}), ("hf-text:a/b/atari-pongo", {}), ("hf-text:a/b", {})]
    with serve(hub) as endpoint:
        read([PONG], endpoint, tmp_path / "whole")
        results = read([PONG, FIRST, *unknown], endpoint, tmp_path / "home")
    assert read([FIRST], endpoint, tmp_path / "whole") == [actions[:2]]
    assert results[:2] == [actions, actions[:2]]
    available = "['atari-pong', 'mujoco-ant']"
    for name, result in (("atari-alien", results[2]), ("atari-pongo", results[3])):
        assert f"'{name}' not found. Available: {available}" in result
    assert "a/b cannot be read: Config name is missing. Please pick one among the" in results[4]
    assert available in results[4]
    start = time.monotonic()
    results = read([PONG, FIRST, REACH], endpoint, tmp_path / "home")
    assert time.monotonic() - start < 20  # starting Python included; retries would take 23 each
    assert results[:2] == [actions, actions[:2]]
    assert "mujoco-ant lies neither here nor in the cache, and the hub cannot" in results[2]
