"""What came of the seeds so far, in a file that survives the death of whoever writes it.

Entries are appended whole, each under a checksum. What a killed process left half written at the
end is cut off when the file is opened again. It knows nothing of environments.
"""

import fcntl
import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mugato.data.formats.minari.layout import StoredArray
from mugato.recording.demonstrate import Demonstration, RejectedEpisode

# Checksum of what follows, then the lengths of a JSON object and of the bytes after it.
_HEAD = struct.Struct("<IQQ")


@dataclass(frozen=True, kw_only=True)
class DemonstrationHeader:
    """A demonstration without its arrays."""

    seed: int
    timesteps: int
    episode_return: float


class Journal:
    """The outcomes of consecutive seeds.

    Only one process may have a journal open.

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
            ValueError: another process has it open.
        """
        self.path = path
        self.outcomes: list[DemonstrationHeader | RejectedEpisode] = []
        self._places: list[int] = []  # where the demonstrations lie
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0)
        try:
            self._lock()
            if anew:
                self._file.truncate(0)
            self.settings = self._read(settings)
        except BaseException:
            self._file.close()
            raise

    def append(self, outcome: Demonstration | RejectedEpisode) -> None:
        """Add the outcome of the next seed; when this returns it outlives the process."""
        place = self._file.tell()
        match outcome:
            case RejectedEpisode():
                self._write({"dropped": asdict(outcome)})
                self.outcomes.append(outcome)
            case Demonstration(seed=seed, timesteps=n, episode_return=value):
                kept = DemonstrationHeader(seed=seed, timesteps=n, episode_return=value)
                arrays = {path: _outline(array) for path, array in outcome.arrays.items()}
                parts = [part for array in outcome.arrays.values() for part in array.parts]
                self._write({"kept": asdict(kept), "arrays": arrays}, b"".join(parts))
                self.outcomes.append(kept)
                self._places.append(place)

    def demonstrations(self) -> Iterator[Demonstration]:
        """Read the demonstrations back."""
        for place in self._places:
            self._file.seek(place)
            entry = self._next()
            assert entry is not None, "read when the file was opened, or written since"
            about, data = entry
            arrays = dict(_arrays(about["arrays"], data))
            yield Demonstration(**about["kept"], arrays=arrays)
        self._file.seek(0, os.SEEK_END)

    @property
    def num_kept(self) -> int:
        return len(self._places)

    def remove(self) -> None:
        self.path.unlink()

    def close(self) -> None:
        self._file.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            removed = os.fstat(self._file.fileno()).st_nlink == 0  # by whoever had it
        except BlockingIOError:
            removed = True
        if removed:
            raise ValueError(f"another process is writing {self.path}")

    def _read(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Read all whole entries and cut off what follows."""
        head = self._next()
        if head is None:
            self._file.seek(0)
            self._file.truncate()
            self._write({"settings": settings})
            return dict(settings)
        while True:
            place = self._file.tell()
            entry = self._next()
            if entry is None:
                self._file.seek(place)
                self._file.truncate()
                return head[0]["settings"]
            about, _ = entry
            if "dropped" in about:
                self.outcomes.append(RejectedEpisode(**about["dropped"]))
            else:
                self.outcomes.append(DemonstrationHeader(**about["kept"]))
                self._places.append(place)

    def _next(self) -> tuple[dict[str, Any], bytes] | None:
        """The entry at the place of the file, or None where there is no whole one."""
        head = self._file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return None
        checksum, about_length, data_length = _HEAD.unpack(head)
        end = self._file.tell() + about_length + data_length
        if end > os.fstat(self._file.fileno()).st_size:
            return None
        about, data = self._read_exactly(about_length), self._read_exactly(data_length)
        if _checksum(about, data) != checksum:
            return None
        return json.loads(about), data

    def _read_exactly(self, length: int) -> bytes:
        parts = []
        while length:  # one call reads at most 2 GiB
            parts.append(self._file.read(length))
            length -= len(parts[-1])
        return b"".join(parts)

    def _write(self, about: Mapping[str, Any], data: bytes = b"") -> None:
        text = json.dumps(about).encode()
        entry = memoryview(_HEAD.pack(_checksum(text, data), len(text), len(data)) + text + data)
        try:
            while entry:  # a full disk takes the first part
                entry = entry[self._file.write(entry) :]
        except OSError as error:
            raise OSError(f"cannot write {self.path}: {error}") from error


def _checksum(about: bytes, data: bytes) -> int:
    lengths = struct.pack("<QQ", len(about), len(data))
    return zlib.crc32(data, zlib.crc32(about, zlib.crc32(lengths)))


def _outline(array: StoredArray) -> list[Any]:
    return [array.dtype, array.shape, array.chunk_rows, [len(part) for part in array.parts]]


def _arrays(outlines: Mapping[str, list[Any]], data: bytes) -> Iterator[tuple[str, StoredArray]]:
    start = 0
    for path, (dtype, shape, chunk_rows, lengths) in outlines.items():
        parts = []
        for length in lengths:
            parts.append(data[start : start + length])
            start += length
        yield (
            path,
            StoredArray(dtype=dtype, shape=tuple(shape), chunk_rows=chunk_rows, parts=tuple(parts)),
        )
