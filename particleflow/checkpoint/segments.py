"""Commits on the disk: a manifest each, with its state or beside it, and what is found whole."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from particleflow.checkpoint.arrays import unpacked, write_packed
from particleflow.checkpoint.columns import NAME, Layout, digests, inlined, mapped, read_inline
from particleflow.checkpoint.documents import document, fingerprint, hashed, regular, whole
from particleflow.checkpoint.errors import DamageError

# The name of a segment's file.
FILE = re.compile(r"(\d{6,15})\.(json|npz)")
# How often the last state is looked for before it counts as missing: a process that writes may have
# removed it meanwhile.
TRIES = 5
# The name of a file that was not finished (`particleflow._files.replacing`).
PART = re.compile(r"\.[0-9a-f]{8}\.part")


@dataclass(frozen=True)
class Sealed:
    """The length of a file in bytes, and its SHA-256."""

    length: int
    sha256: str

    @classmethod
    def writing(cls, file: BinaryIO, tensors: Mapping[str, Tensor]) -> Sealed:
        """Write an .npz with these tensors."""
        written = write_packed(file, tensors)
        return cls(written.length, written.digest.hexdigest())

    @classmethod
    def read(cls, entry: Any) -> Sealed:
        return cls(whole(entry["length"]), fingerprint(entry["sha256"]))

    def data(self, file: FileIO) -> bytes:
        """The bytes of a file, once they are known to be these.

        Raises
        ------
        DamageError
        """
        self.check(file)
        file.seek(0)
        return file.readall()

    def check(self, file: FileIO) -> None:
        length = os.fstat(file.fileno()).st_size
        if length != self.length:
            raise DamageError(f"is {length} bytes long in the place of {self.length}")
        file.seek(0)
        if hashed(file, length) != self.sha256:
            raise DamageError("has another SHA-256 than was written")


@dataclass(frozen=True)
class Manifest:
    """What a commit holds.

    `records` are those of the run up to here. `rows` maps each column to its layout and to the
    SHA-256 of the rows since the commit before, of which there are as many as `scalars`. `before`
    is the SHA-256 of the manifest before, or of the run's head. `shared` maps each tensor of the
    state that is a part of the last record to its column: it is written there alone. The others are
    in the file `state`, or, where they are small, here as `inline`: no file is written for them.
    """

    number: int
    step: int
    records: int
    before: str
    state: Sealed | None
    rows: Mapping[str, tuple[Layout, str]]
    scalars: list[dict[str, Any]]
    facts: Mapping[str, Any]
    shared: Mapping[str, str]
    inline: Mapping[str, Tensor]

    def body(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "step": self.step,
            "records": self.records,
            "before": self.before,
            "state": None if self.state is None else vars(self.state),
            "rows": {
                name: {"dtype": layout.dtype, "shape": list(layout.shape), "sha256": digest}
                for name, (layout, digest) in self.rows.items()
            },
            "scalars": self.scalars,
            "facts": dict(self.facts),
            "shared": dict(self.shared),
            "inline": {name: inlined(tensor) for name, tensor in self.inline.items()},
        }

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Manifest:
        """The manifest in a document.

        Raises
        ------
        DamageError
            An entry is missing or of another kind.
        """
        try:
            rows, scalars, facts = body["rows"], body["scalars"], body["facts"]
            shared, inline = body["shared"], body["inline"]
            if not all(
                isinstance(entry, dict) for entry in (rows, facts, shared, inline, *scalars)
            ):
                raise DamageError("has entries of another kind")
            for name in rows:
                if not NAME.fullmatch(name):
                    raise DamageError(f"names a column {name[:40]!r}")
            if shared and not (body["records"] and {*shared.values()} <= {*rows}):
                raise DamageError("takes a tensor from a record that is none")
            return cls(
                number=whole(body["number"]),
                step=whole(body["step"]),
                records=whole(body["records"]),
                before=fingerprint(body["before"]),
                state=None if body["state"] is None else Sealed.read(body["state"]),
                rows={
                    name: (Layout.read(entry), fingerprint(entry["sha256"]))
                    for name, entry in rows.items()
                },
                scalars=scalars,
                facts=facts,
                shared=shared,
                inline={name: read_inline(entry) for name, entry in inline.items()},
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise DamageError(f"lacks an entry ({error})") from None

    @property
    def layouts(self) -> dict[str, Layout]:
        return {name: layout for name, (layout, _) in self.rows.items()}


def manifest_path(folder: Path, number: int) -> Path:
    return folder / "segments" / f"{number:06d}.json"


def state_path(folder: Path, number: int) -> Path:
    return folder / "segments" / f"{number:06d}.npz"


def column_path(folder: Path, name: str) -> Path:
    return folder / "records" / f"{name}.bin"


def is_kept(number: int, latest: int) -> bool:
    """Is the state of a commit kept once there is the latest?

    The first, the last two, and fewer the older they are: for each power of two p the commits whose
    numbers are odd multiples of p, back to 2 p before the latest. Damage in the last n
    commits costs at most 3 n of them, for there is a state before it.
    """
    back = latest - number
    return number == 0 or back < 2 or back <= 2 * (number & -number)


@dataclass
class Found:
    """What is whole in a folder: the manifests up to the last good commit, and its state.

    `digest` is that of the last good manifest, or of the head. `states` are the numbers of whole
    states. `notes` are sentences on what is not whole.
    """

    digest: str
    manifests: list[Manifest] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    states: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    @property
    def layouts(self) -> dict[str, Layout] | None:
        """The layouts of the columns; None where no record has chosen them yet."""
        if not self.manifests or not (self.manifests[-1].records or self.manifests[-1].layouts):
            return None
        return self.manifests[-1].layouts


def numbers(folder: Path, kind: str) -> list[int]:
    """The numbers of the segments' files of a kind, in order."""
    matches = [FILE.fullmatch(path.name) for path in (folder / "segments").iterdir()]
    return sorted(
        int(match.group(1))
        for match in matches
        if match and match.group(2) == kind and match.group() == f"{int(match.group(1)):06d}.{kind}"
    )


