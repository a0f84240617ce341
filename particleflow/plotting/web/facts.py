"""What the player shows of each run, in words, numbers and packed arrays."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int

from particleflow._words import called, number
from particleflow.plotting.drawing.labels import Classes
from particleflow.plotting.scenes import framing
from particleflow.plotting.scenes.floors import floor_of
from particleflow.plotting.scenes.jumps import jumped
from particleflow.plotting.scenes.records import crowded, recorded, telling
from particleflow.plotting.scenes.ticks import Ticks
from particleflow.plotting.scenes.views import Plane
from particleflow.plotting.style import DARK, DIVERGING, LIGHT, SEQUENTIAL, WHEEL, colour, stroke
from particleflow.plotting.web.pack import STEPS, STEPS_OF_CROWD, Block, Bytes, Grid
from particleflow.subsets import some_rows
from particleflow.trajectory import Trajectory

Array = Float[np.ndarray, "..."]
# The particles of a run that are shown.
Rows: TypeAlias = slice | Int[np.ndarray, "n"]

# Particles of a run whose bytes tell those of all.
SAMPLED = 2000
# Records that are kept of a run whose page would be too large.
FEWEST_RECORDS = 12
# Points of a target that are drawn.
TARGETS = 20_000
# Records of the witness that a page holds: it changes slowly, and is blended between them.
GRIDS = 30
# The tones of a witness end at this quantile of its sizes: far away a log ratio may be huge.
STRONG = 0.98
# Axes of a cloud in d > 3 dimensions: its first principal ones.
PRINCIPAL = 6
# Particles shown as pictures.
PICTURES = 100


def packed(
    runs: Mapping[str, Trajectory],
    as_images: tuple[int, int] | None,
    largest: int,
    classes: Classes | None,
) -> tuple[dict[str, object], str]:
    """All that the page shows: what is said in words and numbers, and the arrays."""
    first = next(iter(runs.values()))
    d = first.particles.shape[2]
    view, labels = _view(runs)
    low, high = framing.limits(list(runs.values()), recorded(runs), view)
    ticks_of = [Ticks.between(*ends) for ends in zip(low.tolist(), high.tolist(), strict=True)]
    crowd = any(crowded(run.particles.shape[1]) for run in runs.values())
    grid = Grid.over(low, high, STEPS_OF_CROWD if crowd else STEPS)
    steps, rows, remark = _affordable(runs, view, grid, largest)
    stored = Bytes()
    flows = [
        _flow(name, run, k, steps, rows[name], view, grid, stored, as_images)
        for k, (name, run) in enumerate(runs.items())
    ]
    if classes is not None:
        for flow, kept in zip(flows, rows.values(), strict=True):
            flow["labels"] = stored.pictures(classes.of[kept][None])
    targets: list[dict[str, object]] = []
    of_flow: list[int | None] = []
    for run in runs.values():
        if run.target is None:
            of_flow.append(None)
            continue
        same = [k for k, seen in enumerate(targets) if seen["id"] is run.target]
        if not same:
            points = _shown(run.target[some_rows(len(run.target), TARGETS)], view)
            targets.append({"id": run.target, "points": stored.series(grid.whole(points)[None])})
        of_flow.append(same[0] if same else len(targets) - 1)
    facts: dict[str, object] = {
        "dim": d,
        "labels": [
            replace(ticks, unit=1.0).said(name)
            for name, ticks in zip(labels, ticks_of, strict=True)
        ],
        # in all digits: coordinates of the page are distances from the middle
        "middle": [repr(x) for x in grid.middle.tolist()],
        "origin": [x - t.offset for x, t in zip(grid.middle.tolist(), ticks_of, strict=True)],
        "step": grid.step,
        "low": (low - grid.middle).tolist(),
        "high": (high - grid.middle).tolist(),
        "flows": flows,
        "targets": [{"points": target["points"]} for target in targets],
        "target_of": of_flow,
        "images": None if as_images is None else list(as_images),
        "palettes": {"rising": SEQUENTIAL, "signed": DIVERGING, "around": WHEEL},
        "label_names": None if classes is None else list(classes.names),
        "label_colours": None if classes is None else classes.colours,
        "remark": remark,
    }
    return facts, stored.text()


def _flow(
    name: str,
    run: Trajectory,
    k: int,
    steps: list[int],
    rows: Rows,
    view: Plane,
    grid: Grid,
    stored: Bytes,
    as_images: tuple[int, int] | None,
) -> dict[str, object]:
    """What is shown of one run."""
    chosen = _chosen(run, steps)
    cloud = run.particles[:, rows][chosen]
    dashes, jumps = stroke(k).dashes, jumped(run)
    made: dict[str, object] = {
        "name": name or "flow",
        "colours": [colour(k, LIGHT), colour(k, DARK)],
        "dashes": [] if dashes == "-" else list(dashes[1]),
        "steps": run.steps[chosen].tolist(),
        "times": run.times[chosen].tolist(),
        "count": run.particles.shape[1],
        "positions": stored.series(grid.whole(_shown(cloud, view))),
        "samples": None if run.target is None else len(run.target),
        "labels": None,
        "velocity": None,
        "mass": None,
        "images": None,
        "anew": None if jumps is None else _anew(jumps, rows, chosen),
        "witness": _witness(run, chosen, grid, stored),
        "curves": _curves(run),
        "status": run.verdict,
        "message": run.message,
        "settings": _settings(run),
    }
    if run.velocity is not None:
        moved = _shown(run.velocity[:, rows][chosen], view)
        most = float(np.abs(moved[np.isfinite(moved)]).max(initial=0.0)) or 1.0
        whole = np.rint(np.nan_to_num(moved) * (2**13 / most)).astype(np.int32)
        made["velocity"] = {"block": stored.series(whole), "unit": most / 2**13}
    if run.log_mass is not None:
        mass = run.log_mass[:, rows][chosen].detach().cpu().double().exp().numpy()
        mass = mass / mass.mean(1, keepdims=True)
        made["mass"] = stored.series(np.rint(mass * 256).astype(np.int32)[..., None])
    if as_images is not None:
        made["images"] = _images(run, cloud, stored)
    return made


def _anew(anew: torch.Tensor, rows: Rows, chosen: list[int]) -> list[list[int]]:
    """The particles that jumped between each chosen record and the one before."""
    ends = [-1, *chosen]
    return [
        torch.nonzero(anew[a + 1 : b + 1, rows].any(0))[:, 0].tolist() for a, b in pairwise(ends)
    ]


def _images(run: Trajectory, cloud: torch.Tensor, stored: Bytes) -> Block:
    """The first particles as grey pictures: white at the target's 99 % quantile."""
    ink = cloud[:, :PICTURES].detach().cpu().double().numpy()
    aim = run.target if run.target is not None else run.particles[-1]
    low, high = np.quantile(aim.detach().cpu().double().numpy(), [0.01, 0.99])
    grey = np.clip((ink - low) / ((high - low) or 1.0), 0, 1)
    return stored.pictures(np.rint(255 * np.nan_to_num(grey)).astype(np.int32))


