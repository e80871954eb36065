"""A recording that is not whole yet: begin it, go on with it, turn it into a data set."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any

import gymnasium

from mugato.data.formats.minari.read import dataset_folder
from mugato.data.formats.minari.write import beside, write_dataset
from mugato.recording.journal import Journal


@contextmanager
def unfinished_recording(
    dataset_id: str, settings: Mapping[str, Any], *, overwrite: bool
) -> Iterator[Journal]:
    """Go on with an unfinished recording of a data set, or begin one.

    It stays when the block ends in an error, unless there is no demonstration in it.

    Args:
        overwrite: begin anew, and replace the data set in the end.

    Raises:
        ValueError: the data set exists and may not be overwritten; what is unfinished has other
            settings; another process is recording.
    """
    path, final = beside(dataset_id, "unfinished"), dataset_folder(dataset_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(Journal(path, {**settings, "overwrite": overwrite}, anew=overwrite)) as journal:
        if final.exists() and not journal.settings["overwrite"]:
            journal.remove()  # its process was killed between its last two acts
            check_may_write(dataset_id, overwrite=False)
        _check_same(dataset_id, {**settings, "overwrite": journal.settings["overwrite"]}, journal)
        try:
            yield journal
        finally:
            if journal.num_kept == 0:
                journal.remove()


def finish_recording(
    journal: Journal, dataset_id: str, env: gymnasium.Env, *, episodes: int, **metadata: Any
) -> None:
    """Turn a journal into a data set of its first `episodes` demonstrations, and remove it.

    Args:
        env: gives the spaces, and the spec from which Minari can make it again.
        metadata: what to store beside Minari's own keys.

    Raises:
        OSError: if it cannot be written (a full disk), naming the data set.
    """
    write_dataset(
        dataset_id,
        env,
        islice(journal.demonstrations(), episodes),
        jpeg=journal.settings["jpeg"],
        metadata=metadata,
    )
    journal.remove()


def is_recorded(dataset_id: str) -> bool:
    """Tell whether a data set is there, with nothing unfinished that is to replace it."""
    return dataset_folder(dataset_id).exists() and not beside(dataset_id, "unfinished").exists()


def check_may_write(dataset_id: str, *, overwrite: bool) -> None:
    """Refuse to replace a data set, or anything else in its place, unasked.

    What is unfinished was asked when it was begun.
    """
    if is_recorded(dataset_id) and not overwrite:
        raise ValueError(
            f"data set {dataset_id!r} exists in {dataset_folder(dataset_id)}; overwrite it or "
            "choose a name"
        )


def _check_same(dataset_id: str, settings: Mapping[str, Any], journal: Journal) -> None:
    before = journal.settings
    if before != settings:
        differences = [
            f"{key} {_shown(before.get(key))}, not {_shown(settings.get(key))}"
            for key in sorted({*before, *settings})
            if before.get(key) != settings.get(key)
        ]
        raise ValueError(
            f"data set {dataset_id!r} is unfinished, {journal.num_kept} episodes recorded with "
            f"{'; '.join(differences)}: go on with the same settings, or overwrite it"
        )


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
