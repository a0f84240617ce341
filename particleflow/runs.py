"""Runs a task, writes what it leaves into a folder, and says in a few lines what happened."""

from __future__ import annotations

import csv
import math
import os
import tempfile
import tomllib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from particleflow import catalogue, config, plotting
from particleflow._words import called, shown
from particleflow.build import Task
from particleflow.engine import begin
from particleflow.saving import SaveAt
from particleflow.stopping import Stop
from particleflow.trajectory import Trajectory

COMPLETED, ENDED_BADLY, INTERRUPTED = 0, 1, 130
CONFIG = "config.toml"
# Enough points for sums over pairs to be left to compiled code, which takes a second to import.
SOME = 200
# Coordinates of a mean that are shown in the heading.
SHOWN = 4


@dataclass
class Outcome:
    """The trajectories of the flows that took a step, the files that were written, what failed and
    why, the warnings on the way.
    """

    paths: dict[str, Trajectory] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False

    @property
    def code(self) -> int:
        """The exit code: 130 after Ctrl-C, 1 where a flow did not complete or a result could not be
        written, else 0.
        """
        if self.interrupted:
            return INTERRUPTED
        return (
            ENDED_BADLY
            if self.failures or any(path.status != "completed" for path in self.paths.values())
            else COMPLETED
        )


def folder(path: str) -> Path:
    """`path` as a folder that exists and can be written to.

    Raises
    ------
    SettingError
        It is a file, or cannot be made or written to, or holds a folder in the place of the
        settings.
    """
    out = config.home(path, "out")
    if os.path.exists(out) and not out.is_dir():
        raise config.SettingError(
            f"`out` must be a folder, and there is a file {out}: choose another name"
        )
    if os.path.isdir(out / CONFIG):
        raise config.SettingError(
            f"`out` must be a folder for a file {CONFIG}, and there is a folder {out / CONFIG}:"
            " choose another"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out) as file:
            file.write(b" ")
    except OSError as error:
        raise config.SettingError(
            f"`out` must be a folder that can be written to, got {out}: {error.strerror}: choose"
            " another"
        ) from None
    return out


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep other runs out of a folder meanwhile: the results of two would be mixed, under the
    settings of one.

    Where the system or the file system has no locks nobody is kept out.

    Raises
    ------
    SettingError
        Another run is there.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    place = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise config.SettingError(
                f"`out` must be a folder of one run, and another one writes to {out}: wait for it,"
                " or choose another"
            ) from None
        except OSError:
            pass
        yield
    finally:
        os.close(place)


def keep_apart(task: Task, out: Path, *, single: bool) -> None:
    """Refuse a folder where the run would write over what it reads: its config.toml could not
    repeat it.

    Raises
    ------
    SettingError
        A file of the target or of the start has the name of a result.
    """
    results = {str((out / name).resolve()) for name in (CONFIG, *_names(task.plans, single=single))}
    for role in ("target", "start"):
        if task.settings[role] in results:
            file = task.settings[role]
            raise config.SettingError(
                f"`out` must not hold the file that is the {role}, {file}, which the run would"
                " write over: choose another"
            )


def earlier(out: Path, keep: Iterable[str]) -> list[Path]:
    """The results of an earlier run in `out`, which are to go, so that what is there belongs to the
    config.toml beside it.

    Only files of the names that the run in the old config.toml writes, only where that file says
    that it was written here, and no file of `keep`.
    """
    try:
        text = (out / CONFIG).read_text(encoding="utf-8")
        old = tomllib.loads(text)
    except (OSError, ValueError):
        return []
    if not text.startswith(f"# {config.MARK}"):
        return []
    single = "flow" in old
    listed = [old["flow"]] if single else old.get("flows")
    flows = [flow for flow in catalogue.FLOWS if isinstance(listed, list) and flow in listed]
    files = [out / name for name in _names(flows, single=single)]
    return [file for file in files if file.is_file() and str(file.resolve()) not in keep]


def settle(task: Task, out: Path, header: str) -> None:
    """Write the settings of a run, and then remove the results of an earlier one: where the
    settings cannot be written nothing is lost.

    Raises
    ------
    SettingError
        They cannot be written.
    """
    old = earlier(out, keep=(task.settings["target"], task.settings["start"]))
    try:
        config.write(task.settings, out / CONFIG, header)
    except OSError as error:
        raise config.SettingError(
            f"`out` must be a folder that can be written to, got {out}: {CONFIG}: {error.strerror}:"
            " choose another"
        ) from None
    for file in old:
        file.unlink(missing_ok=True)


