"""Rows of a Hugging Face data set by number: where it is, how it is opened, what goes wrong.

One string says where: a file (`notes.jsonl`); a folder, for instance the one of a configuration;
`folder/config`, if the folder's README.md lists its configurations, as the hub's data sets do; or,
where nothing of that name lies on this machine, `namespace/name` or `namespace/name/config` on the
hub.

The package `datasets` downloads and converts to Arrow once, into its own cache (`$HF_HOME`), and
maps it into memory: row i costs the same wherever it is and nothing is held. What it raises is
passed on in one line that begins with the data set. It knows nothing of episodes.
"""

import hashlib
import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mugato.data.formats.damage import check_lines, damaged_parquet
from mugato.data.pictures import Picture, read_picture
from mugato.data.source import check_split, similar
from mugato.system.errors import one_line
from mugato.system.files import write_whole
from mugato.system.optional import require

# What reads a single file, by its ending.
FILES = {".parquet": "parquet", ".arrow": "arrow", ".json": "json", ".jsonl": "json"}
FILES |= {".csv": "csv", ".txt": "text"}
# The hub's own client would try again for 23 seconds.
PROBE_S = 5.0
_STREAMED_ROWS = 64
_OFFLINE = "HF_HUB_OFFLINE"
# What `datasets` says of a configuration without a network, if it has another one's copy.
_NOT_CACHED = "Couldn't find cache for"
# And of a split or a file in which there is nothing, where it does not raise a bare StopIteration.
_EMPTY = re.compile("corresponds to no data|at least one example when writing data")


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
    """Return the configurations that a folder's README.md lists."""
    readme = folder / "README.md"
    if not readme.is_file() or not readme.read_text("utf-8", "replace").startswith("---"):
        return []
    from huggingface_hub import DatasetCard

    try:
        listed = DatasetCard.load(readme).data.to_dict().get("configs") or []
        return [entry["config_name"] for entry in listed]
    except Exception as error:  # whatever the YAML library raises
        raise ValueError(f"{readme} cannot be read: {one_line(error)}") from error


@dataclass(frozen=True)
class Row:
    """The values of one row by column; a picture is a dict of `bytes` and `path`, or one of them.

    Attributes:
        name: of the row, to begin errors with.
        root: the folder that paths of pictures begin at.
    """

    name: str
    values: dict[str, Any]
    root: str = ""

    def where(self, column: str) -> str:
        """Return how an error names a value."""
        return f"{self.name}: {column!r}"

    def text(self, column: str, pick: Callable[[list], Any] | None = None) -> str:
        """Return a text; where there is a list of them, the one that `pick` takes.

        The texts of a list may stand in dictionaries under `answer`, as VQA has them.

        Raises:
            ValueError: if there is none, naming row and column.
        """
        value = self.values[column]
        if pick is not None and isinstance(value, list):
            value = pick([v.get("answer") if isinstance(v, dict) else v for v in value])
        if not isinstance(value, str):
            raise ValueError(f"{self.where(column)} is no text: {str(value)[:60]!r}")
        return value

    def picture(self, column: str, *, size_px: int) -> Picture:
        """Return a picture, in the row or in a file beside it, as a square.

        Raises:
            ValueError: if it is missing or damaged, naming row and column.
        """
        value = self.values[column]
        both = value if isinstance(value, dict) else {}
        data: bytes | None = value if isinstance(value, bytes) else both.get("bytes")
        place: str | None = value if isinstance(value, str) else both.get("path")
        if not data and place:
            if not (path := Path(self.root, place)).is_file():
                raise ValueError(f"{self.where(column)} holds no picture: there is no file {path}")
            data = path.read_bytes()
        if not data:
            raise ValueError(f"{self.where(column)} holds no picture")
        return read_picture(data, self.where(column), size_px=size_px)


