"""Comparable times: interleaved repetitions, medians, processor time and wall time.

Memory and the idleness of the machine are measured, too.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class NotMeasuredError(Exception):
    """An error that says why something cannot be measured here."""


@dataclass(frozen=True)
class Trial:
    """A call `run(*inputs(k))` to be timed, for k = 1, 2, ...; making the inputs is not timed.

    `warm` replaces the inputs of the first, untimed, call.
    """

    inputs: Callable[[int], tuple[Any, ...]]
    run: Callable[..., Any]
    warm: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class Times:
    """Seconds of each repetition: `cpu` of this process (all its threads), `wall` on the clock."""

    cpu: tuple[float, ...]
    wall: tuple[float, ...]

    @property
    def work(self) -> float:
        """The median of the processor's seconds.

        Programs that take turns with this one do not count.
        """
        return statistics.median(self.cpu)

    @property
    def waited(self) -> float:
        """The median of the seconds on the clock."""
        return statistics.median(self.wall)

    def record(self) -> dict[str, Any]:
        return {
            "cpu": self.work,
            "wall": self.waited,
            "times": len(self.cpu),
            "cpu_range": [min(self.cpu), max(self.cpu)],
        }


def interleaved(
    trials: Mapping[str, Trial], *, rounds: int, slot: float = 0.1, most: int = 10
) -> dict[str, Times]:
    """Time all trials in the order A B A B ..., so that a busy machine slows them alike.

    In each round a trial runs once or, if it is quick, until `slot` seconds are used or it ran
    `most` times.
    """
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in trials}
    for trial in trials.values():
        trial.run(*(trial.warm or trial.inputs(0)))
    for _ in range(rounds):
        for name, trial in trials.items():
            cpus, walls = times[name]
            before = len(walls)
            while len(walls) == before or (
                sum(walls[before:]) < slot and len(walls) < before + most
            ):
                cpu, wall = timed(trial.run, *trial.inputs(len(walls) + 1))
                cpus.append(cpu)
                walls.append(wall)
    return {name: Times(tuple(cpus), tuple(walls)) for name, (cpus, walls) in times.items()}


def timed(run: Callable[..., Any], *inputs: Any) -> tuple[float, float]:
    """Return the seconds of one call, of this process and on the clock."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = run(*inputs)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    del result
    return cpu, wall


def family_seconds() -> float:
    """Return the processor's seconds of this process and of programs it has run (a compiler)."""
    return sum(os.times()[:4])


def resident() -> int:
    """Return the bytes of this process in memory now."""
    return _status("VmRSS")


def peak_resident() -> int:
    """Return the most bytes in memory since the start or since `forget_peak`."""
    return _status("VmHWM")


def forget_peak() -> None:
    """Restart the measurement of the peak."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        raise NotMeasuredError(
            "this system does not let a process reset its peak of memory"
        ) from error


def idle(seconds: float = 0.5) -> float | None:
    """Return the idle share of the processors' time, if the system tells it."""
    before = _ticks()
    time.sleep(seconds)
    after = _ticks()
    if before is None or after is None or after[1] == before[1]:
        return None
    return (after[0] - before[0]) / (after[1] - before[1])


def _ticks() -> tuple[int, int] | None:
    """Return idle ticks and all ticks, of all processors."""
    try:
        fields = [
            int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        ]
    except OSError:
        return None
    return fields[3] + fields[4], sum(fields[:8])


def _status(name: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError as error:
        raise NotMeasuredError("this system does not tell a process's memory") from error
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
