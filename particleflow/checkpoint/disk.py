"""The side of a store that the writer's thread runs: rows and commits on their way to the disk."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from particleflow._files import folder_to_disk, replace_bytes, replacing
from particleflow.checkpoint.arrays import Held
from particleflow.checkpoint.columns import Column, Layout, fits, mapped
from particleflow.checkpoint.documents import sealed
from particleflow.checkpoint.lock import Lock
from particleflow.checkpoint.segments import (
    Found,
    Manifest,
    Sealed,
    column_path,
    is_kept,
    manifest_path,
    state_path,
)

# The SHA-256 of no rows.
NOTHING = hashlib.sha256().hexdigest()


@dataclass(frozen=True)
class Commit:
    """A state from which a run goes on.

    Attributes
    ----------
    step : int
    records : int
        The number of records up to here.
    tensors : mapping of str to Tensor
        On the CPU.
    facts : mapping
        What JSON holds.
    """

    step: int
    records: int
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


class Disk:
    """The files of a run, from the last good commit on.

    Attributes
    ----------
    last : Commit or None
        The last commit that the disk holds.
    scalars : list of dict
        The scalars of all committed records.
    """

    def __init__(self, folder: Path, whole: Found, lock: Lock | None) -> None:
        self.folder, self.lock = folder, lock
        chain = whole.manifests
        self.last = (
            Commit(chain[-1].step, chain[-1].records, whole.tensors, chain[-1].facts)
            if chain
            else None
        )
        self.scalars = [row for manifest in chain for row in manifest.scalars]
        self._digest, self._next, self._states = whole.digest, len(chain), set(whole.states)
        self._columns: dict[str, Column] = {}
        self._row = Held({}, {})  # the last record

    def append(self, row: Held) -> None:
        """Write a record after those that are there."""
        for name, tensor in row.tensors.items():
            if name not in self._columns:
                path = column_path(self.folder, name)
                self._columns[name] = Column(path, Layout.of(tensor), len(self.scalars))
                folder_to_disk(path.parent)
            self._columns[name].append(tensor)
        row.check()
        self._row = row

    def commit(
        self,
        step: int,
        state: Held,
        facts: Mapping[str, Any],
        scalars: list[dict[str, Any]],
        layouts: Mapping[str, Layout],
    ) -> None:
        """Put all on the disk: rows, then the state, then the manifest that makes them count."""
        assert self.lock is not None
        self.lock.check()
        rows = {
            name: (layout, self._columns[name].settle() if name in self._columns else NOTHING)
            for name, layout in layouts.items()
        }
        shared = state.shared(self._row)
        alone = {name: value for name, value in state.tensors.items() if name not in shared}
        small = fits(alone)
        seal = None if small else self._written(alone)
        state.check()
        records = len(self.scalars) + len(scalars)
        manifest = Manifest(
            number=self._next,
            step=step,
            records=records,
            before=self._digest,
            state=seal,
            rows=rows,
            scalars=scalars,
            facts=facts,
            shared=shared,
            inline=alone if small else {},
        )
        written, self._digest = sealed(manifest.body())
        replace_bytes(manifest_path(self.folder, self._next), written, durable=True)
        self.scalars.extend(scalars)
        self.last = Commit(step, records, state.tensors, facts)
        if not small:
            self._states.add(self._next)
        for number in [n for n in self._states if not is_kept(n, self._next)]:
            state_path(self.folder, number).unlink(missing_ok=True)
            self._states.remove(number)
        self._next += 1

    def _written(self, state: Mapping[str, Tensor]) -> Sealed:
        """Write the file of a state; its name lasts once that of a manifest beside it does."""
        with replacing(state_path(self.folder, self._next), durable=True, name=False) as file:
            return Sealed.writing(file, state)

    def mapped(self, name: str, layout: Layout, rows: int) -> Tensor:
        """The first rows of a column: of the open file, which the folder may have lost."""
        column = self._columns.get(name)
        if column is None or not rows * layout.row_bytes:
            return mapped(column_path(self.folder, name), layout, rows)
        return column.mapped(rows)

    def close(self) -> None:
        """Close all files, and give the folder back."""
        for column in self._columns.values():
            column.close()
        self._columns.clear()
        if self.lock is not None:
            self.lock.release()
