"""What the parts of a run remember between two steps, as tensors and plain facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from particleflow._typing import Memory
from particleflow.clouds import Clock, Cloud, Randomness
from particleflow.integrators import Snapshot


class Remembered(NamedTuple):
    """Tensors, and facts that JSON holds: numbers, words, None, lists and mappings by name."""

    tensors: Memory
    facts: Mapping[str, Any]


@runtime_checkable
class Remembering(Protocol):
    """A part of a run whose memory a checkpoint can hold.

    `remembered()` gives the memory as a pair: tensors by name, and facts that JSON holds.
    `recall(tensors, facts)` gives a part that has just begun the memory that `remembered` told of
    another one. Both then answer alike, bit for bit. The tensors that `remembered` returns are
    never changed later.
    """

    def remembered(self) -> tuple[Memory, Mapping[str, Any]]:
        """The memory: tensors by name, and facts that JSON holds."""

    def recall(self, tensors: Memory, facts: Mapping[str, Any]) -> None:
        """Take over what `remembered` told."""


def under(prefix: str, tensors: Memory) -> dict[str, Tensor]:
    """The tensors with a longer name: `prefix` and a slash before it."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def within(prefix: str, tensors: Memory) -> dict[str, Tensor]:
    """The inverse of `under`: the tensors of this prefix alone."""
    start = f"{prefix}/"
    return {
        name.removeprefix(start): tensor
        for name, tensor in tensors.items()
        if name.startswith(start)
    }


def cloud_told(x: Cloud) -> dict[str, Tensor]:
    """The tensors of a cloud."""
    return {"points": x.points} | ({} if x.log_mass is None else {"log_mass": x.log_mass})


def cloud_from(tensors: Memory) -> Cloud:
    """The inverse of `cloud_told`."""
    return Cloud(tensors["points"], log_mass=tensors.get("log_mass"))


def snapshot_told(state: Snapshot) -> Remembered:
    """The particles, the memories and the moment of a state, without the source of its draws."""
    tensors = {
        **under("state", cloud_told(state.x)),
        **under("memory", state.memory),
        **under("stepper", state.stepper),
    }
    return Remembered(tensors, {"t": state.clock.t, "step": state.clock.step})


def snapshot_from(tensors: Memory, facts: Mapping[str, Any], draws: Randomness) -> Snapshot:
    """The inverse of `snapshot_told`."""
    return Snapshot(
        clock=Clock(facts["t"], facts["step"], draws),
        x=cloud_from(within("state", tensors)),
        memory=within("memory", tensors),
        stepper=within("stepper", tensors),
    )
