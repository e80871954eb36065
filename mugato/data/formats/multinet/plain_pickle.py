"""Pickle files as plain data: what would run code when it is loaded is refused, not run.

A pickle is a program. Of all that it may call, only what makes NumPy's arrays and numbers is let
through, and bytes as `torch.save` writes them; lists, dicts, texts and numbers need no call.
"""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from mugato.system.errors import one_line


def read_plain_pickle(path: Path) -> Any:
    """Read a pickle file, or one written by `torch.save`, that holds nothing but plain data.

    Raises:
        ValueError: if it holds anything else, naming that, or is damaged or no pickle.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                (name,) = (n for n in archive.namelist() if Path(n).name == "data.pkl")
                stream = io.BytesIO(archive.read(name))
        else:
            stream = io.BytesIO(path.read_bytes())
        return _PlainUnpickler(stream).load()
    except Exception as error:  # a damaged pickle raises whatever it likes
        raise ValueError(f"{path} cannot be read as plain data: {one_line(error)}") from None


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = _ALLOWED.get((module.replace("numpy.core", "numpy._core"), name))
        if found is None:
            raise pickle.UnpicklingError(
                f"it would load {module}.{name}, and only plain lists, dicts, texts, numbers and "
                "NumPy arrays are read, because loading anything else may run code"
            )
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError(f"it refers to something outside of itself: {pid!r}")


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes are written in latin1, not in {encoding!r}")
    return text.encode(encoding)


def _dtype(name: str, align: bool = False, copy: bool = False) -> np.dtype:
    return np.dtype(str(name), bool(align), bool(copy))


def _reconstruct(kind: type, shape: tuple[int, ...], code: bytes) -> np.ndarray:
    """Make the empty array whose contents follow."""
    if kind is not np.ndarray:
        raise pickle.UnpicklingError(f"only plain arrays are read, not {kind!r}")
    return np.ndarray(shape, np.dtype(code.decode()))


def _scalar(dtype: np.dtype, data: bytes) -> Any:
    if dtype.hasobject:
        raise pickle.UnpicklingError("a number of NumPy's cannot be an object")
    return np.frombuffer(data, dtype, count=1)[0]


def _from_buffer(data: Any, dtype: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    if dtype.hasobject:
        raise pickle.UnpicklingError("bytes cannot be objects")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if order == "F" else "C")


def _no_bytes() -> bytes:
    """Return what older protocols write as a call without arguments."""
    return b""


_ALLOWED = {
    ("__builtin__", "bytes"): _no_bytes,
    ("_codecs", "encode"): _encode,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
}
