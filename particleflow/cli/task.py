"""Tasks: all that a run needs, made from settings; what they leave open is chosen from the data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from particleflow import _checks, metrics, samplers
from particleflow._refusals import RefusedValueError
from particleflow._typing import Points
from particleflow.automatic import unlike
from particleflow.cli import scales, starts
from particleflow.cli.defaults import (
    DIRECTIONS,
    EXACT_UNASKED,
    MOST_DIRECTIONS,
    ONE_THREAD,
    RECORDED,
    RECORDS,
    ROWS,
    SAMPLES,
    SORTED,
    processors,
)
from particleflow.cli.files import Choices, drawn, target
from particleflow.cli.flows import Plan, plan
from particleflow.cli.maker import Problem
from particleflow.cli.names import TARGETS
from particleflow.cli.options import OPTIONS
from particleflow.cli.parts import EXACT_AT_MOST, METRICS
from particleflow.cli.paths import absolute
from particleflow.cli.scales import kernel_of
from particleflow.cli.toml import Settings, given
from particleflow.samplers.data import Rows
from particleflow.saving import POINTS as GRID_POINTS


@dataclass(frozen=True)
class Task:
    """All that a run needs, with nothing left open.

    `settings` says the same in words and numbers: building from them again gives the same task.
    `threads` are for the run. The task itself is built in one thread, so that it does not depend on
    their number. `problem` has the target's distribution, `start` is that of the particles.
    """

    x0: Points
    y: Tensor
    plans: Mapping[str, Plan]
    every: Mapping[str, int]  # steps from one record of a flow to the next
    metrics: Mapping[str, metrics.Metric]
    record: Sequence[str]  # what is recorded beside the particles
    seed: int
    threads: int
    settings: Settings
    rows: int | None  # the number of rows of a target that is a file or a data set
    problem: Problem
    start: samplers.Sampler
    notes: tuple[str, ...] = ()  # choices other than the usual ones, with the reason


def task(settings: Settings, names: Sequence[str], *, spare: bool = False) -> Task:
    """Build the flows called `names` and their clouds; choose what `settings` leave open.

    `spare`: the target is at most a third of a file's rows, so that rows are left that the flows
    never see.

    Raises
    ------
    ValueError, TypeError, OSError
        A setting, a file or a part cannot be used; raised before the first step.
    """
    seed = _checks.count(settings.get("seed") or 0, "seed", least=0)
    name = settings.get("target") or "rings"
    pca = given(settings.get("pca"), TARGETS[name].defaults.get("pca", 0) if name in TARGETS else 0)
    choices = Choices.of(settings)
    law, project = target(
        name,
        pca=pca,
        key=choices.key["target"],
        columns=choices.columns["target"],
        bright=choices.bright,
    )
    from_file = isinstance(law, (samplers.FromFile, samplers.FromArray))
    m = settings.get("m")
    usual = ROWS if from_file else SAMPLES
    if spare and isinstance(law, Rows):
        m = _third(law, m, usual)
    y = drawn(law, m, "m", seed, default=usual)
    kernel, bandwidth = kernel_of(settings, y)
    bulk, scale = starts.measured(y, bandwidth)
    x0, around, start = starts.start(settings, bulk, scale, seed + 1, project)
    wanted, notes = _metrics(settings.get("metrics"), x0, y)
    notes = [*starts.notes(settings, names, y, bulk, scale), *_unlike(y), *notes]
    records = _checks.count(given(settings.get("records"), RECORDS), "records")
    most = max(1, RECORDED // (x0.nbytes * len(names)) - 1)
    record = settings.get("record") or []
    if "witness" in record and y.shape[1] not in GRID_POINTS:
        raise RefusedValueError(
            "record",
            "cannot hold witness, which is recorded in d = 1 or 2",
            f"a target in d = {y.shape[1]}",
            "leave it out, or use --pca 2",
        )
    threads = given(
        settings.get("threads"), processors() if max(len(x0), len(y)) > ONE_THREAD else 1
    )
    count = scales.steps(settings, names, x0, y)
    problem = Problem(settings, names, name, law, scale, x0, y, count)
    made = {flow: plan(problem, flow) for flow in names}
    plans = {flow: its for flow, (its, _) in made.items()}
    tables = {flow: table for flow, (_, table) in made.items()}
    if most < min(records, max(its.steps for its in plans.values())):
        notes.append(
            f"records: at most {most} and not {records}, which would take more than"
            f" {RECORDED / 2**30:g} GB"
        )
    chosen: Settings = {
        **{key: settings[key] for key in ("flow", "flows") if key in settings},
        "target": name if name in TARGETS else absolute(name, "target"),
        "n": len(x0),
        "m": len(y),
        **start,
        "pca": pca,
        "key": settings.get("key"),
        "columns": settings.get("columns"),
        "bright": settings.get("bright"),
        "seed": seed,
        "threads": _checks.count(threads, "threads"),
        "kernel": settings.get("kernel") or "gaussian",
        "bandwidth": bandwidth,
        "metrics": list(wanted),
        "records": records,
        "record": record or None,
        "film": settings.get("film") or "gif",
    }
    resolved = {
        option.name: chosen[option.name]
        for option in OPTIONS
        if chosen.get(option.name) is not None
    }
    sizes = {"kernel": kernel, "projections": _directions(len(x0) + len(y))}
    measures = {METRICS[m].label: METRICS[m].make(sizes.__getitem__) for m in wanted}
    rows = len(law) if isinstance(law, Rows) else None
    every = {flow: spacing(its.steps, records, most) for flow, its in plans.items()}
    return Task(
        x0,
        y,
        plans,
        every,
        measures,
        record,
        seed,
        threads,
        {**resolved, **tables},
        rows,
        problem,
        around,
        tuple(notes),
    )


def _unlike(y: Tensor) -> list[str]:
    """A remark on columns of different scales."""
    found = unlike(y)
    if found is None:
        return []
    wide, narrow, ratio = found
    return [
        f"target: column {wide} is {ratio:.3g} times as wide as column {narrow}, which distances"
        " hardly see: divide the columns of target and start by their deviations to weigh all alike"
    ]


def _third(law: Rows, m: int | None, usual: int) -> int:
    """The number of rows that flows see: `m`, or `usual`, and at most a third of all."""
    most = len(law) // 3
    if most < 1 or (m or 0) > most:
        raise RefusedValueError(
            "m",
            "must be at most a third of the target's rows, so that as many are left that the flows"
            " never see",
            f"{len(law)} rows" if m is None else f"{m} of {len(law)} rows",
            f"take at most {most}" if most else "give more rows",
        )
    return min(usual, most) if m is None else m


def spacing(steps: int, records: int, most: int = 10**9) -> int:
    """Steps from one record to the next.

    It is a divisor of `steps`: the one whose number of records is nearest to `records`, and at most
    `most`. Where none comes within a factor of 1.5, the last record is nearer to its neighbour than
    the others are.
    """
    wanted = min(records, most, steps)
    near = [
        number
        for number in range(math.ceil(wanted / 1.5), math.floor(min(1.5 * wanted, most)) + 1)
        if steps % number == 0
    ]
    if near:
        return steps // min(near, key=lambda number: abs(math.log(number / wanted)))
    return max(round(steps / wanted), math.ceil(steps / most))


def _directions(points: int) -> int:
    """The number of directions of the sliced distance, for clouds of `points` points in all."""
    return int(min(MOST_DIRECTIONS, max(DIRECTIONS, SORTED // points)))


def _metrics(asked: list[str] | None, x0: Tensor, y: Tensor) -> tuple[list[str], list[str]]:
    """The names of the metrics, and remarks on them.

    Exact transport is for small clouds, or for any size in one dimension.
    """
    size = max(len(x0), len(y)) if y.shape[1] > 1 else 0
    if asked is None:
        if size <= EXACT_UNASKED:
            return ["w2", "mmd2"], []
        return ["sliced", "mmd2"], [
            f"metrics: sliced W2 and not W2, which takes long beyond {EXACT_UNASKED} points"
        ]
    slow = [name for name in asked if name in ("w1", "w2")]
    if slow and size > EXACT_AT_MOST:
        raise RefusedValueError(
            "metrics",
            f"{slow[0]} is exact, for at most {EXACT_AT_MOST} points",
            size,
            "use sliced, or leave it out",
        )
    return list(asked), []
