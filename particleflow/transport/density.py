"""Log densities along a run, and the divergence from a target that follows from them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from particleflow import _checks
from particleflow._refusals import RefusedTypeError, RefusedValueError
from particleflow._supplied import Supplied
from particleflow._typing import Points, Queries, Values
from particleflow.clouds import Cloud, as_cloud
from particleflow.estimators.base import KernelWitness, fitted, inner_of, smoothness_of
from particleflow.integrators import RungeKutta
from particleflow.kernels import Gaussian, Kernel
from particleflow.kernels.declared import has_kink
from particleflow.pairwise import Auto, Field
from particleflow.recipe import Leg
from particleflow.samplers.base import Sampler, Seeded
from particleflow.trajectory import Trajectory
from particleflow.transport import points as moving
from particleflow.transport.replay import recipe_of
from particleflow.transport.step import Step, scheme_of

# An argument that is a density: its log density at z (Q, d), shape (Q,).
LogDensity = Callable[[Tensor], Tensor]


@dataclass(frozen=True, init=False, repr=False, eq=False)
class KernelDensity(Seeded):
    r"""The density of a cloud that is smoothed by a Gaussian, of total mass one:

    .. math::

        q(z) = \sum_i m_i\, \mathcal{N}(z;\, x_i,\, \ell^2 I) ,

    with the masses over their total, and :math:`\ell` the `bandwidth`. It serves for the start of a
    run whose density is not known: `KernelDensity(path.cloud(0), bandwidth)`. `log_density` (Q,)
    and `score` (Q, d) evaluate it, `sample` draws from it.

    Parameters
    ----------
    cloud : (N, d) points or Cloud
        The points x_i. They are copied, in float64.
    bandwidth : float
        > 0, in units of the coordinates.

    Raises
    ------
    ValueError
        `bandwidth` is not > 0; `cloud` is not (N, d), or not finite.
    TypeError
        `bandwidth` is no number; `cloud` is not numeric.

    Cost: O(Q N d) for Q points.
    Source: Parzen (1962), Annals of Mathematical Statistics 33.

    >>> density = pf.transport.KernelDensity([[0.0], [0.0]], bandwidth=1.0)
    >>> float(density.log_density(torch.zeros(1, 1)).exp())  # N(0, 1)
    0.39894...
    """

    cloud: Cloud
    bandwidth: float
    _field: Field

    def __init__(self, cloud: Any, bandwidth: float) -> None:
        points = as_cloud(cloud, "cloud").double()
        width = _checks.positive(bandwidth, "bandwidth", remedy="a length, e.g. 0.1")
        share = points.mass / points.mass.sum()
        object.__setattr__(self, "cloud", Cloud(points.points, mass=share))
        object.__setattr__(self, "bandwidth", width)
        sources = Auto(rtol=1e-12).sources(Gaussian(width), points.points)
        object.__setattr__(self, "_field", sources.field(share))

    def __repr__(self) -> str:
        return f"KernelDensity({self.cloud!r}, {self.bandwidth:g})"

    @property
    def dim(self) -> int:
        """The dimension d."""
        return self.cloud.dim

    def log_density(self, z: Queries) -> Values:
        """log q at points, by log-sum-exp: finite however far away they are.

        Parameters
        ----------
        z : (Q, d) float tensor
            The points.

        Returns
        -------
        (Q,) tensor
            In the dtype of z.
        """
        unit = 0.5 * self.dim * math.log(2 * math.pi * self.bandwidth**2)
        return (self._field.log(z.double())[0] - unit).to(z.dtype)

    def score(self, z: Queries) -> Points:
        """grad log q at points.

        Parameters
        ----------
        z : (Q, d) float tensor
            The points.

        Returns
        -------
        (Q, d) tensor
            In the dtype of z.
        """
        return self._field.log(z.double())[1].to(z.dtype)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        rows = rng.choice(len(self.cloud), size=n, p=self.cloud.mass.cpu().numpy())
        noise = self.bandwidth * rng.standard_normal((n, self.dim))
        return self.cloud.points.cpu().numpy()[rows] + noise


@dataclass(frozen=True)
class Divergence:
    """An estimate of KL(q || p) by a mean over points, and its standard error.

    `Trajectory.kl` makes it.
    `float(divergence)` is the value, and `str(divergence)` shows both.

    Attributes
    ----------
    value : float
        The mean of log q - log p over the points, in nats. It may be negative by chance.
    error : float
        Its standard error: the standard deviation over the points, over the root of their number.
    n : int
        The number of points.
    """

    value: float
    error: float
    n: int

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.value:.4g} +- {self.error:.2g}"


def log_density(path: Trajectory, z: Any, *, start: Any, record: int) -> Values:
    """See `Trajectory.log_density`."""
    points, law = moving.points_of(path, z), _density(start, "start")
    check_density(path)
    total = torch.zeros(len(points), dtype=torch.float64, device=points.device)
    origin = moving.Origin(points)
    for step in moving.back(path, record, origin):
        log_det = _log_det(step, origin.z)
        total[origin.rows] -= log_det
        origin.keep(~log_det.isnan())
    origin.tell(len(points), record)
    found = torch.full_like(total, torch.nan)
    found[origin.rows] = law(origin.z).double() + total[origin.rows]
    return found.to(points.dtype)


def kl(path: Trajectory, target: Any, *, start: Any, n: int, seed: int, record: int) -> Divergence:
    """See `Trajectory.kl`."""
    law, aim = _density(start, "start"), _density(target, "target")
    if not isinstance(start, Sampler):
        raise RefusedTypeError(
            "start",
            "must draw points to estimate a divergence",
            _checks.said(start),
            "pass a sampler with a log_density, e.g. pf.samplers.Gaussian(dim=2)",
        )
    n = _checks.count(n, "n", least=2)
    check_density(path)
    z = moving.points_of(path, start.sample(n, seed=seed).to(path.particles))
    log_q = law(z).double()
    for step, after in moving.on(path, record, z):
        log_q = log_q - _log_det(step, z)
        z = after
    if bool(log_q.isnan().any()):
        raise RefusedValueError(
            "path",
            "must fold no space to have a divergence",
            f"det dT <= 0 in the steps of {int(log_q.isnan().sum())} of {n} points",
            "make the run with a smaller dt",
        )
    ratio = log_q - aim(z).double()
    return Divergence(float(ratio.mean()), float(ratio.std()) / math.sqrt(n), n)


def check_density(path: Trajectory) -> None:
    """Refuse a run that carries no density, before its first step is made again."""
    moving.check_inverse(path)
    for leg in recipe_of(path).legs:
        flow, scheme = leg.flow, scheme_of(leg.integrator)
        if flow.reaction is not None or flow.renewals:
            raise RefusedValueError(
                "flow",
                "must keep the mass of each particle to have a density that points carry",
                f"reaction={flow.reaction}, renewals={flow.renewals}",
                "a density that gains and loses mass is not carried by points",
            )
        if not isinstance(scheme, RungeKutta):
            raise RefusedValueError(
                "integrator",
                "must be a Runge-Kutta scheme for a density",
                leg.integrator,
                "the derivative of other steps is not known; take pf.Euler() or pf.RK4()",
            )
        _check_smooth(leg)


def _check_smooth(leg: Leg) -> None:
    """Refuse a witness without a Hessian. One fit is made at the start of the leg."""
    estimator, start = inner_of(leg.flow.estimator), leg.start
    kernel = estimator.kernel if isinstance(estimator, KernelWitness) else None
    if isinstance(kernel, Kernel) and has_kink(kernel):
        raise RefusedTypeError(
            "kernel",
            "must be smooth for a density",
            f"{kernel}, which has a kink where points meet: the velocity jumps there",
            "take Gaussian, Matern32, Matern52, IMQ or Cauchy",
        )
    if smoothness_of(leg.flow.estimator) is False or not leg.flow.estimator.deterministic:
        raise RefusedTypeError(
            "flow",
            "must have a smooth witness for a density",
            f"that of {type(estimator).__name__}, whose gradient jumps or is trained",
            "take an estimator with a smooth kernel, or ClosedForm",
        )
    y = leg.target.at(start.clock)
    fit = fitted(leg.flow.estimator, start.x, y, start.clock, start.memory)
    leg.flow.jacobian(start.x.points[:1], fit)


def _log_det(step: Step, z: Points) -> Values:
    """log det dT at the points z of a step T; NaN where it turns space over."""
    parts = z.split(moving.rows(z)) if len(z) else ()
    return torch.cat([step.log_det(part) for part in parts]) if parts else z.new_zeros(0).double()


def _density(given: Any, name: str) -> LogDensity:
    """The checked log density of an argument: that of a `Density`, or a function."""
    remedy = "pass the sampler that drew the points, or a function z (M, d) -> log density (M,)"
    if given is None and name == "start":
        raise RefusedValueError(
            name,
            "must be the density of the particles at the start",
            None,
            f"{remedy}; where none is known, pf.transport.KernelDensity(path.cloud(0), bandwidth)",
        )
    found = getattr(given, "log_density", given)
    if isinstance(given, type) or not callable(found):
        raise RefusedTypeError(
            name, "must have a log_density, or be a function", _checks.said(given), remedy
        )

    def checked(z: Points) -> Values:
        with Supplied(name, given):
            value: Any = found(z)
            if not isinstance(value, Tensor) or value.shape != z.shape[:1]:
                raise TypeError(
                    f"`{name}` must map z {tuple(z.shape)} to log densities ({len(z)},), got"
                    f" {_checks.said(value)}: return a tensor of one number for each point"
                )
        return value.detach()

    return checked
