"""Parquet files to arrays: whole columns, or some rows of some columns.

Values come as NumPy arrays of a declared shape; whatever is missing or has another shape is named
with file, column and row. It knows nothing of episodes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mugato.system.errors import one_line
from mugato.system.optional import require


def read_rows(
    path: Path, columns: Sequence[str], start: int = 0, stop: int | None = None
) -> dict[str, Any]:
    """Read rows `start` to `stop` of some columns; only row groups that hold them are decoded.

    Returns:
        Arrow arrays by column.

    Raises:
        ValueError: a file that is missing or damaged, a column that it lacks, too few rows.
    """
    parquet = require("pyarrow.parquet", extra="lerobot")
    with _damage_named(path), parquet.ParquetFile(path) as file:
        if missing := [column for column in columns if column not in file.schema_arrow.names]:
            raise ValueError(f"{path} has no column {missing[0]!r}")
        num_rows = file.metadata.num_rows
        end = num_rows if stop is None else stop
        if end > num_rows:
            raise ValueError(f"{path} has {num_rows} rows, but rows {start} to {end} are needed")
        groups = range(file.num_row_groups)
        ends = np.cumsum([file.metadata.row_group(i).num_rows for i in groups])
        starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
        wanted = [i for i in groups if starts[i] < end and ends[i] > start]
        skipped = start - int(starts[wanted[0]]) if wanted else 0
        table = file.read_row_groups(wanted, columns=list(columns)).slice(skipped, end - start)
        return {column: table[column].combine_chunks() for column in columns}


def column_names(path: Path) -> list[str]:
    """Return the names of all columns of a file."""
    parquet = require("pyarrow.parquet", extra="lerobot")
    with _damage_named(path), parquet.ParquetFile(path) as file:
        return file.schema_arrow.names


def to_array(values: Any, shape: tuple[int, ...], dtype: str, where: str) -> np.ndarray:
    """Turn an Arrow array of numbers, or of (nested) lists of them, into (rows, *shape).

    Args:
        where: file, episode and column: begins the errors.

    Raises:
        ValueError: a missing value, or lists that are shorter or longer than `shape` says.
    """
    pa, compute = (require(name, extra="lerobot") for name in ("pyarrow", "pyarrow.compute"))
    rows = len(values)
    if isinstance(values.type, pa.BaseExtensionType):  # Hugging Face's arrays of several axes
        values = values.storage
    sides = [*shape] if pa.types.is_nested(values.type) else []  # one value may stand alone
    for side in sides:
        if not hasattr(values.type, "value_type"):
            raise ValueError(f"{where}: {values.type} values, expected shape {shape}")
        wrong = compute.not_equal(compute.list_value_length(values), side).fill_null(True)
        if compute.any(wrong).as_py():
            found = values[compute.index(wrong, True).as_py()].as_py()
            raise ValueError(f"{where}: found {str(found)[:60]}, expected shape {shape}")
        values = values.flatten()
    if values.null_count:
        raise ValueError(f"{where}: {values.null_count} values are missing")
    try:
        return np.asarray(values).astype(dtype).reshape(rows, *shape)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {values.type} values, expected {dtype} of {shape}") from error


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn what Arrow raises for missing and damaged files into one line that names the file."""
    pa = require("pyarrow", extra="lerobot")
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read: {one_line(error)}") from error
