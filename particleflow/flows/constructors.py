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
    r"""Make the MMD flow, the Wasserstein gradient flow of half the squared MMD.

    .. math::

        v(z) = \nabla w(z), \qquad
        w = \frac1M \sum_j k(y_j, \cdot) - \frac1N \sum_i k(x_i, \cdot)

    The flow lowers :math:`\frac12 \mathrm{MMD}^2` (all pairs, the diagonal too), and
    :math:`v(x_i) = -N\, \partial(\frac12 \mathrm{MMD}^2) / \partial x_i`: there is no factor 2. It
    stalls where the clouds are several bandwidths apart. Inject `noise` there, let the `bandwidth`
    fall, or take `auto_flow`. With a `FeatureKernel` of `Neurons` it trains a two-layer network.

    Noise moves the point at which the witness is queried: :math:`v(x_i + \beta u_i)` with
    :math:`u_i \sim \mathcal{N}(0, I)`. The witness stays that of the clean cloud.

    Parameters
    ----------
    kernel : Kernel, FeatureKernel, or callable of the squared distance
        Its bandwidth is a length, in the units of the coordinates.
    bandwidth : callable (clock) -> float, or BandwidthRule, optional
        The kernel's bandwidth changes in the run (`particleflow.estimators.Annealed`): each step
        lowers the MMD of the current one. The kernel's own bandwidth is then not used.
    noise : float, schedule, callable (clock) or (clock, fit) -> float, or NoiseRule, optional
        The standard deviation beta >= 0, in the units of the coordinates. With noise the energy
        need not fall.
    pairwise : PairwiseSum
        The backend of the sums. `Auto()` takes the cheapest whose errors are at most 1e-5.

    Returns
    -------
    Flow
        Its estimator is `MMD`, or `Annealed` with a `bandwidth`. Its mobility is `Unit`.

    Raises
    ------
    TypeError
        `kernel`, `bandwidth`, `noise` or `pairwise` is of another type, or `kernel` has no
        bandwidth that could change.
    ValueError
        `noise` is negative or not finite.

    Cost: nothing here. A step costs O((N + M) N d) with exact sums.

    Source: Arbel, Korba, Salim and Gretton (2019); theory page, equations 3-4.

    One particle at 0 and a target in one place at 1 have the force exp(-1/2) and the energy
    1 - exp(-1/2):

    >>> flow = pf.mmd_flow(pf.kernels.Gaussian(1.0))
    >>> x, y = torch.tensor([[0.0]]), torch.tensor([[1.0], [1.0]])
    >>> fit = pf.fit(flow.estimator, x, y)
    >>> flow.velocity(pf.Cloud(x), fit, pf.Clock())[0]
    tensor([[0.6065]])
    >>> round(flow.energy(fit, pf.Cloud(x)), 4)
    0.3935
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
    r"""Make the KALE flow, the Wasserstein gradient flow of a kernel-regularised KL divergence.

    .. math::

        v(z) = (1 + \lambda) \nabla w(z), \qquad
        w = \frac1\lambda \Bigl( \sum_j a_j k(y_j, \cdot)
            - \frac1N \sum_i k(x_i, \cdot) \Bigr)

    It is MMD flow with a reweighted target; `KALE` tells how the weights :math:`a_j` are found. A
    large :math:`\lambda` gives MMD flow, a small one goes towards the flow of KL. The flow is
    stiff, up to :math:`(1 + \lambda) / \lambda` times faster than MMD flow, and its dt shorter. It
    lowers KALE of the current :math:`\lambda`; where that changes, the recorded value
    need not fall.

    Parameters
    ----------
    kernel : Kernel or callable of the squared distance
        Its bandwidth is a length, in the units of the coordinates.
    lam : float, schedule, callable (clock) -> float, or Decreasing
        The weight of the penalty, > 0. Where it changes, the factor of the velocity is the current
        1 + lam.
    bandwidth : callable (clock) -> float, or BandwidthRule, optional
        As for `mmd_flow`.
    noise : float, schedule, callable (clock) or (clock, fit) -> float, or NoiseRule, optional
        As for `mmd_flow`. `Arbel` is for MMD alone.
    pairwise : PairwiseSum
        The backend of the sums. The witness divides their errors by lam: hence 1e-10 and not 1e-5.

    Returns
    -------
    Flow
        Its estimator is `KALE`, or `Annealed` with a `bandwidth`. Its mobility is `Linear` of slope
        1 + lam, or `EnergySlope` where lam or the bandwidth changes.

    Raises
    ------
    TypeError
        `kernel`, `lam`, `bandwidth`, `noise` or `pairwise` is of another type.
    ValueError
        `lam` is a number that is not > 0, or `noise` is negative.

    Cost: nothing here. A step takes a few Newton iterations, as `KALE` tells, and O((N + M) N d)
    for the velocity with exact sums.

    Source: Glaser, Arbel and Gretton (2021); theory page, equations 6-10.

    A large lam is MMD flow:

    >>> x, y = pf.Cloud([[0.0]]), pf.Cloud([[1.0], [1.0]])
    >>> for lam in (1.0, 1e4):
    ...     flow = pf.kale_flow(pf.kernels.Gaussian(1.0), lam=lam)
    ...     fit = pf.fit(flow.estimator, x, y)
    ...     v, _ = flow.velocity(x, fit, pf.Clock())
    ...     print(round(fit.value, 3), round(float(v), 4))
    0.712 0.9865
    0.394 0.6066
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
    r"""Make a MonoFlow, which climbs the log ratio at a speed that a mobility rescales.

    .. math::

        v(z) = h'(\log r(z))\, \nabla \log r(z), \qquad r = p / q, \quad h' > 0

    p is the target, q the particles' distribution. With the exact ratio this is the Wasserstein
    gradient flow of the f-divergence with :math:`r^2 f''(r) = h'(\log r)`. With an estimated ratio
    the velocity is the gradient of no energy, except for `KALE` with `Linear(1 + lam)`. The
    direction is the same for all mobilities; far from the target, where log r << 0, the speed is
    not.

    Parameters
    ----------
    estimator : Estimator
        Of log r: `KDE`, `ULSIF`, `KLIEP`, `KernelLogistic`, `SklearnClassifier`, `Classifier`,
        `KALE`, or `ClosedForm` with `current`.
    mobility : Mobility or EnergySlope
        h, of `particleflow.mobilities`. `Unit()` gives the flow of KL(q || p).
    noise : float, schedule, callable (clock) or (clock, fit) -> float, or NoiseRule, optional
        The standard deviation of noise injection, as for `mmd_flow`.

    Returns
    -------
    Flow
        Of these parts. An estimator with defaults for flows (`KDE()`) is replaced by its
        `in_flow()`.

    Raises
    ------
    TypeError
        `estimator` is no estimator, `mobility` has not h, slope and curvature, or `noise` is of
        another type.
    ValueError
        `mobility` is not constant where the witness is a potential; h of a class of your own does
        not increase; `noise` is negative.

    Cost: nothing here. A step costs a fit of `estimator` and N queries.

    Source: Yi, Zhu and Liu (2023); theory page, equations 15-17.

    From N(4, 1) to N(0, 1) log r(4) = -8, where the slope of a plain GAN has vanished. Its shifted
    variant goes on:

    >>> normal = pf.samplers.Gaussian
    >>> ratio = pf.estimators.ClosedForm(normal(1), current=normal(1, mean=4.0))
    >>> x = pf.Cloud([[4.0]])
    >>> vanilla = pf.mobilities.Vanilla
    >>> for h in (pf.mobilities.Unit(), vanilla(), vanilla(shift=5)):
    ...     flow = pf.mono_flow(ratio, h)
    ...     v, _ = flow.velocity(x, pf.fit(flow.estimator, x), pf.Clock())
    ...     print(round(float(v), 4))
    -4.0
    -0.0013
    -0.1897
    """
    return Flow(estimator, mobility=mobility, noise=noise)


