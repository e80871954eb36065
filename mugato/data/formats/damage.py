"""Which file is damaged, where the library that reads them does not say, or dies of it.

It knows nothing of data sets, nor how their rows are read.
"""

import json
from pathlib import Path


def check_lines(path: Path) -> None:
    """Refuse lines that are no JSON objects: at a null Arrow's reader crashes the whole process.

    Args:
        path: a file, or a folder, of which all JSON files are looked at.

    Raises:
        ValueError: naming the file and the line.
    """
    for file in [path] if path.is_file() else sorted(path.rglob("*.json*")):
        if file.suffix in (".json", ".jsonl") and file.is_file():
            _check_objects(file)


def damaged_parquet(path: Path) -> Path | None:
    """Return the first parquet file that cannot be read, if one cannot.

    Args:
        path: a file, or a folder, of which all parquet files are read.
    """
    import pyarrow
    from pyarrow import parquet

    for file in [path] if path.is_file() else sorted(path.rglob("*.parquet")):
        try:
            for _ in parquet.ParquetFile(file).iter_batches():
                pass
        except (OSError, pyarrow.ArrowException):
            return file
    return None


def _check_objects(path: Path) -> None:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line) if line.strip() else {}
            except ValueError as error:
                if number == 1 and path.suffix == ".json":
                    return  # one document over several lines
                raise ValueError(f"{path} line {number} is not JSON: {error}") from None
            if number == 1 and isinstance(row, list):
                return  # all rows in one list
            if not isinstance(row, dict):
                raise ValueError(f"{path} line {number} is no JSON object: {str(row)[:60]}")
