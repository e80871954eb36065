import sys
from pathlib import Path

import pytest

# The environment `all_spaces` is imported by its name, as users' own are, also by workers.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def minari_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data sets go to a folder of the test."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path
