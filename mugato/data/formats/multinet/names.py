"""What MultiNet's data sets are called: as sources of ours, by its harness, and on disk.

A source is named `multinet:FOLDER/NAME`, with options as in a web address. The folder is the one
that the benchmark's downloader fills; which data set is meant follows from the last part alone.
"""

from pathlib import Path
from urllib.parse import parse_qs

PREFIX = "multinet:"
# Of an observed text, so many characters are kept at its end: with a picture less than the
# 512 tokens that an observation may take.
MAX_CHARACTERS = 1000

# The harness's name of each data set that can be trained on, and its folder among the downloads.
FOLDERS = {
    "overcooked_ai": "overcooked_ai",
    "piqa": "piqa",
    "odinw": "odinw",
    "sqa3d": "sqa3d",
    "robot_vqa": "openx_multi_embodiment",
    "bfcl": "bfcl_v3",
}
# Names that also stand for them.
ALIASES = {"robovqa": "robot_vqa", **{folder: name for name, folder in FOLDERS.items()}}


def dataset_called(name: str) -> str | None:
    """Return the harness's name of a data set.

    >>> dataset_called("robovqa"), dataset_called("bfcl_v3"), dataset_called("procgen")
    ('robot_vqa', 'bfcl', None)
    """
    return name if name in FOLDERS else ALIASES.get(name)


def dataset_of(source: str) -> str | None:
    """Return the harness's name of the data set that a source of ours is read from, if it is one.

    >>> dataset_of("multinet:/data/robovqa?size_px=32"), dataset_of("lerobot:bridge")
    ('robot_vqa', None)
    """
    where = source.partition("?")[0]
    if not where.startswith(PREFIX):
        return None
    return dataset_called(Path(where.removeprefix(PREFIX)).name)


def max_characters_of(source: str) -> int:
    """Return how much of a text a source of ours shows.

    >>> max_characters_of("multinet:data/bfcl?max_characters=90"), max_characters_of("multinet:a")
    (90, 1000)
    """
    options = parse_qs(source.partition("?")[2])
    return int(options.get("max_characters", [MAX_CHARACTERS])[-1])


def data_sets_in(folder: Path) -> list[str]:
    """List the data sets whose downloads lie in a folder, by the harness's names."""
    return [
        name
        for name, place in FOLDERS.items()
        if (folder / place).is_dir() or (folder / name).is_dir()
    ]
