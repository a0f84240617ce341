"""An estimator that finds the particles beyond the reach of its witness, and may pull them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool
from torch import Tensor

from particleflow import _checks
from particleflow._typing import Gradients, Memory, Queries, Values
from particleflow.clouds import Clock, Cloud
from particleflow.estimators.base import (
    Estimator,
    Fit,
    KernelEnergy,
    SameBandwidth,
    Witness,
    check_estimator,
    fitted,
    smoothness_of,
)
from particleflow.kernels import FeatureKernel, Kernel
from particleflow.strays import nearest


@dataclass(frozen=True)
class Stragglers(SameBandwidth):
    r"""Count the particles beyond the reach of a witness, and pull them where a companion is given.

    .. math::

        \nabla w(z) = \frac1c \nabla w_{\text{companion}}(z)
        \quad \text{where} \quad
        \min_j \lVert z - y_j \rVert > \text{beyond}

    c is the flow's slope, so that there v is the companion's gradient. A straggler is a particle,
    or a query, farther than `beyond` from every target point. The fit's report has the number of
    particles among them as "stragglers". The companion is fitted to the stragglers alone, with the
    target's total mass: others that have arrived do not weaken its pull. The witness's value stays
    that of `estimator`, and so does `Fit.value`. Elsewhere nothing is changed. A witness with a
    companion is the gradient of no energy. `pf.stragglers` makes a flow with it.

    Parameters
    ----------
    estimator : Estimator
        It needs a target.
    beyond : float
        > 0, in the unit of the coordinates.
    companion : Estimator, optional
        Its witness reaches far, as that of `MMD(Energy())` does.
    factor : float, optional
        c > 0, the flow's constant slope. Left out, it is the `energy_slope` of each fit, or 1.

    Raises
    ------
    TypeError
        `estimator` or `companion` is no estimator, or a number is none.
    ValueError
        `beyond` or `factor` is not > 0.

    Cost: O((N + Q) M d) for the distances, beside both fits.

    One of two particles is 9 away. The energy kernel pulls it at unit speed:

    >>> mmd = pf.estimators.MMD(pf.kernels.Gaussian(1.0))
    >>> far = pf.estimators.MMD(pf.kernels.Energy())
    >>> x, y = torch.tensor([[1.0], [9.0]]), torch.zeros(3, 1)
    >>> fit = pf.fit(pf.estimators.Stragglers(mmd, 3.0, companion=far), x, y)
    >>> fit.report["stragglers"]
    1
    >>> fit.witness.value_and_grad(x)[1]
    tensor([[-0.6065],
            [-1.0000]])
    """

    estimator: Estimator
    beyond: float
    companion: Estimator | None = None
    factor: float | None = None

    def __post_init__(self) -> None:
        check_estimator(self.estimator)
        _checks.positive(self.beyond, "beyond", remedy="a distance in the coordinates' unit")
        if self.companion is not None:
            check_estimator(self.companion, "companion")
        if self.factor is not None:
            _checks.positive(self.factor, "factor", remedy="leave it out for the slope of each fit")

    @property
    def deterministic(self) -> bool:
        return self.estimator.deterministic

    @property
    def smooth_witness(self) -> bool:
        """False with a companion: its gradient begins with a jump, `beyond` from the target."""
        return self.companion is None and bool(smoothness_of(self.estimator))

    @property
    def log_ratio(self) -> bool:
        return self.estimator.log_ratio

    @property
    def needs_target(self) -> bool:
        return True

    @property
    def energy_slope(self) -> float | None:
        return None if self.companion is not None else self.estimator.energy_slope

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit:
        assert y is not None
        fit = fitted(self.estimator, x, y, clock, memory)
        beyond = nearest(x.points, y.points) > self.beyond
        report = {**fit.report, "stragglers": int(beyond.sum())}
        if self.companion is None:
            return replace(fit, report=report)
        far = fitted(self.companion, _alone(x, beyond, y), y, clock, {}).witness
        slope = self.factor if self.factor is not None else fit.energy_slope
        witness = _Pulled(fit.witness, far, y, self.beyond, 1.0 if slope is None else slope)
        return replace(fit, witness=witness, report=report)


def _alone(x: Cloud, far: Bool[Tensor, "N"], y: Cloud) -> Cloud:
    """The particles `far`, with the total mass of y; all particles where none is far."""
    if not bool(far.any()):
        return x
    total = 1.0 if y.log_mass is None else float(y.mass.sum())
    log_mass = x.points.new_zeros(len(x)) if x.log_mass is None else x.log_mass
    shares = log_mass[far].softmax(0)
    if not bool(shares.isfinite().all()):  # none of them has mass
        shares = torch.full_like(shares, 1 / len(shares))
    return Cloud(x.points[far], mass=total * shares)


@dataclass(frozen=True)
class KernelStragglers(Stragglers, KernelEnergy):
    """`Stragglers` of an estimator that declares its kernel (`KernelEnergy`)."""

    # read off, and so read only: the base class declares an attribute that may be set
    @property
    def kernel(self) -> Kernel | FeatureKernel | None:  # type: ignore[override]
        assert isinstance(self.estimator, KernelEnergy)
        return self.estimator.kernel


@dataclass(frozen=True)
class _Pulled:
    """`near`, with the gradient of `far` beyond `beyond` from the target."""

    near: Witness
    far: Witness
    target: Cloud
    beyond: float
    factor: float

    @property
    def log_ratio(self) -> bool:
        return self.near.log_ratio

    def value_and_grad(self, z: Queries) -> tuple[Values, Gradients]:
        value, grad = self.near.value_and_grad(z)
        beyond = nearest(z, self.target.points.to(z)) > self.beyond
        if bool(beyond.any()):
            grad = grad.clone()
            grad[beyond] = self.far.value_and_grad(z[beyond])[1] / self.factor
        return value, grad
