"""The flows that are compared, each made from a bandwidth and a number of steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import particleflow as pf

# Regularisation of KALE, without unit.
LAM = 1e-2
# Noise of MMD flow at first, in bandwidths.
NOISE = 3.0
# Number of times that the noise is halved during a run.
HALVINGS = 6


@dataclass(frozen=True)
class Method:
    name: str
    title: str
    make: Callable[[float, int], pf.Flow]


def _noisy(bandwidth: float, steps: int) -> pf.Flow:
    noise = pf.schedules.Geometric(
        NOISE * bandwidth, ratio=0.5, every=steps / HALVINGS, smooth=True
    )
    return pf.mmd_flow(pf.kernels.Gaussian(bandwidth), noise=noise)


METHODS = {
    method.name: method
    for method in (
        Method(
            "mmd", "MMD flow", lambda bandwidth, steps: pf.mmd_flow(pf.kernels.Gaussian(bandwidth))
        ),
        Method(
            "mmd-noise",
            f"MMD flow, noise injection of {NOISE:g} bandwidths at first, halved {HALVINGS} times"
            " in a run",
            _noisy,
        ),
        Method(
            "kale",
            f"KALE flow, lam = {LAM:g}",
            lambda bandwidth, steps: pf.kale_flow(pf.kernels.Gaussian(bandwidth), lam=LAM),
        ),
        Method(
            "mono",
            "MonoFlow of KL(current || target), the ratio of two kernel density estimates",
            lambda bandwidth, steps: pf.mono_flow(
                pf.estimators.KDE(pf.kernels.Gaussian(bandwidth))
            ),
        ),
    )
}
