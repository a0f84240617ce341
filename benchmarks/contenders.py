"""The contenders of the suite: flows with the ranges of their hyper-parameters.

Widths are in bandwidths of the task, noise is in standard deviations of the target. Defaults are
those of the library where it has them: `auto`, `mmd`, `kale` and `kde-mono` are the flows of
`auto_flow`, whose bandwidth falls to that of the task and whose steps are paced, in the steps of
the task. `mmd-fixed`, with one bandwidth and one dt, and the others stand beside them. Each
contender is a function of the problem and of its parameters. Its docstring is its title.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import particleflow as pf
from particleflow.automatic import LAM as AUTO_LAM
from particleflow.clouds import Clock
from particleflow.estimators import Fit
from particleflow.integrators import Paced
from particleflow.study import Contender, Problem, Range, Setup
from particleflow.study.contender import STEPPING

# The regularisation of DrMMD, uLSIF and KALE at one bandwidth by default, without unit.
LAM = 1e-2
# Number of times that the injected noise is halved during a run; 8 times leave 0.4 % of it.
HALVINGS = 8
# All networks: two hidden layers, and few steps of Adam, so that a run takes about a second.
NETWORK: Mapping[str, int] = {"width": 64, "depth": 2, "batch": 64}
# First steps of Adam: the classifier ends as near after 50 as after 100, the critic does not.
CLASSIFIER_FIRST, CRITIC_FIRST = 50, 100
# The weight of the classifier's gradient penalty.
PENALTY = 0.1

# Kernel widths, in bandwidths of the task.
WIDTH = Range(0.25, 4.0, 1.0)
# Noise at the start, in standard deviations of the target.
NOISE = Range(0.1, 4.0, 1.0)
# The regularisation of variational estimators at one bandwidth.
LAMS = Range(1e-4, 1.0, LAM)
# The regularisation of KALE whose bandwidth falls; the default is that of `auto_flow`.
ANNEALED_LAMS = Range(1e-4, 1.0, AUTO_LAM)
# The relative change of the velocity in a paced step; the default is that of `Paced`.
CHANGE = Range(0.1, 1.5, Paced().change)
# Steps of Adam a step of the flow; they are rounded. More would make the networks, which take two
# fifths of the time of the whole comparison, slower still.
ADAM_STEPS = Range(1.0, 3.0, 2.0)
# Multiples of the suggested dt where particles move at unit speed to the end: there short steps end
# nearer.
UNIT_SPEED = Range(1 / 32, 2.0, 1.0)
# Adam's learning rate.
RATE = Range(3e-4, 1e-2, 3e-3)


def _kernel(problem: Problem, width: float) -> pf.kernels.Gaussian:
    return pf.kernels.Gaussian(width * problem.bandwidth)


def _chosen(
    problem: Problem, kind: str, width: float, change: float, lam: float = AUTO_LAM
) -> Setup:
    flow = pf.auto_flow(
        problem.x0,
        problem.target,
        kind,
        bandwidth=width * problem.bandwidth,
        steps=problem.steps,
        lam=lam,
    )
    return Setup(flow, integrator=Paced(change))


def auto(problem: Problem, width: float, change: float) -> Setup:
    """The recommended flow: MMD, inverse multiquadric kernel, falling bandwidth, paced steps"""
    return _chosen(problem, "auto", width, change)


def mmd(problem: Problem, width: float, change: float) -> Setup:
    """MMD flow, Gaussian kernel, falling bandwidth, paced steps"""
    return _chosen(problem, "mmd", width, change)


def mmd_fixed(problem: Problem, width: float) -> pf.Flow:
    """MMD flow with one bandwidth and one dt"""
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


def kale(problem: Problem, width: float, lam: float, change: float) -> Setup:
    """KALE flow, falling bandwidth, paced steps"""
    return _chosen(problem, "kale", width, change, lam)


def drmmd(problem: Problem, width: float, lam: float) -> pf.Flow:
    """De-regularised MMD flow"""
    estimator = pf.estimators.DrMMD(_kernel(problem, width), lam=lam)
    return pf.Flow(estimator, mobility=pf.mobilities.Linear(1.0 + lam))


def kde_mono(problem: Problem, width: float, change: float) -> Setup:
    """MonoFlow of KL(particles || target), two kernel density estimates of falling bandwidth"""
    return _chosen(problem, "mono", width, change)


def ulsif_mono(problem: Problem, width: float, lam: float) -> pf.Flow:
    """MonoFlow of KL(particles || target), the ratio by least squares (uLSIF)"""
    return pf.mono_flow(pf.estimators.ULSIF(_kernel(problem, width), lam=lam))


def classifier_mono(problem: Problem, adam: float, rate: float) -> pf.Flow:
    """MonoFlow of KL(particles || target), the ratio by a trained classifier"""
    return pf.mono_flow(
        pf.estimators.Classifier(
            gradient_penalty=PENALTY,
            first_steps=CLASSIFIER_FIRST,
            steps=round(adam),
            learning_rate=rate,
            **NETWORK,
        )
    )


def exact_w1(problem: Problem) -> pf.Flow:
    """W1 flow: the Kantorovich potential is solved exactly"""
    return pf.wgan_flow(pf.estimators.CTransformCritic())


def wgan_gp(problem: Problem, adam: float, rate: float) -> pf.Flow:
    """W1 flow: the potential is trained (WGAN-GP)"""
    return pf.wgan_flow(
        pf.estimators.GradientPenaltyCritic(
            first_steps=CRITIC_FIRST, steps=round(adam), learning_rate=rate, **NETWORK
        )
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
            (auto, {"width": WIDTH, "change": CHANGE}, None),
            (mmd, {"width": WIDTH, "change": CHANGE}, None),
            (mmd_fixed, {"width": WIDTH}, STEPPING),
            (mmd_noise, {"width": WIDTH, "noise": NOISE}, STEPPING),
            (mmd_adaptive, {"width": WIDTH, "noise": NOISE}, STEPPING),
            (kale, {"width": WIDTH, "lam": ANNEALED_LAMS, "change": CHANGE}, None),
            (drmmd, {"width": WIDTH, "lam": LAMS}, STEPPING),
            (kde_mono, {"width": WIDTH, "change": CHANGE}, None),
            (classifier_mono, {"adam": ADAM_STEPS, "rate": RATE}, STEPPING),
            (ulsif_mono, {"width": WIDTH, "lam": LAMS}, STEPPING),
            (exact_w1, {}, UNIT_SPEED),
            (wgan_gp, {"adam": ADAM_STEPS, "rate": RATE}, UNIT_SPEED),
        )
    )
}
