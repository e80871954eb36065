"""What goes wrong with Hugging Face data sets, in one line that names the data set and the file."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mugato.data.formats.hub_place import Place, configs, similar
from mugato.system.errors import one_line

# What `datasets` says of a configuration without a network, if it has another one's copy.
_NOT_CACHED = "Couldn't find cache for"
# And of a split or a file in which there is nothing, where it does not raise a bare StopIteration.
_EMPTY = re.compile("corresponds to no data|at least one example when writing data")


@contextmanager
def faults_named(place: Place, datasets: Any) -> Iterator[None]:
    """Turn what `datasets` raises into one line that names the data set and the way out."""
    try:
        yield
    except ConnectionError as error:
        raise ValueError(_unreachable(place)) from error
    except datasets.exceptions.DatasetNotFoundError as error:
        raise ValueError(f"{place.path}: {one_line(error)}") from error
    except StopIteration as error:
        raise ValueError(f"{place.name} has no rows") from error
    except (OSError, ValueError, TypeError, RuntimeError, datasets.exceptions.DatasetsError) as e:
        if "has no split" in str(e):
            raise
        if _EMPTY.search(_root(e)):
            raise ValueError(f"{place.name} has no rows") from e
        if _NOT_CACHED in str(e):
            raise ValueError(_unreachable(place)) from e
        if "config" in str(e).lower() and isinstance(e, ValueError):
            known = _known_configs(datasets, place)
            if place.config not in known:
                what = f"no configuration {place.config!r}" if place.config else "configurations"
                there = similar(place.config or "", known)
                raise ValueError(f"{place.path} has {what}{there}") from e
        raise ValueError(f"{place.name} cannot be read: {_damaged_file(place)}{_root(e)}") from e


def _unreachable(place: Place) -> str:
    return (
        f"{place.name} lies neither here nor in the cache, and the hub cannot be reached: "
        "name a folder of this machine, or try again with a network"
    )


def _known_configs(datasets: Any, place: Place) -> list[str]:
    if place.local:
        return configs(Path(place.path))
    return datasets.get_dataset_config_names(place.path)


def _damaged_file(place: Place) -> str:
    """Which parquet file of this machine cannot be read, if one cannot."""
    import pyarrow
    from pyarrow import parquet

    root = Path(place.path)
    folder = root / place.config if place.config and (root / place.config).is_dir() else root
    for path in [folder] if folder.is_file() else sorted(folder.rglob("*.parquet")):
        try:
            for _ in parquet.ParquetFile(path).iter_batches():
                pass
        except (OSError, pyarrow.ArrowException):
            return f"{path}: "
    return ""


def _root(error: BaseException) -> str:
    """What the innermost error says."""
    while error.__cause__ is not None:
        error = error.__cause__
    return one_line(error)
