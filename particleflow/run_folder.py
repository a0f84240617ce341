"""The folder of a run: what the run is, whether the folder holds this very run, where it stands."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from particleflow import _checks
from particleflow._files import at_home
from particleflow._refusals import Argument, Refusal, RefusedTypeError, RefusedValueError
from particleflow._typing import Memory
from particleflow.checkpoint import CheckpointError, Commit, Store, parts
from particleflow.clouds import Cloud, Draws, Randomness
from particleflow.integrators import Snapshot
from particleflow.memories import (
    cloud_from,
    cloud_told,
    snapshot_from,
    snapshot_told,
    under,
    within,
)

# The steps between two commits: less than a tenth of the work of most runs is done twice after a
# kill.
EVERY = 20
# The least seconds between two commits: a commit waits for the disk some ten milliseconds.
SECONDS = 0.5


@dataclass(frozen=True)
class Checkpoint:
    """Where a run is kept, and how often: `simulate(..., checkpoint=Checkpoint(...))`.

    The state is written after `every` steps or more, once `seconds` have passed since the last
    time, and at the end. What a kill loses is at most the work since then.

    Parameters
    ----------
    folder : str or Path
        Made if it is missing. Other files in it stay.
    every : int
        >= 1, the least number of steps between two writes.
    seconds : float
        >= 0, the least time between two writes, in seconds.

    Raises
    ------
    TypeError
        `folder` is no str or path; `every` is no integer; `seconds` is no number.
    ValueError
        `every` is < 1, or `seconds` < 0.

    Cost: each write waits for the disk, some ten milliseconds, and takes the size of a state; the
    records are written once, 8 N d bytes each in float64.

    >>> normal = pf.samplers.Gaussian(dim=1)
    >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))
    >>> kept = pf.Checkpoint("run", every=100)
    >>> path = pf.simulate(drift, [[8.0]], steps=3, dt=0.5, checkpoint=kept)
    >>> pf.Trajectory.load("run").particles.flatten().tolist()
    [8.0, 4.0, 2.0, 1.0]
    """

    folder: str | Path
    every: int = EVERY
    seconds: float = SECONDS

    def __post_init__(self) -> None:
        if not isinstance(self.folder, str | Path) or self.folder == "":
            raise _no_folder("folder", self.folder)
        _checks.count(self.every, "every", remedy="the number of steps between two checkpoints")
        _checks.non_negative(self.seconds, "seconds")

    @classmethod
    def of(cls, given: Any, name: str = "checkpoint") -> Checkpoint:
        """The checkpoint of an argument that is a folder, or one already."""
        if isinstance(given, Checkpoint):
            return given
        if not isinstance(given, str | Path) or given == "":
            raise _no_folder(name, given)
        return cls(given)


@dataclass(frozen=True)
class Asked:
    """What a run was asked to do: the words that are compared, and its parts by name.

    `words` hold what JSON holds. A part is compared by its repr, and by all its numbers where it
    can be encoded.
    """

    words: Mapping[str, Any]
    parts: Mapping[str, Any]
    start: Snapshot
    first: Cloud | None
    fixed: bool
    axes: torch.Tensor | None
    report: Mapping[str, Any]

    @property
    def compared(self) -> dict[str, Any]:
        """The words, and the parts in words."""
        told: dict[str, Any] = {
            name: part if part is None else repr(part) for name, part in self.parts.items()
        }
        told["metrics"] = {name: repr(part) for name, part in self.parts["metrics"].items()}
        plain: dict[str, Any] = json.loads(without_places(json.dumps({**self.words, **told})))
        return plain

    def head(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """What the folder keeps of it: facts and tensors."""
        start = snapshot_told(self.start)
        tensors = under("start", start.tensors)
        if self.first is not None:
            tensors |= under("first", cloud_told(self.first))
        if self.axes is not None:
            tensors["axes"] = self.axes
        made: dict[str, Any] = {}
        target = cloud_told(self.first) if self.first is not None and self.fixed else {}
        prints = {"x0": fingerprint(cloud_told(self.start.x)), "target": fingerprint(target)}
        for name, part in self.parts.items():
            if part is None:
                continue
            try:
                told, held = parts.encoded(part)
            except parts.EncodingError as error:
                made[name] = {"lacking": str(error)}
                continue
            made[name] = {"told": told}
            prints[name] = fingerprint(held, told)
            tensors |= under(f"parts/{name}", held)
        draws = self.start.clock.draws
        facts = {
            "asked": self.compared,
            "prints": prints,
            "parts": made,
            "start": start.facts,
            "fixed": self.fixed,
            "device": str(self.start.x.points.device),
            "seed": draws.seed if isinstance(draws, Draws) else None,
            "report": dict(self.report),
            "versions": versions(),
        }
        return facts, tensors


@contextmanager
def opened(checkpoint: Any, name: str = "checkpoint") -> Iterator[Place | None]:
    """The folder in the argument `name` of a run; None without one.

    It is let go if the run cannot begin, and is then free for another one.
    """
    if checkpoint is None:
        yield None
        return
    settings = Checkpoint.of(checkpoint, name)
    try:
        place = Place(settings, name)
    except Refusal as error:
        raise error.renamed({"folder": Argument(name)}) from None
    try:
        yield place
    except BaseException:
        with suppress(CheckpointError):  # the cause is told already
            place.discard()
        raise


class Place:
    """The folder of a run, which may hold the run already.

    Attributes
    ----------
    settings : Checkpoint
    name : str
        The argument that the folder was passed in.
    found : Store or None
        The run in the folder; None until `settle`, where it holds none yet.
    """

    def __init__(self, settings: Checkpoint, name: str) -> None:
        self.settings, self.name, self._new = settings, name, False
        folder = at_home(Path(settings.folder))
        file = next((p for p in (folder, *folder.parents) if p.exists() and not p.is_dir()), None)
        if file is not None:
            raise RefusedValueError(
                "folder", "must be a folder", f"'{folder}', and '{file}' is a file", "pass another"
            )
        self.found = Store.open(settings.folder) if Store.exists(settings.folder) else None

    @property
    def store(self) -> Store:
        assert self.found is not None
        return self.found

    @property
    def known(self) -> Mapping[str, Any]:
        """What the run in the folder was asked to do; empty where it holds none."""
        asked: Mapping[str, Any] = {} if self.found is None else self.found.head["asked"]
        return asked

    @property
    def goes_on(self) -> bool:
        """Does the folder hold a state to go on from?"""
        return self.found is not None and self.found.last is not None

    @property
    def last(self) -> Commit:
        """The last commit."""
        assert self.store.last is not None
        return self.store.last

    @property
    def facts(self) -> Mapping[str, Any]:
        """Those of the last commit."""
        return self.last.facts

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """Those of the last commit, on the devices where they were."""
        devices = self.facts["devices"]
        return {k: v.to(devices.get(k, "cpu")) for k, v in self.last.tensors.items()}

    def settle(self, asked: Asked) -> None:
        """Begin the run in the folder, or make sure that it is the same one.

        Raises
        ------
        RefusedValueError
            The folder holds a run that was asked for something else.
        """
        head, tensors = asked.head()
        if self.found is None:
            self.found, self._new = Store.create(self.settings.folder, head, tensors), True
            return
        differences = different(self.found.head, head)
        if differences:
            folder = str(self.found.folder)
            came = f"'{folder}', whose run differs: {'; '.join(differences)}"
            if self.name == "folder":
                raise RefusedValueError(
                    "folder",
                    "must be that of a run with the parts that are given",
                    came,
                    "leave these parts out, or pass what the run began with",
                )
            raise RefusedValueError(
                "checkpoint",
                "must be a new folder, or that of the same run",
                came,
                f"pass another folder, or go on with that run: pf.resume({folder!r})",
            )

    def part(self, name: str, given: Any) -> Any:
        """A part of the run: the given one, or that in the folder; None for one that it lacks.

        Raises
        ------
        RefusedValueError
            It is not given, and the folder could not hold it.
        """
        entry = self.store.head["parts"].get(name)
        if given is not None or entry is None:
            return given
        if "lacking" in entry:
            folder = str(self.store.folder)
            raise RefusedValueError(
                name,
                "must be given, for a folder cannot hold it",
                entry["lacking"],
                f"pass what the run began with: pf.resume({folder!r}, {name}=...)",
            )
        return parts.decoded(entry["told"], within(f"parts/{name}", self.store.tensors))

    def start(self, draws: Randomness) -> Snapshot:
        """The state at the start of the run."""
        tensors = within("start", self._on_device)
        return snapshot_from(tensors, self.store.head["start"], draws)

    def first(self) -> Cloud | None:
        """The target's cloud at the start; None without one."""
        found = within("first", self._on_device)
        return cloud_from(found) if found else None

    @property
    def _on_device(self) -> dict[str, torch.Tensor]:
        """The tensors of the head, particles and target where they were."""
        device, ours = self.store.head["device"], self.store.tensors
        held = ("start/state/", "first/")
        return {k: v.to(device) if k.startswith(held) else v for k, v in ours.items()}

    def moment(self, draws: Randomness) -> Snapshot:
        """The state at the last commit."""
        return snapshot_from(self.tensors, self.facts["state"], draws)

    def notes(self) -> list[str]:
        """What is to be told of a run that goes on: damage, and other versions."""
        here = versions()
        other = [
            f"{name} was {was} until here, and is {here.get(name)}: the last bits may differ"
            for name, was in self.store.head["versions"].items()
            if here.get(name) != was
        ]
        return [*self.store.notes, *other]

    def discard(self) -> None:
        """Let go of the folder, and take back a run that was begun in it without a record."""
        if self.found is not None and self._new:
            self.found.discard()
        else:
            self.close()

    def close(self) -> None:
        """Let go of the folder."""
        if self.found is not None:
            self.found.close()


