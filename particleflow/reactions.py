"""Reactions with a constant total mass: Fisher-Rao (birth and death) and force transport.

A flow without one moves particles alone. With one it moves mass between particles, too, so that it
reaches what no path of particles reaches. Both reactions here keep the total mass at every step.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow import _checks, _words
from particleflow._typing import Points, Values
from particleflow.clouds import Clock, Cloud, Draws
from particleflow.estimators.base import Estimator, Fit, KernelEnergy, fitted
from particleflow.kernels import FeatureKernel, Kernel
from particleflow.kernels.explicit import as_summable
from particleflow.pairwise.exact.dense import kernel_matrix
from particleflow.subsets import part

__all__ = ["FisherRao", "ForceTransport", "Reaction"]

__getattr__, __dir__ = _words.suggesting(__name__)

# The points of each cloud whose masses are probed for a time step: the rates do not grow with N.
PROBED = 200
# Rounds of power iteration; two digits of the rate are wanted.
TRIED = 8
# The relative change of masses that shows the rate: the cube root of the machine epsilon, about.
NUDGE = 1e-5
# The time step in units of the inverse of the fastest contraction: a quarter of Euler's limit.
SHARE = 0.5
# The change of log masses in a step from the start, root mean square: an e-fold.
FOLD = 1.0
# The most particles of a force transport: their matrix of kernels then takes 200 MB.
MOST = 5000
# The most rounds of the search for the best masses; 10 to 20 are usual.
ROUNDS = 100
# The gap of the masses found, as a share of the descent that they bring.
GAP = 1e-3
# The gap that is rounding, relative to the largest terms of the sum.
ROUNDED = 1e-13
# The share of the way to the boundary that a round may go.
STOP_SHORT = 0.95
# The share of equal masses in the masses that the search starts from: it starts inside.
INSIDE = 0.1
# The ridge of the matrix, relative to its largest entry: rounding.
RIDGE = 1e-13


class Reaction(ABC):
    """How masses change while their total stays. Declared by inheriting.

    A `Flow` asks `rates` at every stage, and `settled` after every step. Both must be functions of
    their arguments alone.

    Attributes
    ----------
    rate : float
        How fast masses change beside the motion, > 0.
    advances : bool
        True where the integrator advances the masses by `rates`, False where `settled` does all.
    """

    rate: float
    advances: ClassVar[bool]

    @abstractmethod
    def check(self, estimator: Estimator) -> None:
        """Refuse (ValueError) an estimator whose witness has no meaning for this reaction."""

    @abstractmethod
    def rates(self, force: Values, x: Cloud) -> Values:
        """d log mass / dt (N,) of the cloud x, in 1 / time, where v = grad F, F (N,) = `force`."""

    @abstractmethod
    def settled(self, cloud: Cloud, before: Cloud, force: Callable[[], Values], dt: float) -> Cloud:
        """The cloud after a step of `dt` from the cloud `before`, whose F (N,) is `force()`.

        `cloud` has the particles, and the masses that the integrator has advanced. The cloud
        returned has the total mass of `before`.
        """


@dataclass(frozen=True)
class FisherRao(Reaction):
    r"""Let particles give birth and die by the force at their place, with the total mass kept.

    .. math::

        \frac{d}{dt} \log m_i = \text{rate} \Bigl( F_i
            - \frac{\sum_j m_j F_j}{\sum_j m_j} \Bigr), \qquad v = \nabla F

    Particles where F is high give birth, those where it is low die. F = h(w) for the mobility h
    and the witness w. Where F is minus the first variation of an energy E, as for MMD flow, KALE
    flow and MonoFlow, this is the flow of E for the sum of the Wasserstein and the spherical
    Fisher-Rao (Hellinger) metric, also called spherical Hellinger-Kantorovich. With total mass 1

    .. math::

        \frac{dE}{dt} = -\sum_i m_i \lVert v_i \rVert^2
            - \text{rate} \sum_i m_i (F_i - \bar{F})^2

    The exact flow keeps the total mass. A step of an integrator keeps it up to its error, and is
    then projected: all masses are multiplied by one factor. The projection moves them by no more
    than that error, so that the scheme keeps its order. `pf.unbalanced` gives a flow this reaction.

    Parameters
    ----------
    rate : float
        > 0, in 1 / (time x the unit of F). 1 gives both metrics the same weight.

    Raises
    ------
    TypeError
        `rate` is no number.
    ValueError
        `rate` is not > 0. In a run: the witness has no values (a score alone).

    Cost: O(N) a stage, beside the witness's values.

    Source: Gallouet and Monsaingeon (2017); Lu, Lu and Nolen (2019) for KL.

    Forces 1, 2 and 3 at three particles of equal mass, at the rate 2:

    >>> reaction = pf.reactions.FisherRao(rate=2.0)
    >>> reaction.rates(torch.tensor([1.0, 2.0, 3.0]), pf.Cloud(torch.zeros(3, 1)))
    tensor([-2.,  0.,  2.])
    """

    rate: float = 1.0
    advances: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", _rate(self.rate))

    def check(self, estimator: Estimator) -> None:
        """Every witness serves: see `unbalanced` for what is refused there."""

    def rates(self, force: Values, x: Cloud) -> Values:
        if bool(force.isnan().all()):
            raise ValueError(
                "`estimator` must have a witness with values, got NaN at all particles (a score"
                " alone): pass a log density, or a flow without birth and death"
            )
        return self.rate * (force - _shares(x) @ force)

    def settled(self, cloud: Cloud, before: Cloud, force: Callable[[], Values], dt: float) -> Cloud:
        return cloud if cloud.log_mass is None else _with_total(cloud, cloud.log_mass, before)


@dataclass(frozen=True)
class ForceTransport(Reaction):
    r"""Move masses towards those that bring the particles nearest to the target in MMD.

    .. math::

        \frac{d m_i}{dt} = \text{rate}\, (m^*_i - m_i), \qquad
        m^* = \operatorname{argmin}_{m \ge 0} \mathrm{MMD}\Bigl(
            \sum_i m_i \delta_{x_i},\, \text{target} \Bigr)

    The m of the minimum have the same total. This is the gradient flow of MMD^2 / 2 for the metric
    MMD itself, kept on the particles: without that bound it is d mu / dt = -rate (mu - target).
    With the motion of MMD flow it is the spherical interaction-force transport, `pf.ift_flow`.

    After each step masses are moved by the exact solution for particles at rest,
    m <- m* + exp(-rate dt) (m - m*). So they stay >= 0 and keep their total for every dt. Motion
    and masses are split as in the source, which makes the order in time one, for any integrator.
    m* solves a quadratic program (`best_masses`): its MMD^2 / 2 is above the least one by at most
    0.1 % of the descent.

    Parameters
    ----------
    kernel : Kernel, FeatureKernel, or callable of the squared distance
        That of the flow's `MMD`.
    rate : float
        > 0, in 1 / time.

    Raises
    ------
    TypeError
        `kernel` is no kernel, or `rate` no number.
    ValueError
        `rate` is not > 0. In a `Flow`: the estimator is not `MMD` with this kernel. In a run: more
        than 5000 particles, or a kernel that is not positive definite at them.

    Cost: O(N^3) for each of 10 to 20 rounds a step, and 8 N^2 bytes.

    Source: Gladin, Dvurechensky, Mielke and Zhu (2024), spherical IFT and its split JKO steps.

    Three quarters of the target are at the first of two particles of equal mass. After dt = 1 its
    mass is 0.75 - 0.25 / e:

    >>> k = pf.kernels.Gaussian(1.0)
    >>> reaction, flow = pf.reactions.ForceTransport(k), pf.mmd_flow(k)
    >>> x, y = pf.Cloud([[0.0], [9.0]]), pf.Cloud([[0.0], [0.0], [0.0], [9.0]])
    >>> fit = pf.fit(flow.estimator, x, y)
    >>> after = reaction.settled(x, x, lambda: flow.force(x, fit), 1.0)
    >>> after.mass.round(decimals=3)
    tensor([0.6580, 0.3420], dtype=torch.float64)
    """

    kernel: Kernel | FeatureKernel | Callable[[Tensor], Tensor]
    rate: float = 1.0
    advances: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", as_summable(self.kernel))
        object.__setattr__(self, "rate", _rate(self.rate))

    def check(self, estimator: Estimator) -> None:
        same = isinstance(estimator, KernelEnergy) and estimator.kernel == self.kernel
        if not same or estimator.log_ratio or estimator.energy_slope != 1.0:
            raise ValueError(
                "`reaction` ForceTransport needs the estimator MMD with its own kernel, got"
                f" {type(estimator).__name__}: use pf.ift_flow(kernel), or pf.unbalanced(flow) for"
                " Fisher-Rao on any flow"
            )

    def rates(self, force: Values, x: Cloud) -> Values:
        return torch.zeros_like(force)

    def settled(self, cloud: Cloud, before: Cloud, force: Callable[[], Values], dt: float) -> Cloud:
        mass = before.mass.double()
        best = best_masses(self._matrix(before.points.double()), mass, force().double())
        kept = torch.exp(torch.tensor(-self.rate * dt, dtype=torch.float64))
        moved = (best + kept * (mass - best)).log().to(cloud.points)
        return _with_total(cloud, moved, before)

    def _matrix(self, points: Points) -> Float[Tensor, "N N"]:
        if len(points) > MOST:
            raise ValueError(
                f"`x0` must have at most {MOST} particles for a force transport, got {len(points)}:"
                " start from fewer, or use pf.unbalanced(flow)"
            )
        if isinstance(self.kernel, FeatureKernel):
            features = self.kernel.map.features(points)
            return features @ features.T
        assert isinstance(self.kernel, Kernel)
        return kernel_matrix(self.kernel, points, points)


def best_masses(
    matrix: Float[Tensor, "N N"], mass: Float[Tensor, "N"], force: Values
) -> Float[Tensor, "N"]:
    """argmin over m >= 0, sum m = sum mass, of J(m) = c' K c / 2 - force' c, c = m - mass.

    This is MMD^2 / 2 up to a constant, where F = `force` is the witness at the particles of these
    masses. K (float64) need only be positive semidefinite on vectors of sum 0.

    A primal-dual interior-point method from a feasible start: K c - force - level - z = 0, z >= 0.
    Then J(m) - min J <= m' z. It stops where this gap is at most `GAP` of the descent J(mass) - J.

    Raises
    ------
    ValueError
        The kernel is not positive definite at these particles.
    """
    total, n = mass.sum(), len(mass)
    # the same quadratic form on vectors of sum 0, positive where K is so on these alone
    form = matrix - matrix[:1] - matrix[:, :1] + matrix[0, 0]
    largest = form.abs().max()
    ridge = RIDGE * (1 + largest)
    slack = ROUNDED * total * (force.abs().max() + total * largest)
    found = (1 - INSIDE) * mass + INSIDE * total / n
    slope = form @ (found - mass) - force
    dual = slope - slope.min() + slope.std(correction=0) + slack
    for _ in range(ROUNDS):
        change = found - mass
        gap = found @ dual
        if gap <= GAP * (force @ change - 0.5 * change @ (form @ change)) + slack:
            break
        factor, failed = torch.linalg.cholesky_ex(form + (dual / found + ridge).diag())
        if bool(failed):
            raise ValueError(
                "`kernel` must be positive definite for a force transport, got a matrix k(x_i, x_j)"
                " that is not: use pf.unbalanced(flow)"
            )
        level = torch.cholesky_solve(torch.ones_like(found)[:, None], factor)[:, 0]

        def direction(aim: Tensor, factor: Tensor = factor, level: Tensor = level) -> Tensor:
            step = torch.cholesky_solve(aim[:, None], factor)[:, 0]
            return step - (step.sum() / level.sum()) * level

        # the predictor goes for no gap at all; how far it comes tells how much to aim for
        step = direction(-dual)
        turn = -dual - dual / found * step
        reached = _length(found, step, dual, turn)
        left = ((found + reached * step) @ (dual + reached * turn) / gap) ** 3 * gap / n
        aim = (left - step * turn) / found - dual
        step = direction(aim)
        turn = aim - dual / found * step
        length = STOP_SHORT * _length(found, step, dual, turn)
        found, dual = found + length * step, dual + length * turn
    return found


def _length(found: Tensor, step: Tensor, dual: Tensor, turn: Tensor) -> Tensor:
    """The longest step, at most 1 / STOP_SHORT of a whole one, that keeps both >= 0."""
    ratios = torch.cat([-step / found, -turn / dual])
    return 1 / ratios.max().clamp_min(STOP_SHORT)


def longest_dt(
    estimator: Estimator, rates: Callable[[Cloud, Fit], Values], x: Cloud, y: Cloud | None
) -> float:
    """A time step for masses that an explicit scheme advances by `rates`; inf where all are 0.

    Half of the inverse of the fastest contraction, from power iteration on finite differences, with
    the particles at the start and on the target. At the start the step changes log masses by at
    most `FOLD` (root mean square). Cost: about 30 fits of at most 200 points.
    """
    start = part(x, PROBED)
    target = None if y is None else part(y, PROBED)
    moves = [start] if target is None else [start, Cloud(target.points.to(start.points))]

    def at(cloud: Cloud, log_mass: Tensor) -> Values:
        moved = Cloud(cloud.points, log_mass=log_mass)
        return rates(moved, fitted(estimator, moved, target, Clock(), {}))

    first = at(start, start.mass.log())
    fastest = float(first.double().square().mean().sqrt()) / FOLD * SHARE
    for cloud in moves:
        log_mass = cloud.mass.log()
        direction, quotient = Draws(0).normal("masses", 0, log_mass), 0.0
        for _ in range(TRIED if estimator.deterministic else 0):
            direction = direction - direction.mean()
            direction = direction / direction.square().mean().sqrt()
            ahead, behind = (at(cloud, log_mass + sign * NUDGE * direction) for sign in (1, -1))
            direction, before = (ahead - behind) / (2 * NUDGE), direction
            quotient = float((direction * before).mean())
            if not math.isfinite(quotient) or not float(direction.norm()) > 0:
                break
        else:
            fastest = max(fastest, -quotient)
    return math.inf if not fastest > 0 else float(f"{SHARE / fastest:.2g}")


def _with_total(cloud: Cloud, log_mass: Float[Tensor, "N"], before: Cloud) -> Cloud:
    """The cloud with masses in these proportions and the total of the cloud `before`."""
    total = 0.0 if before.log_mass is None else before.log_mass.logsumexp(0)
    return Cloud(cloud.points, log_mass=log_mass - log_mass.logsumexp(0) + total)


def _shares(x: Cloud) -> Float[Tensor, "N"]:
    return x.mass if x.log_mass is None else x.log_mass.softmax(0)


def _rate(rate: float) -> float:
    return _checks.positive(rate, "rate", remedy="1 gives mass and motion the same weight")
