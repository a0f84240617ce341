"""Tensors in an uncompressed .npz, which numpy alone reads; written and read without pickle."""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from particleflow.checkpoint.errors import DamageError

# A name that zip files keep as it is.
NAME = re.compile(r"[^\x00-\x1f\\]{1,500}")
# Kinds of numpy's dtypes that are read: floats, integers, booleans and complex numbers.
KINDS = "fiubc"


def copied(tensors: Mapping[str, Tensor], argument: str) -> dict[str, Tensor]:
    """Copies on the CPU, which later steps of a run do not change.

    Raises
    ------
    ValueError, TypeError
        A name cannot be kept, or numpy lacks a dtype; `argument` is what messages call the mapping.
    """
    copies = {}
    for name, tensor in tensors.items():
        if not NAME.fullmatch(name):
            raise ValueError(
                f"`{argument}` must have names of 1 to 500 characters without backslash and control"
                f" characters, got {name[:80]!r}: choose another name"
            )
        copy = tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        try:
            copy.numpy()
        except TypeError:
            raise TypeError(
                f"`{argument}` '{name}' must have a dtype that numpy has, got {tensor.dtype}: keep"
                " it as float32"
            ) from None
        copies[name] = copy
    return copies


def packed(tensors: Mapping[str, Tensor]) -> bytes:
    """The bytes of an .npz with these tensors; equal tensors give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, tensor in tensors.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, tensor.numpy(), (1, 0), allow_pickle=False)
    return buffer.getvalue()


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