def wgan_flow(critic: Estimator = GradientPenaltyCritic(), *, noise: Noise = None) -> Flow:
    r"""Make the flow of a Wasserstein GAN without a generator: the particles climb the critic.

    .. math::

        v(z) = \nabla w(z), \qquad
        w = \operatorname{argmax}_{\lVert \nabla w \rVert \le 1}
            \; \mathbb{E}_p w - \mathbb{E}_q w

    p is the target, q the particles. The critic is trained on as the particles move, and its value
    estimates W1(p, q). Particles move at about unit speed to the end. So they hop about the target
    by dt: lower dt there. W1 falls at about the rate 1 until the first particles arrive. `critic`
    may be any estimator of a potential.

    Parameters
    ----------
    critic : Estimator
        `GradientPenaltyCritic`, `WeightClippingCritic`, `LipschitzCritic`,
        `TrainedCTransformCritic`, or `CTransformCritic`, which solves for w and trains nothing.
    noise : float, schedule, callable (clock) or (clock, fit) -> float, or NoiseRule, optional
        The standard deviation of noise injection, as for `mmd_flow`.

    Returns
    -------
    Flow
        With the mobility `Unit`. Only integrators of one stage, such as `Euler`, take it with a
        trained critic.

    Raises
    ------
    TypeError
        `critic` is no estimator, or `noise` is of another type.
    ValueError
        `critic` estimates a log ratio, or `noise` is negative.

    Cost: nothing here. A step costs a fit of `critic` (ten steps of Adam by default) and N queries.

    Source: Arjovsky, Chintala and Bottou (2017), for the critic.

    The perfect critic of a particle at 0 and a target at 3: W1 = 3, and the speed is 1.

    >>> flow = pf.wgan_flow(pf.estimators.CTransformCritic())
    >>> x, y = torch.tensor([[0.0]]), torch.tensor([[3.0], [3.0]])
    >>> fit = pf.fit(flow.estimator, x, y)
    >>> fit.value, flow.velocity(pf.Cloud(x), fit, pf.Clock())[0]
    (3.0, tensor([[1.]]))
    """
    check_estimator(critic, "critic")
    if critic.log_ratio:
        raise ValueError(
            f"`critic` must estimate a potential, got {type(critic).__name__}, an estimator of log"
            " r: use pf.mono_flow"
        )
    return Flow(critic, noise=noise)


