"""Regularised f-divergences: the Moreau envelope of D_f(. || p) in the Hilbert space of a kernel,
and the de-regularised MMD.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from particleflow import _checks
from particleflow._typing import Memory
from particleflow.clouds import Clock, Cloud
from particleflow.divergences import ChiSquare, Divergence
from particleflow.estimators.base import Fit
from particleflow.estimators.envelope import Envelope
from particleflow.estimators.penalty import Penalty, as_penalty, penalty_at, remembering
from particleflow.kept import Kept
from particleflow.kernels import Kernel, as_kernel
from particleflow.pairwise import Auto, PairwiseSum
from particleflow.pairwise.base import check_backend

# A linear problem takes one iteration; the others mend what rough products leave.
ITERATIONS = 20
REMEDY = (
    "it is the weight of the distance of embeddings; 1e-2 is a fair start, larger is nearer to MMD"
)


@dataclass(frozen=True)
class Moreau:
    """min over g >= 0 of E_p f(g) + |mu_q - mu_gp|^2 / (2 lam), q the particles' law, p the
    target's: D_f(q || p), smoothed.

    The witness is w = -h, h = (mu_q - mu_gp) / lam, and g = (f*)'(h) at the target's points: h is
    about f'(q / p), so that w grows with log p / q but is no log ratio itself (but of KL, see
    `KALE`). grad w is minus the Wasserstein gradient of the value (Neumayer, Stein, Steidl and Rux
    2024) where no singular mass b_i sits on particles (below): such mass moves along, and the value
    found changes with x_i by 1 - N b_i times as much. So an entropy with a finite recession
    constant has no `energy_slope`; each of its fits has one where it finds no such mass.

    Where f has a finite recession constant c (Jensen-Shannon, reverse KL, total variation, Tsallis
    below 1), mass may leave the target's points at the cost c: h <= c everywhere. Where h exceeds c
    at a particle there are weights on the particles as well, and an interior-point method finds all
    M + N of them, as it does where densities of Tsallis(2) and above meet 0 and Newton's method
    fails. Its gap is a share of some 1e-15 / lam of the value up to 4096 points (beyond, of the
    sums' error over lam); `error` is the root of that share.

    Parameters
    ----------
    kernel : Kernel or callable of the squared distance
    divergence : Divergence
        The entropy f, from `particleflow.divergences`.
    lam : float, schedule, callable (clock) -> float, or Decreasing
        The weight of the squared distance, > 0. The value is at most MMD^2 / (2 lam).
    rtol : float
        Bound on the error of h, relative in the Hilbert norm; the errors of the sums bound it from
        below.
    max_iterations : int
        Newton iterations (for each value of lam on the way, when it starts cold). When they do not
        suffice, `converged` is False.
    """

    kernel: Kernel
    divergence: Divergence = field(kw_only=True)
    lam: Penalty = field(kw_only=True)
    rtol: float = field(default=1e-12, kw_only=True)
    max_iterations: int = field(default=1000, kw_only=True)
    pairwise: PairwiseSum = field(default=Auto(rtol=1e-10), kw_only=True)
    deterministic: ClassVar[bool] = True
    smooth_witness: ClassVar[bool] = True
    log_ratio: ClassVar[bool] = False
    needs_target: ClassVar[bool] = True
    _base: Kept = field(default_factory=Kept, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", as_kernel(self.kernel))
        check_backend(self.pairwise)
        if isinstance(self.divergence, type) or not isinstance(self.divergence, Divergence):
            what = (
                f"the class {self.divergence.__name__}"
                if isinstance(self.divergence, type)
                else type(self.divergence).__name__
            )
            raise TypeError(
                f"`divergence` must be an entropy such as pf.divergences.Jeffreys(), got {what}:"
                " pass one of pf.divergences"
            )
        object.__setattr__(self, "lam", as_penalty(self.lam, REMEDY))
        _checks.positive(self.rtol, "rtol")
        _checks.count(self.max_iterations, "max_iterations")

    @property
    def energy_slope(self) -> float | None:
        return (
            1.0 if isinstance(self.lam, float) and math.isinf(self.divergence.recession) else None
        )

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit:
        assert y is not None
        envelope = Envelope(
            self.kernel, self.divergence, self.rtol, self.max_iterations, self.pairwise
        )
        lam = penalty_at(self.lam, clock, memory)
        found = envelope.fit(
            x, y, lam, memory, self._base, factor=1.0, slope=1.0, sign=-1.0, log_ratio=False
        )
        return remembering(found, self.lam, memory)


@dataclass(frozen=True)
class DrMMD:
    """(1 + lam) (mu_q - mu_p)' (C_p + lam I)^{-1} (mu_q - mu_p), C_p = E_p k(y, .) k(y, .)': the
    de-regularised MMD, between chi^2 and MMD^2.

    It is 1 + lam times the Moreau envelope of chi^2 without the constraint g >= 0, at lam / 2: one
    linear system, (2 I + K Q / (lam / 2)) g = 2 + mu_q(y) / (lam / 2), solved by conjugate
    gradients without a matrix, or by Cholesky. The witness is w = -h, a potential; (1 + lam) grad w
    is minus the Wasserstein gradient of the value (Chen, Mustafi, Glaser, Korba, Gretton and
    Sriperumbudur 2024).

    Parameters
    ----------
    kernel : Kernel or callable of the squared distance
    lam : float, schedule, callable (clock) -> float, or Decreasing
        The regularisation, > 0: chi^2 where it is small (on shared supports), MMD^2 where it is
        large. Where it changes during a run each fit tells its own 1 + lam (`Fit.energy_slope`),
        which the mobility `Descent` follows.
    rtol : float
        Bound on the error of h, relative in the Hilbert norm.
    """

    kernel: Kernel
    lam: Penalty = field(kw_only=True)
    rtol: float = field(default=1e-12, kw_only=True)
    pairwise: PairwiseSum = field(default=Auto(rtol=1e-10), kw_only=True)
    deterministic: ClassVar[bool] = True
    smooth_witness: ClassVar[bool] = True
    log_ratio: ClassVar[bool] = False
    needs_target: ClassVar[bool] = True
    _base: Kept = field(default_factory=Kept, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", as_kernel(self.kernel))
        check_backend(self.pairwise)
        object.__setattr__(self, "lam", as_penalty(self.lam, REMEDY))
        _checks.positive(self.rtol, "rtol")

    @property
    def energy_slope(self) -> float | None:
        return 1.0 + self.lam if isinstance(self.lam, float) else None

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit:
        assert y is not None
        envelope = Envelope(
            self.kernel, ChiSquare(nonnegative=False), self.rtol, ITERATIONS, self.pairwise
        )
        lam = penalty_at(self.lam, clock, memory)
        found = envelope.fit(
            x,
            y,
            lam / 2,
            memory,
            self._base,
            factor=1 + lam,
            slope=1.0 + lam,
            sign=-1.0,
            log_ratio=False,
        )
        return remembering(found, self.lam, memory)
