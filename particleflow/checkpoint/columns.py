"""Raw files of records: one file a column, row r at offset r times the bytes of a row.

Small tensors are written in a manifest, by the same names of dtypes.

A row is never written again once it is committed. `numpy.memmap` reads such a file; its dtype and
the shape of a row are in the manifests.
"""

from __future__ import annotations

import base64
import hashlib
import math
import mmap
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from particleflow._files import to_disk
from particleflow.checkpoint.arrays import KINDS
from particleflow.checkpoint.documents import hashed, regular, whole
from particleflow.checkpoint.errors import DamageError

# A name of a column, which is that of its file too.
NAME = re.compile(r"[a-z][a-z0-9_]{0,50}")
# The dtype of a column: its byte order, its kind and the bytes of a number, as numpy writes them.
DTYPE = re.compile(rf"[<>|][{KINDS}]\d{{1,2}}")
# Most axes of a row.
MOST_AXES = 8
# Most numbers of a row: beyond it numpy's own sizes overflow.
LARGEST = 2**50
# Most bytes of a state that is written within its manifest.
INLINE = 2**14
# Linux's MAP_NORESERVE, which Python's mmap has from 3.13 on: a map as large as the disk needs no
# memory that would have to be set aside.
NO_RESERVE = 0x4000


@dataclass(frozen=True)
class Layout:
    """The rows of a column: numpy's name of their dtype, such as "<f4", and their shape."""

    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, row: Tensor) -> Layout:
        return cls(row.numpy().dtype.str, tuple(row.shape))

    @classmethod
    def read(cls, entry: Any) -> Layout:
        """The layout in a manifest.

        Raises
        ------
        DamageError
            There is none, or this machine does not have its dtype.
        """
        dtype, shape = entry["dtype"], entry["shape"]
        if not isinstance(dtype, str) or not DTYPE.fullmatch(dtype):
            raise DamageError(f"names the dtype {str(dtype)[:40]}")
        try:
            native = np.dtype(dtype).isnative
            torch.from_numpy(np.empty(0, dtype))
        except (TypeError, ValueError):
            native = False
        if not native:
            raise DamageError(f"names the dtype {dtype}, which this machine does not have")
        if not isinstance(shape, list) or len(shape) > MOST_AXES:
            raise DamageError("has no shape")
        layout = cls(dtype, tuple(whole(length) for length in shape))
        if math.prod(max(1, length) for length in shape) > LARGEST:
            raise DamageError(f"has rows of the shape {shape}")
        return layout

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def fits(tensors: Mapping[str, Tensor]) -> bool:
    """Are these tensors so small that a manifest may hold them?"""
    sizes = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    return sizes <= INLINE and all(tensor.ndim <= MOST_AXES for tensor in tensors.values())


def inlined(tensor: Tensor) -> dict[str, Any]:
    """A small tensor as JSON holds it: its bytes in base 64."""
    layout = Layout.of(tensor)
    data = base64.b64encode(tensor.numpy().tobytes()).decode()
    return {"dtype": layout.dtype, "shape": list(layout.shape), "data": data}


def read_inline(entry: Any) -> Tensor:
    """The tensor of such an entry.

    Raises
    ------
    DamageError
    """
    layout = Layout.read(entry)
    try:
        data = base64.b64decode(entry["data"], validate=True)
    except ValueError as error:
        raise DamageError(f"holds no tensor ({error})") from None
    if len(data) != layout.row_bytes:
        raise DamageError(f"has a tensor of {len(data)} bytes in the place of {layout.row_bytes}")
    return torch.from_numpy(np.frombuffer(data, layout.dtype).reshape(layout.shape).copy())


class Column:
    """The file of a column, to which rows are appended; what lies after `rows` is cut off."""

    def __init__(self, path: Path, layout: Layout, rows: int) -> None:
        self.layout, self.rows = layout, rows
        if not rows:
            with _new(path):
                pass
        self._file = regular(path, write=True)
        self._file.truncate(rows * layout.row_bytes)
        self._digest = hashlib.sha256()

    def append(self, row: Tensor) -> None:
        data = row.numpy().reshape(-1).view(np.uint8).data
        self._digest.update(data)
        self._file.seek(self.rows * self.layout.row_bytes)
        while data:
            data = data[self._file.write(data) :]
        self.rows += 1

    def settle(self) -> str:
        """The SHA-256 of the rows since the last call, once the disk holds them."""
        to_disk(self._file.fileno())
        digest, self._digest = self._digest.hexdigest(), hashlib.sha256()
        return digest

    def mapped(self, rows: int) -> Tensor:
        """The first rows, as by `mapped`, also where the file has lost its name."""
        return _mapped(self._file, self.layout, rows)

    def close(self) -> None:
        self._file.close()


def _new(path: Path) -> Any:
    """An empty file, or the one there is if it is a plain file."""
    try:
        return path.open("xb", buffering=0)
    except FileExistsError:
        return regular(path, write=True)


def digests(path: Path, layout: Layout, parts: list[int]) -> Iterator[str]:
    """The SHA-256 of each of the parts of a column, given as numbers of rows.

    Raises
    ------
    DamageError
        The file ends before, or it is no plain file.
    """
    with regular(path) as file:
        length = os.fstat(file.fileno()).st_size
        done = 0
        for rows in parts:
            done += rows * layout.row_bytes
            if done > length:
                raise DamageError(f"is {length} bytes long in the place of {done}")
            yield hashed(file, rows * layout.row_bytes)


def mapped(path: Path, layout: Layout, rows: int) -> Tensor:
    """The first rows of a column, (rows, ...), read when they are used.

    Writing to the tensor does not change the file.
    """
    if not rows * layout.row_bytes:
        return torch.from_numpy(np.empty((rows, *layout.shape), layout.dtype))
    with regular(path) as file:
        return _mapped(file, layout, rows)


def _mapped(file: FileIO, layout: Layout, rows: int) -> Tensor:
    length = rows * layout.row_bytes
    if os.fstat(file.fileno()).st_size < length:
        raise DamageError("is shorter than it was")
    if sys.platform == "linux":
        memory = mmap.mmap(
            file.fileno(),
            length,
            flags=mmap.MAP_PRIVATE | NO_RESERVE,
            prot=mmap.PROT_READ | mmap.PROT_WRITE,
        )
    else:
        memory = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_COPY)
    return torch.from_numpy(np.frombuffer(memory, layout.dtype).reshape((rows, *layout.shape)))