def _witness(
    run: Trajectory, chosen: list[int], grid: Grid, stored: Bytes
) -> dict[str, object] | None:
    """The recorded witness at some of the chosen records: its signed square root, 128 is 0.

    The square root shows the small values near the end of a run beside the large ones before.
    """
    if run.witness is None or run.witness_axes is None:
        return None
    some = [
        k
        for k in sorted({round(k) for k in np.linspace(0, len(chosen) - 1, GRIDS)})
        if bool(torch.isfinite(run.witness[chosen[k]]).any())
    ]
    if not some:
        return None
    values = run.witness[[chosen[k] for k in some]].detach().cpu().double().nan_to_num().numpy()
    most = float(np.quantile(np.abs(values), STRONG)) or 1.0
    root = np.sign(values) * np.sqrt(np.minimum(np.abs(values) / most, 1))
    axes = run.witness_axes.detach().cpu().double() - torch.from_numpy(grid.middle)
    return {
        "block": stored.pictures(np.rint(128 + 127 * root).astype(np.int32)),
        "records": some,
        "low": axes[0].tolist(),
        "high": axes[-1].tolist(),
    }


def _curves(run: Trajectory) -> list[dict[str, object]]:
    """The recorded metrics and the flow's own energy, over all records."""
    found: list[dict[str, object]] = []
    for name, values in run.metrics.items():
        found.append(
            {
                "key": name,
                "label": called(name, run.report),
                "values": values.double().tolist(),
                "floor": floor_of(run, name),
            }
        )
    if bool(torch.isfinite(run.energy).any()):
        found.append(
            {
                "key": "energy",
                "label": "the flow's own energy",
                "values": run.energy.double().tolist(),
                "floor": None,
            }
        )
    for curve in found:
        curve["steps"] = run.steps.tolist()
    return found


