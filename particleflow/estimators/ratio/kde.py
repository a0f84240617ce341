"""The ratio of two kernel density estimates."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from particleflow._typing import Gradients, Memory, Queries, Values
from particleflow.clouds import Clock, Cloud
from particleflow.estimators.base import (
    CurvedWitness,
    Fit,
    FlowDefaults,
    OneKernel,
    SmoothRatio,
    mean_descent,
    remembered,
)
from particleflow.kept import Kept
from particleflow.kernels import Bandwidth, CrossValidated, Gaussian, Kernel, Median
from particleflow.kernels.bandwidth import is_rule, read_off
from particleflow.kernels.declared import (
    as_kernel_or_rule,
    bandwidth_of,
    is_positive,
    names_of,
    positive_kind,
)
from particleflow.pairwise import Auto, Field, PairwiseSum
from particleflow.pairwise.base import check_backend
from particleflow.pairwise.hessian import log_hessian


@dataclass(frozen=True)
class KDEWitness(CurvedWitness):
    """log target field - log current field + shift, by log-sum-exp.

    It and its gradient are finite however far z is from both clouds.
    """

    target: Field
    current: Field
    shift: float = 0.0
    log_ratio: ClassVar[bool] = True

    def value_and_grad(self, z: Queries) -> tuple[Values, Gradients]:
        log_p, grad_p = self.target.log(z)
        log_q, grad_q = self.current.log(z)
        value = log_p - log_q
        return value + self.shift if self.shift else value, grad_p - grad_q

    def hessian(self, z: Queries) -> Float[Tensor, "Q d d"]:
        return log_hessian(self.target, z) - log_hessian(self.current, z)


@dataclass(frozen=True)
class KDE(SmoothRatio, OneKernel, FlowDefaults):
    r"""Give the log ratio of two kernel density estimates.

    .. math::

        w(z) = \log \frac1M \sum_j \frac{k_y(y_j, z)}{c_y}
             - \log \frac1N \sum_i \frac{k_x(x_i, z)}{c_x}, \qquad
        c = \int k

    With a kernel, k_x = k_y and the constants cancel. With a rule both kernels are Gaussian, each
    cloud has its own bandwidth :math:`\ell`, and :math:`c = (2 \pi \ell^2)^{d/2}`. Log-sum-exp
    keeps w and its gradient finite however far z is from both clouds.

    A flow rests where the smoothed densities agree. With one bandwidth for both, the particles then
    have the target's distribution. With two bandwidths they end narrower or wider than the target.

    `Fit.value` is the plug-in KL(current || target) :math:`= -\frac1N \sum_i w(x_i)`. The velocity
    :math:`h'(w) \nabla w` is not its gradient, and need not lower it. Clouds of any size serve with
    a kernel, N and M may differ, and nothing is iterated. A rule needs points that do not coincide.
    `Fit.report` has the bandwidths that were chosen from the data.

    Parameters
    ----------
    kernel : Kernel, Bandwidth or None
        Positive: Gaussian, Laplace, Matern32, Matern52, IMQ or Cauchy. A rule of
        `particleflow.kernels`, such as CrossValidated(), Scott() or Median(), is applied to each
        cloud at each fit. None: a Gaussian for both clouds, whose bandwidth `shared` chooses for
        the target at the first fit.
    shared : Bandwidth, optional
        The rule that chooses the bandwidth where `kernel` is None. The bandwidth is kept in memory.
        None: CrossValidated(), which fits a density. In a `Flow`, None is Median(None), the rule of
        `default_bandwidth`. A flow needs a force between the parts of a target, and a bandwidth
        that fits each part gives none there.
    pairwise : PairwiseSum
        The backend of the sums. `Auto()` takes the cheapest whose errors are at most 1e-5.

    Raises
    ------
    TypeError
        `kernel` is not positive, `shared` is no rule, or `pairwise` no backend.
    ValueError
        `shared` is given beside a kernel. At a fit: a rule finds a cloud of one place, `x` or `y`.

    Cost: O((N + M) Q d) for Q queries with exact sums. A rule adds its own cost at each fit.

    Source: Rosenblatt (1956) and Parzen (1962) for the estimates; theory page, equation 18.

    Three of four particles are at 0, and half of the target: w is log(2/3) there, and log 2 at 5.
    The value is KL(q || p) of these masses.

    >>> kde = pf.estimators.KDE(pf.kernels.Gaussian(1.0))
    >>> x, y = [[0.0], [0.0], [0.0], [5.0]], [[0.0], [5.0]]
    >>> fit = pf.fit(kde, x, y)
    >>> fit.witness.value_and_grad(torch.tensor(y))[0]
    tensor([-0.4055,  0.6931])
    >>> round(fit.value, 4)
    0.1308
    """

    kernel: Kernel | Bandwidth | None = None
    shared: Bandwidth | None = field(default=None, kw_only=True)
    pairwise: PairwiseSum = field(default=Auto(), kw_only=True)
    _target: Kept = field(default_factory=Kept, init=False, repr=False, compare=False)
    _width: Kept = field(default_factory=Kept, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_backend(self.pairwise)
        if self.shared is not None:
            if isinstance(self.shared, type) or not isinstance(self.shared, Bandwidth):
                raise TypeError(
                    f"`shared` must be a rule with of(cloud), got {self.shared!r}: e.g."
                    " pf.kernels.CrossValidated()"
                )
            if self.kernel is not None:
                raise ValueError(
                    f"`shared` chooses a bandwidth where there is no kernel, got {self.shared}"
                    f" beside {self.kernel}: leave one out"
                )
        if self.kernel is None:
            return
        kernel = as_kernel_or_rule(self.kernel)
        object.__setattr__(self, "kernel", kernel)
        if not (is_rule(kernel) or is_positive(kernel)):
            raise TypeError(
                f"`kernel` must be positive to estimate a density, got {self.kernel}: use"
                f" {names_of(positive_kind)}"
            )

    def in_flow(self) -> KDE:
        """The same estimator, with `default_bandwidth` of the target where nothing is given."""
        free = self.kernel is None and self.shared is None
        return replace(self, shared=Median(None)) if free else self

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit:
        assert y is not None
        if isinstance(self.kernel, Kernel):
            return self._fit(x, y, self.kernel, self.kernel)
        if self.kernel is None:
            kept = memory.get("bandwidth", None)
            rule = CrossValidated() if self.shared is None else self.shared
            width = read_off("`y`", partial(rule.of, y)) if kept is None else float(kept)
            kernel = Gaussian(width)
            return self._fit(x, y, kernel, kernel, {"bandwidth": remembered(width)})
        rule = self.kernel
        of_y: float = self._width.get(y, lambda: read_off("`y`", partial(rule.of, y)))
        return self._fit(x, y, Gaussian(read_off("`x`", partial(rule.of, x))), Gaussian(of_y))

    def _fit(
        self, x: Cloud, y: Cloud, of_x: Kernel, of_y: Kernel, memory: Memory | None = None
    ) -> Fit:
        # the key holds the kernel too: a run that goes on may bring another bandwidth
        target: Field = self._target.get(
            y, lambda: self.pairwise.sources(of_y, y.points).field(y.mass), of=of_y
        )
        current = self.pairwise.sources(of_x, x.points).field(x.mass)
        report, shift = dict(current.explain(x.points)), 0.0
        if isinstance(self.kernel, Kernel):
            width = bandwidth_of(self.kernel)
            report |= {} if width is None else {"bandwidth": width}
        else:
            assert isinstance(of_x, Gaussian)
            assert isinstance(of_y, Gaussian)
            shift = x.dim * math.log(of_x.bandwidth / of_y.bandwidth)
            report |= {"bandwidth": of_x.bandwidth, "target_bandwidth": of_y.bandwidth}
        witness = KDEWitness(target, current, shift)
        return Fit(
            witness,
            dict(memory or {}),
            report,
            objective=partial(mean_descent, witness, x),
        )
