"""Runs the flows of a task, and writes what they leave into its folder."""

from __future__ import annotations

import csv
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from particleflow import plotting
from particleflow._refusals import RefusedValueError
from particleflow.cli.folder import results_of, trajectory_of
from particleflow.cli.report import Outcome, measured_names
from particleflow.cli.task import Task
from particleflow.engine import begin
from particleflow.saving import SaveAt
from particleflow.stopping import Stop
from particleflow.trajectory import Trajectory

# Enough points for sums over pairs to be left to compiled code, which takes a second to import.
SOME = 200


@contextmanager
def threads(number: int) -> Iterator[None]:
    """The number of threads that torch uses meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def warm(task: Task) -> None:
    """Measure some points, so that what metrics import does not count as the first flow's time, and
    is missed before the run if it is missing.

    Raises
    ------
    RefusedValueError
        A metric lacks its library.
    """
    for name, metric in task.metrics.items():
        try:
            metric(task.x0[:SOME], task.y[:SOME])
        except ImportError as error:
            lacking = error.__cause__ or error
            raise RefusedValueError(
                "metrics",
                f"cannot hold {name}, whose library is missing",
                remedy=f"{lacking}: install it, or use sliced",
            ) from None


def run(
    task: Task, out: Path, *, single: bool, progress: bool, say: Callable[[str], None], stop: Stop
) -> Outcome:
    """Run every flow of the task, one failing without the others, and write each trajectory as soon
    as there is one.

    `say` is told which flow begins. A signal ends the flow that runs and leaves out the later ones;
    what there is is kept.
    """
    outcome = Outcome()
    for k, (name, plan) in enumerate(task.plans.items(), start=1):
        say(f"{name} ({k} of {len(task.plans)}): {plan.steps} steps of {plan.dt:g}")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                outcome.paths[name] = _simulated(task, name, progress, stop)
            except KeyboardInterrupt:
                outcome.interrupted = True
                outcome.failures[name] = f"stopped by {stop.said}"
            except Exception as error:  # whatever a flow dies of, the others go on
                outcome.failures[name] = f"{type(error).__name__}: {error}"
        path = outcome.paths.get(name)
        known = path.message if path else ""  # a warning that repeats it is said once
        outcome.notes += [
            f"{name}: {w.message}" for w in caught if not (known and known in str(w.message))
        ]
        if path is not None:
            outcome.interrupted |= path.status == "interrupted"
            _make(outcome, out / trajectory_of(name, single), path.save, stop)
        outcome.interrupted |= (
            stop.signal > 0
        )  # it came meanwhile, or whoever was called kept it to himself
        if outcome.interrupted:
            break
    outcome.notes = list(dict.fromkeys(outcome.notes))
    return outcome


def _simulated(task: Task, name: str, progress: bool, stop: Stop) -> Trajectory:
    """One flow run to its end or to a signal, which ends the steps at once, waits after them, and
    raises only if there were none.
    """
    plan, run = task.plans[name], None
    try:
        with stop.held(yes=False):
            run = begin(
                plan.flow,
                task.x0,
                task.y,
                steps=plan.steps,
                dt=plan.dt,
                integrator=plan.integrator,
                save=SaveAt(every=task.every[name]),
                metrics=task.metrics,
                seed=task.seed,
                progress=progress,
            )
            run.go()
    except KeyboardInterrupt as error:
        if run is None:
            raise
        run.stopped(error)
    return run.trajectory()


def write(outcome: Outcome, out: Path, *, single: bool, gif: bool, stop: Stop) -> None:
    """Table, curves, snapshots and film of the runs. What goes wrong is entered in the outcome, and
    a signal leaves out the rest of the pictures.
    """
    paths, stopped = outcome.paths, stop.signal > 0
    makers: list[Callable[[Path], object]] = [
        lambda file: _table(paths, file),
        lambda file: plotting.curves(paths, file),
        lambda file: plotting.snapshots(paths, file),
        *([lambda file: plotting.animate(paths, file)] if gif else []),
    ]
    for k, (name, make) in enumerate(zip(results_of([], single=single), makers, strict=False)):
        if k and stop.signal and not stopped:  # it came while the table was written
            outcome.interrupted = True
            break
        if paths and not _make(outcome, out / name, make, stop, held=k == 0):
            break
    outcome.interrupted |= stop.signal > 0


def _make(
    outcome: Outcome, file: Path, make: Callable[[Path], object], stop: Stop, *, held: bool = True
) -> bool:
    """Write a file, which gets its name when it is complete: nothing half done is left. False if a
    signal stopped that, which waits while `held`.
    """
    try:
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".unfinished-") as place:
            part = Path(place) / file.name
            with stop.held(yes=held):
                make(part)
            part.replace(file)
        outcome.files.append(file)
    except KeyboardInterrupt:
        outcome.interrupted = True
        outcome.failures[file.name] = f"stopped by {stop.said}"
        return False
    except Exception as error:  # a picture that fails must not lose the others
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        why = (
            cause.strerror or str(cause)
            if isinstance(cause, OSError)
            else f"{type(cause).__name__}: {cause}"
        )
        outcome.failures[file.name] = f"could not be written: {why}"
    return True


def _table(paths: Mapping[str, Trajectory], file: Path) -> None:
    """One line for each record of each flow: flow, step, time, the metrics, the flow's own energy.
    Numbers read back exactly.
    """
    names = list(dict.fromkeys(name for path in paths.values() for name in path.metrics))
    with file.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["flow", "step", "time", *measured_names(names, paths), "energy"])
        for flow, path in paths.items():
            columns = [path.steps, path.times, *(path.metrics[name] for name in names), path.energy]
            table.writerows(
                [flow, *row] for row in zip(*(column.tolist() for column in columns), strict=True)
            )