def _settings(run: Trajectory) -> dict[str, str]:
    """What the run was made with, in the order in which it is asked."""
    report = run.report
    said = {key: report[key] for key in ("flow", "integrator", "dt", "seed") if key in report}
    said |= {
        "steps": int(run.steps[-1]),
        "particles": run.particles.shape[1],
        "target": "none" if run.target is None else number(len(run.target), "point"),
    }
    if "seconds" in report:
        said["seconds"] = f"{float(report['seconds']):.2f}"
    return {key: _brief(str(value)) for key, value in said.items()}


def _brief(said: str) -> str:
    """A repr without what was not chosen: `Auto(...)` is Auto, parts that are None are left out.

    >>> _brief("Flow(estimator=MMD(pairwise=Auto(rtol=1e-05, atol=None)), noise=None)")
    'Flow(estimator=MMD(pairwise=Auto))'
    """
    return re.sub(r", \w+=None\b", "", re.sub(r"\bAuto\([^()]*\)", "Auto", said))


def _affordable(
    runs: Mapping[str, Trajectory], view: Plane, grid: Grid, largest: int
) -> tuple[list[int], dict[str, Rows], str]:
    """Steps and particles that fit into a page, and what the page says about the others."""
    steps = recorded(runs)
    counts = {name: run.particles.shape[1] for name, run in runs.items()}
    told, whole = [], len(steps)
    # fewer records are farther apart, and take more bytes each: a few rounds
    while (size := _size(runs, steps, view, grid)) > largest and len(steps) > FEWEST_RECORDS:
        steps = telling(runs, max(FEWEST_RECORDS, int(len(steps) * largest / size)))
    if len(steps) < whole:
        told.append(f"{len(steps)} of {whole} records")
    share = min(1.0, largest / size)
    kept = {name: max(1, math.floor(share * count)) for name, count in counts.items()}
    if share < 1:
        told.append(f"{max(kept.values())} of {max(counts.values())} particles")
    remark = f"shown: {', '.join(told)}, so that the page stays small" if told else ""
    return steps, {name: some_rows(counts[name], kept[name]) for name in runs}, remark


def _size(runs: Mapping[str, Trajectory], steps: list[int], view: Plane, grid: Grid) -> float:
    """About how many bytes the particles take in a page: those of some, and the others alike."""
    size = 0.0
    for run in runs.values():
        count = run.particles.shape[1]
        some, sample = some_rows(count, SAMPLED), Bytes()
        cloud = run.particles[:, some][_chosen(run, steps)]
        sample.series(grid.whole(_shown(cloud, view)))
        # a velocity takes what a position takes
        arrays = 1 + (run.velocity is not None) + 0.5 * (run.log_mass is not None)
        size += arrays * len(sample.text()) * count / min(count, SAMPLED)
    return size


def _chosen(run: Trajectory, steps: list[int]) -> list[int]:
    """The records of a run at the steps that are shown, and its last one."""
    known, wanted = run.steps.tolist(), frozenset(steps)
    return [k for k, step in enumerate(known) if step in wanted or k == len(known) - 1]


def _view(runs: Mapping[str, Trajectory]) -> tuple[Plane, list[str]]:
    """The coordinates that are shown, and their names: the first principal axes in d > 3."""
    d = next(iter(runs.values())).particles.shape[2]
    if d <= 3:
        return Plane(), ["x", "y"][:d] if d < 3 else [f"x{k + 1}" for k in range(d)]
    axes, share = framing.principal(list(runs.values()))
    axes = axes[:, :PRINCIPAL]
    return Plane(axes), [f"PC {k + 1} ({share[k]:.0f} %)" for k in range(axes.shape[1])]


def _shown(points: Float[torch.Tensor, "*any d"], view: Plane) -> Float[np.ndarray, "*any C"]:
    *many, d = points.shape
    return framing.seen(points.reshape(-1, d), view).reshape(*many, -1)
