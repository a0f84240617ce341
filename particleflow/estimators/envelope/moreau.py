"""The Moreau envelope of an f-divergence in the Hilbert space of a kernel; de-regularised MMD."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from particleflow import _checks
from particleflow._typing import Memory
from particleflow.clouds import Cloud
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
    """min over g >= 0 of E_p f(g) + |mu_q - mu_gp|^2 / (2 lam), a smoothed D_f(q || p).

    q is the particles' distribution, p the target's. The witness is w = -h, h = (mu_q - mu_gp) /
    lam, and g = (f*)'(h) at the target's points. h is about f'(q / p), so that w grows with
    log p / q. w is a log ratio only where D_f is the KL divergence (see `KALE`).

    Where f has a finite recession constant c (Jensen-Shannon, reverse KL, total variation, Tsallis
    below 1), mass may leave the target's points at the cost c: h <= c everywhere. Where h would
    exceed c at a particle, there are singular masses b_i on the particles as well. An
    interior-point method then finds all M + N weights. It also serves where densities of Tsallis(2)
    and above meet 0 and Newton's method fails. It lowers the gap to some 1e-15 / lam of the value
    up to 4096 points, and to the relative error of the sums over lam beyond. `error` is the square
    root of that share.

    grad w is minus the Wasserstein gradient of the value where no singular mass sits on particles.
    Singular mass moves along with its particle: the value then changes with x_i 1 - N b_i times as
    much. So with a finite c the estimator declares no `energy_slope`. A fit without singular mass
    declares its own.

    Parameters
    ----------
    kernel : Kernel or callable of the squared distance
    divergence : Divergence
        The entropy f, from `particleflow.divergences`.
    lam : float, schedule, callable (clock) -> float, or Decreasing
        The weight of the squared distance, > 0. The value is at most MMD^2 / (2 lam).
    rtol : float
        Bound of the error of h, relative in the Hilbert norm. The errors of the sums set a floor.
    max_iterations : int
        The most Newton iterations, at each value of lam on the way of a cold start. When they do
        not suffice, `converged` is False.

    Cost: as `KALE`. The interior-point method takes some 10 to 20 iterations of O((M + N) r^2),
    where K has a factor of rank r, else of O((M + N)^3).

    Source: Neumayer, Stein, Steidl and Rux (2024).

    >>> estimator = pf.estimators.Moreau(                           # doctest: +SKIP
    ...     pf.kernels.Gaussian(0.2), divergence=pf.divergences.Jeffreys(), lam=1e-2
    ... )
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
    """The de-regularised MMD, between chi^2 and MMD^2.

        (1 + lam) (mu_q - mu_p)' (C_p + lam I)^{-1} (mu_q - mu_p),   C_p = E_p k(y, .) k(y, .)'

    It is 1 + lam times the Moreau envelope of chi^2 without the constraint g >= 0, at lam / 2. That
    is one linear system, (2 I + K Q / (lam / 2)) g = 2 + mu_q(y) / (lam / 2), solved by conjugate
    gradients without a matrix, or by a Cholesky factor. The witness is w = -h, a potential.
    (1 + lam) grad w is minus the Wasserstein gradient of the value.

    Parameters
    ----------
    kernel : Kernel or callable of the squared distance
    lam : float, schedule, callable (clock) -> float, or Decreasing
        The regularisation, > 0. Small: chi^2, on shared supports. Large: MMD^2. Where it changes
        during a run, each fit tells its own 1 + lam (`Fit.energy_slope`), which the mobility
        `EnergySlope` follows.
    rtol : float
        Bound of the error of h, relative in the Hilbert norm.

    Cost: as one Newton iteration of `KALE`.

    Source: Chen, Mustafi, Glaser, Korba, Gretton and Sriperumbudur (2025).

    >>> estimator = pf.estimators.DrMMD(pf.kernels.Gaussian(0.2), lam=1e-2)         # doctest: +SKIP
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
        return envelope.fit(x, y, lam / 2, memory, self._base, factor=1 + lam)
