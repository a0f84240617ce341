"""The particles' start: points of a name or a file, or a Gaussian chosen from the target."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from particleflow import _checks, kernels, samplers
from particleflow._refusals import Argument, RefusedValueError
from particleflow.cli.defaults import BESIDE, BEYOND, BULK, FAR, PARTICLES, WIDTH
from particleflow.cli.files import Choices, Projection, drawn, suffix_of
from particleflow.cli.files import start as of_name
from particleflow.cli.names import POINT_FILES, TARGETS
from particleflow.cli.paths import absolute
from particleflow.cli.toml import Settings, given, of_flow
from particleflow.samplers.data import Rows


def in_order(y: Tensor) -> Tensor:
    """The rows sorted by their coordinates.

    Sums over the rows then do not depend on their order in the file.
    """
    return y[np.lexsort(y.numpy().T)]


def start(
    settings: Settings, y: Tensor, scale: float, seed: int, project: Projection | None = None
) -> tuple[Tensor, samplers.Sampler, Settings]:
    """The particles' start, its distribution, and the settings that give it again."""
    name, mean, std = (
        settings.get("start") or "auto",
        settings.get("start_mean"),
        settings.get("start_std"),
    )
    if name not in ("auto", "gaussian"):
        if mean is not None or std is not None:
            gaussian = f" are for a Gaussian start, and the start is {name}"
            raise RefusedValueError(
                "start_mean",
                (Argument("start_mean"), " and ", Argument("start_std"), gaussian),
                remedy="leave them out",
            )
        choices = Choices.of(settings)
        law = of_name(
            name,
            y.shape[1],
            project,
            key=choices.key["start"],
            columns=choices.columns["start"],
            bright=choices.bright,
        )
        file = suffix_of(name) in POINT_FILES
        x0 = drawn(
            law,
            settings.get("n"),
            "n",
            seed,
            default=len(law) if file and isinstance(law, Rows) else PARTICLES,
        )
        _checks.same_space(x0, y, "start", "target")
        return x0, law, {"start": name if name in TARGETS else absolute(name, "start")}
    dim = y.shape[1]
    centre, width = place(y, scale) if mean is None and std is None else beside(y, scale)
    if mean is None:
        mean = [short(v, within=1e-3 * width) for v in centre.tolist()]
    if len(mean) not in (1, dim):
        raise RefusedValueError(
            "start_mean",
            f"must be one number or {dim}, one for each coordinate of the target",
            len(mean),
        )
    std = _checks.positive(
        given(std, short(width)),
        "start_std",
        remedy="for all particles in one place take a small one",
    )
    around = samplers.Gaussian(dim, mean=mean if len(mean) == dim else mean[0], std=std)
    x0 = around.sample(_checks.count(given(settings.get("n"), PARTICLES), "n"), seed=seed)
    return x0, around, {"start": "gaussian", "start_mean": list(mean), "start_std": std}


def bulk(y: Tensor) -> Tensor:
    """The points that are not outliers: at least nine tenths of them."""
    distance = (y - y.median(0).values).norm(dim=1)
    inner = distance.sort().values[math.ceil(BULK * len(y)) - 1]
    return y[distance <= FAR * inner]


def measured(y: Tensor, bandwidth: float | None) -> tuple[Tensor, float]:
    """The points that are not outliers, in order, and their standard deviation."""
    inner = in_order(bulk(y))
    return inner, float(inner.var(0, unbiased=False).mean().sqrt()) or bandwidth or 1.0


def place(y: Tensor, scale: float) -> tuple[Tensor, float]:
    """Mean (d,) and standard deviation of a start chosen from the target.

    It is small and beside the target's mean, so that the flow is seen. It is as wide as the target
    where the target's parts lie many kernel lengths apart: particles that begin in one part would
    never feel the others.
    """
    mean, std = beside(y, scale)
    try:
        length = kernels.default_bandwidth(y)
    except ValueError:  # most points coincide
        return mean, std
    beyond = (y - mean).norm(dim=1) - (math.sqrt(y.shape[1]) + 2) * std > BEYOND * length
    return (
        (y.mean(0), float(_longest_axis(y).norm()))
        if float(beyond.double().mean()) > 1 - BULK
        else (mean, std)
    )


def beside(y: Tensor, scale: float) -> tuple[Tensor, float]:
    """Mean and standard deviation of a small start on the target's longest axis, off its mean."""
    return y.mean(0) + BESIDE * _longest_axis(y), WIDTH * scale


def notes(
    settings: Settings, names: Sequence[str], y: Tensor, bulk: Tensor, scale: float
) -> list[str]:
    """Remarks on a start chosen from the target."""
    gaussian = (settings.get("start") or "auto") in ("auto", "gaussian")
    placed, sized = (gaussian and settings.get(key) is None for key in ("start_mean", "start_std"))
    noise = "mmd-noise" in names and of_flow(settings, "mmd-noise", "beta") is None
    said = []
    left = len(y) - len(bulk)
    if left and (placed or sized or noise):
        chosen = " and ".join(["start"] * (placed or sized) + ["beta"] * noise)
        said.append(
            f"{chosen}: chosen without {left} of {len(y)} target points, outliers: they lie more"
            f" than {FAR:g} times farther from the median than {100 * BULK:g} % of the points"
        )
    if placed and sized and place(bulk, scale)[1] > beside(bulk, scale)[1]:
        said.append("start: as wide as the target, whose parts lie many kernel lengths apart")
    return said


def _longest_axis(y: Tensor) -> Tensor:
    """One standard deviation along the first principal axis, its largest entry positive: (d,)."""
    centred = y - y.mean(0)
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(y))
    axis = axes[:, -1] * variances[-1].clamp_min(0).sqrt()
    largest = (axis.abs() >= (1 - 1e-9) * axis.abs().max()).nonzero()[
        0, 0
    ]  # the first of entries that are equal up to rounding
    return axis * (-1.0 if axis[largest] < 0 else 1.0)


def short(value: float, *, within: float = math.inf) -> float:
    """A chosen number in four digits, easy to read and to type.

    It has more digits where four would be off by more than `within`.
    """
    shorter = (float(f"{value:.{digits}g}") for digits in range(4, 17))
    return next((short for short in shorter if abs(short - value) <= within), value)
