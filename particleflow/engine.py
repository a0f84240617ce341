"""The engine: iterate() generates states, simulate() records them, fit() makes one fit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from particleflow import _checks
from particleflow._inputs import (
    ChangingTarget,
    Metrics,
    began,
    checked_metrics,
    clouds_of,
    comparable,
    measured,
    parts_told,
    prepare,
    require_target,
    same_target,
    target_named,
)
from particleflow._progress import bar
from particleflow.automatic import AutoFlow
from particleflow.checkpointed_run import KeptRun
from particleflow.clouds import Clock, Cloud, Draws, FixedTarget, Randomness, Replay
from particleflow.estimators import Estimator, Fit
from particleflow.estimators.base import check_estimator, fitted
from particleflow.flows import Flow
from particleflow.integrators import Integrator, Optimiser, State, suggested_dt
from particleflow.metrics import label_of
from particleflow.metrics.told import told as told_metrics
from particleflow.recipe import Leg, Recipe
from particleflow.recording import Recorder
from particleflow.run_folder import Asked, Checkpoint, Place, opened
from particleflow.running import Run, Stop, StopRule, stopping
from particleflow.saving import RECORDS, Grid, SaveAt
from particleflow.stepping import chosen, over, states, with_dt
from particleflow.trajectory import Trajectory
from particleflow.watch import Watch

# The largest number of steps: no run will take more.
MOST_STEPS = 10**10


def fit(estimator: Estimator, x: Any, y: Any = None, *, seed: int = 0) -> Fit:
    r"""Fit an estimator once to two clouds, without a flow.

    .. math::

        w \approx \log \frac{p}{q} \qquad \text{for an estimator of a log ratio,}

    and a potential otherwise, such as :math:`w = \frac1M \sum_j k(y_j, \cdot) - \frac1N \sum_i
    k(x_i, \cdot)` for `estimators.MMD`. The ratio is always target over current, p / q. It serves
    to look at a witness, to compare estimators, or for the value of a divergence between two
    samples.

    Parameters
    ----------
    estimator : Estimator
        Such as `estimators.KALE(kernel, lam=0.1)`.
    x : (N, d) points or Cloud
        Samples of the current distribution q.
    y : (M, d) points, Cloud or None
        Samples of the target p; None for estimators that need none.
    seed : int
        >= 0, the source of all random numbers, such as the initial weights of a network.

    Returns
    -------
    Fit
        `fit.witness.value_and_grad(z)` gives w (Q,) and its gradient (Q, d) at points z (Q, d);
        `fit.value` is the divergence that was estimated; `fit.report` tells how the fit went,
        `converged` among the rest. A fit that did not converge comes back too.

    Raises
    ------
    ValueError
        `x` or `y` is not (N, d), not finite, of another dimension than the other one; `y` is None
        for an estimator that needs it; `seed` is < 0.
    TypeError
        `estimator` is no estimator; `x` or `y` is a sampler or a class in the place of points.

    Cost: that of the estimator, such as O((N + M) M d) for the value of MMD.
    Source: that of the estimator.

    >>> x, y = [[0.0], [0.0]], [[1.0], [1.0], [1.0]]
    >>> made = pf.fit(pf.estimators.MMD(pf.kernels.Gaussian(1.0)), x, y)
    >>> print(f"{made.value:.6f}")  # MMD^2 / 2 = 1 - exp(-1/2) of two Diracs
    0.393469
    """
    check_estimator(estimator)
    clock = Clock(draws=Draws(seed))
    cloud, target, sample = clouds_of(x, y, "x", "y", clock)
    require_target(estimator, target, "y")
    return fitted(estimator, cloud, sample, clock, {})


def iterate(
    flow: Flow,
    x0: Any,
    target: Any = None,
    *,
    dt: float,
    integrator: Integrator | None = None,
    seed: int | None = None,
    draws: Randomness | None = None,
) -> Iterator[State]:
    r"""Generate the states of a run from step 0 on, without end: a loop of your own takes them.

    .. math::

        x_{n+1} = \Phi_{\Delta t}(x_n) , \qquad t_n = n\, \Delta t ,

    with the step :math:`\Phi` of the integrator. It serves where `simulate` with its `stop`, `save`
    and `metrics` does not: to look at fits, to change something on the way, to draw a picture of
    each state. `record` makes a Trajectory of the states. Nothing is recorded here, and memory is
    needed for two states.

    A run that cannot go on ends: its last state is `ended`, has the status "diverged" or "not
    converged", and holds the last good particles. After an unstable step the states go on with the
    status "unstable". The arguments are checked at once; the first fit is made when the first state
    is taken.

    Parameters
    ----------
    flow : Flow
        What moves the particles.
    x0 : (N, d) points, Cloud, or the Snapshot / State / Trajectory of an earlier run
        Where the run starts, or from where it goes on, bit for bit.
    target : (M, d) points, Cloud, Target or None
        Samples of the target; None for flows that need no sample.
    dt : float
        Time step, > 0. t = n dt exactly, n the step. An integrator that chooses the lengths of its
        steps takes it as the length of the first one.
    integrator : Integrator, optional
        By default Euler(), or EulerMaruyama() where the flow has diffusion.
    seed : int, optional
        >= 0, the source of all random numbers. By default a new run has seed 0, and a continued one
        keeps its own source.
    draws : Randomness, optional
        Recorded noise (`Replay`) instead of a seed.

    Yields
    ------
    State
        The clock, the particles and the fit at step n, from the start on.

    Raises
    ------
    ValueError
        `dt` is not > 0, or another value cannot be used; see `simulate`.
    TypeError
        An argument has a wrong type. What a part of your own raises passes through, at any step.

    Cost: for each state one fit and one velocity for each stage of the integrator.
    Source: Arbel, Korba, Salim and Gretton (2019), for MMD flow.

    >>> normal = pf.samplers.Gaussian(dim=1)
    >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))  # v = -x
    >>> for state in pf.iterate(drift, [[8.0], [4.0]], dt=0.5):
    ...     print(state.clock.step, state.clock.t, state.x.points.flatten().tolist())
    ...     if state.clock.t >= 1.0 or state.status != "running":
    ...         break
    0 0.0 [8.0, 4.0]
    1 0.5 [4.0, 2.0]
    2 1.0 [2.0, 1.0]
    """
    start, aim, first, integrator = prepare(flow, x0, target, integrator, seed, draws)
    dt = _checks.positive(dt, "dt", remedy="leave it out to have one chosen: flow.suggest_dt(x, y)")
    return states(with_dt(start, dt), first, integrator, Watch(flow, aim, dt, integrator))


def simulate(
    flow: Flow,
    x0: Any,
    target: Any = None,
    *,
    steps: int | None = None,
    t1: float | None = None,
    dt: float | None = None,
    integrator: Integrator | None = None,
    stop: StopRule | Stop | None = None,
    save: SaveAt | None = None,
    metrics: Metrics | None = None,
    seed: int | None = None,
    draws: Randomness | None = None,
    progress: bool = False,
    checkpoint: str | Path | Checkpoint | None = None,
) -> Trajectory:
    r"""Run a flow from its start and record it: the function that most users call.

    The particles follow the flow's velocity, in steps of dt, from the start x0:

    .. math::

        \frac{d x_i}{d t} = v(x_i), \qquad t_n = n\, \Delta t ,

    and the estimator is fitted to particles and target anew at each step. With diffusion a Brownian
    motion is added (`integrators.EulerMaruyama`). The inputs are copied. A run has the dtype and
    the device of the tensors that are passed, or float64 on the CPU. Two runs with equal arguments
    are equal bit for bit, on one machine and with as many threads.

    A run ends after its last step, where `stop` says so, or where it cannot go on. A run that
    became unstable goes on, and says so at its end. Bad input is refused before the first step;
    what a part of your own raises in the first step passes through. After it nothing raises, Ctrl-C
    included: the trajectory up to the last good state comes back, and its `status` and `message`
    say what happened.

    Parameters
    ----------
    flow : Flow
        What moves the particles, such as `mmd_flow(kernel)`.
    x0 : (N, d) points, Cloud, or the Trajectory / State / Snapshot of an earlier run
        Where the run starts. After an earlier run it goes on from its end, bit for bit. If x0 is a
        Trajectory, the result holds both parts, and a fixed target is kept unless one is given.
    target : (M, d) points, Cloud, Target or None
        Samples of the target, fixed, or drawn anew at each step (`samplers.Minibatch`). None for
        flows that need no sample, such as Langevin dynamics.
    steps : int, optional
        The number of further steps, from 1 to 1e10. Exactly one of `steps` and `t1` is given. The
        flow of `auto_flow` needs neither: it has a number of steps and a `stop` of its own.
    t1 : float, optional
        The time at which the run ends, later than its start. dt is lowered so that a whole number
        of steps ends there. An integrator that chooses the lengths of its steps ends there exactly,
        after as many as it takes.
    dt : float, optional
        Time step, > 0, in units of the flow's time; for `integrators.Adam` a length. Left out, it
        is `flow.suggest_dt(x0, y)`, and `path.report["dt"]` tells it. A continued run with the same
        flow keeps its dt, where that was given or the target is the same too. A State and a
        Snapshot do not tell whether dt was given: left out, it is chosen anew. An integrator that
        chooses the lengths of its steps takes dt as the length of the first one; a run that goes on
        keeps the chosen length, unless it is given another dt, flow or target.
    integrator : Integrator, optional
        What makes the steps. Left out: `EulerMaruyama` for a flow with diffusion, `Paced` where the
        flow's bandwidth changes and dt is left out, and `Euler` otherwise.
    stop : callable (State) -> bool or str, or a rule such as Arrived, optional
        Asked after each step; ends the run where it returns True or a reason, which the report
        keeps as `stopped`. The last state is recorded, and the run counts as completed.
    save : SaveAt, optional
        Which states to record. Left out, about 100, spread over the run. The first and the last
        always are.
    metrics : mapping of name to metric, optional
        Each is called with (particles, target) clouds at each record, also at the records of an
        earlier run. Left out, a run that goes on measures again what its report tells: `W2`, `W1`,
        `SlicedW2` and `EnergyDistance` with default settings.
    seed : int, optional
        >= 0, the source of all random numbers. A new run has seed 0, and a continued one keeps its
        own source.
    draws : Randomness, optional
        Recorded noise (`Replay`) instead of a seed.
    progress : bool
        Show a progress bar, on a terminal or in a notebook.
    checkpoint : str, Path or Checkpoint, optional
        A folder in which the run is kept while it is made. The records go there, and come back as
        memory maps: memory is needed for a few states only. If the folder holds this very run, it
        goes on from its last state, bit for bit, and `report["resumed"]` says so; a run that has
        ended is given back. `resume` does so without the other arguments.

    Returns
    -------
    Trajectory
        The records: `particles` (T, N, d), `times`, `steps`, `energy` and `metrics` (T,), and how
        the run ended: `status`, `message`, `report`, `summary()`.

    Raises
    ------
    ValueError
        A value cannot be used: both or none of `steps` and `t1`, `t1` not later than the start,
        `dt` not > 0, points that are not (N, d) or not finite, clouds of different dimensions, no
        `target` where the flow or `metrics` need one, both `seed` and `draws`, an `integrator` that
        does not serve the flow, a `flow` whose first fit does not converge, a `checkpoint` that
        holds another run or is written to by another process.
    TypeError
        An argument has a wrong type: a class or a sampler in the place of what it makes, clouds of
        two dtypes.
    MemoryError
        `save` asks for more records than fit in memory.
    OSError
        The folder `checkpoint` cannot be written or read.
    KeyboardInterrupt
        Ctrl-C came before the first step was taken.

    Cost: one fit and one velocity for each stage of a step, O((N + M) N d) with exact sums over
    pairs of a kernel; about 100 fits of at most 200 points for a dt that is left out, and each
    metric at each record. The records take 8 T N d bytes in float64.
    Source: the flows of particles of Arbel, Korba, Salim and Gretton (2019), Glaser, Arbel and
    Gretton (2021), and Yi, Zhu and Liu (2023).

    >>> target = pf.samplers.Gaussian(dim=1, mean=1.0, std=1.5)
    >>> ratio = pf.estimators.ClosedForm(target, current=pf.estimators.Moments())
    >>> x0 = [[-2.5], [-1.5]]  # mean -2
    >>> flow = pf.mono_flow(ratio)
    >>> path = pf.simulate(flow, x0, t1=1.0, dt=0.1, integrator=pf.RK4())
    >>> path
    Trajectory(completed at step 10, t = 1; 11 records of 2 particles in 1-d)
    >>> print(f"{float(path.particles[-1].mean()):.5f}")  # 1 - 3 exp(-1 / 1.5^2)
    -0.92354
    """
    with opened(checkpoint) as place:
        run = begin(
            flow,
            x0,
            target,
            steps=steps,
            t1=t1,
            dt=dt,
            integrator=integrator,
            stop=stop,
            save=save,
            metrics=metrics,
            seed=seed,
            draws=draws,
            progress=progress,
            place=place,
        )
        run.go()
        try:
            return run.trajectory()
        except KeyboardInterrupt:  # all steps are taken: the rest is short
            return run.trajectory()


def begin(
    flow: Flow,
    x0: Any,
    target: Any,
    *,
    steps: int | None,
    t1: float | None = None,
    dt: float | None,
    integrator: Integrator | None,
    stop: StopRule | Stop | None = None,
    save: SaveAt | None,
    metrics: Metrics | None,
    seed: int | None,
    draws: Randomness | None = None,
    progress: bool,
    place: Place | None = None,
) -> Run:
    """The checked run of `simulate`, before its first step; it is kept in `place`."""
    if isinstance(flow, AutoFlow) and steps is None and t1 is None:
        steps, stop = flow.most, flow.stop if stop is None else stop
        save = SaveAt(every=max(1, flow.steps // RECORDS)) if save is None else save
    if (steps is None) == (t1 is None):
        remedy = (
            "leave one out"
            if steps is not None
            else "e.g. steps=100, or t1=1.0 for the time at the end"
        )
        raise ValueError(
            f"pass exactly one of `steps` and `t1`, got steps={_checks.said(steps)} and"
            f" t1={_checks.said(t1)}: {remedy}"
        )
    if (
        steps is not None
        and _checks.count(steps, "steps", remedy="pass how many steps to take, e.g. 100")
        > MOST_STEPS
    ):
        raise ValueError(f"`steps` must be at most {MOST_STEPS:.0e}, got {steps:.1e}: raise dt")
    if dt is not None:
        dt = _checks.positive(
            dt, "dt", remedy="leave it out to have one chosen: flow.suggest_dt(x, y)"
        )
    if save is not None and not isinstance(save, SaveAt):
        raise TypeError(f"`save` must be a SaveAt, got {save!r}: e.g. pf.SaveAt(every=10)")
    if t1 is not None:
        t1 = _checks.real(t1, "t1", remedy="pass the time at the end, e.g. 1.0")
        if t1 <= began(x0):
            raise ValueError(
                f"`t1` must be later than the start, t = {began(x0):g}, got {t1:g}: pass a later"
                " time, or steps="
            )
    earlier = x0 if isinstance(x0, Trajectory) else None
    left_out = metrics is None
    metrics = checked_metrics(metrics)
    _checks.flag(progress, "progress")
    asked_stop = None if stop is None else stopping(stop, kept=place is not None)
    start, aim, first, integrator = prepare(
        flow, x0, target, integrator, seed, draws, free=dt is None
    )
    start = start if dt is None else with_dt(start, dt)
    if left_out and earlier is not None and first is not None:
        metrics = told_metrics(earlier.report["metrics"])
    comparable(metrics, first, earlier)
    labels = {
        name: label_of(metric, name, start.x, first)
        for name, metric in metrics.items()
        if first is not None
    }
    earlier = None if earlier is None else measured(earlier, metrics, first)
    told = parts_told(flow, integrator, metrics, start.x.dim)
    kept = (
        earlier is not None
        and earlier.report["flow"] == told["flow"]
        and (not earlier.report["dt_suggested"] or same_target(earlier, aim))
        # the dt of an optimiser may have another unit
        and not (
            isinstance(integrator, Optimiser) and earlier.report["integrator"] != told["integrator"]
        )
    )
    suggested = dt is None and not (
        kept and earlier is not None and not earlier.report["dt_suggested"]
    )
    if dt is None:
        dt = (
            float(earlier.report["dt"])
            if earlier is not None and kept
            else place.known["dt"]
            if place is not None and place.known.get("dt_suggested")
            else suggested_dt(integrator, flow, start.x, first)
        )
    words = {"steps": steps if t1 is None else None, "t1": t1, "dt": dt, "dt_suggested": suggested}
    end = math.inf
    if t1 is not None:
        left = t1 - start.clock.t
        if left / dt > MOST_STEPS:
            raise ValueError(
                f"`t1` must be at most {MOST_STEPS:.0e} steps away, got {t1:g} with dt = {dt:g}:"
                " raise dt, or pass an earlier time"
            )
        steps = max(1, math.ceil(left / dt * (1 - 1e-12)))
        dt, end = left / steps, t1
    assert steps is not None
    save = save or SaveAt()
    last = start.clock.step + steps
    wanted = save.wanted(last, None if t1 is None else (start.clock.t, end))
    recorder = Recorder(
        flow,
        metrics,
        save.velocity,
        save.between(start.clock.step, last) + (2 if earlier is None else 1),
        _grid(save, start.x, first, earlier),
        earlier,
    )
    facts = {
        "dt": dt,
        "dt_suggested": suggested,
        "target": target_named(aim),
        **told,
        "seed": start.clock.draws.seed if isinstance(start.clock.draws, Draws | Replay) else None,
        "labels": labels,
    }
    watch = Watch(flow, aim, dt, integrator)
    fixed = first if isinstance(aim, FixedTarget) else None
    at, y = start, first
    if place is not None:
        parts = {
            "flow": flow,
            "integrator": integrator,
            "metrics": dict(metrics),
            "stop": stop,
            "save": save,
            "draws": start.clock.draws,
            "target": aim.of if isinstance(aim, ChangingTarget) else None,
        }
        asked = Asked(words, parts, start, first, fixed is not None, recorder.axes, facts)
        place.settle(asked)
        if place.goes_on:
            at = place.moment(start.clock.draws)
            y = aim.at(at.clock)
    steps_taken = _with_bar(
        states(at, y, integrator, watch, end),
        steps,
        end,
        progress,
        at.clock.step - start.clock.step,
    )
    is_last = (
        (lambda state: state.clock.step >= last)
        if t1 is None
        else (lambda state: over(state, dt, end))
    )
    leg = Leg(flow, aim, integrator, dt, end, start)
    before = Recipe(()) if earlier is None else earlier.recipe
    recipe = None if before is None else Recipe((*before.legs, leg))
    run = Run(
        flow,
        start,
        fixed,
        steps_taken,
        watch,
        recorder,
        wanted,
        is_last,
        facts,
        asked_stop,
        recipe,
    )
    return run if place is None else KeptRun.of(run, place, first)


def _grid(save: SaveAt, x: Cloud, y: Cloud | None, earlier: Trajectory | None) -> Grid | None:
    """Where the witness is recorded: on the grid of the run that goes on, if it has one."""
    grid = save.grid(x, y)
    if grid is None or earlier is None or earlier.witness_axes is None:
        return grid
    return Grid(earlier.witness_axes.to(x.points))


def _with_bar(
    states: Iterator[State], steps: int, end: float, progress: bool, done: int
) -> Iterator[State]:
    """The states, under a progress bar of `steps` steps if it is wanted.

    `done` steps were taken before. Where lengths are chosen on the way to the time `end`, the
    number of steps follows them.
    """
    if not progress:
        yield from states
        return
    with bar(total=steps, initial=done, unit="step") as shown:
        for k, state in enumerate(states):
            length = chosen(state)
            if length is not None and math.isfinite(end):
                shown.total = done + k + math.ceil(max(0.0, end - state.clock.t) / length)
            shown.update(min(1, k))
            yield state