def found(folder: Path, head: str) -> Found:
    """Check every commit in a folder, and find the last good one.

    That is the last one whose state is whole, and up to which all manifests and records are.
    `head` is the SHA-256 of the run's head. A process that writes there meanwhile does no harm.
    """
    result = Found(head)
    with ExitStack() as stack:
        last, files = _states(folder, stack, result)
        if last is None:
            return result
        chain, chained = _chain(folder, head, last, result)
        chain = chain[: _whole_records(folder, chain, result)]
        for manifest in chain:
            with _noting(result, manifest.number, state_path(folder, manifest.number)):
                if manifest.state is not None and manifest.number in files:
                    manifest.state.check(files[manifest.number])
                    result.states.add(manifest.number)
        alone = {manifest.number for manifest in chain if manifest.state is None}
        for number in sorted(result.states | alone, reverse=True):
            # where the digests are right, a state may still be none that a `Store` has written
            path = (manifest_path if number in alone else state_path)(folder, number)
            with _noting(result, number, path):
                result.tensors = _state(folder, chain[number], files.get(number))
                result.manifests, result.digest = chain[: number + 1], chained[number]
            if result.manifests:
                break
            result.states.discard(number)
    if result.manifests and result.manifests[-1].number != last:
        result.notes.append(f"went back to step {result.manifests[-1].step}")
    return result


def _state(folder: Path, manifest: Manifest, file: FileIO | None) -> dict[str, Tensor]:
    """The tensors of a state; those that its last record holds too are read there."""
    found = dict(manifest.inline)
    if manifest.state is not None:
        assert file is not None
        found |= unpacked(manifest.state.data(file))
    for name, column in manifest.shared.items():
        path, layout = column_path(folder, column), manifest.layouts[column]
        found[name] = mapped(path, layout, manifest.records)[-1].clone()
    return found


