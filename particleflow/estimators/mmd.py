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
    r"""Give the witness of the maximum mean discrepancy, the difference of two mean embeddings.

    .. math::

        w = \frac1M \sum_j k(y_j, \cdot) - \frac1N \sum_i k(x_i, \cdot), \qquad
        \frac12 \mathrm{MMD}^2 = \frac12 \lVert w \rVert_{\mathcal{H}}^2

    Where clouds have masses, these stand for 1/M and 1/N. `Fit.value` is
    :math:`\frac12 \mathrm{MMD}^2` as a V-statistic (all pairs, the diagonal too), half of what
    `metrics.MMD2` gives. grad w is minus its Wasserstein gradient. w is a potential: its size has
    no meaning of its own. Clouds of any size serve, N and M may differ, and nothing is iterated, so
    that a fit never fails.

    Parameters
    ----------
    kernel : Kernel, FeatureKernel, or callable of the squared distance
        Its bandwidth is a length, in the units of the coordinates.
    pairwise : PairwiseSum
        The backend of the sums. `Auto()` takes the cheapest whose errors are at most 1e-5.

    Raises
    ------
    TypeError
        `kernel` is no kernel and no callable, or `pairwise` no backend.

    Cost: O((N + M) Q d) for Q queries with exact sums. The value costs O((N + M) N d), and O(M^2 d)
    once for each target. A `FeatureKernel` of D features costs O((N + M + Q) D).

    Source: Arbel, Korba, Salim and Gretton (2019); theory page, equation 3.

    One particle at 0 and a target in one place at 1:

    >>> mmd = pf.estimators.MMD(pf.kernels.Gaussian(1.0))
    >>> fit = pf.fit(mmd, [[0.0]], [[1.0], [1.0]])
    >>> round(fit.value, 4)  # 1 - exp(-1/2)
    0.3935
    >>> w, grad = fit.witness.value_and_grad(torch.tensor([[0.0]]))
    >>> w, grad  # exp(-1/2) - 1 and exp(-1/2)
    (tensor([-0.3935]), tensor([[0.6065]]))
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
