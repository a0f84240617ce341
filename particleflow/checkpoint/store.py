"""A run in a folder: records are appended, states are committed, and both are found again."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from particleflow import _checks
from particleflow._files import at_home, folder_to_disk
from particleflow._refusals import RefusedFileError
from particleflow.checkpoint.arrays import Held, copied
from particleflow.checkpoint.columns import NAME, Layout
from particleflow.checkpoint.disk import Commit, Disk
from particleflow.checkpoint.errors import CheckpointError, DamageError, not_read, not_written
from particleflow.checkpoint.head import HEAD, LOCK, plain, read_head, refuse_a_run, write_head
from particleflow.checkpoint.lock import Lock
from particleflow.checkpoint.segments import Found, clean, found
from particleflow.checkpoint.writer import Writer


class Store:
    """The folder of a run, made by `create` or found by `open`.

    Files are written by a thread of the store's own: `append` and `commit` return at once. They
    copy small tensors. A large one must not be changed in place until it is written; where torch
    has changed it, writing fails. A failure is raised by the next call of `append`, `commit`,
    `flush` or `close` as a `CheckpointError`, and the last good commit stays whole.

    Attributes
    ----------
    folder : Path
    head : mapping
        What the run is, as it was given to `create`.
    tensors : mapping of str to Tensor
        The tensors that were given with the head.
    notes : list of str
        Sentences on damage that was found, how far back it led, and a lock that was taken over.
    """

    def __init__(
        self,
        folder: Path,
        head: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        whole: Found,
        lock: Lock | None,
    ) -> None:
        """Called by `create` and `open`."""
        self.folder, self.head, self.tensors = folder, head, tensors
        self.notes = [*(lock.notes if lock else ()), *whole.notes]
        self._disk, self._lock, self._writer = Disk(folder, whole, lock), lock, Writer()
        # the layouts of the columns; None before the first record
        self._layouts = whole.layouts
        self._new_rows = 0
        self._told = False
        self._end = weakref.finalize(self, _ended, self._writer, self._disk)

    @property
    def last(self) -> Commit | None:
        """The last commit that the disk holds."""
        return self._disk.last

    @staticmethod
    def exists(folder: str | Path) -> bool:
        """Does the folder hold a run?"""
        return (_path(folder) / HEAD).is_file()

    @classmethod
    def create(
        cls,
        folder: str | Path,
        head: Mapping[str, Any],
        tensors: Mapping[str, Tensor] | None = None,
    ) -> Store:
        """Begin a run in a folder, which is made if it is missing. Other files in it stay.

        Parameters
        ----------
        folder : str or Path
        head : mapping
            What JSON holds. It is written once.
        tensors : mapping of str to Tensor
            Written once too.

        Raises
        ------
        RefusedValueError
            The folder holds a run, or one that begins there.
        CheckpointError
            It cannot be written to.
        """
        place = _path(folder)
        refuse_a_run(place)
        copies = copied(tensors or {}, "tensors")
        try:
            place.mkdir(parents=True, exist_ok=True)
            lock = Lock(place / LOCK)
            try:
                refuse_a_run(place)
                kept, digest = write_head(place, head, copies)
                folder_to_disk(place.parent)
                return cls(place, kept, copies, Found(digest), lock)
            except BaseException:
                lock.release()
                raise
        except CheckpointError:
            raise
        except OSError as error:
            raise not_written(place, None, error) from error

    @classmethod
    def open(cls, folder: str | Path, *, write: bool = True) -> Store:
        """Find a run in a folder: every byte is checked, and `last` is the last good commit.

        With `write` the store goes on from there: what comes after it is removed. Without it the
        folder is only read, also while another process writes to it.

        Raises
        ------
        RefusedFileError
            The folder holds no run.
        RefusedValueError
            Another process writes to it, or another version has written it.
        CheckpointError
            It is damaged from the first commit on, or cannot be read or written to.
        """
        place = _path(folder)
        if not (place / HEAD).exists():
            raise RefusedFileError(
                "folder",
                f"must hold a run, and there is no file '{place / HEAD}'",
                remedy="pass a folder that a run was given as its checkpoint",
            )
        lock = None
        try:
            lock = Lock(place / LOCK) if write else None
            kept, tensors, digest = read_head(place)
            whole = found(place, digest)
            if not whole.manifests and whole.notes:
                told = "; ".join(whole.notes)
                raise CheckpointError(
                    f"nothing in '{place}' can be gone on from: {told}: begin anew in another"
                    " folder"
                )
            store = cls(place, kept, tensors, whole, lock)
            if write:
                clean(place, whole)
            return store
        except BaseException as error:
            if lock is not None:
                lock.release()
            if isinstance(error, OSError) and not isinstance(error, CheckpointError):
                raise not_read(place, error) from error
            raise

    def columns(self) -> dict[str, Tensor]:
        """The committed records: a tensor (T, ...) a column, read from the disk when it is used."""
        records = self.last.records if self.last else 0
        try:
            return {
                name: self._disk.mapped(name, layout, records)
                for name, layout in (self._layouts or {}).items()
            }
        except DamageError as error:
            raise CheckpointError(f"a column in '{self.folder}' {error}") from None
        except OSError as error:
            raise not_read(self.folder, error) from error

    def scalars(self) -> list[dict[str, Any]]:
        """The scalars of the committed records, in their order."""
        return list(self._disk.scalars)

    def append(self, row: Mapping[str, Tensor]) -> None:
        """Add a record: a tensor for each column. It counts once it is committed.

        The first record chooses the names of the columns, their dtypes and the shapes of rows.

        Raises
        ------
        ValueError
            A name is no name of a file (small letters, digits and _), or the row is not like the
            first one.
        CheckpointError
            An earlier row or commit could not be written.
        """
        self._refuse_if_ended()
        held = Held.of(row, "row")
        layouts = {name: Layout.of(tensor) for name, tensor in held.tensors.items()}
        for name in layouts:
            if not NAME.fullmatch(name):
                raise ValueError(
                    f"`row` must have names of small letters, digits and _, got {name!r:.80}:"
                    " choose another"
                )
        if self._layouts is not None and layouts != self._layouts:
            raise ValueError(
                f"`row` must be like the first one, {self._layouts}, got {layouts}: give every"
                " record the same columns"
            )
        self._layouts = layouts
        self._put(partial(self._disk.append, held), held)
        self._new_rows += 1

    def commit(
        self,
        step: int,
        tensors: Mapping[str, Tensor],
        facts: Mapping[str, Any],
        scalars: Sequence[Mapping[str, Any]],
    ) -> None:
        """Make the records since the last commit, and a state to go on from, a part of the run.

        Returns at once, unless the commit before is still being written: then it waits for that
        one.

        Parameters
        ----------
        step : int
        tensors : mapping of str to Tensor
            The state: `Commit.tensors`.
        facts : mapping
            Of what JSON holds, also NaN: `Commit.facts`.
        scalars : sequence of mappings
            For each record since the last commit what JSON holds, such as its time and energy.

        Raises
        ------
        ValueError
            There are not as many scalars as new records.
        CheckpointError
            An earlier row or commit could not be written.
        """
        self._refuse_if_ended()
        if len(scalars) != self._new_rows:
            raise ValueError(
                f"`scalars` must have an entry for each new record, {self._new_rows}, got"
                f" {len(scalars)}: append the records first"
            )
        held = Held.of(tensors, "tensors")
        rows = [plain(row, "scalars") for row in scalars]
        layouts = dict(self._layouts or {})
        job = partial(self._disk.commit, step, held, plain(facts, "facts"), rows, layouts)
        self._put(job, held, single=True)
        self._new_rows = 0

    def flush(self) -> None:
        """Wait until all is written.

        Raises
        ------
        CheckpointError
            Something could not be written.
        """
        if self._lock is not None and not self._lock.is_mine:
            self._refuse_if_ended()  # the thread that writes is the parent's
        self._writer.wait()
        self._raise()

    def close(self) -> None:
        """Write what waits, and give the folder back.

        Raises
        ------
        CheckpointError
            Something could not be written, and no call has said so yet.
        """
        self._end()
        if not self._told:
            self._raise()

    def discard(self) -> None:
        """Take back a run that has no record, and give its folder back."""
        if self._lock is not None and self._lock.is_mine and self._layouts is None:
            with suppress(OSError):
                (self.folder / HEAD).unlink()
        self.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            with suppress(CheckpointError):
                self.close()

    def _refuse_if_ended(self) -> None:
        if self._lock is None or not self._end.alive or not self._lock.is_mine:
            raise CheckpointError(
                f"the checkpoint in '{self.folder}' is closed, or open for reading, or belongs to"
                " the parent of this process: open it again"
            )
        self._raise()

    def _raise(self) -> None:
        if self._writer.failure is not None:
            self._told = True
            error = self._writer.failure
            raise not_written(self.folder, self.last.step if self.last else None, error) from error

    def _put(self, job: Callable[[], None], held: Held, *, single: bool = False) -> None:
        size = sum(tensor.numel() * tensor.element_size() for tensor in held.tensors.values())
        self._writer.put(job, size, single=single)
        self._raise()


def _path(folder: Any) -> Path:
    return at_home(_checks.path(folder, "folder", "out/run"))


def _ended(writer: Writer, disk: Disk) -> None:
    """Write what waits, and close all files."""
    writer.stop()
    disk.close()
