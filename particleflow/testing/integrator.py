"""`check_integrator`: the contract of an integrator, clause by clause.

The contract is in `particleflow.integrators.base`. The flows of the check have known solutions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from particleflow.clouds import Clock, Cloud, Draws, FixedTarget
from particleflow.flows import Flow
from particleflow.integrators.base import Controller, Integrator, Optimiser
from particleflow.testing.contract import Contract, fresh, normals, reloaded, same_bits
from particleflow.testing.integrator_lengths import check_goal, check_lengths
from particleflow.testing.integrator_problems import (
    Bowl,
    Cubic,
    Drawn,
    Quadratic,
    Solved,
)
from particleflow.testing.integrator_steps import TrialFits, advanced, started, stepped

# Number of particles: few, since an order does not depend on it.
N = 13
# Time at which an order is measured, in units of the flow's time.
T = 1.0
# Numbers of steps up to that time: errors of order 5 are still far above rounding.
STEPS = (10, 20, 40)
# Largest shortfall of a measured order below the declared one, due to finite dt.
SHORT = 0.35
# Relative error below which an error is rounding and tells no order.
ROUNDED = 1e-12
# Number of particles of the Ornstein-Uhlenbeck process: its draws are then off by about 0.01.
MANY = 20000
# Number of steps of the Ornstein-Uhlenbeck process up to T.
MANY_STEPS = 50
# Relative error allowed of its mean and variance: both dt and the draws cause errors.
OFF = 0.06
PURE = (
    "compute from (flow, state, dt) alone, and return in the stepper's memory what the next step"
    " starts from"
)


def check_integrator(integrator: Integrator) -> None:
    r"""Check every clause of an integrator's contract; a broken one raises AssertionError.

    - `order`, `stages` and `stochastic` are declared.
    - step(flow, refit, state, dt) returns a cloud of the same shape and dtype, the dt used, and a
      flat memory of tensors. The dt used is > 0 and at most dt.
    - A step makes stages - 1 further fits, and more only where it has shortened dt. The clocks of
      these fits keep the state's step and draws, and their times lie within the step.
    - The error at a fixed time is :math:`O(dt^{\text{order}})`. It is measured on a flow that
      depends on time and on the particles' mean, on v = -x^3, and on masses under a reaction.
    - Masses are carried on, and the state is not changed.
    - An entry `dt` of the memory is a float64 number > 0. Steps of the lengths that it asks for end
      exactly at a given time, and a step that the engine has shortened does not halve it.
    - An `Optimiser` has no order. Its particles come to the end of a flow, and rest there.
    - A `Controller` is checked on the flows that it takes.
    - The same state gives the same bits. A run goes on with the same bits from a state that was
      written to a file and read again.
    - A stochastic integrator adds the flow's diffusion: its particles have the moments of the
      Ornstein-Uhlenbeck process, and another seed gives other particles.

    Parameters
    ----------
    integrator : Integrator
        The part to be checked, an instance.

    Raises
    ------
    AssertionError
        A clause is broken. The message names it, what came, and the remedy.

    Cost: about 0.1 s for Heun's method; a stochastic integrator takes 50 steps of 20000 particles
    too.

    >>> pf.testing.check_integrator(pf.Heun())
    >>> class Wrong(pf.Euler):
    ...     order = 2
    >>> pf.testing.check_integrator(Wrong())
    Traceback (most recent call last):
    AssertionError: ...the error at a fixed time must be O(dt^2)...got order 1.02...
    """
    contract = Contract("an integrator", integrator)
    _declarations(contract, integrator)
    start = Cloud(0.3 * normals(N, 2, 1) + 1.0, mass=torch.linspace(0.5, 1.5, N) / N)
    taken = [
        (problem, reaction, what)
        for problem, reaction, what in _PROBLEMS
        if _takes(integrator, Flow(problem(), reaction=reaction))
    ]
    remedy = "take a flow of a fixed energy, such as v = -x, in `check`"
    contract.require(bool(taken), "a controller must take some flow", "a refusal of each", remedy)
    first = taken[0][0]
    _step(contract, integrator, first(), start)
    _purity(contract, integrator, Flow(first()), start)
    check_lengths(contract, integrator, Flow(first()), start)
    if isinstance(integrator, Optimiser):
        check_goal(contract, integrator, start)
        taken = []
    for problem, reaction, what in taken:
        _order(contract, integrator, problem(), Flow(problem(), reaction=reaction), start, what)
    if integrator.stochastic:
        _diffusion(contract, integrator)


def _own_rate(w: Tensor) -> Tensor:
    return w


# Flows with known solutions, their reactions, and words for them.
_PROBLEMS: tuple[tuple[type[Solved], Callable[[Tensor], Tensor] | None, str], ...] = (
    (
        Drawn,
        None,
        "v = sin t - mean x - 2 (x - mean x), which needs a fit at each stage's own particles and"
        " time",
    ),
    (Cubic, None, "v = -x^3"),
    (Cubic, _own_rate, "v = -x^3 with a reaction"),
    (Bowl, None, "v = -x"),
)


def _takes(integrator: Any, flow: Flow) -> bool:
    """Does a controller take the flow? Every other integrator does."""
    if not isinstance(integrator, Controller):
        return True
    try:
        integrator.check(flow, FixedTarget(None))
    except ValueError:
        return False
    return True


def _declarations(contract: Contract, integrator: Any) -> None:
    what = (
        f"the class {integrator.__name__}"
        if isinstance(integrator, type)
        else f"{type(integrator).__name__} without one of them"
    )
    clause = "an integrator must have step, order, stages and stochastic"
    remedy = "add what is missing; facts are class attributes, e.g. order: ClassVar[float] = 2.0"
    contract.require(
        not isinstance(integrator, type) and isinstance(integrator, Integrator),
        clause,
        what,
        remedy,
    )
    order, stages = integrator.order, integrator.stages
    number = isinstance(order, float | int) and not isinstance(order, bool) and 0 < order < math.inf
    contract.require(
        number,
        "order must be a number > 0",
        repr(order),
        "declare the power of dt in the error at a fixed time",
    )
    whole = isinstance(stages, int) and not isinstance(stages, bool) and stages >= 1
    contract.require(
        whole, "stages must be an integer >= 1", repr(stages), "declare the number of fits a step"
    )
    contract.require(
        isinstance(integrator.stochastic, bool),
        "stochastic must be True or False",
        repr(integrator.stochastic),
        "declare it",
    )


def _step(contract: Contract, integrator: Integrator, problem: Solved, start: Cloud) -> None:
    """Check one step from t = 0.4, step 7: its result, its fits, and the untouched state."""
    flow, clock, dt = Flow(problem), Clock(0.4, 7, Draws(5)), 0.1
    for dtype in (torch.float32, torch.float64):
        bare = Cloud(start.points.to(dtype))
        stepped(contract, integrator, flow, started(flow, bare, clock), dt)
    state = replace(started(flow, start, clock), stepper={})
    refit = TrialFits(flow, state)
    with (
        contract.unchanged("step", points=start.points, log_mass=start.log_mass),
        contract.own_randomness("step"),
    ):
        cloud, used, _ = stepped(contract, integrator, flow, state, dt, refit)
    asked = refit.trials
    extra = integrator.stages - 1
    found = f"{len(asked)} further fits, and that of the state"
    held = len(asked) == extra or (used < dt and len(asked) > extra)
    contract.require(
        held,
        f"a step must take stages = {integrator.stages} fits",
        found,
        "declare the number of fits, the state's own among them",
    )
    for each in asked:
        remedy = "make it by dataclasses.replace(state.clock, t=...)"
        kept = each.step == clock.step and each.draws == clock.draws
        contract.require(
            kept,
            "the clock of a stage must keep step and draws",
            f"step {each.step} in step {clock.step}",
            remedy,
        )
        inside = clock.t - 1e-12 <= each.t <= clock.t + dt + 1e-12
        contract.require(
            inside,
            "the clock of a stage must lie within the step",
            f"t = {each.t:g} in [{clock.t:g}, {clock.t + dt:g}]",
            remedy,
        )
    same = (
        cloud.log_mass is not None
        and start.log_mass is not None
        and same_bits(cloud.log_mass, start.log_mass)
    )
    contract.require(
        same,
        "masses must be carried on",
        "others, or none",
        "return Cloud(points, log_mass=state.x.log_mass)",
    )


def _purity(contract: Contract, integrator: Integrator, flow: Flow, start: Cloud) -> None:
    state = started(flow, start)
    run = [state]
    for _ in range(6):
        run.append(advanced(contract, integrator, flow, run[-1], 0.05)[0])
    kept = reloaded(run[3].stepper)
    again = [stepped(contract, integrator, flow, run[3], 0.05) for _ in range(2)]
    held = same_bits(again[0][0].points, again[1][0].points) and same_bits(
        again[0][0].points, run[4].x.points
    )
    contract.require(held, "the same state must give the same step", "other bits", PURE)
    contract.require(
        same_bits(dict(run[3].stepper), kept),
        "step must not change the stepper's memory",
        "another one afterwards",
        "clone it first",
    )
    x = run[3].x
    cloud = Cloud(x.points.clone(), log_mass=None if x.log_mass is None else x.log_mass.clone())
    resumed, other = replace(run[3], x=cloud, stepper=kept), fresh(integrator)
    for _ in range(3):
        resumed = advanced(contract, other, flow, resumed, 0.05)[0]
    clause = "a run must go on from its state, read from a file, with the same bits"
    contract.require(
        same_bits(resumed.x.points, run[6].x.points),
        clause,
        "other bits than in the run that was not interrupted",
        PURE,
    )


def _order(
    contract: Contract,
    integrator: Integrator,
    problem: Solved,
    flow: Flow,
    start: Cloud,
    what: str,
) -> None:
    """Check the order by the error at a fixed time after 10, 20 and 40 steps.

    An integrator that shortens dt has its own error control: its order is not checked.
    """
    exact, errors = problem.solved(start, T), []
    for steps in STEPS:
        state, dt = started(flow, start), T / steps
        while state.clock.t < T - 1e-9:
            state, used = advanced(contract, integrator, flow, state, min(dt, T - state.clock.t))
            if used < min(dt, T - state.clock.t + used) * (1 - 1e-9):
                return
        error = float((state.x.points - exact.points).abs().max() / exact.points.abs().max())
        if flow.reaction is not None:
            wanted = exact.mass.log()
            error = max(
                error,
                float(
                    (state.x.mass.log() - wanted).abs().max()
                    / (wanted - start.mass.log()).abs().max()
                ),
            )
        errors.append(error)
    if errors[-1] <= ROUNDED:
        return
    measured = math.log2(errors[1] / errors[2]) if errors[1] > 0 else math.inf
    clause = f"the error at a fixed time must be O(dt^{integrator.order:g}) on {what}"
    remedy = (
        "refit at every stage, at its particles and clock, and advance log_mass like the points; or"
        " declare the order that it has"
    )
    found = (
        f"order {measured:.2f}: errors of {errors[0]:.2g}, {errors[1]:.2g}, {errors[2]:.2g} after"
        f" {STEPS[0]}, {STEPS[1]}, {STEPS[2]} steps"
    )
    contract.require(measured >= integrator.order - SHORT, clause, found, remedy)


def _diffusion(contract: Contract, integrator: Integrator) -> None:
    sigma, mean, deviation, ends = 0.7, 1.5, 0.4, []
    flow = Flow(Quadratic(), diffusion=sigma)
    start = Cloud(mean + deviation * normals(MANY, 1, 2))
    for seed in (0, 0, 1):
        state = started(flow, start, Clock(draws=Draws(seed)))
        while state.clock.t < T - 1e-9:
            state = advanced(
                contract, integrator, flow, state, min(T / MANY_STEPS, T - state.clock.t)
            )[0]
        ends.append(state.x.points)
    remedy = "draw from state.clock.draws.normal(stream, state.clock.step, points)"
    contract.require(
        same_bits(ends[0], ends[1]), "equal seeds must give equal bits", "another run", remedy
    )
    contract.require(
        not same_bits(ends[0], ends[2]),
        "two seeds must give two runs",
        "the same particles for the seeds 0 and 1",
        remedy,
    )
    found, spread = float(ends[0].mean()), float(ends[0].var())
    wanted, wanted_spread = (
        math.exp(-T) * mean,
        math.exp(-2 * T) * deviation**2 + 0.5 * sigma**2 * (1 - math.exp(-2 * T)),
    )
    got = (
        f"mean {found:.4f} and variance {spread:.4f}, where they are {wanted:.4f} and"
        f" {wanted_spread:.4f}"
    )
    held = (
        abs(found - wanted) <= OFF * wanted and abs(spread - wanted_spread) <= OFF * wanted_spread
    )
    clause = "a stochastic integrator must add the flow's diffusion"
    contract.require(
        held,
        clause,
        got,
        "add flow.diffusion(state.clock) sqrt(dt) times standard normal numbers, new ones at every"
        " step",
    )
