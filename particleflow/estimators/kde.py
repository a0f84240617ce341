"""The ratio of two kernel density estimates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from particleflow._typing import Gradients, Memory, Queries, Values
from particleflow.clouds import Clock, Cloud, Kept
from particleflow.estimators.base import Fit
from particleflow.kernels import Kernel, as_kernel
from particleflow.kernels.radial import PositiveKernel
from particleflow.pairwise import Auto, Field, PairwiseSum
from particleflow.pairwise.base import check_backend


@dataclass(frozen=True)
class KDEWitness:
    """log target field - log current field, by log-sum-exp: finite, with its gradient, however far from both clouds."""

    target: Field
    current: Field
    log_ratio: ClassVar[bool] = True

    def value_and_grad(self, z: Queries) -> tuple[Values, Gradients]:
        log_p, grad_p = self.target.log(z)
        log_q, grad_q = self.current.log(z)
        return log_p - log_q, grad_p - grad_q


@dataclass(frozen=True)
class KDE:
    """w = log sum_j m_j k(y_j, .) - log sum_i m_i k(x_i, .), the log ratio of two kernel density estimates of one bandwidth.

    `Fit.value` is the plug-in KL(current || target) = -mean_i w(x_i); the velocity h'(w) grad w is NOT its gradient, and need not lower it.
    Cost O((N + M) Q d).

    Parameters
    ----------
    kernel : Kernel
        Positive: Gaussian, Laplace, Matern32, Matern52 or IMQ.
    pairwise : PairwiseSum
    """

    kernel: Kernel
    pairwise: PairwiseSum = field(default=Auto(), kw_only=True)
    deterministic: ClassVar[bool] = True
    log_ratio: ClassVar[bool] = True
    needs_target: ClassVar[bool] = True
    energy_slope: ClassVar[None] = None
    _target: Kept = field(default_factory=Kept, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", as_kernel(self.kernel))
        check_backend(self.pairwise)
        if not isinstance(self.kernel, PositiveKernel):
            raise TypeError(f"`kernel` must be positive to estimate a density, got {self.kernel}: use Gaussian, Laplace, Matern32, Matern52 or IMQ")

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit:
        assert y is not None
        target: Field = self._target.get(y, lambda: self.pairwise.sources(self.kernel, y.points).field(y.mass))
        current = self.pairwise.sources(self.kernel, x.points).field(x.mass)
        witness = KDEWitness(target, current)
        return Fit(witness, report=current.explain(x.points), objective=lambda: -float(x.mean(witness.value_and_grad(x.points)[0])))
