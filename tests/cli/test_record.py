from pathlib import Path
from typing import Any

import minari
import pytest

from mugato.cli.record import record as record_command
from mugato.recording.recorder import RecordConfig
from mugato.tasks.registry import TASKS

FAST = {"episodes": 1, "workers": 1}
CHOICES = ("domain", "preset", "env", "expert")


def record(tasks: tuple[str, ...] = (), **options: Any) -> None:
    chosen = {name: options.pop(name) for name in CHOICES if name in options}
    record_command(tasks, **chosen, config=RecordConfig(**options))


def recorded() -> dict[str, int]:
    return {name: data["total_episodes"] for name, data in minari.list_local_datasets().items()}


@pytest.mark.thorough
def test_a_domain_is_recorded_but_for_what_is_there(capsys: pytest.CaptureFixture):
    record(("cartpole",), episodes=2, workers=1)
    record(domain="classic_control", **FAST)
    tasks = [task for task in TASKS.values() if task.domain == "classic_control"]
    assert recorded() == {task.dataset_id: 2 if task.name == "cartpole" else 1 for task in tasks}
    capsys.readouterr()
    record(domain="classic_control", **FAST)
    assert capsys.readouterr().out == "All of it is recorded; --overwrite begins anew\n"
    record(("cartpole",), overwrite=True, **FAST)
    assert set(recorded().values()) == {1}


@pytest.mark.thorough
def test_it_says_what_was_recorded(capsys: pytest.CaptureFixture, minari_folder: Path):
    record(("cartpole",), episodes=2, workers=1)
    folder = minari_folder / TASKS["cartpole"].dataset_id / "data"
    size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    line = capsys.readouterr().out.strip().splitlines()[-1]
    # 4 observed numbers, the separator and the action make 6 tokens
    expected = f"2 episodes, 1,000 timesteps, 6,000 tokens, {size:.1f} MB, mean return 500.00"
    assert line.startswith(f"mugato/cartpole/expert-v0: {expected}, ")


@pytest.mark.thorough
def test_what_cannot_be_recorded_does_not_keep_the_others_from_it():
    record(("cartpole",), **FAST)
    with pytest.raises(ValueError, match="1 of 2 not recorded: cartpole"):
        record(("cartpole", "pendulum"), **FAST)
    assert recorded() == {TASKS[name].dataset_id: 1 for name in ("cartpole", "pendulum")}


@pytest.mark.parametrize(
    ("tasks", "options", "message"),
    [
        ((), {}, "name either tasks, or --domain, or --preset, or --env"),
        (("cartpole",), {"domain": "babyai"}, "name either tasks"),
        ((), {"domain": "babyay"}, r"no domain 'babyay'; there are .*babyai, .*classic_control"),
        (("cartpole", "pendulum"), {"dataset": "x"}, "names one data set, but there are 2 tasks"),
    ],
)
def test_what_is_asked_wrongly_is_named(tasks: tuple[str, ...], options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        record(tasks, **options)
