"""CIFAR's pickled batches, read without executing what they say.

A pickle names functions to call. Here five names are known, and each stands for a function of this module that stores
bytes or refuses; nothing of numpy, codecs or any other package is called while the file is read. Arrays are built
afterwards, from bytes whose length was compared with the declared shape. Opcodes are looked through beforehand, because
some let a few bytes ask for gigabytes.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from robustbench_lift.errors import DataError
from robustbench_lift.text import printable

SIZE_LIMIT = 400_000_000
"""Largest batch that is read, in bytes; CIFAR-100's train has 155 million."""
_TYPES = {"u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"}


class _Refused(Exception):
    """A name or a state that no batch of CIFAR has."""


class _DataType:
    """Stands in for numpy.dtype: only plain numbers are known."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code, self.order = _text(code), "<"
        if self.code not in _TYPES:
            raise _Refused(f"an array of {printable(self.code)}")

    def __setstate__(self, state: Any) -> None:
        order = _text(state[1]) if isinstance(state, tuple) and len(state) > 1 else "<"
        self.order = order if order in ("<", ">") else "|"


class _Array:
    """Stands in for numpy.ndarray: keeps shape, type and bytes."""

    content: tuple[tuple[int, ...], _DataType, bool, bytes] | None = None

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        match state:
            case (_, tuple() as shape, _DataType() as kind, fortran, bytes() | str() as data):
                if not all(isinstance(side, int) and side >= 0 for side in shape):
                    raise _Refused("an array without a shape")
                self.content = (shape, kind, bool(fortran), data.encode("latin1") if isinstance(data, str) else data)
            case _:
                raise _Refused("an array without bytes")

    def build(self) -> np.ndarray[Any, Any]:
        if self.content is None:
            raise _Refused("an array without content")
        shape, kind, fortran, raw = self.content
        dtype = np.dtype(kind.order + kind.code)
        if math.prod(shape) * dtype.itemsize != len(raw):
            raise _Refused(f"an array of shape {shape} with {len(raw):,} bytes")
        return np.frombuffer(raw, dtype=dtype).reshape(shape, order="F" if fortran else "C")


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _Refused("an encoding other than latin1")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DataType,
    ("_codecs", "encode"): _encode,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _Refused(f"the name {printable(module)}.{printable(name)}") from None


def read_batch(path: Path) -> dict[str, Any]:
    """The dictionary of a CIFAR batch; keys as text, arrays as numpy arrays.

    Raises:
        DataError: not a batch of CIFAR, damaged, or a pickle that wants something called or asks for memory that it
            does not fill.
    """
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise DataError(f"{printable(path)} is larger than any batch of CIFAR; refused.")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read: {error.strerror}.") from None
    try:
        _check_memory(content)
        found = _Reader(io.BytesIO(content), encoding="latin1").load()
        if not isinstance(found, dict):
            raise _Refused("no dictionary")
        return {_key(key): value.build() if isinstance(value, _Array) else value for key, value in found.items()}
    except _Refused as refused:
        raise DataError(
            f"{printable(path)} is not a batch of CIFAR: it holds {refused}. Nothing of it was executed. Get the "
            "python version of the data from its publisher."
        ) from None
    except Exception as error:  # a damaged pickle can raise anything; none of it comes from code of the file
        raise DataError(
            f"{printable(path)} is not a pickle that can be read ({type(error).__name__}: {printable(str(error))}). "
            "Get the python version of the data again."
        ) from None


def _check_memory(content: bytes) -> None:
    """Refuse what would take memory by a number: places of the memo beyond the bytes of the file, byte arrays."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name == "BYTEARRAY8":
            raise _Refused("a byte array")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(argument or 0) <= len(content):
            raise _Refused(f"the memo place {argument}")


def _text(value: Any) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)


def _key(key: object) -> str:
    if isinstance(key, bytes):
        return key.decode("latin1")
    if isinstance(key, str):
        return key
    raise _Refused(f"a key that is no text ({type(key).__name__})")
