"""The head of a run: what the run is, written once, and the folders in which its files go."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from particleflow._files import replace_bytes, replacing
from particleflow._refusals import RefusedValueError
from particleflow.checkpoint.arrays import unpacked
from particleflow.checkpoint.documents import document, plain_folder, regular, sealed
from particleflow.checkpoint.errors import CheckpointError, DamageError
from particleflow.checkpoint.segments import PART, Sealed

# The version of the files.
FORMAT = 2
# The document that says what a run is.
HEAD = "run.json"
# The tensors that belong to it.
HEAD_TENSORS = Path("segments", "head.npz")
# The file that says which process writes.
LOCK = "lock"
# The folders of a run.
FOLDERS = ("records", "segments")


def refuse_a_run(folder: Path) -> None:
    """Refuse a folder in which a run would overwrite something."""
    if (folder / HEAD).exists():
        raise RefusedValueError(
            "folder",
            f"must not hold a run yet, and '{folder}' does",
            remedy="resume that run, or choose another folder",
        )
    for name in FOLDERS:
        place = folder / name
        if place.is_symlink() or (
            place.exists() and any(not _is_left_over(path) for path in place.iterdir())
        ):
            raise RefusedValueError(
                "folder",
                f"must have no files in '{place}', and it has",
                remedy="choose another folder",
            )


def _is_left_over(path: Path) -> bool:
    """Is it a file of a run that was killed before it began?"""
    return path.name == HEAD_TENSORS.name or PART.fullmatch(path.name) is not None


def write_head(
    folder: Path, head: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Any], str]:
    """Make the folders of a run and write its head; return it as it is read, and its SHA-256."""
    kept: dict[str, Any] = plain(dict(head), "head")
    for name in FOLDERS:
        (folder / name).mkdir(exist_ok=True)
    with replacing(folder / HEAD_TENSORS, durable=True) as file:
        seal = Sealed.writing(file, tensors)
    body = {"format": FORMAT, "head": kept, "tensors": vars(seal)}
    written, digest = sealed(body)
    replace_bytes(folder / HEAD, written, durable=True)
    return kept, digest


def read_head(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    """The head of a run, its tensors, and its SHA-256."""
    name = HEAD
    try:
        body, digest = document(folder / HEAD)
        if body.get("format") != FORMAT:
            raise RefusedValueError(
                "folder",
                f"'{folder}' has format {str(body.get('format'))[:20]}, this version reads"
                f" {FORMAT}",
                remedy="install the version that wrote it",
            )
        head = body.get("head")
        if not isinstance(head, dict):
            raise DamageError("lacks the head")
        for folders in FOLDERS:
            if not plain_folder(folder / folders):
                raise CheckpointError(f"'{folder / folders}' is missing, or is no plain folder")
        written = Sealed.read(body.get("tensors"))
        name = str(HEAD_TENSORS)
        with regular(folder / HEAD_TENSORS) as file:
            return head, unpacked(written.data(file)), digest
    except (DamageError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"the checkpoint in '{folder}' is damaged: {name} {error}: begin anew in another folder"
        ) from None


def plain(value: Any, argument: str) -> Any:
    """A copy of what JSON holds, as it will be read again."""
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"`{argument}` must be what JSON holds, got something else ({error}): pass numbers,"
            " strings, lists and dicts"
        ) from None
