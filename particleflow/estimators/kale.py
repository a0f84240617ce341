"""The KL approximate lower bound estimator (KALE): a kernel-regularised KL divergence whose witness is a log density ratio."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from particleflow import _checks
from particleflow._typing import Memory
from particleflow.clouds import Clock, Cloud, Kept
from particleflow.estimators.base import FieldWitness, Fit
from particleflow.estimators.newton import Dual, solve
from particleflow.kernels import Kernel, as_kernel
from particleflow.pairwise import Auto, PairwiseSum
from particleflow.pairwise.dense import kernel_matrix


@dataclass(frozen=True)
class KALE:
    """KALE(q || p) = (1 + lam) max_h { 1 + E_q h - E_p e^h - lam/2 |h|^2 }, q the particles' law, p the target's.

    h is about log(q / p), so the witness is w = -h = (sum_j a_j k(y_j, .) - mean_i k(x_i, .)) / lam, a log ratio target / current. The dual
    weights a = e^{h(y)} / M minimise a strictly convex function; they are found by Newton's method in log a (theory page, equations 6-9) and
    certified by the duality gap (in the report, with the number of iterations and `converged`). (1 + lam) grad w is minus the Wasserstein
    gradient of the value (Glaser, Arbel and Gretton 2021; theory page, equation 10). lam -> infinity gives MMD^2/2; lam -> 0 tends to KL only
    where the samples share their support: for two different finite samples the value grows like 1/lam.

    Cost O(M^3) an iteration, 2 to 5 iterations warm; memory O(M^2). The solver works in float64 whatever the particles' dtype.

    Parameters
    ----------
    kernel : Kernel or callable of the squared distance
    lam : float
        The weight of the penalty, > 0.
    rtol : float
        Bound on the last Newton correction of h, relative in the Hilbert norm.
    max_iterations : int
        Newton iterations (for each value of lam on the way, when it starts cold). When they do not suffice, `converged` is False.
    """

    kernel: Kernel
    lam: float = field(kw_only=True)
    rtol: float = field(default=1e-8, kw_only=True)
    max_iterations: int = field(default=50, kw_only=True)
    pairwise: PairwiseSum = field(default=Auto(rtol=1e-10), kw_only=True)
    deterministic: ClassVar[bool] = True
    log_ratio: ClassVar[bool] = True
    needs_target: ClassVar[bool] = True
    _target: Kept = field(default_factory=Kept, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", as_kernel(self.kernel))
        remedy = "it is the weight of the penalty; 1e-2 is a fair start, larger is nearer to MMD"
        object.__setattr__(self, "lam", _checks.positive(self.lam, "lam", remedy=remedy))
        _checks.positive(self.rtol, "rtol")
        _checks.count(self.max_iterations, "max_iterations")

    @property
    def energy_slope(self) -> float:
        return 1.0 + self.lam

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit:
        assert y is not None
        x64, y64 = x.double(), y.double()
        matrix: Tensor = self._target.get(y, lambda: kernel_matrix(self.kernel, y64.points, y64.points))
        from_x = self.pairwise.sources(self.kernel, x64.points).field(x64.mass)
        mass = y64.mass
        dual = Dual(matrix, from_x.value(y64.points), mass, energy=float(x64.mean(from_x.value(x64.points))))
        start = memory.get("u")
        if start is not None and start.shape != mass.shape:
            start = None
        solution = solve(dual, self.lam, start=start, rtol=self.rtol, max_iterations=self.max_iterations)

        a = mass * torch.exp(solution.u)
        dtype = x.points.dtype
        up = self.pairwise.sources(self.kernel, y.points).field((a / self.lam).to(dtype))
        down = self.pairwise.sources(self.kernel, x.points).field((-x.mass / self.lam).to(dtype))
        total = up + down
        report = {
            **total.explain(x.points),
            "converged": solution.converged,
            "iterations": solution.iterations,
            "gap": (1 + self.lam) * solution.gap,
            "remedy": "raise lam or max_iterations, or lower dt",
        }
        value = (1 + self.lam) * solution.value
        bound = partial(total.promise, x.points)
        return Fit(FieldWitness(total, log_ratio=True), {"u": solution.u}, report, objective=lambda: value, bound=bound)
