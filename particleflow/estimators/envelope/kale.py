"""The KL approximate lower bound estimator (KALE): a kernel-regularised KL divergence."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

from particleflow import _checks
from particleflow._typing import Memory
from particleflow.clouds import Cloud
from particleflow.divergences import KL
from particleflow.estimators.base import Fit, remembered
from particleflow.estimators.envelope.penalty import Penalty
from particleflow.estimators.envelope.regularised import Regularised
from particleflow.estimators.envelope.witness import Envelope
from particleflow.kept import Kept
from particleflow.kernels import Gaussian, Kernel, as_kernel, default_bandwidth
from particleflow.kernels.bandwidth import read_off
from particleflow.pairwise import Auto, PairwiseSum


@dataclass(frozen=True)
class KALE(Regularised):
    r"""Give the log ratio that solves the kernel-regularised variational problem of KL(q || p).

    .. math::

        \mathrm{KALE}(q \,\|\, p) = (1 + \lambda) \max_h \left\{
            1 + \mathbb{E}_q h - \mathbb{E}_p e^h
            - \frac\lambda2 \lVert h \rVert_{\mathcal{H}}^2 \right\}

    q is the particles' distribution, p the target's. h is about log(q / p), so the witness is w =
    -h, a log ratio target / current:

    .. math::

        w = \frac1\lambda \Bigl( \sum_j a_j k(y_j, \cdot)
            - \frac1N \sum_i k(x_i, \cdot) \Bigr), \qquad
        a_j = \frac1M e^{-w(y_j)}

    The dual weights a minimise a strictly convex function. Newton's method in log a finds them, and
    the duality gap certifies them: the true value lies between `value` - `gap` and `value`. The
    report tells `gap`, and `error`, a bound of the relative error of h in the Hilbert norm.

    `Fit.value` is KALE, with its factor :math:`1 + \lambda`, and :math:`(1 + \lambda) \nabla w` is
    minus its Wasserstein gradient. A large :math:`\lambda` gives MMD^2 / 2. A small one tends to KL
    only where the samples share their support: for two different finite samples the value grows
    like :math:`1 / \lambda`, and a warning says so.

    Clouds of any size serve, and N and M may differ. A fit fails where `max_iterations` do not
    suffice: `report["converged"]` is then False, and `report["remedy"]` tells what to change. With
    :math:`\lambda` at 1e-4 or less take float64 particles: the witness divides the rounding of its
    sums by :math:`\lambda`.

    Parameters
    ----------
    kernel : Kernel, callable of the squared distance, or None
        None: a Gaussian whose bandwidth is `default_bandwidth` of the target at the first fit. The
        bandwidth is kept in memory and reported.
    lam : float, schedule, callable (clock) -> float, or Decreasing
        The weight of the penalty, > 0. Where it changes during a run, each fit tells its own
        1 + lam (`Fit.energy_slope`), which the mobility `EnergySlope` follows. The value is then of
        another functional at each step, and need not decrease.
    reverse : bool
        True: KALE(p || q), with w = +h and weights on the particles. Minus the Wasserstein gradient
        of the value is then (1 + lam) e^w grad w. That is no constant times grad w, but the
        mobility `Exponential`.
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
        `kernel`, `lam`, `reverse` or `pairwise` is of another type.
    ValueError
        `lam` or `rtol` is not > 0, or `max_iterations` < 1. At a fit: lam of a schedule is not > 0,
        or `kernel` is None and most points of the target are in one place.

    Cost: a warm fit takes 2 to 5 Newton iterations, whatever M is. Each takes one exact product by
    K = k(y_i, y_j), and some 5 rough products for its linear system at lam = 1e-2. K is kept up to
    512 points, and up to 4096 where no fast sum replaces it. Beyond, memory is O(M). The solver
    works in float64 whatever the particles' dtype. Q queries cost O((N + M) Q d).

    Source: Glaser, Arbel and Gretton (2021); theory page, equations 6-14.

    On shared points a small lam gives KL, here 0.75 log 1.5 + 0.25 log 0.5, and w the log ratios
    log(2/3) and log 2:

    >>> kale = pf.estimators.KALE(pf.kernels.Gaussian(1.0), lam=1e-6)
    >>> x, y = [[0.0], [0.0], [0.0], [5.0]], [[0.0], [5.0]]
    >>> fit = pf.fit(kale, x, y)
    >>> round(fit.value, 4)
    0.1308
    >>> fit.witness.value_and_grad(torch.tensor(y, dtype=torch.float64))[0]
    tensor([-0.4055,  0.6931], dtype=torch.float64)
    """

    kernel: Kernel | None = None
    lam: Penalty = field(default=1e-2, kw_only=True)
    reverse: bool = field(default=False, kw_only=True)
    rtol: float = field(default=1e-12, kw_only=True)
    max_iterations: int = field(default=1000, kw_only=True)
    pairwise: PairwiseSum = field(default=Auto(rtol=1e-10), kw_only=True)
    log_ratio: ClassVar[bool] = True
    _base: Kept = field(default_factory=Kept, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.kernel is not None:
            object.__setattr__(self, "kernel", as_kernel(self.kernel))
        super().__post_init__()
        _checks.flag(self.reverse, "reverse")
        _checks.count(self.max_iterations, "max_iterations")

    @property
    def energy_slope(self) -> float | None:
        return 1.0 + self.lam if isinstance(self.lam, float) and not self.reverse else None

    def _fit(self, x: Cloud, y: Cloud, lam: float, memory: Memory) -> Fit:
        if self.kernel is not None:
            return self._with_kernel(self.kernel, x, y, lam, memory)
        bandwidth = memory.get("bandwidth")
        if bandwidth is None:
            bandwidth = remembered(read_off("`y`", partial(default_bandwidth, y)))
        found = self._with_kernel(Gaussian(float(bandwidth)), x, y, lam, memory)
        return replace(
            found,
            memory={**found.memory, "bandwidth": bandwidth},
            report={**found.report, "bandwidth": float(bandwidth)},
        )

    def _with_kernel(self, kernel: Kernel, x: Cloud, y: Cloud, lam: float, memory: Memory) -> Fit:
        envelope = Envelope(kernel, KL(), self.rtol, self.max_iterations, self.pairwise)
        return envelope.fit(
            x, y, lam, memory, self._base, factor=1 + lam, reverse=self.reverse, log_ratio=True
        )