def _states(folder: Path, stack: ExitStack, result: Found) -> tuple[int | None, dict[int, FileIO]]:
    """The number of the last commit, and all states, opened.

    They are opened before all else: a process that writes may remove their names at any time.
    """
    written, files = numbers(folder, "json"), {}
    if not written:
        return None, {}
    last = written[-1]
    for number in sorted({last, *numbers(folder, "npz")}, reverse=True):
        with _noting(result, number, state_path(folder, number), missing=False):
            files[number] = stack.enter_context(regular(state_path(folder, number)))
    for _ in range(TRIES):
        if last in files or result.notes or _is_alone(folder, last):
            return last, files
        while manifest_path(folder, last + 1).exists():  # that process is ahead
            last += 1
        with _noting(result, last, state_path(folder, last), missing=False):
            files[last] = stack.enter_context(regular(state_path(folder, last)))
    result.notes.append(_note(last, state_path(folder, last), DamageError("is missing")))
    return last, files


def _is_alone(folder: Path, number: int) -> bool:
    """Does a commit need no file of a state, or is its manifest damaged, as will be told?"""
    try:
        return Manifest.read(document(manifest_path(folder, number))[0]).state is None
    except DamageError:
        return True


@contextmanager
def _noting(result: Found, number: int, path: Path, *, missing: bool = True) -> Iterator[None]:
    """Note damage that is found in the block; without `missing` not that of a file that is gone."""
    try:
        yield
    except DamageError as error:
        if missing or os.path.lexists(path):
            result.notes.append(_note(number, path, error))


def _note(number: int, path: Path, error: DamageError) -> str:
    return f"segment {number} is damaged: {path.parent.name}/{path.name} {error}"


def _chain(folder: Path, head: str, last: int, result: Found) -> tuple[list[Manifest], list[str]]:
    """The manifests from the first on, as far as each is whole and follows the one before.

    With their digests.
    """
    chain: list[Manifest] = []
    chained: list[str] = []
    records = 0
    layouts: dict[str, Layout] = {}
    for number in range(last + 1):
        path = manifest_path(folder, number)
        try:
            body, digest = document(path)
            manifest = Manifest.read(body)
            if manifest.number != number or manifest.before != (chained[-1] if chained else head):
                raise DamageError("does not follow the one before")
            if manifest.records != records + len(manifest.scalars):
                raise DamageError("counts other records")
            if (layouts or records) and manifest.layouts != layouts:
                raise DamageError("has other columns")
        except DamageError as error:
            result.notes.append(_note(number, path, error))
            break
        chain.append(manifest)
        chained.append(digest)
        records, layouts = manifest.records, manifest.layouts
    return chain, chained


def _whole_records(folder: Path, chain: list[Manifest], result: Found) -> int:
    """The number of commits whose records are whole in every column."""
    good = len(chain)
    for name, layout in (chain[-1].layouts if chain else {}).items():
        path = column_path(folder, name)
        parts = [len(manifest.scalars) for manifest in chain[:good]]
        present = digests(path, layout, parts)
        for number, rows in enumerate(parts):
            try:
                digest = next(present)
                if rows and digest != chain[number].rows[name][1]:
                    raise DamageError("has another SHA-256 than was written")
            except DamageError as error:
                result.notes.append(_note(number, path, error))
                good = number
                break
    return good


def clean(folder: Path, whole: Found) -> None:
    """Remove the files of commits after the last good one, and what is damaged."""
    for number in reversed(numbers(folder, "json")):
        if number >= len(whole.manifests):
            manifest_path(folder, number).unlink()
    for number in numbers(folder, "npz"):
        if number not in whole.states:
            state_path(folder, number).unlink()
    for path in (folder / "segments").iterdir():
        if PART.fullmatch(path.name):
            path.unlink()
