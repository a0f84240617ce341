"""The Moreau envelope of an f-divergence in the Hilbert space of a kernel; de-regularised MMD."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from particleflow import _checks
from particleflow._typing import Memory
from particleflow.clouds import Cloud, FixedCloud
from particleflow.divergences import ChiSquare, Divergence
from particleflow.estimators.base import Fit
from particleflow.estimators.envelope.penalty import Penalty
from particleflow.estimators.envelope.regularised import Regularised
from particleflow.estimators.envelope.witness import Envelope
from particleflow.kept import Kept
from particleflow.kernels import Kernel, as_kernel
from particleflow.pairwise import Auto, PairwiseSum

# Newton iterations of DrMMD. The problem is linear and takes one. The others mend the errors of
# rough products.
ITERATIONS = 20


@dataclass(frozen=True)
class Moreau(Regularised):
    r"""Give the witness of an f-divergence D_f(q || p) that the kernel's distance smooths.

    .. math::

        D_f^\lambda(q \,\|\, p) = \min_{g \ge 0} \left\{ \mathbb{E}_p f(g)
            + \frac{1}{2 \lambda} \lVert \mu_q - \mu_{g p} \rVert_{\mathcal{H}}^2 \right\}

    q is the particles' distribution, p the target's, :math:`\mu_q = \frac1N \sum_i k(x_i, \cdot)`
    and :math:`\mu_{g p} = \frac1M \sum_j g_j k(y_j, \cdot)`. The witness is

    .. math::

        w = -h, \qquad h = \frac1\lambda (\mu_q - \mu_{g p}), \qquad
        g_j = (f^*)'(h(y_j))

    h is about f'(q / p), so that w grows with log p / q. w is a log ratio only where D_f is the KL
    divergence (see `KALE`). `Fit.value` is the minimum, at most
    :math:`\mathrm{MMD}^2 / (2 \lambda)`.

    Where f has a finite recession constant c (Jensen-Shannon, reverse KL, total variation, Tsallis
    below 1), mass may leave the target's points at the cost c: h <= c everywhere. Where h would
    exceed c at a particle, there are singular masses b_i on the particles as well. An
    interior-point method then finds all M + N weights. It also serves where densities of Tsallis(2)
    and above meet 0 and Newton's method fails. It lowers the gap to some 1e-15 / lam of the value
    up to 4096 points, and to the relative error of the sums over lam beyond. `error` is the square
    root of that share.

    grad w is minus the Wasserstein gradient of the value where no singular mass sits on particles.
    Singular mass moves along with its particle: minus the Wasserstein gradient is then
    (1 - N b_i) grad w at x_i. So with a finite c the estimator declares no `energy_slope`. A fit
    without singular mass declares its own.

    Clouds of any size serve, and N and M may differ. Where a solver does not converge,
    `report["converged"]` is False and `report["remedy"]` tells what to change.

    Parameters
    ----------
    kernel : Kernel or callable of the squared distance
        Its bandwidth is a length, in the units of the coordinates.
    divergence : Divergence
        The entropy f, from `particleflow.divergences`.
    lam : float, schedule, callable (clock) -> float, or Decreasing
        The weight of the squared distance, > 0. The value is at most MMD^2 / (2 lam).
    rtol : float
        Bound of the error of h, relative in the Hilbert norm. The errors of the sums set a floor.
    max_iterations : int
        The most Newton iterations, at each value of lam on the way of a cold start. When they do
        not suffice, `converged` is False.
    pairwise : PairwiseSum
        The backend of the sums. Their errors are divided by lam: hence 1e-10 and not 1e-5.

    Raises
    ------
    TypeError
        `kernel`, `divergence`, `lam` or `pairwise` is of another type.
    ValueError
        `lam` or `rtol` is not > 0, or `max_iterations` < 1. At a fit: lam of a schedule is not > 0.

    Cost: as `KALE`. The interior-point method takes some 10 to 20 iterations of O((M + N) r^2),
    where K has a factor of rank r, else of O((M + N)^3).

    Source: Neumayer, Stein, Steidl and Rux (2024).

    On shared points a small lam gives the divergence, here Jeffreys' KL(q || p) + KL(p || q) of the
    masses (0.75, 0.25) and (0.5, 0.5), which is log(3) / 4:

    >>> jeffreys = pf.divergences.Jeffreys()
    >>> estimator = pf.estimators.Moreau(
    ...     pf.kernels.Gaussian(1.0), divergence=jeffreys, lam=1e-6
    ... )
    >>> x, y = [[0.0], [0.0], [0.0], [5.0]], [[0.0], [5.0]]
    >>> round(pf.fit(estimator, x, y).value, 4)
    0.2747
    """

    kernel: Kernel
    divergence: Divergence = field(kw_only=True)
    lam: Penalty = field(kw_only=True)
    rtol: float = field(default=1e-12, kw_only=True)
    max_iterations: int = field(default=1000, kw_only=True)
    pairwise: PairwiseSum = field(default=Auto(rtol=1e-10), kw_only=True)
    log_ratio: ClassVar[bool] = False
    _base: Kept = field(default_factory=Kept, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", as_kernel(self.kernel))
        super().__post_init__()
        if isinstance(self.divergence, type) or not isinstance(self.divergence, Divergence):
            raise TypeError(
                "`divergence` must be an entropy such as pf.divergences.Jeffreys(), got"
                f" {_checks.kind(self.divergence)}: pass one of pf.divergences"
            )
        _checks.count(self.max_iterations, "max_iterations")

    @property
    def energy_slope(self) -> float | None:
        infinite = math.isinf(self.divergence.recession)
        return 1.0 if isinstance(self.lam, float) and infinite else None

    def _fit(self, x: Cloud, y: Cloud, lam: float, memory: Memory) -> Fit:
        envelope = Envelope(
            self.kernel, self.divergence, self.rtol, self.max_iterations, self.pairwise
        )
        return envelope.fit(x, y, lam, memory, self._base)


@dataclass(frozen=True)
class DrMMD(Regularised):
    r"""Give the witness of the de-regularised MMD, which lies between chi^2 and MMD^2.

    .. math::

        \mathrm{DrMMD} = (1 + \lambda) \left\langle \varphi,\,
            (C_p + \lambda I)^{-1} \varphi \right\rangle_{\mathcal{H}}, \qquad
        \varphi = \mu_q - \mu_p

    q is the particles' distribution, p the target's, and
    :math:`C_p = \mathbb{E}_p\, k(y, \cdot) \otimes k(y, \cdot)`. It is :math:`1 + \lambda` times
    the Moreau envelope of chi^2 without the constraint :math:`g \ge 0`, at half the
    :math:`\lambda`. The witness is w = -h, a potential, with

    .. math::

        h = \frac2\lambda (\mu_q - \mu_{g p}), \qquad
        \Bigl( 2 I + \frac{2}{\lambda M} K \Bigr) g = 2 + \frac2\lambda \mu_q(y)

    one linear system, which conjugate gradients solve without a matrix, or a Cholesky factor. In a
    run with one target and one lam the system stays, and up to 4096 points so does its factor.
    `Fit.value` is DrMMD, and :math:`(1 + \lambda) \nabla w` is minus its Wasserstein gradient.
    Clouds of any size serve, and N and M may differ. `report["converged"]` is False where the
    errors of the sums do not let `rtol` be reached.

    Parameters
    ----------
    kernel : Kernel or callable of the squared distance
        Its bandwidth is a length, in the units of the coordinates.
    lam : float, schedule, callable (clock) -> float, or Decreasing
        The regularisation, > 0. Small: chi^2, on shared supports. Large: MMD^2. Where it changes
        during a run, each fit tells its own 1 + lam (`Fit.energy_slope`), which the mobility
        `EnergySlope` follows.
    rtol : float
        Bound of the error of h, relative in the Hilbert norm.
    pairwise : PairwiseSum
        The backend of the sums. Their errors are divided by lam: hence 1e-10 and not 1e-5.

    Raises
    ------
    TypeError
        `kernel`, `lam` or `pairwise` is of another type.
    ValueError
        `lam` or `rtol` is not > 0. At a fit: lam of a schedule is not > 0.

    Cost: as one Newton iteration of `KALE`.

    Source: Chen, Mustafi, Glaser, Korba, Gretton and Sriperumbudur (2025).

    On shared points a small lam gives chi^2(q || p), here 1/4; a large one MMD^2, here 1/8:

    >>> x, y = [[0.0], [0.0], [0.0], [5.0]], [[0.0], [5.0]]
    >>> for lam in (1e-6, 1e6):
    ...     estimator = pf.estimators.DrMMD(pf.kernels.Gaussian(1.0), lam=lam)
    ...     print(round(pf.fit(estimator, x, y).value, 4))
    0.25
    0.125
    """

    kernel: Kernel
    lam: Penalty = field(kw_only=True)
    rtol: float = field(default=1e-12, kw_only=True)
    pairwise: PairwiseSum = field(default=Auto(rtol=1e-10), kw_only=True)
    log_ratio: ClassVar[bool] = False
    _base: Kept = field(default_factory=Kept, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", as_kernel(self.kernel))
        super().__post_init__()

    @property
    def energy_slope(self) -> float | None:
        return 1.0 + self.lam if isinstance(self.lam, float) else None

    def _fit(self, x: Cloud, y: Cloud, lam: float, memory: Memory) -> Fit:
        envelope = Envelope(
            self.kernel, ChiSquare(nonnegative=False), self.rtol, ITERATIONS, self.pairwise
        )
        repeats = isinstance(self.lam, float) and isinstance(y, FixedCloud)
        return envelope.fit(x, y, lam / 2, memory, self._base, factor=1 + lam, repeats=repeats)