def _no_folder(name: str, given: Any) -> RefusedTypeError:
    """The refusal of an argument that is no folder."""
    return RefusedTypeError(name, "must be a folder", _checks.said(given), "pass e.g. 'run/'")


def versions() -> dict[str, str]:
    """What the last bits of a run depend on."""
    return {
        "particleflow": version("particleflow-sim"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "threads": str(torch.get_num_threads()),
    }


def fingerprint(tensors: Memory, told: Any = None) -> str:
    """The SHA-256 of tensors by name, and of what JSON holds."""
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    return digest.hexdigest()


def different(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What two heads differ in, a clause each."""
    found = [
        f"`{name}` is {a} there and {b} here"
        for name in dict.fromkeys([*there["asked"], *here["asked"]])
        for a, b in [_parted(there["asked"].get(name), here["asked"].get(name))]
        if a != b
    ]
    named = " ".join(found)
    for name in dict.fromkeys([*there["prints"], *here["prints"]]):
        a, b = there["prints"].get(name), here["prints"].get(name)
        if a != b and f"`{name}`" not in named:
            found.append(f"`{name}` has other numbers there than here")
    return found


def without_places(told: str) -> str:
    """A repr without places in memory, which differ from process to process."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", told)


def _parted(a: Any, b: Any) -> tuple[str, str]:
    """Two values in words, long ones by the part in which they differ."""
    if a == b:
        return "", ""
    one, two = (re.findall(r"[\w.+-]+|[^\w.+-]", str(value)) for value in (a, b))
    shorter = min(len(one), len(two))
    first = next((k for k in range(shorter) if one[k] != two[k]), shorter)
    if one[first - 1 : first] == ["="]:  # a value is told with its name
        first -= 2
    rest = shorter - first
    last = next((k for k in range(rest) if one[-1 - k] != two[-1 - k]), rest)
    cut = ("".join(words[first : len(words) - last]) for words in (one, two))
    there, here = (text.strip(", ") or "nothing" for text in cut)
    return there, here
