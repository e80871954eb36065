"""Rows of a Hugging Face data set by number: from the hub, a folder or a file (`hub_place`).

The package `datasets` downloads and converts to Arrow once, into its own cache (`$HF_HOME`), and
maps it into memory: row i costs the same wherever it is and nothing is held. It knows nothing of
episodes.
"""

import hashlib
import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mugato.data.formats.hub_faults import faults_named
from mugato.data.formats.hub_place import FILES, Place
from mugato.data.source import check_split
from mugato.system.errors import one_line
from mugato.system.files import write_whole
from mugato.system.optional import require

# The hub's own client would try again for 23 seconds.
PROBE_S = 5.0
_STREAMED_ROWS = 64
_OFFLINE = "HF_HUB_OFFLINE"


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Some columns of a split, row by row.

    Attributes:
        name: the place.
        table: a `datasets.Dataset` that gives Arrow tables.
    """

    name: str
    split: str
    table: Any = field(repr=False)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def columns(self) -> list[str]:
        """Those that hold anything: a column of nulls only says that others have it."""
        schema = self.table.data.schema
        return [name for name in schema.names if str(schema.field(name).type) != "null"]

    def of(self, *columns: str) -> "Rows":
        """The same rows with these columns only: others are not read.

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

    def row(self, index: int) -> Any:
        """One row as an Arrow table; see `values` for plain Python."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} {self.split} has {len(self)} rows, no row {index}")
        return self.table[index : index + 1]

    def values(self, index: int) -> dict[str, Any]:
        """One row as Python values by column; a picture is a dict of `bytes` and `path`."""
        return self.row(index).to_pylist()[0]

    def text(self, values: dict[str, Any], index: int, column: str) -> str:
        """A row's text; `values` are the row's.

        Raises:
            ValueError: if there is none, naming row and column.
        """
        if not isinstance(values[column], str):
            raise ValueError(
                f"{self.where(index, column)} is no text: {str(values[column])[:60]!r}"
            )
        return values[column]

    def where(self, index: int, column: str) -> str:
        """How an error names a value."""
        return f"{self.name} {self.split} row {index}: {column!r}"


def open_rows(place: Place, split: str, *, rows: int | None = None) -> Rows:
    """Open a split.

    Args:
        rows: only so many rows from the beginning, streamed, so that of a data set larger than the
            disk no more than these is fetched. They are kept in the cache of `datasets` and read
            from there ever after, without a network.

    Raises:
        ImportError: without the package `datasets`, saying how to install it.
        ValueError: for an unknown place, configuration or split, naming the right ones; damaged
            files; no network; no rows.
    """
    datasets = require("datasets", extra="hf")
    if rows is not None and rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}")
    with faults_named(place, datasets):
        table = _first(datasets, place, split, rows) if rows else _all(datasets, place, split)
    if len(table) == 0:
        raise ValueError(f"{place.name} {split} has no rows")
    return Rows(name=place.name, split=split, table=table.with_format("arrow"))


def read_image(rows: Rows, value: Any, index: int, column: str) -> bytes:
    """The bytes of a picture's file, from a row or from the file beside it.

    Raises:
        ValueError: if there is no picture, naming row and column.
    """
    if isinstance(value, dict) and value.get("bytes"):
        return value["bytes"]
    if isinstance(value, dict) and value.get("path") and Path(value["path"]).is_file():
        return Path(value["path"]).read_bytes()
    raise ValueError(f"{rows.where(index, column)} holds no picture")


def decode_image(data: bytes, where: str) -> Any:
    """A file's bytes as a Pillow image, wholly read.

    Raises:
        ValueError: for a damaged file; `where` begins the message.
    """
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{where} is no whole picture: {one_line(error)}") from error
    return image


def _all(datasets: Any, place: Place, split: str) -> Any:
    builder = _builder(datasets, place)
    check_split(place.name, split, _splits(builder))
    builder.download_and_prepare()
    return builder.as_dataset(split=split)


def _first(datasets: Any, place: Place, split: str, rows: int) -> Any:
    """The first rows as an Arrow file of their own; () where there are none."""
    import pyarrow

    cache = Path(datasets.config.HF_DATASETS_CACHE) / "first-rows"
    key = f"{place.name}\n{split}\n{rows}\n{_stamp(place)}".encode()
    path = cache / f"{hashlib.sha256(key).hexdigest()[:32]}.arrow"
    if not path.exists():
        builder = _builder(datasets, place)
        check_split(place.name, split, _splits(builder))
        if not builder.config.data_files:  # no network, and the whole is in the cache
            whole = _all(datasets, place, split)
            return whole.select(range(min(rows, len(whole))))
        stream = builder.as_streaming_dataset(split=split).with_format("arrow").take(rows)
        tables = stream.iter(batch_size=_STREAMED_ROWS)
        if (first := next(tables, None)) is None:
            return ()

        def write(beside: Path) -> None:
            with pyarrow.ipc.new_stream(beside, first.schema) as writer:
                writer.write_table(first)
                for table in tables:
                    writer.write_table(table.cast(first.schema))

        cache.mkdir(parents=True, exist_ok=True)
        write_whole(path, write)
    return datasets.Dataset.from_file(str(path))


def _splits(builder: Any) -> list[str]:
    """By files, or where these are not listed by what the data set says of itself."""
    return [str(name) for name in builder.config.data_files or builder.info.splits or ()]


def _stamp(place: Place) -> str:
    """Changes when a file of this machine does; the hub's are asked for once."""
    if not place.local:
        return ""
    root = Path(place.path)
    files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
    return str([(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files])


def _builder(datasets: Any, place: Place) -> Any:
    load = datasets.load_dataset_builder
    path = Path(place.path)
    if place.local and path.is_file():
        return load(FILES[path.suffix], data_files={"train": str(path)})
    if place.local:
        return load(str(path), place.config)
    with _offline_if_unreachable(datasets):
        return load(place.path, place.config)


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
