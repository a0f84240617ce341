"""Sums of exponentials between scattered points and a grid of modes, by finufft (cufinufft on a
CUDA device), and what they err by.

    type 1:  F_m = sum_n c_n e^{-i m . x_n},        type 2:  f_n = sum_m F_m e^{i m . x_n},        |m_j| <= half_j,

x_n in units of period / (2 pi). Both replace e^{i m . x} by something within `window_error` of it
per coordinate, plus rounding. (Barnett, Magland and af Klinteberg 2019.)
"""

from __future__ import annotations

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from particleflow._libraries import library
from particleflow.memo import Spares

# The fine grid has twice as many points as modes, along each coordinate.
UPSAMPLING = 2
# Up to this many bytes of the fine grid fit a processor's cache: points need not be sorted before
# they are spread.
CACHED_GRID = 2**21
# Below this many points and cells of the fine grid a second thread costs more than it brings.
SERIAL = 2**16
# Pieces that many points are summed in, at most, and the points that a piece has for each cell of
# its grid: its Fourier transform is then a small part of the work.
PIECES, POINTS_A_CELL = 8, 16
# Rounding of e^{i m x}, in units of the dtype's last digit and of |m|: measured 12.4 (the
# coordinate's own rounding, after two changes of scale).
ROUNDING = 13.0


def finufft(device: str) -> Any:
    """finufft, or cufinufft on a CUDA device."""
    return library("cufinufft" if device == "cuda" else "finufft", "Fourier")


class Transform:
    """Type 1 or 2 between points x (d, n), contiguous in each coordinate, and the modes |m_j| <=
    half_j; executed any number of times.

    By several threads at once, too: each takes a plan of its own, whose grid it fills.

    On the CPU the same bits for a fixed number of threads; type 1, for any. finufft's own threads
    add up in the order they come there, so its plans have one thread each, and the points of a
    large cloud are cut into pieces, by their number and that of the modes, which are added in their
    order.
    """

    def __init__(self, kind: int, x: Tensor, half: tuple[int, ...], tol: float) -> None:
        device, double = x.device.type, x.dtype == torch.float64
        self.dtype = torch.complex128 if double else torch.complex64
        self.on_cpu = device == "cpu"
        modes = tuple(2 * h + 1 for h in half)
        options: dict[str, Any] = {"upsampfac": float(UPSAMPLING)}
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

        def ready() -> list[Any]:
            plans = [
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

    def _given(self, tensor: Tensor) -> Any:
        return tensor.numpy() if self.on_cpu else tensor


def _added(plans: list[Any], data: list[Any]) -> Any:
    """The sum of several plans' answers, in their order whichever thread has made them."""
    threads = min(torch.get_num_threads(), len(plans))
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            first, *others = pool.map(lambda plan, given: plan.execute(given), plans, data)
    else:
        first, *others = (plan.execute(given) for plan, given in zip(plans, data, strict=True))
    for other in others:
        first += other
    return first


@lru_cache(maxsize=64)
def window_error(tol: float, double: bool) -> float:
    """max |what stands for e^{i m x}| - e^{i m x}|, in one coordinate, for a plan made with `tol`:
    measured once, by transforms of a single mode.

    It hardly depends on m. Measured .4 to 2.7 times `tol`.
    """
    half = 16
    dtype = torch.float64 if double else torch.float32
    x = torch.from_numpy(np.random.default_rng(0).uniform(-np.pi, np.pi, size=(1, 512))).to(dtype)
    transform = Transform(2, x, (half,), tol)
    worst = 0.0
    for m in (0, half // 2, half):
        mode = torch.zeros(2 * half + 1, dtype=transform.dtype, device="cpu")
        mode[half + m] = 1
        truth = torch.exp(1j * m * x[0].double())
        worst = max(worst, float((transform(mode) - truth).abs().max()))
    return worst


def tolerances(double: bool) -> list[float]:
    """What a plan may be asked for, the cheapest first: one more point of the window's width each."""
    return [10.0**-n for n in range(2, 15 if double else 7)]


def rounding(double: bool) -> float:
    """Rounding of e^{i m x}, per unit of |m|."""
    return ROUNDING * float(np.finfo(np.float64 if double else np.float32).eps) / 2
