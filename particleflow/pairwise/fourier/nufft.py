"""Sums of exponentials between scattered points and modes, by finufft, and their errors.

    type 1:  F_m = sum_n c_n e^{-i m . x_n},      type 2:  f_n = sum_m F_m e^{i m . x_n},

for |m_j| <= half_j, with x_n in units of period / (2 pi). On a CUDA device cufinufft takes the
place of finufft. Both replace e^{i m . x} by something that differs by at most `window_error` for
each coordinate, plus rounding. (Barnett, Magland and af Klinteberg 2019.)
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache, partial
from types import ModuleType
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from particleflow._libraries import library
from particleflow.memo import Spares
from particleflow.pairwise.threads import together

# Points of the fine grid for each mode, along each coordinate.
UPSAMPLING = 2
# Bytes of the largest fine grid that fits a processor's cache: up to there, points need not be
# sorted before they are spread.
CACHED_GRID = 2**21
# Points, or cells of the fine grid, up to which a second thread costs more time than it saves.
SERIAL = 2**16
# The most pieces into which the points of a transform of type 1 are cut.
PIECES = 8
# Points in a piece for each cell of the fine grid, at least: the fast Fourier transform of a piece
# is then a small part of its work.
POINTS_A_CELL = 16
# Rounding of e^{i m x}, in units of half the dtype's epsilon and of |m|. Measured 12.4: a
# coordinate is rounded after two changes of scale.
ROUNDING = 13.0
# The widest mode by which the error of a window is measured: it hardly depends on the mode.
MEASURED_MODE = 16
# Points at which the error of a window is measured.
MEASURED_POINTS = 512


# Arrays of finufft on the CPU, of cufinufft on a CUDA device.
Numbers: TypeAlias = np.ndarray | Tensor


@runtime_checkable
class _Plan(Protocol):
    """A plan of finufft or cufinufft: a transform whose points are set once."""

    def setpts(self, *coordinates: Numbers) -> None: ...
    def execute(self, data: Numbers) -> Numbers: ...


def finufft(device: str) -> ModuleType:
    """The library: finufft, or cufinufft on a CUDA device."""
    return library("cufinufft" if device == "cuda" else "finufft", "Fourier")


class Transform:
    """A transform of type 1 or 2 between points x (d, n) and the modes |m_j| <= half_j.

    It is executed any number of times, also by several threads at once: each takes a plan of
    finufft of its own. Each row of x is contiguous.

    On the CPU the bits are the same for a fixed number of threads; for type 1, for any number.
    finufft's own threads add their sums in the order in which they end. So a plan of type 1 has one
    thread, and the points of a large cloud are cut into pieces, whose sums are added in order. The
    pieces depend on the number of points and modes alone.
    """

    def __init__(self, kind: int, x: Tensor, half: tuple[int, ...], tol: float) -> None:
        device, double = x.device.type, x.dtype == torch.float64
        self.dtype = torch.complex128 if double else torch.complex64
        self.on_cpu = device == "cpu"
        modes = tuple(2 * h + 1 for h in half)
        options: dict[str, float] = {"upsampfac": float(UPSAMPLING)}
        cells, count = math.prod(UPSAMPLING * n for n in modes), x.shape[1]
        if self.on_cpu:
            threads = torch.get_num_threads() if kind == 2 and max(count, cells) > SERIAL else 1
            options |= {
                "nthreads": threads,
                "spread_sort": int(cells * self.dtype.itemsize > CACHED_GRID),
            }
        name, rows = "complex128" if double else "complex64", [self._given(row) for row in x]
        pieces = (
            min(PIECES, 1 + count // (POINTS_A_CELL * cells))
            if self.on_cpu and kind == 1 and count > SERIAL
            else 1
        )
        ends = [count * k // pieces for k in range(pieces + 1)]
        self.parts = [slice(*pair) for pair in itertools.pairwise(ends)]

        def ready() -> list[_Plan]:
            plans: list[_Plan] = [
                finufft(device).Plan(
                    kind, modes, eps=tol, isign=-1 if kind == 1 else 1, dtype=name, **options
                )
                for _ in self.parts
            ]
            for plan, part in zip(plans, self.parts, strict=True):
                plan.setpts(*(row[part] for row in rows))
            return plans

        self.plans = Spares(ready)

    def __call__(self, data: Tensor) -> Tensor:
        """type 1: (n,) -> modes; type 2: modes -> (n,). Complex, in the dtype of the points."""
        given = self._given(data.to(self.dtype).contiguous())
        with self.plans.one() as plans:
            if len(plans) == 1:
                out = plans[0].execute(given)
            else:
                out = _added(plans, [given[part] for part in self.parts])
        return torch.from_numpy(out) if self.on_cpu else torch.as_tensor(out, device=data.device)

    def _given(self, tensor: Tensor) -> Numbers:
        return tensor.numpy() if self.on_cpu else tensor


def _added(plans: list[_Plan], data: list[Numbers]) -> Numbers:
    """The sum of the answers of several plans, added in the order of the plans."""
    tasks = [partial(plan.execute, given) for plan, given in zip(plans, data, strict=True)]
    first, *others = together(tasks)
    for other in others:
        first += other
    return first


@lru_cache(maxsize=64)
def window_error(tol: float, double: bool) -> float:
    """The largest error of e^{i m x} in one coordinate, for a plan made with `tol`.

    Measured once, by transforms of single modes: 0.4 to 2.7 times `tol`.
    """
    half = MEASURED_MODE
    dtype = torch.float64 if double else torch.float32
    x = torch.from_numpy(
        np.random.default_rng(0).uniform(-np.pi, np.pi, size=(1, MEASURED_POINTS))
    ).to(dtype)
    transform = Transform(2, x, (half,), tol)
    worst = 0.0
    for m in (0, half // 2, half):
        mode = torch.zeros(2 * half + 1, dtype=transform.dtype, device="cpu")
        mode[half + m] = 1
        truth = torch.exp(1j * m * x[0].double())
        worst = max(worst, float((transform(mode) - truth).abs().max()))
    return worst


def tolerances(double: bool) -> list[float]:
    """The tolerances that a plan may have, the cheapest first: each widens the window by one."""
    return [10.0**-n for n in range(2, 15 if double else 7)]


def rounding(double: bool) -> float:
    """The rounding error of e^{i m x}, per unit of |m|."""
    return ROUNDING * float(np.finfo(np.float64 if double else np.float32).eps) / 2
