"""Where a Hugging Face data set is, from one string.

A file (`notes.jsonl`); a folder, for instance the one of a configuration; `folder/config`, if the
folder's README.md lists its configurations, as the hub's data sets do; or, where nothing of that
name lies on this machine, `namespace/name` or `namespace/name/config` on the hub. Nothing is opened
here.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mugato.system.errors import one_line

# What reads a single file, by its ending.
FILES = {".parquet": "parquet", ".arrow": "arrow", ".json": "json", ".jsonl": "json"}
FILES |= {".csv": "csv", ".txt": "text"}


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a data set is.

    Attributes:
        path: a folder, a file, or the id on the hub.
        config: which of its configurations; None if it has but one.
        local: on this machine.
    """

    path: str
    config: str | None = None
    local: bool = False

    @property
    def name(self) -> str:
        return f"{self.path}/{self.config}" if self.config else self.path


def locate(where: str) -> Place:
    """Find a data set by its string.

    >>> locate("Salesforce/wikitext/wikitext-2-raw-v1").config
    'wikitext-2-raw-v1'

    Raises:
        ValueError: for a path into a folder of this machine that is not there, naming its like.
    """
    if not where:
        raise ValueError("no place: name a file, a folder, or namespace/name[/config] on the hub")
    path = Path(where).expanduser()
    if path.is_file():
        if path.suffix not in FILES:
            raise ValueError(f"{path} is no file that we read; those end with {', '.join(FILES)}")
        return Place(path=str(path), local=True)
    if path.is_dir():
        return Place(path=str(path), local=True)
    known = configs(path.parent)
    if path.name in known:
        return Place(path=str(path.parent), config=path.name, local=True)
    if path.is_absolute() or where.startswith((".", "~")) or (path.parent.name and known):
        there = [*known, *(p.name for p in path.parent.glob("*"))]
        raise ValueError(f"no {path.name!r} in {path.parent}{similar(path.name, there)}")
    namespace, _, rest = where.partition("/")
    name, _, config = rest.partition("/")
    if not namespace or config.count("/"):
        raise ValueError(
            f"{where!r} is neither a folder here nor of the form namespace/name[/config]"
        )
    return Place(path=f"{namespace}/{name}" if name else namespace, config=config or None)


def configs(folder: Path) -> list[str]:
    """The configurations that a folder's README.md lists."""
    readme = folder / "README.md"
    if not readme.is_file() or not readme.read_text("utf-8", "replace").startswith("---"):
        return []
    from huggingface_hub import DatasetCard

    try:
        listed = DatasetCard.load(readme).data.to_dict().get("configs") or []
        return [entry["config_name"] for entry in listed]
    except Exception as error:  # whatever the YAML library raises
        raise ValueError(f"{readme} cannot be read: {one_line(error)}") from error


def similar(name: str, known: Sequence[str]) -> str:
    """The end of an error's message: which names are like this one.

    >>> similar("atari-pongo", ["atari-alien", "atari-pong"])
    '; there are atari-pong, atari-alien'
    """
    close = difflib.get_close_matches(name, known, n=5, cutoff=0.5) or sorted(known)[:5]
    return f"; there are {', '.join(close)}" if close else ""
