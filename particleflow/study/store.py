"""The folder of a study: its rows, each a file that is whole from the moment that it exists."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from particleflow import _checks
from particleflow._files import at_home, replace_text
from particleflow._refusals import RefusedValueError

# The file that says what the rows of a folder belong to.
MANIFEST = "study.json"
# The version of the files.
FORMAT = 1
# Most characters of a file's name that tell what it holds; a digest of the whole key follows.
NAMED = 80


class Store:
    """Rows by their keys, in a folder.

    A row is written by the process that made it, as soon as it is made. A file named after a
    running piece of work stands beside the rows: where a process died, it tells which work it did.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows, self.running = folder / "rows", folder / "running"
        for place in (self.rows, self.running):
            place.mkdir(parents=True, exist_ok=True)

    def path(self, key: Sequence[str]) -> Path:
        """The file of a row."""
        return self.rows / f"{filename(key)}.json"

    def mark(self, key: Sequence[str]) -> Path:
        """The file that exists while a row is made."""
        return self.running / filename(key)

    def read(self, key: Sequence[str]) -> dict[str, Any] | None:
        """The row, or None where it was not made or its file is damaged."""
        try:
            row = json.loads(self.path(key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return row if isinstance(row, dict) else None

    def write(self, key: Sequence[str], row: Mapping[str, Any]) -> None:
        """Write a row whole or not at all."""
        replace_text(self.path(key), json.dumps(row, allow_nan=False) + "\n")

    def claim(self, digests: Mapping[str, Mapping[str, str]]) -> None:
        """Say what the rows belong to; refuse a folder whose rows belong to something else.

        `digests` maps kinds ("task", "contender" ...) to names and their digests. Names that the
        folder does not know are added to it: a study may grow.

        Raises
        ------
        RefusedValueError
            The folder knows a name with another digest.
        """
        file = self.folder / MANIFEST
        known = self.manifest()
        for kind, named in digests.items():
            for name, digest in named.items():
                if known.get(kind, {}).get(name, digest) != digest:
                    raise RefusedValueError(
                        "folder",
                        f"must hold the results of this study, and the {kind} {name!r} was"
                        " another one when they were made",
                        str(self.folder),
                        "choose another folder, or remove this one",
                    )
        kinds = dict.fromkeys([*known, *digests])
        merged = {kind: {**known.get(kind, {}), **digests.get(kind, {})} for kind in kinds}
        replace_text(file, json.dumps({"format": FORMAT, "digests": merged}, indent=1) + "\n")

    def manifest(self) -> dict[str, dict[str, str]]:
        """The digests that the folder's rows were made with."""
        file = self.folder / MANIFEST
        if not file.exists():
            if any(self.rows.iterdir()):
                raise RefusedValueError(
                    "folder",
                    f"must have a file {MANIFEST} beside its rows",
                    str(self.folder),
                    "choose another folder",
                )
            return {}
        try:
            read = json.loads(file.read_text(encoding="utf-8"))
            if read["format"] != FORMAT:
                raise ValueError(f"format {read['format']}")
            return dict(read["digests"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RefusedValueError(
                "folder",
                f"must hold a study, and its {MANIFEST} cannot be read: {error}",
                str(self.folder),
                "choose another folder",
            ) from None


def opened(folder: Any) -> Store:
    """The store in a folder, which is made if it is missing.

    Raises
    ------
    RefusedValueError, RefusedTypeError
        It is no folder, or cannot be written to.
    """
    path = at_home(_checks.path(folder, "folder", "out/study"))
    try:
        return Store(path)
    except OSError as error:
        raise RefusedValueError(
            "folder",
            "must be a folder that can be written to",
            str(path),
            f"{error.strerror}: choose another",
        ) from None


def filename(key: Sequence[str]) -> str:
    """A file's name for a key: readable, and different for different keys."""
    told = re.sub(r"[^A-Za-z0-9=.]+", "-", "--".join(key)).strip("-.")[:NAMED]
    return f"{told}-{digest(list(key))[:8]}"


def digest(value: Any) -> str:
    """SHA-256 of a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode("utf-8")).hexdigest()
