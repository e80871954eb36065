"""A recording that is not whole yet: what came of its seeds, in a file that survives its writer.

The file is an SQLite database beside the data set to be. The outcome of a seed is one transaction:
what a killed process left half written is rolled back when the file is opened again. Episodes lie
in it as they will lie in the data set, compressed. Nothing here knows environments.
"""

import json
import shutil
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import gymnasium

from mugato.data.formats.minari.layout import StoredArray
from mugato.data.formats.minari.read import dataset_folder
from mugato.data.formats.minari.write import beside, write_dataset
from mugato.recording.demonstrate import Demonstration, RejectedEpisode
from mugato.system.typed_json import from_json

# SQLite keeps no checksum: each outcome has one, of its text and its parts.
# One row for each compressed part of an array, so that no value of a row gets too large.
_TABLES = """
CREATE TABLE IF NOT EXISTS settings (json TEXT);
CREATE TABLE IF NOT EXISTS outcomes
    (seed INTEGER PRIMARY KEY, kept INTEGER, json TEXT, crc32 INTEGER);
CREATE TABLE IF NOT EXISTS parts
    (seed INTEGER, path TEXT, dtype TEXT, shape TEXT, chunk_rows INTEGER, part BLOB);
CREATE INDEX IF NOT EXISTS parts_by_seed ON parts (seed);
"""


@dataclass(frozen=True, kw_only=True)
class DemonstrationHeader:
    """A demonstration without its arrays."""

    seed: int
    timesteps: int
    episode_return: float
    cut: str = ""


class DamagedStoreError(ValueError):
    """A store that makes no sense, or is not what was written."""


