"""Files of trajectories: one compressed .npz of tensors and facts, without pickle."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from particleflow import _checks
from particleflow._files import misread, refuse_a_folder, replacing
from particleflow._refusals import RefusedFileError, RefusedValueError

T = TypeVar("T")
# The version of the file format of `Trajectory.save`.
FORMAT = 1


def writable(path: str | Path) -> Path:
    """The path of a file to be written, which ends in .npz."""
    path = _checks.path(path, "path", "run.npz")
    if path.suffix != ".npz":
        other = (
            "; for a table, np.savetxt('a.csv', path.particles[-1])"
            if path.suffix in (".csv", ".txt", ".tsv")
            else ""
        )
        raise ValueError(
            f"`path` must end in .npz, got '{path}': pass '{path.with_suffix('.npz')}'{other}"
        )
    refuse_a_folder(path, "path")
    return path


def write(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Path:
    """Write tensors and facts whole or not at all; facts become JSON."""
    arrays: dict[str, Any] = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
    words = json.dumps({"format": FORMAT, **facts})
    try:
        with replacing(path) as file:
            np.savez_compressed(file, facts=np.array(words), **arrays)
    except OSError as error:
        raise OSError(
            f"`path` '{path}' could not be written: {error.strerror}: choose a folder that"
            " exists and is writable"
        ) from error
    return path


def read(path: str | Path, made: Callable[[dict[str, Tensor], dict[str, Any]], T]) -> T:
    """What is `made` of the tensors and the facts of a file written by `write`.

    The tensors are on the CPU.

    Raises
    ------
    RefusedFileError, RefusedValueError
        There is no such file, or it holds something else.
    """
    path = _checks.path(path, "path", "run.npz")
    try:
        with np.load(path, allow_pickle=False) as file:
            tensors = {name: torch.from_numpy(file[name]) for name in file.files if name != "facts"}
            facts = json.loads(str(file["facts"]))
        if facts["format"] == FORMAT:
            return made(tensors, facts)
    except FileNotFoundError:
        wanted = f"must be a saved trajectory, and there is no file '{path}'"
        remedy = "pass what Trajectory.save has returned"
        raise RefusedFileError("path", wanted, remedy=remedy) from None
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        NotImplementedError,
        BadZipFile,
        zlib.error,
    ) as error:
        wanted = f"must be a file written by Trajectory.save, and '{path}' is not"
        found = f"it holds {misread(path, error)}"
        raise RefusedValueError("path", wanted, remedy=found) from error
    wanted = f"'{path}' has format {facts['format']}, this version reads {FORMAT}"
    raise RefusedValueError("path", wanted, remedy="install the version that wrote it")


@dataclass(frozen=True)
class Gone:
    """Stands in for recorded noise, which a saved trajectory does not hold, and refuses to draw."""

    def normal(self, stream: str, step: int, like: Tensor) -> Tensor:
        raise ValueError(
            "`draws` must be passed to go on with this run: it was made with recorded noise, which"
            " a saved trajectory does not hold"
        )

    def child_seed(self, stream: str, step: int) -> int:
        raise ValueError(
            "`draws` must be passed to go on with this run: it was made with recorded noise, which"
            " a saved trajectory does not hold"
        )
