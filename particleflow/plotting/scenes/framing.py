"""The view and the limits of a scene, which hold every point shown; this module draws nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from particleflow.plotting.scenes.density import density, typical
from particleflow.plotting.scenes.records import MEASURED, crowded, few, record_at
from particleflow.plotting.scenes.ticks import Ticks
from particleflow.plotting.scenes.views import Plane, View, inside
from particleflow.subsets import some_rows
from particleflow.trajectory import Trajectory

# Share of a crowd's points that lie outside of the picture on each side, so that few do not set it.
TRIM = 1e-3
# Distance from target and starts, in their extents, beyond which particles are only counted.
REACH = 1.0
# Pixels along the longer side of the picture that sets the tones of all others.
PIXELS = 256


def seen(points: Float[Tensor, "N d"], view: View) -> Float[np.ndarray, "N e"]:
    return view.seen(points.detach().cpu().numpy())


def measured(points: Float[Tensor, "N d"], view: View) -> Float[np.ndarray, "n e"]:
    return seen(points[few(len(points))].double(), view)


def ends(
    points: Float[Tensor, "N d"],
    view: View,
    within: Sequence[Float[np.ndarray, "e"]] | None = None,
    then: View = Plane(),
) -> Float[np.ndarray, "k f"]:
    """Return two corners of the box that holds the points, as rows; none where it is empty.

    Of a crowd the box holds most points. `within` keeps only the points between two corners; the
    box is that of their places in the view `then`.
    """
    some = measured(points, view)
    if within is not None:
        some = some[inside(some, *within)]
    some = then.seen(some)
    if crowded(len(points)) and len(some):
        return np.quantile(some, [TRIM, 1 - TRIM], axis=0)
    return np.array([some.min(0), some.max(0)]) if len(some) else some


def box(
    ends: Sequence[Float[np.ndarray, "_ e"]],
) -> tuple[Float[np.ndarray, "e"], Float[np.ndarray, "e"]]:
    corners = np.concatenate(ends)
    return corners.min(0), corners.max(0)


def over_mean(log_mass: Float[Tensor, "N"]) -> Float[np.ndarray, "N"]:
    mass = log_mass.detach().cpu().double().exp().numpy()
    return mass / (mass.mean() or 1.0)


def level(
    clouds: Sequence[tuple[Float[np.ndarray, "_ e"], Float[np.ndarray, "_"] | None]],
    low: Float[np.ndarray, "2"],
    high: Float[np.ndarray, "2"],
) -> float:
    """Return the largest typical density of weighted clouds between two corners in the plane."""
    width, height = (int(pixels) for pixels in np.ceil(PIXELS * (high - low) / (high - low).max()))
    return (
        max(
            typical(density(cloud, weights, low, high, (height, width)))
            for cloud, weights in clouds
        )
        or 1.0
    )


def labels(
    names: tuple[str, str], low: Float[np.ndarray, "e"], high: Float[np.ndarray, "e"]
) -> tuple[str, str]:
    """Return the names of the axes, which tell the offset and unit of the numbers at the ticks.

    In the plane itself the axes have names only where the numbers are no coordinates.
    """
    said = []
    for name, default, end, other in zip(names, ("x", "y"), low, high, strict=False):
        ticks, (short, share) = (
            Ticks.between(float(end), float(other)),
            (name[:4], re.findall(r" \(.*\)", name)),
        )
        said.append(
            name
            if ticks.plain
            else ticks.said(default if name in ("", "x") else short) + "".join(share)
        )
    return said[0], said[1] if len(said) > 1 else names[1]


def widened(
    low: Float[np.ndarray, "e"], high: Float[np.ndarray, "e"]
) -> tuple[Float[np.ndarray, "e"], Float[np.ndarray, "e"]]:
    """Return corners with a margin, no side shorter than a third of the longest."""
    extent = float((high - low).max()) or max(1.0, 0.1 * float(np.abs(high).max()))
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, extent / 3)
    return middle - 1.08 * half, middle + 1.08 * half


def limits(
    runs: Sequence[Trajectory], steps: Sequence[float], view: View
) -> tuple[Float[np.ndarray, "e"], Float[np.ndarray, "e"]]:
    """Return the corners of a box that holds all targets, starts, and the particles at some steps.

    Particles far away from targets and starts are left out.
    """
    targets = [run.target for run in runs if run.target is not None]
    clouds = [run.particles[k] for run in runs for k in {record_at(run, step) for step in steps}]
    low, high = box(
        [ends(cloud, view) for cloud in (*targets, *(run.particles[0] for run in runs))]
    )
    within = None
    if targets and (extent := float((high - low).max())) > 0:
        within = low - REACH * extent, high + REACH * extent
    low, high = box(
        [ends(cloud, view, within) for cloud in (*(targets if within else ()), *clouds)]
    )
    return widened(low, high)


def plane(
    runs: Sequence[Trajectory], axes: tuple[int, int] | None
) -> tuple[Plane, tuple[str, str]]:
    """Return two coordinates, or the principal axes of the targets in d > 2, and their names."""
    d = runs[0].particles.shape[2]
    if axes is not None:
        names = (f"x{axes[0] + 1}", f"x{axes[1] + 1}")
        return Plane(np.eye(d)[:, list(axes)]), names
    if d <= 2:
        return Plane(), ("x", "density") if d == 1 else ("", "")
    whose = "target" if any(run.target is not None for run in runs) else "final particles"
    directions, share = principal(runs)
    return Plane(directions[:, :2]), (
        f"PC 1 of the {whose} ({share[0]:.0f} %)",
        f"PC 2 ({share[1]:.0f} %)",
    )


def principal(
    runs: Sequence[Trajectory],
) -> tuple[Float[np.ndarray, "d k"], Float[np.ndarray, "k"]]:
    """Return the principal axes of the targets, as columns, and their shares of the variance in %.

    Without a target, the axes are those of the last particles. The largest entry of an axis is
    positive.
    """
    targets = [run.target for run in runs if run.target is not None]
    some = np.concatenate(
        [
            cloud[some_rows(len(cloud), MEASURED)].detach().cpu().double().numpy()
            for cloud in targets or [run.particles[-1] for run in runs]
        ]
    )
    centred = np.concatenate([some - some.mean(0), np.zeros((2, some.shape[1]))])  # two rows
    _, spread, rows = np.linalg.svd(centred, full_matrices=False)
    rows *= np.sign(rows[np.arange(len(rows)), np.abs(rows).argmax(1)])[:, None]
    return rows.T, 100 * spread**2 / ((spread**2).sum() or 1.0)
