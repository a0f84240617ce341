"""A flow: an estimator's witness, a mobility, and what moves particles besides."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from particleflow import _checks, _words
from particleflow._supplied import Supplied
from particleflow._typing import Points, Values
from particleflow.clouds import Clock, Cloud, Draws, as_cloud, as_clouds, extent
from particleflow.estimators import KALE, MMD, ClosedForm, Estimator, Fit, GradientPenaltyCritic
from particleflow.estimators.base import (
    FlowDefaults,
    GradWitness,
    check_estimator,
    fitted,
    missing_target,
    smoothness_of,
)
from particleflow.estimators.closed_form import LogDensityOrScore
from particleflow.estimators.penalty import Penalty
from particleflow.kernels import FeatureKernel, Kernel, as_kernel
from particleflow.kernels.explicit import as_summable
from particleflow.mobilities import Linear, Mobility, Unit, check_increasing
from particleflow.pairwise import Auto, PairwiseSum
from particleflow.samplers.base import Density
from particleflow.schedules import Constant, Schedule, as_schedule
from particleflow.subsets import part

__getattr__ = _words.suggesting(__name__)

# suggest_dt: points probed, rounds of power iteration, and the share of 1 / (fastest contraction)
# that a step may take.
PROBED = 200
ROUNDS = 8
SHARE = 0.5
SHARE_WITH_DIFFUSION = 0.1
STRIDE = 0.01


@dataclass(frozen=True)
class Descent:
    """h(d) = c d, c the `energy_slope` of the estimator or else of each fit: v = c grad w is minus
    the Wasserstein gradient of `Fit.value`.

    For a c that changes during a run, 1 + lam(t) of KALE with a scheduled lam. A flow asks for it
    by `at`, fit by fit.
    """

    def at(self, slope: float | None) -> Linear:
        if slope is None:
            told = "v is no constant times grad w; name a mobility, such as Unit()"
            raise ValueError(
                f"`mobility` Descent() needs a fit with an energy slope, got None: {told}"
            )
        return Linear(slope)


@dataclass(frozen=True)
class Flow:
    """dx = slope(w(z)) grad w(z) dt + sigma dW, where z = x + beta u and u ~ N(0, I).

    The particles climb the witness w of `estimator`.

    Parameters
    ----------
    estimator : Estimator
        Fitted to (particles, target) as the particles move; gives w. An estimator with `in_flow` is
        replaced by it: `KDE()` then takes `default_bandwidth`.
    mobility : Mobility or Descent
        slope = h' of the log ratio w, > 0: a class of your own is looked at, for |w| <= 80, unless
        it has `allow_nonmonotone = True`. Where w is a potential only a constant slope is
        meaningful: `Unit`, `Linear`, or `Descent`, each fit's own.
    noise : float, schedule or callable (clock, fit) -> float
        beta, a standard deviation: noise injection. It moves the point at which the witness is
        queried, not the particle.
    diffusion : float, schedule or callable (clock) -> float
        sigma, of the Brownian motion that moves the particle. Needs `EulerMaruyama`.
    reaction : callable (Q,) -> (Q,), optional
        d log mass / dt of the witness's values: unbalanced flows.
    """

    estimator: Estimator
    mobility: Mobility | Descent = Unit()
    noise: Schedule | float | None = None
    diffusion: Schedule | float | None = None
    reaction: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise", as_schedule(self.noise, "noise"))
        object.__setattr__(self, "diffusion", as_schedule(self.diffusion, "diffusion"))
        if self.reaction is not None:
            _checks.function(
                self.reaction,
                "reaction",
                remedy="pass a function of the witness's values (Q,), e.g. lambda w: 0.1 * w",
            )
        check_estimator(self.estimator)
        if isinstance(self.estimator, FlowDefaults):
            object.__setattr__(self, "estimator", self.estimator.in_flow())
            check_estimator(self.estimator)
        if isinstance(self.mobility, type) or not isinstance(self.mobility, Mobility | Descent):
            raise TypeError(
                f"`mobility` must have h, slope and curvature, got {_what(self.mobility)}: e.g."
                " pf.mobilities.Vanilla()"
            )
        if isinstance(self.mobility, Mobility):
            check_increasing(self.mobility)
        if (
            not self.estimator.log_ratio
            and not isinstance(self.mobility, Descent)
            and _factor(self.mobility) is None
        ):
            raise ValueError(
                f"`mobility` must be Unit() or Linear() for {type(self.estimator).__name__}, got"
                f" {self.mobility}: its witness is a potential, not a log ratio, so there is no log"
                " r to rescale: use an estimator of a ratio (KDE, KALE, ClosedForm with current=)"
            )

    @property
    def conservative(self) -> bool:
        """True where v = -N dE/dx for one energy E = `energy(fit, x)`, so that small steps can only
        lower it: not where lam changes.
        """
        free = self.noise is None and self.diffusion is None and self.reaction is None
        slope = self.estimator.energy_slope
        descends = isinstance(self.mobility, Descent) or _factor(self.mobility) == slope
        return free and slope is not None and descends

    def energy(self, fit: Fit, x: Cloud) -> float:
        """E at the particles that `fit` was made on.

        Raises
        ------
        ValueError
            If the flow is not conservative, or the fit has no value (a score alone).
        """
        if not self.conservative:
            raise ValueError(
                f"`flow` must be conservative to have an energy, got {self}: read fit.value, which"
                " need not decrease"
            )
        if fit.value is None:
            name = type(self.estimator).__name__
            raise ValueError(
                f"`fit` must have a value to have an energy, got None from {name}: of a score alone"
                " there is none, pass a log density"
            )
        return fit.value

    def velocity(self, x: Cloud, fit: Fit, clock: Clock) -> tuple[Points, Values | None]:
        """v (N, d) and d log mass / dt (N,), or None, of the particles x under `fit`."""
        z = x.points
        if callable(self.noise):
            beta = _number(self.noise, "noise", clock, fit)
            if beta:
                with Supplied("draws", clock.draws):
                    z = z + beta * clock.draws.normal("noise", clock.step, z)
        mobility = self._mobility(fit)
        factor = _factor(mobility)
        if factor is not None and self.reaction is None and isinstance(fit.witness, GradWitness):
            grad = fit.witness.grad(z)
            return (grad if factor == 1 else factor * grad), None
        with Supplied("estimator", self.estimator):
            value, grad = fit.witness.value_and_grad(z)
        _same_shape(
            (value, grad),
            (z.shape[:1], z.shape),
            "estimator",
            self.estimator,
            "has a witness with value (Q,) and gradient (Q, d)",
        )
        with Supplied("mobility", mobility):
            slope = mobility.slope(value)
        _same_shape(
            (slope,),
            (value.shape,),
            "mobility",
            mobility,
            "must have a slope that maps (Q,) to (Q,)",
        )
        if self.reaction is None:
            return slope[:, None] * grad, None
        with Supplied("reaction", self.reaction):
            rate = self.reaction(value)
        _same_shape((rate,), (value.shape,), "reaction", self.reaction, "must map (Q,) to (Q,)")
        return slope[:, None] * grad, rate

    def sigma(self, clock: Clock) -> float:
        """The standard deviation of the Brownian motion in one unit of time; 0 of a flow without
        diffusion.
        """
        return _number(self.diffusion, "diffusion", clock) if callable(self.diffusion) else 0.0

    def _mobility(self, fit: Fit) -> Mobility:
        if not isinstance(self.mobility, Descent):
            return self.mobility
        constant = self.estimator.energy_slope
        return self.mobility.at(fit.energy_slope if constant is None else constant)

    def suggest_dt(self, x: Any, y: Any = None) -> float:
        """A time step for explicit schemes, from the fastest contraction of the linearised flow.

        The rate is that of the most negative eigenvalue of d velocity / d particles (by power
        iteration on finite differences of the velocity of the whole cloud, refitted each time) at
        three states: the start x, the target y, and half of each, since a flow may be stiffest on
        arrival. Growth, such as a small cloud that bursts apart, limits no step. The step is half
        of the inverse rate (Euler is stable up to twice the inverse), a tenth where there is
        diffusion (its bias grows with dt times the rate); it moves no particle by more than a
        quarter of the extent; and it is rounded down to two digits. Works on at most 200 points of
        each cloud: the rates do not grow with N. Cost: some 100 fits of that size. What changes
        during a run (a lam) is taken as it is at the start: pass a `dt` that fits its least value.

        A network in training and a witness whose gradient jumps (`KnownSmoothness`) have no rates
        to measure: there the step moves the particles of the start by a hundredth of the extent
        (root mean square), at the cost of one fit. Of an estimator that declares nothing about that
        the smaller of both steps is taken.

        Parameters
        ----------
        x, y : (N, d), (M, d) points or Cloud; y None where the flow has no target.
        """
        if y is None and self.estimator.needs_target:
            raise missing_target(self.estimator, "y")
        cloud, aim = (as_cloud(x, "x"), None) if y is None else as_clouds(x, y)
        start = part(cloud, PROBED)
        target = None if aim is None else part(aim, PROBED)
        states = [start]
        every = start.points
        if target is not None:
            even = (torch.arange(len(start), device=every.device) % 2 == 0)[:, None]
            arrived = target.points[torch.arange(len(start), device=every.device) % len(target)]
            every = torch.cat([start.points, target.points])
            # Spread a little, since points that coincide (repeats of a small target) move like one.
            spread = 1e-3 * extent(every) * Draws(0).normal("spread", 0, arrived)
            states += [
                Cloud(points + spread)
                for points in (arrived, torch.where(even, arrived, start.points))
            ]
        span = extent(every) or 1.0
        bare = replace(self, noise=None, reaction=None)
        smooth, found = smoothness_of(self.estimator) if self.estimator.deterministic else False, []
        if not smooth:
            velocity, _ = bare.velocity(
                start, fitted(self.estimator, start, target, Clock(), {}), Clock()
            )
            found.append(_ratio(STRIDE * span, float((velocity**2).sum(1).mean().sqrt())))
        if smooth is not False:
            probes = [bare._stiffness(state, target, span) for state in states]
            rate, speed = (max(column) for column in zip(*probes, strict=True))
            share = SHARE if self.diffusion is None else SHARE_WITH_DIFFUSION
            found += [_ratio(share, rate), _ratio(0.25 * span, speed)]
        limits = [limit for limit in found if limit is not None]
        return _two_digits(min(limits)) if limits else 1.0

    def _stiffness(self, x: Cloud, target: Cloud | None, span: float) -> tuple[float, float]:
        """The fastest contraction rate at a cloud (0 where all grows), and the largest speed."""
        clock = Clock()
        memory = fitted(self.estimator, x, target, clock, {}).memory

        def velocity(points: Tensor) -> Tensor:
            moved = replace(x, points=points)
            return self.velocity(
                moved, fitted(self.estimator, moved, target, clock, memory), clock
            )[0]

        epsilon = span * torch.finfo(x.points.dtype).eps ** (1 / 3)

        def eigenvalue(shift: float, stream: str) -> tuple[float, float]:
            """Rayleigh quotient and norm of d velocity / d particles on the dominant direction of
            its difference with shift I.
            """
            direction = Draws(0).normal(stream, 0, x.points)
            quotient = size = 0.0
            for _ in range(ROUNDS):
                direction = direction / direction.norm() * math.sqrt(len(x))
                image = (
                    velocity(x.points + epsilon * direction)
                    - velocity(x.points - epsilon * direction)
                ) / (2 * epsilon)
                if not bool(torch.isfinite(image).all()):
                    break
                quotient, size = (
                    float((direction * image).sum()) / len(x),
                    float(image.norm()) / math.sqrt(len(x)),
                )
                direction = image - shift * direction
                if not float(direction.norm()) > 0:
                    break
            return quotient, size

        quotient, size = eigenvalue(0.0, "dominant")
        contraction = size if quotient < 0 else max(0.0, -eigenvalue(size, "shifted")[0])
        return contraction, float(velocity(x.points).norm(dim=1).nan_to_num().max())


def mmd_flow(
    kernel: Kernel | FeatureKernel | Callable[[Tensor], Tensor],
    *,
    noise: Schedule | float | None = None,
    pairwise: PairwiseSum = Auto(),
) -> Flow:
    """The Wasserstein gradient flow of MMD^2/2 (Arbel, Korba, Salim and Gretton 2019), with `noise`
    injection if wanted.

    v(z) = grad w(z), w = mean_j k(y_j, .) - mean_i k(x_i, .). Without noise it stalls where the
    clouds are several bandwidths apart. With a `FeatureKernel` of `Neurons` it trains a two-layer
    network.
    """
    return Flow(MMD(as_summable(kernel), pairwise=pairwise), noise=noise)


def kale_flow(
    kernel: Kernel | Callable[[Tensor], Tensor],
    *,
    lam: Penalty,
    noise: Schedule | float | None = None,
    pairwise: PairwiseSum = Auto(rtol=1e-10),
) -> Flow:
    """The Wasserstein gradient flow of KALE (Glaser, Arbel and Gretton 2021): v = (1 + lam) grad w,
    w = -h.

    lam goes from MMD flow (large) towards the flow of KL (small). It is stiff: about (1 + lam) /
    lam faster than MMD flow. A lam that changes (a schedule of the clock, or `Decreasing`) makes it
    the descent of KALE at each moment's own lam, with that 1 + lam.
    """
    estimator = KALE(as_kernel(kernel), lam=lam, pairwise=pairwise)
    return Flow(
        estimator,
        mobility=Descent() if estimator.energy_slope is None else Linear(estimator.energy_slope),
        noise=noise,
    )


def mono_flow(
    estimator: Estimator,
    mobility: Mobility | Descent = Unit(),
    *,
    noise: Schedule | float | None = None,
) -> Flow:
    """MonoFlow (Yi, Zhu and Liu 2023): v = h'(log r) grad log r, log r from any ratio estimator, h
    any of `mobilities`.
    """
    return Flow(estimator, mobility=mobility, noise=noise)


def wgan_flow(
    critic: Estimator = GradientPenaltyCritic(), *, noise: Schedule | float | None = None
) -> Flow:
    """The Wasserstein GAN without a generator: v = grad w, w a critic trained as the particles
    move, whose E_p w - E_q w estimates W1.

    Particles move at about unit speed to the end: lower dt there, or they hop about the target by
    dt. `critic` is any estimator of a potential.
    """
    check_estimator(critic, "critic")
    if critic.log_ratio:
        raise ValueError(
            f"`critic` must estimate a potential, got {type(critic).__name__}, an estimator of log"
            " r: use pf.mono_flow"
        )
    return Flow(critic, noise=noise)


def langevin(target: Density | LogDensityOrScore, *, temperature: float = 1.0) -> Flow:
    """dX = grad log p(X) dt + sqrt(2 temperature) dW: no target sample, only a density or a score
    (see `ClosedForm`).
    """
    sigma = math.sqrt(2 * _checks.non_negative(temperature, "temperature"))
    return Flow(ClosedForm(target), diffusion=Constant(sigma))


def _number(schedule: Schedule, name: str, *moment: Any) -> float:
    """What a schedule says at a moment, if that is a finite number."""
    with Supplied(name, schedule):
        value = schedule(*moment)
        return _checks.real(value, name, remedy="return one number for each clock")


def _same_shape(
    given: Sequence[Any], wanted: Sequence[torch.Size], name: str, part: Any, told: str
) -> None:
    """Refuse what would be broadcast to another velocity in silence."""
    for value, shape in zip(given, wanted, strict=True):
        if not isinstance(value, Tensor) or value.shape != shape:
            with Supplied(name, part):
                what = (
                    f"{tuple(value.shape)} for {tuple(shape)}"
                    if isinstance(value, Tensor)
                    else f"{type(value).__name__} for a tensor"
                )
                raise ValueError(
                    f"`{name}` {type(part).__name__} {told}, got {what}: mend its shape"
                )


def _factor(mobility: Mobility | Descent) -> float | None:
    """The constant slope of `Linear`, or of a subclass that has changed none of its methods; None
    of every other mobility.
    """
    own = isinstance(mobility, Linear) and all(
        vars(Linear)[name] is getattr(type(mobility), name) for name in ("h", "slope", "curvature")
    )
    return mobility.factor if isinstance(mobility, Linear) and own else None


def _what(value: Any) -> str:
    """For a message: a class where its instance was meant, or the name of another type."""
    return (
        f"the class {value.__name__} without its parentheses"
        if isinstance(value, type)
        else type(value).__name__
    )


def _ratio(a: float, b: float) -> float | None:
    """a / b, or None where it is no finite positive number."""
    ratio = a / b if b > 0 and math.isfinite(b) else 0.0
    return ratio if ratio > 0 else None


def _two_digits(value: float) -> float:
    """Rounded down to two digits: 0.0837 becomes 0.083."""
    power = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.floor(value / power * (1 + 1e-12)) * power:.1e}")
