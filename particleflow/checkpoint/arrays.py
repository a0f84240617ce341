"""Tensors in an uncompressed .npz, which numpy alone reads; written and read without pickle."""

from __future__ import annotations

import hashlib
import io
import math
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from particleflow.checkpoint.errors import DamageError

# A name that zip files keep as it is.
NAME = re.compile(r"[^\x00-\x1f\\]{1,500}")
# Kinds of numpy's dtypes that are read: floats, integers, booleans and complex numbers.
KINDS = "fiubc"
# Largest tensor that is copied before it is written, in numbers. A larger one is watched: its copy
# would take as long as it takes to write it.
COPIED = 2**17


@dataclass(frozen=True)
class Held:
    """Tensors on the CPU that wait to be written, and the versions of those that are no copies."""

    tensors: Mapping[str, Tensor]
    versions: Mapping[str, int]

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], argument: str) -> Held:
        """Hold tensors: small ones are copied, large ones must stay as they are until `check`.

        Raises
        ------
        ValueError, TypeError
            A name cannot be kept, or numpy lacks a dtype; `argument` is what messages call the
            mapping.
        """
        large = {
            name: tensor.detach()
            for name, tensor in tensors.items()
            if tensor.numel() > COPIED
            and tensor.device.type == "cpu"
            and tensor.is_contiguous()
            and not tensor.is_inference()  # such a tensor has no version
        }
        small = copied({n: t for n, t in tensors.items() if n not in large}, argument)
        both = {name: large[name] if name in large else small[name] for name in tensors}
        refuse_names_and_dtypes(large, argument)
        return cls(both, {name: tensor._version for name, tensor in large.items()})

    def shared(self, other: Held) -> dict[str, str]:
        """The watched tensors that are tensors of `other` too: their names here and there."""
        return {
            name: theirs
            for name, version in self.versions.items()
            for theirs, before in other.versions.items()
            if version == before and _is_same(self.tensors[name], other.tensors[theirs])
        }

    def check(self) -> None:
        """Raise RuntimeError where torch has changed a watched tensor in place."""
        for name, version in self.versions.items():
            if self.tensors[name]._version != version:
                raise RuntimeError(
                    f"'{name}' was changed in place after the step that made it: integrators and"
                    " estimators must return new tensors"
                )


def _is_same(one: Tensor, other: Tensor) -> bool:
    """Are both tensors views of the same memory, and alike?"""
    alike = one.shape == other.shape and one.dtype == other.dtype
    return alike and one.data_ptr() == other.data_ptr()


def copied(tensors: Mapping[str, Tensor], argument: str) -> dict[str, Tensor]:
    """Copies on the CPU, which later steps of a run do not change.

    Raises
    ------
    ValueError, TypeError
        A name cannot be kept, or numpy lacks a dtype; `argument` is what messages call the mapping.
    """
    copies = {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    refuse_names_and_dtypes(copies, argument)
    return copies


def refuse_names_and_dtypes(tensors: Mapping[str, Tensor], argument: str) -> None:
    """Refuse names that zip files change, and dtypes that numpy lacks."""
    for name, tensor in tensors.items():
        if not NAME.fullmatch(name):
            raise ValueError(
                f"`{argument}` must have names of 1 to 500 characters without backslash and control"
                f" characters, got {name[:80]!r}: choose another name"
            )
        try:
            tensor.numpy()
        except TypeError:
            raise TypeError(
                f"`{argument}` '{name}' must have a dtype that numpy has, got {tensor.dtype}: keep"
                " it as float32"
            ) from None


class Hashing(io.RawIOBase):
    """A file that is written from its start to its end, with its length and SHA-256 so far."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.length, self.digest = file, 0, hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.digest.update(data)
        self.file.write(data)
        size = memoryview(data).nbytes
        self.length += size
        return size


def write_packed(file: BinaryIO, tensors: Mapping[str, Tensor]) -> Hashing:
    """Write an .npz with contiguous tensors, without a copy; equal ones give equal bytes."""
    hashing = Hashing(file)
    # zipfile writes many short pieces, which a buffer joins
    with io.BufferedWriter(hashing) as whole, zipfile.ZipFile(whole, "w") as archive:
        for name, tensor in tensors.items():
            array = tensor.numpy()
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                header = np.lib.format.header_data_from_array_1_0(array)
                np.lib.format.write_array_header_1_0(entry, header)
                entry.write(array.reshape(-1).view(np.uint8).data)
    return hashing


def unpacked(data: bytes) -> dict[str, Tensor]:
    """The tensors of an .npz as `packed` writes it. No size is believed beyond that of the data.

    Raises
    ------
    DamageError
        It is something else: compressed, with overlapping entries, with objects ...
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > len(data):
                raise DamageError("has entries that are larger than the file")
            for entry in entries:
                if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                    raise DamageError("has compressed entries")
            named = {entry.filename.removesuffix(".npy"): entry for entry in entries}
            if len(named) != len(entries):
                raise DamageError("has entries of the same name")
            return {name: _tensor(archive.read(entry)) for name, entry in named.items()}
    except (  # what zipfile and numpy raise of files that are not theirs
        zipfile.BadZipFile,
        ValueError,
        TypeError,
        KeyError,
        EOFError,
        OSError,
        NotImplementedError,
        RecursionError,
        RuntimeError,
    ) as error:
        raise DamageError(f"holds no arrays ({str(error)[:200]})") from None


def _tensor(data: bytes) -> Tensor:
    """The tensor of an .npy."""
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise DamageError("has arrays of another version")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if fortran or dtype.kind not in KINDS or not dtype.isnative:
        raise DamageError(f"has an array of {dtype}")
    size = math.prod(shape) * dtype.itemsize
    if any(length < 0 for length in shape) or size != len(data) - stream.tell():
        raise DamageError(f"has an array of {len(data)} bytes in the place of {size}")
    return torch.from_numpy(np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape).copy())
