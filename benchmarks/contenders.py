"""The contenders of the suite: flows with the ranges of their hyper-parameters.

Widths are in bandwidths of the task, noise is in standard deviations of the target. Defaults are
those of the library where it has them. Each contender is a function of the problem and of its
parameters. Its docstring is its title.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import particleflow as pf
from particleflow.clouds import Clock
from particleflow.estimators import Fit
from particleflow.study import Contender, Problem, Range
from particleflow.study.contender import STEPPING

# The regularisation of KALE and the like by default, without unit.
LAM = 1e-2
# Number of times that the injected noise is halved during a run; 8 times leave 0.4 % of it.
HALVINGS = 8
# All networks: two hidden layers, and few steps of Adam, so that a run takes one to two seconds.
NETWORK: Mapping[str, int] = {"width": 64, "depth": 2, "first_steps": 100, "batch": 64}
# The weight of the classifier's gradient penalty.
PENALTY = 0.1

# Kernel widths, in bandwidths of the task.
WIDTH = Range(0.25, 4.0, 1.0)
# Noise at the start, in standard deviations of the target.
NOISE = Range(0.1, 4.0, 1.0)
# The regularisation of variational estimators.
LAMS = Range(1e-4, 1.0, LAM)
# Steps of Adam a step of the flow; they are rounded.
ADAM_STEPS = Range(1.0, 5.0, 2.0)
# Multiples of the suggested dt where particles move at unit speed to the end: there short steps end
# nearer.
UNIT_SPEED = Range(1 / 32, 2.0, 1.0)
# Adam's learning rate.
RATE = Range(3e-4, 1e-2, 3e-3)


def _kernel(problem: Problem, width: float) -> pf.kernels.Gaussian:
    return pf.kernels.Gaussian(width * problem.bandwidth)


def mmd(problem: Problem, width: float) -> pf.Flow:
    """MMD flow"""
    return pf.mmd_flow(_kernel(problem, width))


def mmd_noise(problem: Problem, width: float, noise: float) -> pf.Flow:
    """MMD flow with noise injection that is halved 8 times in a run"""
    beta = pf.schedules.Geometric(
        noise * problem.spread, ratio=0.5, every=problem.steps / HALVINGS, smooth=True
    )
    return pf.mmd_flow(_kernel(problem, width), noise=beta)


@dataclass(frozen=True)
class Following:
    """Noise in proportion to the MMD: initial sqrt(D / first), D = MMD^2 / 2 of the current fit.

    `first` is D at the start. The noise ends by itself where the clouds meet.
    """

    initial: float
    first: float

    def __call__(self, clock: Clock, fit: Fit) -> float:
        return self.initial * (max(fit.value or 0.0, 0.0) / self.first) ** 0.5


def mmd_adaptive(problem: Problem, width: float, noise: float) -> pf.Flow:
    """MMD flow with noise injection in proportion to the MMD"""
    kernel = _kernel(problem, width)
    first = pf.metrics.MMD2(kernel)(problem.x0, problem.target) / 2
    return pf.mmd_flow(kernel, noise=Following(noise * problem.spread, max(first, 1e-12)))


def kale(problem: Problem, width: float, lam: float) -> pf.Flow:
    """KALE flow"""
    return pf.kale_flow(_kernel(problem, width), lam=lam)


def drmmd(problem: Problem, width: float, lam: float) -> pf.Flow:
    """De-regularised MMD flow"""
    estimator = pf.estimators.DrMMD(_kernel(problem, width), lam=lam)
    return pf.Flow(estimator, mobility=pf.mobilities.Linear(1.0 + lam))


def kde_mono(problem: Problem, width: float) -> pf.Flow:
    """MonoFlow of KL(particles || target), the ratio of two kernel density estimates"""
    return pf.mono_flow(pf.estimators.KDE(_kernel(problem, width)))


def ulsif_mono(problem: Problem, width: float, lam: float) -> pf.Flow:
    """MonoFlow of KL(particles || target), the ratio by least squares (uLSIF)"""
    return pf.mono_flow(pf.estimators.ULSIF(_kernel(problem, width), lam=lam))


def classifier_mono(problem: Problem, adam: float, rate: float) -> pf.Flow:
    """MonoFlow of KL(particles || target), the ratio by a trained classifier"""
    return pf.mono_flow(
        pf.estimators.Classifier(
            gradient_penalty=PENALTY, steps=round(adam), learning_rate=rate, **NETWORK
        )
    )


def exact_w1(problem: Problem) -> pf.Flow:
    """W1 flow: the Kantorovich potential is solved exactly"""
    return pf.wgan_flow(pf.estimators.CTransformCritic())


def wgan_gp(problem: Problem, adam: float, rate: float) -> pf.Flow:
    """W1 flow: the potential is trained (WGAN-GP)"""
    return pf.wgan_flow(
        pf.estimators.GradientPenaltyCritic(steps=round(adam), learning_rate=rate, **NETWORK)
    )


CONTENDERS = {
    one.name: one
    for one in (
        Contender(
            make.__name__.replace("_", "-"),
            make,
            parameters,
            title=make.__doc__ or "",
            stepping=stepping,
        )
        for make, parameters, stepping in (
            (mmd, {"width": WIDTH}, STEPPING),
            (mmd_noise, {"width": WIDTH, "noise": NOISE}, STEPPING),
            (mmd_adaptive, {"width": WIDTH, "noise": NOISE}, STEPPING),
            (kale, {"width": WIDTH, "lam": LAMS}, STEPPING),
            (drmmd, {"width": WIDTH, "lam": LAMS}, STEPPING),
            (kde_mono, {"width": WIDTH}, STEPPING),
            (classifier_mono, {"adam": ADAM_STEPS, "rate": RATE}, STEPPING),
            (ulsif_mono, {"width": WIDTH, "lam": LAMS}, STEPPING),
            (exact_w1, {}, UNIT_SPEED),
            (wgan_gp, {"adam": ADAM_STEPS, "rate": RATE}, UNIT_SPEED),
        )
    )
}
