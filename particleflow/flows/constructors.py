"""Constructors of the usual flows."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from particleflow import _checks
from particleflow.estimators import (
    KALE,
    MMD,
    Annealed,
    ClosedForm,
    Estimator,
    GradientPenaltyCritic,
)
from particleflow.estimators.annealed import BandwidthRule, BandwidthSchedule
from particleflow.estimators.base import check_estimator
from particleflow.estimators.closed_form import LogDensityOrScore
from particleflow.estimators.envelope.penalty import Penalty
from particleflow.flows.flow import Flow, Noise
from particleflow.flows.slopes import EnergySlope
from particleflow.kernels import FeatureKernel, Kernel, as_kernel
from particleflow.kernels.explicit import as_summable
from particleflow.mobilities import Linear, Mobility, Unit
from particleflow.pairwise import Auto, PairwiseSum
from particleflow.samplers.base import Density
from particleflow.schedules import Constant


def mmd_flow(
    kernel: Kernel | FeatureKernel | Callable[[Tensor], Tensor],
    *,
    bandwidth: BandwidthRule | BandwidthSchedule | None = None,
    noise: Noise = None,
    pairwise: PairwiseSum = Auto(),
) -> Flow:
    """The Wasserstein gradient flow of MMD^2/2 (Arbel, Korba, Salim and Gretton 2019).

    v(z) = grad w(z), w = mean_j k(y_j, .) - mean_i k(x_i, .). Without `noise` injection it stalls
    where the clouds are several bandwidths apart. With a `FeatureKernel` of `Neurons` it trains a
    two-layer network.

    With a `bandwidth` schedule or rule the kernel's bandwidth changes in the run (see
    `particleflow.estimators.Annealed`): each step descends the MMD of the current one.
    """
    mmd = MMD(as_summable(kernel), pairwise=pairwise)
    return Flow(mmd if bandwidth is None else Annealed(mmd, bandwidth), noise=noise)


def kale_flow(
    kernel: Kernel | Callable[[Tensor], Tensor],
    *,
    lam: Penalty,
    bandwidth: BandwidthRule | BandwidthSchedule | None = None,
    noise: Noise = None,
    pairwise: PairwiseSum = Auto(rtol=1e-10),
) -> Flow:
    """The Wasserstein gradient flow of KALE (Glaser, Arbel and Gretton 2021).

    v = (1 + lam) grad w, w = -h. It goes from MMD flow (lam large) towards the flow of KL (lam
    small). It is stiff: about (1 + lam) / lam faster than MMD flow. Where lam changes (a schedule
    of the clock, or `Decreasing`), the flow descends the KALE of the current lam, and its factor is
    the current 1 + lam. With a `bandwidth` schedule or rule the kernel's bandwidth changes too (see
    `particleflow.estimators.Annealed`).
    """
    kale = KALE(as_kernel(kernel), lam=lam, pairwise=pairwise)
    estimator: Estimator = kale if bandwidth is None else Annealed(kale, bandwidth)
    return Flow(
        estimator,
        mobility=EnergySlope()
        if estimator.energy_slope is None
        else Linear(estimator.energy_slope),
        noise=noise,
    )


def mono_flow(
    estimator: Estimator,
    mobility: Mobility | EnergySlope = Unit(),
    *,
    noise: Noise = None,
) -> Flow:
    """MonoFlow (Yi, Zhu and Liu 2023): v = h'(log r) grad log r.

    log r comes from any ratio estimator, h from any of `mobilities`.
    """
    return Flow(estimator, mobility=mobility, noise=noise)


def wgan_flow(critic: Estimator = GradientPenaltyCritic(), *, noise: Noise = None) -> Flow:
    """The Wasserstein GAN without a generator: v = grad w.

    The critic w is trained as the particles move, and E_p w - E_q w estimates W1. Particles move at
    about unit speed to the end: lower dt there, or they hop about the target by dt. `critic` is any
    estimator of a potential.
    """
    check_estimator(critic, "critic")
    if critic.log_ratio:
        raise ValueError(
            f"`critic` must estimate a potential, got {type(critic).__name__}, an estimator of log"
            " r: use pf.mono_flow"
        )
    return Flow(critic, noise=noise)


def langevin(target: Density | LogDensityOrScore, *, temperature: float = 1.0) -> Flow:
    """dX = grad log p(X) dt + sqrt(2 temperature) dW.

    It needs no target sample, only a density or a score (see `ClosedForm`).
    """
    sigma = math.sqrt(2 * _checks.non_negative(temperature, "temperature"))
    return Flow(ClosedForm(target), diffusion=Constant(sigma))