class RecordingStore:
    """The outcomes of consecutive seeds.

    Only one process may have a store open.

    Attributes:
        settings: what is recorded and how, as given when the file was begun.
        outcomes: of the seeds so far, in their order.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], *, anew: bool) -> None:
        """Open `path`, or begin it.

        Args:
            settings: for a new file; one that is there keeps its own.
            anew: forget what is there.

        Raises:
            ValueError: another process has it open, or it is damaged.
            OSError: it cannot be written.
        """
        self.path = path
        with self._errors_named():
            self._connection = sqlite3.connect(path, timeout=0)
        try:
            try:
                self._lock()
                self.settings, self.outcomes = self._begin(settings, anew=anew)
            except DamagedStoreError:
                if not anew:
                    raise
                self.close()
                self.remove()
                self._connection = sqlite3.connect(path, timeout=0)
                self._lock()
                self.settings, self.outcomes = self._begin(settings, anew=False)
        except BaseException:
            self.close()
            raise

    def append(self, outcome: Demonstration | RejectedEpisode) -> None:
        """Add the outcome of the next seed; when this returns it outlives the process."""
        match outcome:
            case RejectedEpisode():
                header, parts = outcome, []
            case Demonstration(seed=seed):
                about = {f.name: getattr(outcome, f.name) for f in fields(DemonstrationHeader)}
                header = DemonstrationHeader(**about)
                parts = [
                    (seed, path, array.dtype, json.dumps(array.shape), array.chunk_rows, part)
                    for path, array in outcome.arrays.items()
                    for part in array.parts
                ]
        kept, text = isinstance(outcome, Demonstration), json.dumps(asdict(header))
        with self._errors_named(), self._connection:
            self._connection.execute(
                "INSERT INTO outcomes VALUES (?, ?, ?, ?)",
                (outcome.seed, kept, text, _crc32(text, [part[1:] for part in parts])),
            )
            self._connection.executemany("INSERT INTO parts VALUES (?, ?, ?, ?, ?, ?)", parts)
        self.outcomes.append(header)

    def demonstrations(self) -> Iterator[Demonstration]:
        """Read the demonstrations back, in the order of their seeds."""
        for header in self.outcomes:
            if isinstance(header, DemonstrationHeader):
                yield Demonstration(**vars(header), arrays=self._arrays(header.seed))

    @property
    def num_kept(self) -> int:
        return sum(isinstance(outcome, DemonstrationHeader) for outcome in self.outcomes)

    def remove(self) -> None:
        """Delete the file, and first what SQLite keeps beside it."""
        for end in ("-wal", ""):
            self.path.with_name(self.path.name + end).unlink(missing_ok=True)

    def close(self) -> None:
        self._connection.close()

    def _lock(self) -> None:
        """Keep all others out until the connection is closed."""
        with self._errors_named():
            # With a write-ahead log a commit need not wait for the disk to be safe.
            for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = 1"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._connection.execute("BEGIN EXCLUSIVE")
        if not self.path.exists():  # removed by whoever had it open
            raise ValueError(f"another process is writing {self.path}")

    def _begin(
        self, settings: Mapping[str, Any], *, anew: bool
    ) -> tuple[dict[str, Any], list[DemonstrationHeader | RejectedEpisode]]:
        """Return settings and outcomes, after making what tables are missing."""
        with self._errors_named(), self._connection as connection:
            for table in ("settings", "outcomes", "parts") if anew else ():
                connection.execute(f"DROP TABLE IF EXISTS {table}")
            for statement in _TABLES.split(";"):
                connection.execute(statement)
            found = connection.execute("SELECT json FROM settings").fetchone()
            if found is None:
                found = (json.dumps(settings),)
                connection.execute("INSERT INTO settings VALUES (?)", found)
            rows = connection.execute("SELECT kept, json FROM outcomes ORDER BY seed").fetchall()
        with self._nonsense_named():
            kept = from_json(dict[str, Any], json.loads(found[0]), "settings")
            kinds = {0: RejectedEpisode, 1: DemonstrationHeader}
            outcomes = [from_json(kinds[k], json.loads(text), "outcomes") for k, text in rows]
        return dict(kept), outcomes

    def _arrays(self, seed: int) -> dict[str, StoredArray]:
        with self._errors_named():
            rows = self._connection.execute(
                "SELECT path, dtype, shape, chunk_rows, part FROM parts WHERE seed = ? "
                "ORDER BY rowid",
                (seed,),
            ).fetchall()
            text, crc32 = self._connection.execute(
                "SELECT json, crc32 FROM outcomes WHERE seed = ?", (seed,)
            ).fetchone()
        if _crc32(text, rows) != crc32:
            raise self._damaged(ValueError(f"seed {seed} is not what was written"))
        return {
            path: StoredArray(
                dtype=dtype,
                shape=tuple(json.loads(shape)),
                chunk_rows=chunk_rows,
                parts=tuple(part for *_, part in group),
            )
            for (path, dtype, shape, chunk_rows), group in groupby(rows, key=lambda row: row[:4])
        }

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            # The rest of the code says more about the same. Texts that are none have no code.
            match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF:
                case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                    raise ValueError(f"another process is writing {self.path}") from error
                case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_ERROR:
                    raise self._damaged(error) from error
            free = shutil.disk_usage(self.path.parent).free / 1e6
            raise OSError(
                f"cannot write {self.path}: {error}, with {free:,.1f} MB free on its disk"
            ) from error

    @contextmanager
    def _nonsense_named(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, LookupError, TypeError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> DamagedStoreError:
        return DamagedStoreError(f"{self.path} is damaged ({error}); overwriting begins anew")


def _crc32(text: str, parts: Iterable[tuple]) -> int:
    """Return the checksum of an outcome; of each part path, dtype, shape, rows and bytes."""
    found = zlib.crc32(text.encode())
    for *about, part in parts:
        found = zlib.crc32(part, zlib.crc32(repr(about).encode(), found))
    return found


@contextmanager
def unfinished_recording(
    dataset_id: str, settings: Mapping[str, Any], *, overwrite: bool
) -> Iterator[RecordingStore]:
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
    wanted = {**settings, "overwrite": overwrite}
    with closing(RecordingStore(path, wanted, anew=overwrite)) as store:
        if final.exists() and not store.settings["overwrite"]:
            store.remove()  # its process was killed between its last two acts
            check_may_write(dataset_id, overwrite=False)
        _check_same(dataset_id, {**settings, "overwrite": store.settings["overwrite"]}, store)
        try:
            yield store
        finally:
            if store.num_kept == 0:
                store.remove()


def finish_recording(
    store: RecordingStore, dataset_id: str, env: gymnasium.Env, *, episodes: int, **metadata: Any
) -> None:
    """Turn a store into a data set of its first `episodes` demonstrations, and remove it.

    Args:
        env: gives the spaces, and the spec from which Minari can make it again.
        metadata: what to keep beside Minari's own keys.

    Raises:
        OSError: if it cannot be written (a full disk), naming the data set.
    """
    write_dataset(
        dataset_id,
        env,
        islice(store.demonstrations(), episodes),
        jpeg=store.settings["jpeg"],
        metadata=metadata,
    )
    store.remove()


def is_recorded(dataset_id: str) -> bool:
    """Tell whether a data set is there, with nothing unfinished that is to replace it."""
    return dataset_folder(dataset_id).exists() and not beside(dataset_id, "unfinished").exists()


def check_may_write(dataset_id: str, *, overwrite: bool) -> None:
    """Refuse to replace a data set, or anything else in its place, unasked.

    What is unfinished was asked when it was begun.
    """
    if is_recorded(dataset_id) and not overwrite:
        raise ValueError(
            f"data set {dataset_id!r} is recorded already, in {dataset_folder(dataset_id)}; "
            "nothing is added to what is complete; choose another name, or record it anew with "
            "overwrite=True (--overwrite)"
        )


def _check_same(dataset_id: str, settings: Mapping[str, Any], store: RecordingStore) -> None:
    before = store.settings
    if before != settings:
        differences = [
            f"{key} {_shown(before.get(key))}, not {_shown(settings.get(key))}"
            for key in sorted({*before, *settings})
            if before.get(key) != settings.get(key)
        ]
        raise ValueError(
            f"data set {dataset_id!r} is unfinished, {store.num_kept} episodes recorded with "
            f"{'; '.join(differences)}: go on with the same settings, or overwrite it"
        )


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