def _names(flows: Iterable[str], *, single: bool) -> list[str]:
    """The files that a run leaves besides its config.toml: table, curves, snapshots, film, and a
    trajectory for each flow.
    """
    return [
        "metrics.csv",
        "metrics.png",
        "snapshots.png",
        "flow.gif" if single else "flows.gif",
        *(_npz(flow, single) for flow in flows),
    ]


def _npz(flow: str, single: bool) -> str:
    return "trajectory.npz" if single else f"{flow}.npz"


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
    SettingError
        A metric lacks its library.
    """
    for name, metric in task.metrics.items():
        try:
            metric(task.x0[:SOME], task.y[:SOME])
        except ImportError as error:
            lacking = error.__cause__ or error
            raise config.SettingError(
                f"`metrics` cannot hold {name}, whose library is missing: {lacking}: install it, or"
                " use sliced"
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
            _make(outcome, out / _npz(name, single), path.save, stop)
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
    for k, (name, make) in enumerate(zip(_names([], single=single), makers, strict=False)):
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
        table.writerow(["flow", "step", "time", *_called(names, paths), "energy"])
        for flow, path in paths.items():
            columns = [path.steps, path.times, *(path.metrics[name] for name in names), path.energy]
            table.writerows(
                [flow, *row] for row in zip(*(column.tolist() for column in columns), strict=True)
            )


def _called(names: Iterable[str], paths: Mapping[str, Trajectory]) -> list[str]:
    """The names of metrics, with the number of points drawn where not all are compared."""
    labels = {
        name: label
        for path in paths.values()
        for name, label in path.report.get("labels", {}).items()
    }
    return [called(name, {"labels": labels}) for name in names]


def heading(task: Task) -> str:
    """What was chosen, before anything runs."""
    s = task.settings
    start = (
        f"N(({_few(s['start_mean'])}), {s['start_std']:g}^2)"
        if s["start"] == "gaussian"
        else shown(s["start"])
    )
    bandwidth = f", bandwidth {s['bandwidth']:g}" if "bandwidth" in s else ""
    of, d = f" of {task.rows}" if task.rows else "", task.y.shape[1]
    facts = {
        "target": f"{shown(s['target'])}: {len(task.y)}{of} points in {d} dimension{'s' * (d > 1)}",
        "start": f"{len(task.x0)} particles, {start}",
        "kernel": s["kernel"] + bandwidth,
        "seed": str(task.seed),
    }
    for name in task.plans:
        facts[name] = ", ".join(
            f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in s[name].items()
        )
    width = max(map(len, facts))
    return "\n".join([*(f"{key:<{width}}  {value}" for key, value in facts.items()), *task.notes])


def _few(values: Sequence[float]) -> str:
    """The numbers, of many the first ones."""
    more = [f"... ({len(values)} in all)"] if len(values) > SHOWN else []
    return ", ".join(
        [*(f"{value:.15g}" for value in (values[: SHOWN - 1] if more else values)), *more]
    )


def summary(task: Task, outcome: Outcome) -> str:
    """One line for each flow: how it ended, its first and last numbers, its time; then what there
    is to be said.
    """
    rows = [
        ["flow", "ended", "dt", "steps", *_called(task.metrics, outcome.paths), "sums", "seconds"]
    ]
    for name, plan in task.plans.items():
        path = outcome.paths.get(name)
        if path is None:
            status = "failed" if name in outcome.failures else "not run"
            rows.append([name, status, f"{plan.dt:g}", "0", *("" for _ in task.metrics), "", ""])
            continue
        measured = {
            metric: v[v.isfinite()].tolist() or [math.nan] for metric, v in path.metrics.items()
        }
        ends = [f"{v[0]:.3g} -> {v[-1]:.3g}" for v in measured.values()]
        sums = "+".join(path.report.get("backends", {})) or "-"
        ended = (
            f"UNSTABLE from step {path.report['unstable_from']}"
            if path.status == "unstable"
            else path.verdict
        )
        rows.append(
            [
                name,
                ended,
                f"{plan.dt:g}",
                str(int(path.steps[-1])),
                *ends,
                sums,
                f"{path.report['seconds']:.1f}",
            ]
        )
    said = [f"{name}: {path.message}" for name, path in outcome.paths.items() if path.message]
    said += [f"{name}: {message}" for name, message in outcome.failures.items()]
    return "\n".join(
        [_aligned(rows), *(" ".join(line.split()) for line in [*said, *outcome.notes])]
    )


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
