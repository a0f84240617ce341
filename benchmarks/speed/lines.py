"""Milliseconds of a step against the number of particles, for each backend: a figure of lines."""

from __future__ import annotations

from typing import Any

from particleflow.pairwise import Auto, Compiled, Culled, Dense, Fourier, Mesh, Nystroem

from ..timing import Trial, interleaved
from .problem import draw, step
from .rows import BANDWIDTH, RTOL, measured

# The backends, and the dimensions in which they are timed. The bandwidth grows with d as distances
# do: .2 in the plane.
BACKENDS = {
    "Dense": (Dense(), (2, 10)),
    "Compiled": (Compiled(), (2, 10)),
    "Mesh": (Mesh(rtol=RTOL), (2,)),
    "Fourier": (Fourier(rtol=RTOL), (2,)),
    "Culled": (Culled(rtol=RTOL), (2,)),
    "Nystroem": (Nystroem(rtol=1e-2), (10,)),
    "Auto": (Auto(rtol=RTOL), (2, 10)),
}
# Bandwidths, in deviations of the clouds, by dimension.
WIDTHS = {2: BANDWIDTH, 10: 2.4}
# Growth of the time from one number of particles to the next, ten times larger, at most.
GROWTH = 100.0


def lines(largest: int, longest: float, rounds: int) -> dict[str, Any]:
    """Time a step of each backend at N = 100, 1000, ... up to `longest` seconds a step."""
    found: list[dict[str, Any]] = []
    for name, (backend, dims) in BACKENDS.items():
        for d in dims:
            size, seconds = 100, 0.0
            while size <= largest and GROWTH * seconds <= longest:
                problem = draw(size, d, bandwidth=WIDTHS[d])
                try:
                    trials = {name: Trial(problem.inputs, step(backend, problem))}
                    seconds = interleaved(trials, rounds=rounds)[name].work
                except ValueError:  # it cannot keep its tolerance, or would need too many pairs
                    break
                found.append({"backend": name, "d": d, "N": size, "ms": 1e3 * seconds})
                size *= 10
    told = ", ".join(f"{row['backend']} d = {row['d']}: {row['ms']:.3g} ms" for row in found[-1:])
    return {**measured({}, f"{len(found)} points; the last: {told}"), "lines": found}
