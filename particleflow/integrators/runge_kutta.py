"""Explicit Runge-Kutta schemes. Each scheme is given by its tableau."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from particleflow._typing import Memory
from particleflow.clouds import Clock, Cloud
from particleflow.flows import Flow
from particleflow.integrators.base import Controller, Refit, State

# v (N, d) at a stage, and d log mass / dt (N,) where the flow has a reaction.
Slope: TypeAlias = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class RungeKutta:
    r"""An explicit Runge-Kutta scheme, given by its tableau: `Euler`, `Heun`, `RK4` and others are
    such.

    .. math::

        x_{n+1} = x_n + \Delta t \sum_s b_s k_s , \qquad c_s = \sum_r a_{sr} ,

    .. math::

        k_s = v\left( x_n + \Delta t \sum_{r < s} a_{sr} k_r ,\; t_n + c_s \Delta t \right) .

    The estimator is refitted at every stage: one fit per step makes every scheme of order one.
    Stage 0 uses the state's own fit. All stages of a step see the same random numbers. Log masses,
    where a flow has a reaction, are advanced by the same scheme. A scheme with more than one stage
    needs a deterministic estimator.

    A scheme of your own is a class with `a` (row s has the weights of the stages before it), `b`
    and `order`. The class takes no arguments.

    Attributes
    ----------
    a : tuple of tuples of float
        The lower triangle of the tableau; its first row is ().
    b : tuple of float
        The weights of the stages; they sum to 1.
    order : float
        The error at a fixed time is O(dt^order).

    Cost: as many fits and velocities per step as `b` has numbers.
    Source: Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I, section II.1.

    >>> class Midpoint(pf.integrators.RungeKutta):
    ...     a = ((), (0.5,))
    ...     b = (0.0, 1.0)
    ...     order = 2.0
    >>> normal = pf.samplers.Gaussian(dim=1)
    >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))  # v = -x
    >>> path = pf.simulate(drift, [[1.0]], t1=1.0, dt=0.1, integrator=Midpoint())
    >>> print(f"{float(path.particles[-1]):.4f}")  # 0.905^10; exp(-1) = 0.3679
    0.3685
    """

    a: ClassVar[tuple[tuple[float, ...], ...]]
    b: ClassVar[tuple[float, ...]]
    order: ClassVar[float]
    stochastic: ClassVar[bool] = False

    @property
    def stages(self) -> int:
        """The number of fits and velocities per step."""
        return len(self.b)

    def step(
        self, flow: Flow, refit: Refit, state: State, dt: float
    ) -> tuple[Cloud, float, Memory]:
        slopes = slopes_of(self.a, flow, refit, state, dt)
        return advance(state.x, slopes, self.b, dt), dt, state.stepper


class LengthsOf(Controller):
    r"""A controller whose step, once its length is chosen, is that of a known scheme.

    .. math::

        x_{n+1} = x_n + h_n \sum_s b_s k_s .

    Declared by inheriting: other points can then be moved along its runs (`Trajectory.transport`).
    The fits of the accepted trial are those that were asked for last before the last one made
    ahead.
    """

    @property
    @abstractmethod
    def scheme(self) -> RungeKutta:
        """The scheme, with its tableau `a` and `b`."""
        ...


class Euler(RungeKutta):
    r"""Forward Euler, order 1: the scheme of the published codes, and the default.

    .. math::

        x_{n+1} = x_n + \Delta t\, v(x_n, t_n) .

    One fit per step. It is stable for dt rho < 2, with rho the fastest rate of contraction;
    `Flow.suggest_dt` takes a third of that. For most flows to a target it is enough: the path has
    an error of O(dt), and the end has none where the velocity vanishes there. It serves every flow
    without diffusion, also trained networks and minibatches.

    Other names: explicit Euler; gradient descent with the step dt, for the gradient flow of an
    energy.

    Cost: one fit and one velocity per step.
    Source: Arbel, Korba, Salim and Gretton (2019), for MMD flow; Hairer, Norsett and Wanner,
    Solving Ordinary Differential Equations I, section II.1.

    >>> normal = pf.samplers.Gaussian(dim=1)
    >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))  # v = -x
    >>> path = pf.simulate(drift, [[1.0]], t1=1.0, dt=0.1, integrator=pf.Euler())
    >>> print(f"{float(path.particles[-1]):.4f}")  # 0.9^10, exact: exp(-1) = 0.3679
    0.3487
    """

    a = ((),)
    b = (1.0,)
    order = 1.0


class Heun(RungeKutta):
    r"""Heun's method, order 2, two fits per step.

    .. math::

        k_1 = v(x_n, t_n) , \qquad
        k_2 = v(x_n + \Delta t\, k_1, t_n + \Delta t) ,

    .. math::

        x_{n+1} = x_n + \frac{\Delta t}{2} (k_1 + k_2) .

    It is stable for dt rho < 2, as Euler's method, with rho the fastest rate of contraction: it
    serves for a more accurate path, not for longer steps. It needs a deterministic estimator.

    Other names: explicit trapezoid, improved Euler, RK2.

    Cost: two fits and two velocities per step.
    Source: Heun (1900); Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I,
    section II.1.

    >>> normal = pf.samplers.Gaussian(dim=1)
    >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))  # v = -x
    >>> path = pf.simulate(drift, [[1.0]], t1=1.0, dt=0.1, integrator=pf.Heun())
    >>> print(f"{float(path.particles[-1]):.4f}")  # 0.905^10; exp(-1) = 0.3679
    0.3685
    """

    a = ((), (1.0,))
    b = (0.5, 0.5)
    order = 2.0


class RK4(RungeKutta):
    r"""The classical Runge-Kutta method, order 4, four fits per step.

    .. math::

        \begin{aligned}
        k_1 &= v(x_n ,\; t_n) , \\
        k_2 &= v(x_n + \frac{\Delta t}{2} k_1 ,\; t_n + \frac{\Delta t}{2}) , \\
        k_3 &= v(x_n + \frac{\Delta t}{2} k_2 ,\; t_n + \frac{\Delta t}{2}) , \\
        k_4 &= v(x_n + \Delta t\, k_3 ,\; t_n + \Delta t) ,
        \end{aligned}

    .. math::

        x_{n+1} = x_n + \frac{\Delta t}{6} (k_1 + 2 k_2 + 2 k_3 + k_4) .

    It is stable for dt rho < 2.785, with rho the fastest rate of contraction. Take it for reference
    solutions and where the path itself matters, with a smooth kernel: a kink takes the order away.
    It needs a deterministic estimator.

    Other names: the Runge-Kutta method, Kutta's method.

    Cost: four fits and four velocities per step.
    Source: Kutta (1901); Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I,
    table II.1.2.

    >>> normal = pf.samplers.Gaussian(dim=1)
    >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))  # v = -x
    >>> path = pf.simulate(drift, [[1.0]], t1=1.0, dt=0.1, integrator=pf.RK4())
    >>> print(f"{float(path.particles[-1]):.6f}")  # exact: exp(-1) = 0.367879
    0.367880
    """

    a = ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0))
    b = (1 / 6, 1 / 3, 1 / 3, 1 / 6)
    order = 4.0


@dataclass(frozen=True)
class Embedded(RungeKutta):
    r"""A Runge-Kutta scheme with a second one of a lower order, which tells the error of a step.

    .. math::

        e = \Delta t \sum_s (b_s - \hat b_s)\, k_s ,

    with the weights :math:`\hat b` of the second scheme. The last of these differences belongs to
    the velocity at the new particles: the first stage of the next step ("first same as last"). By
    itself such a scheme takes steps of the given length, of its own order. `Adaptive` uses the
    error.

    A scheme of your own has `a`, `b` and `order` as every `RungeKutta`, and the two below. The
    class takes no arguments.

    Attributes
    ----------
    b_error : tuple of float
        The differences b - b_hat, one more than `b` has numbers.
    lower : float
        The order of the second scheme.

    Cost: as many fits and velocities per step as `b` has numbers; the error needs the fit of the
    next state besides, which the engine takes over.
    Source: Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I, section II.4.

    >>> scheme = pf.integrators.BogackiShampine()
    >>> isinstance(scheme, pf.integrators.Embedded), scheme.order, scheme.lower
    (True, 3.0, 2.0)
    >>> print(f"{abs(sum(scheme.b_error)):.3f}")  # both schemes are consistent
    0.000
    """

    b_error: ClassVar[tuple[float, ...]]
    lower: ClassVar[float]


class BogackiShampine(Embedded):
    r"""The scheme of Bogacki and Shampine, order 3 with an error of order 2, three fits per step.

    .. math::

        \begin{array}{c|cccc}
        0 & & & & \\
        \frac12 & \frac12 & & & \\
        \frac34 & 0 & \frac34 & & \\
        \hline
        b & \frac29 & \frac13 & \frac49 & \\
        \hat b & \frac{7}{24} & \frac14 & \frac13 & \frac18
        \end{array}

    The last stage is the velocity at the new particles. It is stable for dt rho < 2.513, with rho
    the fastest rate of contraction. In `Adaptive` it is cheaper than `DormandPrince` for rtol from
    about 1e-3 on. It needs a deterministic estimator.

    Other names: BS3(2), RK23, ode23.

    Cost: three fits and three velocities per step.
    Source: Bogacki and Shampine (1989), Applied Mathematics Letters 2.

    >>> normal = pf.samplers.Gaussian(dim=1)
    >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))  # v = -x
    >>> scheme = pf.integrators.BogackiShampine()
    >>> path = pf.simulate(drift, [[1.0]], t1=1.0, dt=0.1, integrator=scheme)
    >>> print(f"{float(path.particles[-1]):.5f}")  # exact: exp(-1) = 0.36788
    0.36786
    """

    a = ((), (1 / 2,), (0.0, 3 / 4))
    b = (2 / 9, 1 / 3, 4 / 9)
    b_error = (2 / 9 - 7 / 24, 1 / 3 - 1 / 4, 4 / 9 - 1 / 3, -1 / 8)
    order = 3.0
    lower = 2.0


class DormandPrince(Embedded):
    r"""The scheme of Dormand and Prince, order 5 with an error of order 4, six fits per step.

    .. math::

        \begin{array}{c|ccccccc}
        0 & & & & & & & \\
        \frac15 & \frac15 & & & & & & \\
        \frac{3}{10} & \frac{3}{40} & \frac{9}{40} & & & & & \\
        \frac45 & \frac{44}{45} & -\frac{56}{15} & \frac{32}{9} & & & & \\
        \frac89 & \frac{19372}{6561} & -\frac{25360}{2187} & \frac{64448}{6561}
        & -\frac{212}{729} & & & \\
        1 & \frac{9017}{3168} & -\frac{355}{33} & \frac{46732}{5247} & \frac{49}{176}
        & -\frac{5103}{18656} & & \\
        \hline
        b & \frac{35}{384} & 0 & \frac{500}{1113} & \frac{125}{192} & -\frac{2187}{6784}
        & \frac{11}{84} & \\
        \hat b & \frac{5179}{57600} & 0 & \frac{7571}{16695} & \frac{393}{640}
        & -\frac{92097}{339200} & \frac{187}{2100} & \frac{1}{40}
        \end{array}

    The last stage is the velocity at the new particles; the error takes it. It is stable for dt rho
    < 3.307, with rho the fastest rate of contraction. It is the default of `Adaptive`. It needs a
    deterministic estimator, and its order a smooth kernel.

    Other names: DOPRI5, DP5(4), RK45, ode45.

    Cost: six fits and six velocities per step.
    Source: Dormand and Prince (1980), Journal of Computational and Applied Mathematics 6, table 2;
    Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I, table II.5.2.

    >>> normal = pf.samplers.Gaussian(dim=1)
    >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))  # v = -x
    >>> scheme = pf.integrators.DormandPrince()
    >>> path = pf.simulate(drift, [[1.0]], t1=1.0, dt=0.25, integrator=scheme)
    >>> print(f"{float(path.particles[-1]):.6f}")  # exact: exp(-1) = 0.367879
    0.367880
    """

    a = (
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    )
    b = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)
    b_error = (
        35 / 384 - 5179 / 57600,
        0.0,
        500 / 1113 - 7571 / 16695,
        125 / 192 - 393 / 640,
        -2187 / 6784 + 92097 / 339200,
        11 / 84 - 187 / 2100,
        -1 / 40,
    )
    order = 5.0
    lower = 4.0


def stage_clock(clock: Clock, dt: float) -> Clock:
    return replace(clock, t=clock.t + dt)


def slopes_of(
    a: tuple[tuple[float, ...], ...],
    flow: Flow,
    refit: Refit,
    state: State,
    dt: float,
    first: Slope | None = None,
) -> list[Slope]:
    """Velocities, and rates of the log masses, at all stages; `first` is that of stage 0."""
    slopes = [first or flow.velocity(state.x, state.fit, state.clock)]
    for row in a[1:]:
        x = advance(state.x, slopes, row, dt)
        clock = stage_clock(state.clock, sum(row) * dt)
        slopes.append(flow.velocity(x, refit(x, clock), clock))
    return slopes


def advance(x: Cloud, slopes: Sequence[Slope], weights: tuple[float, ...], dt: float) -> Cloud:
    """The cloud x + dt sum_s w_s k_s, log masses likewise."""
    points, log_mass = x.points, x.log_mass
    for weight, (velocity, rate) in zip(weights, slopes, strict=True):
        if weight:
            points = torch.add(points, velocity, alpha=dt * weight)
            if rate is not None:
                log_mass = (x.mass.log() if log_mass is None else log_mass) + (dt * weight) * rate
    return Cloud(points, log_mass=log_mass)