@dataclass(frozen=True, kw_only=True)
class Rows(Sequence):
    """Some columns of a split, row by row.

    Attributes:
        name: the place.
        table: a `datasets.Dataset` that gives Arrow tables.
        root: the folder that paths of pictures begin at.
    """

    name: str
    split: str
    table: Any = field(repr=False)
    root: str = ""

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Row:
        name = f"{self.name} {self.split} row {index}"
        return Row(name, self.arrow(index).to_pylist()[0], self.root)

    def arrow(self, index: int) -> Any:
        """Return one row as an Arrow table."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} {self.split} has {len(self)} rows, no row {index}")
        return self.table[index : index + 1]

    @property
    def columns(self) -> list[str]:
        """The columns that hold anything: one of nulls only says that others have it."""
        schema = self.table.data.schema
        return [name for name in schema.names if str(schema.field(name).type) != "null"]

    def of(self, *columns: str) -> "Rows":
        """Return the same rows with these columns only: others are not read.

        Raises:
            ValueError: for a missing column, naming those that are there.
        """
        for column in columns:
            if column not in self.columns:
                raise ValueError(
                    f"{self.name} {self.split} has no column {column!r}; "
                    f"it has {', '.join(self.columns)}"
                )
        return replace(self, table=self.table.select_columns(list(columns)))


def open_rows(where: str | Place, split: str, *, rows: int | None = None) -> Rows:
    """Open a split.

    Args:
        where: a string as `locate` takes it, or what that gave.
        rows: only so many rows from the beginning, streamed, so that of a data set larger than the
            disk no more than these is fetched. They are kept in the cache of `datasets` and read
            from there ever after, without a network.

    Raises:
        ImportError: without the package `datasets`, saying how to install it.
        ValueError: for an unknown place, configuration or split, naming the right ones; damaged
            files; no network; no rows.
    """
    place = where if isinstance(where, Place) else locate(where)
    datasets = require("datasets", extra="hf")
    if rows is not None and rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}")
    if rows is None:
        table = _whole(datasets, place, split, _builder(datasets, place, split))
    else:
        table = _first(datasets, place, split, rows)
    if len(table) == 0:
        raise ValueError(f"{place.name} {split} has no rows")
    path = Path(place.path)
    root = str(path.parent if path.is_file() else path) if place.local else ""
    return Rows(name=place.name, split=split, table=table.with_format("arrow"), root=root)


def _builder(datasets: Any, place: Place, split: str) -> Any:
    """Return what `datasets` reads the place with, if the place has the split.

    Splits are told by files, or where these are not listed by what the data set says of itself.
    """
    load, path = datasets.load_dataset_builder, Path(place.path)
    with _faults_named(datasets, place):
        if place.local and path.is_file():
            kind = FILES[path.suffix]
            # What says "null" or "NA" is text, not a hole.
            options = {"keep_default_na": False} if kind == "csv" else {}
            builder = load(kind, data_files={"train": str(path)}, **options)
        elif place.local:
            builder = load(str(path), place.config)
        else:
            with _offline_if_unreachable(datasets):
                builder = load(place.path, place.config)
    splits = builder.config.data_files or builder.info.splits or ()
    check_split(place.name, split, [str(name) for name in splits])
    return builder


def _whole(datasets: Any, place: Place, split: str, builder: Any) -> Any:
    if place.local and not Path(builder.cache_dir).exists():
        check_lines(Path(place.path))
    with _faults_named(datasets, place, in_files=True):
        builder.download_and_prepare()
        return builder.as_dataset(split=split)


def _first(datasets: Any, place: Place, split: str, rows: int) -> Any:
    """Return the first rows as an Arrow file of their own; () where there are none."""
    import pyarrow

    cache = Path(datasets.config.HF_DATASETS_CACHE) / "first-rows"
    key = f"{place.name}\n{split}\n{rows}\n{_stamp(place)}".encode()
    path = cache / f"{hashlib.sha256(key).hexdigest()[:32]}.arrow"
    if path.exists():
        return datasets.Dataset.from_file(str(path))
    builder = _builder(datasets, place, split)
    if not builder.config.data_files:  # no network, and the whole is in the cache
        whole = _whole(datasets, place, split, builder)
        return whole.select(range(min(rows, len(whole))))
    cache.mkdir(parents=True, exist_ok=True)
    with _faults_named(datasets, place, in_files=True):
        stream = builder.as_streaming_dataset(split=split).with_format("arrow").take(rows)
        tables = stream.iter(batch_size=_STREAMED_ROWS)
        if (first := next(tables, None)) is None:
            return ()

        def write(beside: Path) -> None:
            with pyarrow.ipc.new_stream(beside, first.schema) as writer:
                writer.write_table(first)
                for table in tables:
                    writer.write_table(table.cast(first.schema))

        write_whole(path, write)
    return datasets.Dataset.from_file(str(path))


def _stamp(place: Place) -> str:
    """Return what changes when a file of this machine does; the hub's are asked for once."""
    if not place.local:
        return ""
    root = Path(place.path)
    files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
    return str([(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files])


@contextmanager
def _offline_if_unreachable(datasets: Any) -> Iterator[None]:
    """Without a network use what is cached, at once, as `HF_HUB_OFFLINE=1` would."""
    import huggingface_hub
    from huggingface_hub import constants

    switches = (constants, datasets.config)
    before = [getattr(module, _OFFLINE) for module in switches]
    if not any(before):
        try:
            huggingface_hub.get_session().head(constants.ENDPOINT, timeout=PROBE_S)
        except Exception as error:  # the HTTP library's own, which changes with the hub's client
            logging.getLogger(__name__).info("no hub, only the cache: %s", one_line(error))
            for module in switches:
                setattr(module, _OFFLINE, True)
    try:
        yield
    finally:
        for module, value in zip(switches, before, strict=True):
            setattr(module, _OFFLINE, value)


@contextmanager
def _faults_named(datasets: Any, place: Place, *, in_files: bool = False) -> Iterator[None]:
    """Turn what `datasets` raises into one line that names the data set.

    Args:
        in_files: whether files are read: then a damaged one is named too.
    """
    unreachable = (
        f"{place.name} lies neither here nor in the cache, and the hub cannot be reached: "
        "name a folder of this machine, or try again with a network"
    )
    try:
        with _quiet(datasets):
            yield
    except ConnectionError as error:
        raise ValueError(unreachable) from error
    except StopIteration as error:
        raise ValueError(f"{place.name} has no rows") from error
    except Exception as e:  # also what the library says of its own notes in a damaged file
        root: BaseException = e
        while root.__cause__ is not None:  # what it was at first says the most
            root = root.__cause__
        if _EMPTY.search(str(root)):
            raise ValueError(f"{place.name} has no rows") from e
        if _NOT_CACHED in str(e):
            raise ValueError(unreachable) from e
        damaged = damaged_parquet(_folder(place)) if in_files else None
        where = f"{damaged}: " if damaged else ""
        raise ValueError(f"{place.name} cannot be read: {where}{one_line(root)}") from e


@contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """Keep to ourselves what `datasets` says of damaged files, and bars where nobody watches."""
    level, bars = datasets.logging.get_verbosity(), not datasets.are_progress_bars_disabled()
    datasets.logging.set_verbosity(logging.CRITICAL)
    if bars and not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
        if bars:
            datasets.enable_progress_bars()


def _folder(place: Place) -> Path:
    """Return what of this machine a place is: its configuration's own folder, if it has one."""
    root = Path(place.path)
    return root / place.config if place.config and (root / place.config).is_dir() else root
