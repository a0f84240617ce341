"""The comparison of `Auto` with every fixed choice, over sizes, dimensions and bandwidths."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from torch import Tensor

from particleflow.pairwise import Dense, PairwiseSum

from .. import report
from ..timing import Trial, interleaved, timed
from .problem import Problem, Step, draw, step
from .rows import RTOL, measured

# Name of the backend that sums exactly.
EXACT = "Compiled"
# Most pairs of an exact sum that are measured; the time of the others is in proportion.
EXACT_PAIRS = 2e8
# Ratio to the best first time up to which a candidate is measured with care.
CLOSE = 2.0
# Slowness on smaller problems, as a ratio, from which a candidate is left out.
HOPELESS = 8.0

LEGEND = (
    "what Auto chose and its time over that of the best fixed choice (named where it is 1.5 times"
    " as fast); * the time of an exact sum by proportion from fewer queries; - where nothing could"
    " be measured within the cap"
)


@dataclass(frozen=True)
class Cell:
    """One problem of the grid: the seconds of each candidate's step, and the fastest candidate.

    `Auto` is among the candidates. The fastest is the fastest that kept its promise.
    """

    n: int
    d: int
    bandwidth: float
    chosen: str
    why: str
    seconds: Mapping[str, float]
    best: str
    scaled: bool = False

    @property
    def ratio(self) -> float:
        return (
            self.seconds.get("Auto", math.inf) / self.seconds[self.best] if self.best else math.nan
        )


def grid(
    sizes: Sequence[int], dims: Sequence[int], bandwidths: Sequence[float], cap: float, rounds: int
) -> dict[str, Any]:
    """Measure all cells, with N = M and the targets' field kept.

    One step may take `cap` seconds.
    """
    cells: list[Cell] = []
    for d in dims:
        print(f"  grid: d = {d}", flush=True)
        for bandwidth in bandwidths:
            history: list[Cell] = []
            for n in sizes:
                history.append(_cell(draw(n, d, bandwidth=bandwidth), history, cap, rounds))
            cells += history
    judged = [cell for cell in cells if cell.best]
    worst = max(judged, key=lambda cell: cell.ratio)
    over = sum(cell.ratio > 1.5 for cell in judged)
    note = (
        f"{len(judged)} of {len(cells)} cells could be measured, {over} over 1.5; the worst: N ="
        f" {worst.n:g}, d = {worst.d}, bandwidth {worst.bandwidth:g}, where it chose {worst.chosen}"
        f" and {worst.best} was best"
    )
    rows = [{**vars(cell), "seconds": dict(cell.seconds), "ratio": cell.ratio} for cell in cells]
    return {
        **measured({"worst": worst.ratio}, note),
        "cells": rows,
        "table": _table(cells, sizes),
        "legend": LEGEND,
    }


def candidates(d: int) -> dict[str, PairwiseSum]:
    """Return every fixed choice in this dimension, at the tolerance that `Auto` is asked for."""
    from particleflow.pairwise.exact.compiled import Compiled
    from particleflow.pairwise.fourier.backend import Fourier
    from particleflow.pairwise.landmarks.backend import Nystroem
    from particleflow.pairwise.mesh.backend import Mesh
    from particleflow.pairwise.neighbours.backend import Culled

    exact: dict[str, PairwiseSum] = {EXACT: Compiled(), "Dense": Dense()}
    if d > 3:
        return exact | {"Nystroem": Nystroem(rtol=RTOL)}
    return exact | {
        "Mesh": Mesh(rtol=RTOL),
        "Fourier": Fourier(rtol=RTOL),
        "Culled": Culled(rtol=RTOL),
    }


def _cell(problem: Problem, history: Sequence[Cell], cap: float, rounds: int) -> Cell:
    from particleflow.pairwise.auto import Auto

    n, d = problem.start.shape
    steps: dict[str, Step] = {}
    seconds: dict[str, float] = {}
    x = problem.particles(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        auto = step(Auto(rtol=RTOL), problem)
        try:
            told = auto.field(x).explain(x)
        except ValueError as error:
            told = {"backend": "refused", "why": str(error)}
        fixed = candidates(d)
        exact = step(fixed.pop(EXACT), problem)
        queries = min(n, max(1, int(EXACT_PAIRS / (2 * n))))
        seconds[EXACT], scaled = (
            _quickest(exact.field(x).grad, x[:queries]) * n / queries,
            queries < n,
        )
        if queries == n:
            steps[EXACT] = exact
        if told["backend"] == EXACT and scaled:
            # Auto adds only its choice, just made, to the exact sum of this size.
            seconds["Auto"] = seconds[EXACT]
        elif told["backend"] != "refused":
            steps["Auto"] = auto
            seconds["Auto"] = _quickest(auto, x)
        for name, backend in fixed.items():
            if expected_seconds(name, n, history) > min(cap, HOPELESS * min(seconds.values())):
                continue
            one = step(backend, problem)
            try:
                if one.field(x).explain(x)["backend"] != name:
                    continue
            except ValueError:
                # The candidate would sum exactly, and refuses since that takes too long.
                continue
            steps[name], seconds[name] = one, _quickest(one, x)
        nearest = min(seconds.values())
        close = {
            name: Trial(problem.inputs, one)
            for name, one in steps.items()
            if name == "Auto" or seconds[name] <= CLOSE * nearest
        }
        seconds |= {
            name: times.work
            for name, times in interleaved(close, rounds=1 if nearest > 1 else rounds).items()
        }
        best = _best(seconds, steps, x, cap)
    return Cell(
        n,
        d,
        problem.kernel.bandwidth,
        told["backend"],
        told["why"],
        seconds,
        best,
        scaled and EXACT in (best, told["backend"]),
    )


def _quickest(run: Any, *inputs: Tensor) -> float:
    """Return the seconds of the better of two calls: the first may compile, plan and keep."""
    first = timed(run, *inputs)[0]
    return min(first, timed(run, *inputs)[0]) if first < 2 else first


def expected_seconds(name: str, n: int, history: Sequence[Cell]) -> float:
    """Return the seconds of a step if its time grows with N as in the last two measured cells.

    The result is 0 where nothing is known.
    """
    known = [(cell.n, cell.seconds[name]) for cell in history if name in cell.seconds][-2:]
    if not known:
        return 0.0
    (before, less), (last, latest) = known[0], known[-1]
    power = math.log(latest / less) / math.log(last / before) if last > before else 0.0
    return latest * (n / last) ** max(0.0, power)


def _best(seconds: Mapping[str, float], steps: Mapping[str, Step], x: Tensor, cap: float) -> str:
    """Return the fastest fixed choice, within the cap, that keeps its promise.

    Only choices that could beat `Auto` are audited.
    """
    fixed = sorted(
        (name for name in seconds if name != "Auto" and seconds[name] <= cap),
        key=lambda name: seconds[name],
    )
    for name in fixed:
        slow = name == EXACT or name not in steps or seconds[name] >= seconds.get("Auto", math.inf)
        if slow or steps[name].field(x).audit(x, rows=8).kept is not False:
            return name
    return ""


def _table(cells: Sequence[Cell], sizes: Sequence[int]) -> str:
    rows = []
    for d, bandwidth in product(
        dict.fromkeys(cell.d for cell in cells), dict.fromkeys(cell.bandwidth for cell in cells)
    ):
        here = {cell.n: cell for cell in cells if (cell.d, cell.bandwidth) == (d, bandwidth)}
        rows.append([d, f"{bandwidth:g}", *(_shown(here[n]) for n in sizes)])
    return report.table(["d", "bandwidth", *(f"N = {n:.0e}" for n in sizes)], rows)


def _shown(cell: Cell) -> str:
    if not cell.best:
        return f"{cell.chosen}: -"
    better = f" ({cell.best})" if cell.ratio > 1.5 else ""
    return f"{cell.chosen} {cell.ratio:.2f}{better}{'*' if cell.scaled else ''}"