def langevin(target: Density | LogDensityOrScore, *, temperature: float = 1.0) -> Flow:
    r"""Make Langevin dynamics, which samples a density and needs no target sample.

    .. math::

        dX = \nabla \log p(X)\, dt + \sqrt{2 T}\, dW

    T is the temperature. The stationary density is proportional to :math:`p^{1/T}`. At T = 1 the
    particles have at each time the distribution of the MonoFlow of `Unit`, the Wasserstein gradient
    flow of KL(q || p). A run takes `EulerMaruyama` by default: the unadjusted Langevin algorithm. A
    step dt biases it, on :math:`\mathcal{N}(0, 1)` to the variance :math:`1 / (1 - dt / 2)`.
    `Fit.value` is :math:`-\mathbb{E}_q \log p`, without the entropy; it is None where only a score
    is known.

    Parameters
    ----------
    target : density or callable
        p: anything with `log_density(z)` and `score(z)`; or a callable z (Q, d) -> log density
        (Q,), up to a constant; or a callable z -> score (Q, d). See `ClosedForm`.
    temperature : float
        T >= 0. 0: plain ascent of log p.

    Returns
    -------
    Flow
        With the estimator `ClosedForm` and the diffusion sqrt(2 T), in units of the coordinates
        over the root of time.

    Raises
    ------
    TypeError
        `target` is neither a density nor a callable, or `temperature` is no number.
    ValueError
        `temperature` is negative or not finite.

    Cost: nothing here. A step costs N scores.

    Source: Jordan, Kinderlehrer and Otto (1998); theory page, equation 19.

    From 0 towards N(0, 1) the variance at time t is 1 - exp(-2 t), here 0.63 at t = 0.5:

    >>> flow = pf.langevin(pf.samplers.Gaussian(1))
    >>> path = pf.simulate(flow, torch.zeros(4000, 1), steps=50, dt=0.01)
    >>> round(float(path.particles[-1].var()), 1)
    0.6
    """
    sigma = math.sqrt(2 * _checks.non_negative(temperature, "temperature"))
    return Flow(ClosedForm(target), diffusion=Constant(sigma))
