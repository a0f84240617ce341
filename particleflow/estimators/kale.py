"""The KL approximate lower bound estimator (KALE): a kernel-regularised KL divergence whose witness
is a log density ratio.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from particleflow import _checks
from particleflow._typing import Memory
from particleflow.clouds import Clock, Cloud
from particleflow.divergences import KL
from particleflow.estimators.base import Fit
from particleflow.estimators.envelope import Envelope
from particleflow.estimators.penalty import Penalty, as_penalty, penalty_at, remembering
from particleflow.kept import Kept
from particleflow.kernels import Gaussian, Kernel, as_kernel, default_bandwidth
from particleflow.kernels.bandwidth import read_off
from particleflow.pairwise import Auto, PairwiseSum
from particleflow.pairwise.base import check_backend


@dataclass(frozen=True)
class KALE:
    """KALE(q || p) = (1 + lam) max_h { 1 + E_q h - E_p e^h - lam/2 |h|^2 }, q the particles' law, p
    the target's.

    h is about log(q / p), so the witness is w = -h = (sum_j a_j k(y_j, .) - mean_i k(x_i, .)) /
    lam, a log ratio target / current. The dual weights a = e^{h(y)} / M minimise a strictly convex
    function; they are found by Newton's method in log a (theory page, equations 6-9) and certified
    by the duality gap: the report tells it, and `error`, a bound of the relative error of h in the
    Hilbert norm that follows from it. (1 + lam) grad w is minus the Wasserstein gradient of the
    value (Glaser, Arbel and Gretton 2021; theory page, equation 10). lam -> infinity gives MMD^2/2;
    lam -> 0 tends to KL only where the samples share their support: for two different finite
    samples the value grows like 1/lam.

    Cost: one exact product by K = k(y_i, y_j) for each of 2 to 5 Newton iterations (warm), and some
    5 rough ones for its linear system at lam = 1e-2, whatever M is. The matrix K is kept up to 512
    points, up to 4096 where no fast sum replaces it; beyond, memory is O(M). The solver works in
    float64 whatever the particles' dtype.

    Parameters
    ----------
    kernel : Kernel, callable of the squared distance, or None
        None: a Gaussian, its bandwidth `default_bandwidth` of the target at the first fit, kept in
        memory and reported.
    lam : float, schedule, callable (clock) -> float, or Decreasing
        The weight of the penalty, > 0. Where it changes during a run each fit tells its own 1 + lam
        (`Fit.energy_slope`), which the mobility `Descent` follows; the value is then of another
        functional at each step, and need not decrease.
    reverse : bool
        KALE(p || q) instead, with w = +h and weights on the particles. It is not energetic with a
        constant slope: minus the Wasserstein gradient of the value is (1 + lam) e^w grad w, the
        mobility `Exponential`.
    rtol : float
        Bound on the error of h, relative in the Hilbert norm; the errors of the sums bound it from
        below.
    max_iterations : int
        Newton iterations (for each value of lam on the way, when it starts cold). When they do not
        suffice, `converged` is False.
    """

    kernel: Kernel | None = None
    lam: Penalty = field(default=1e-2, kw_only=True)
    reverse: bool = field(default=False, kw_only=True)
    rtol: float = field(default=1e-12, kw_only=True)
    max_iterations: int = field(default=1000, kw_only=True)
    pairwise: PairwiseSum = field(default=Auto(rtol=1e-10), kw_only=True)
    deterministic: ClassVar[bool] = True
    smooth_witness: ClassVar[bool] = True
    log_ratio: ClassVar[bool] = True
    needs_target: ClassVar[bool] = True
    _base: Kept = field(default_factory=Kept, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.kernel is not None:
            object.__setattr__(self, "kernel", as_kernel(self.kernel))
        check_backend(self.pairwise)
        _checks.flag(self.reverse, "reverse")
        remedy = "it is the weight of the penalty; 1e-2 is a fair start, larger is nearer to MMD"
        object.__setattr__(self, "lam", as_penalty(self.lam, remedy))
        _checks.positive(self.rtol, "rtol")
        _checks.count(self.max_iterations, "max_iterations")

    @property
    def energy_slope(self) -> float | None:
        return 1.0 + self.lam if isinstance(self.lam, float) and not self.reverse else None

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit:
        assert y is not None
        chosen: dict[str, Tensor] = {}
        kernel = self.kernel
        if kernel is None:
            bandwidth = memory.get("bandwidth")
            if bandwidth is None:
                bandwidth = torch.tensor(
                    read_off("`y`", partial(default_bandwidth, y)),
                    dtype=torch.float64,
                    device="cpu",
                )
            kernel, chosen = Gaussian(float(bandwidth)), {"bandwidth": bandwidth}
        envelope = Envelope(kernel, KL(), self.rtol, self.max_iterations, self.pairwise)
        moving, base, sign = (y, x, 1.0) if self.reverse else (x, y, -1.0)
        lam = penalty_at(self.lam, clock, memory)
        slope = None if self.reverse else 1.0 + lam
        found = envelope.fit(
            moving,
            base,
            lam,
            memory,
            self._base,
            factor=1 + lam,
            slope=slope,
            sign=sign,
            log_ratio=True,
        )
        found = replace(
            found,
            memory={**found.memory, **chosen},
            report={**found.report, **{name: float(of) for name, of in chosen.items()}},
        )
        return remembering(found, self.lam, memory)
