"""The witness of the maximum mean discrepancy."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from particleflow._typing import Memory
from particleflow.clouds import Clock, Cloud
from particleflow.estimators.base import FieldWitness, Fit, HalfSquaredNorm, OneKernel
from particleflow.kept import Kept
from particleflow.kernels import FeatureKernel, Kernel
from particleflow.kernels.explicit import as_summable
from particleflow.memo import cached_property
from particleflow.pairwise import Auto, Field, PairwiseSum, Sources
from particleflow.pairwise.base import check_backend
from particleflow.pairwise.explicit import sources_of


@dataclass(frozen=True)
class MMD(HalfSquaredNorm, OneKernel):
    """w = sum_j m_j k(y_j, .) - sum_i m_i k(x_i, .), masses 1/M and 1/N unless given.

    `Fit.value` is MMD^2 / 2, the V-statistic without a factor 2. grad w is minus its Wasserstein
    gradient. Cost O((N + M) Q d) for Q queries. The value costs O((N + M) N d), and O(M^2 d) once
    for each target.

    Parameters
    ----------
    kernel : Kernel, FeatureKernel, or callable of the squared distance
    pairwise : PairwiseSum
        The backend of the sums. Unless given: the cheapest whose errors are at most 1e-5.

    Source: Arbel, Korba, Salim and Gretton (2019); theory page, equation 3.

    >>> flow = pf.Flow(pf.estimators.MMD(pf.kernels.Gaussian(0.2)))         # doctest: +SKIP
    """

    kernel: Kernel | FeatureKernel
    pairwise: PairwiseSum = field(default=Auto(), kw_only=True)
    deterministic: ClassVar[bool] = True
    smooth_witness: ClassVar[bool] = True
    log_ratio: ClassVar[bool] = False
    needs_target: ClassVar[bool] = True
    energy_slope: ClassVar[float] = 1.0
    _target: Kept = field(default_factory=Kept, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", as_summable(self.kernel))
        check_backend(self.pairwise)

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit:
        assert y is not None
        target: _Target = self._target.get(
            y, lambda: _Target(y, sources_of(self.kernel, y.points, self.pairwise))
        )
        current = sources_of(self.kernel, x.points, self.pairwise).field(-x.mass)
        total = target.field + current
        return Fit(
            FieldWitness(total, log_ratio=False),
            report=total.explain(x.points),
            objective=partial(_half_mmd2, x, current, target),
            bound=partial(total.promise, x.points),
        )


@dataclass(frozen=True, eq=False)
class _Target:
    """A target's fields, with the work of fast sums, and its energy: kept with the target."""

    cloud: Cloud
    sources: Sources

    @cached_property
    def field(self) -> Field:
        return self.sources.field(self.cloud.mass)

    @cached_property
    def twice(self) -> Field:
        return self.sources.field(2 * self.cloud.mass)

    @cached_property
    def energy(self) -> float:
        return float(self.cloud.mean(self.field.value(self.cloud.points)))


def _half_mmd2(x: Cloud, current: Field, target: _Target) -> float:
    """(E_y f_y - E_x[2 f_y - f_x]) / 2, f = sum_i m_i k(p_i, .); `current` is the field -f_x."""
    return 0.5 * (target.energy - float(x.mean((target.twice + current).value(x.points))))
