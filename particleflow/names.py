"""What each name stands for: targets, kernels, mobilities, integrators, metrics, and files of
points.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from particleflow import _checks, estimators, integrators, kernels, metrics, mobilities, samplers
from particleflow._files import at_home
from particleflow._typing import Points
from particleflow.catalogue import PICTURES, TARGETS
from particleflow.config import EXACT_AT_MOST, SettingError
from particleflow.kernels.declared import stated
from particleflow.pairwise import PairwiseSum
from particleflow.samplers.data import Rows, principal_axes
from particleflow.trajectory import Trajectory

WITH_DENSITY = ("gaussian", "four-gaussians")

SHAPES: Mapping[str, Callable[[], samplers.Sampler]] = {
    "rings": samplers.Rings,
    "moons": samplers.Moons,
    "spiral": samplers.Spiral,
    "checkerboard": samplers.Checkerboard,
    "swissroll": samplers.SwissRoll,
    "four-gaussians": samplers.Mixture.four_gaussians,
    "gaussian": lambda: samplers.Gaussian(dim=2),
}
DATA_SETS: Mapping[str, Callable[[int | None], samplers.Sampler]] = {
    "digits": lambda pca: samplers.Digits(pca=pca),
    "iris": lambda pca: samplers.Iris(pca=pca),
    "wine": lambda pca: samplers.Wine(pca=pca),
}
KERNELS = {facts.name: kind for kind in kernels.built_in.BUILT_IN if (facts := stated(kind))}
MOBILITIES: Mapping[str, Callable[[], mobilities.Mobility]] = {
    "logit": mobilities.Unit,
    "mle": mobilities.Exponential,
    "ns": mobilities.NonSaturating,
    "arcsinh": mobilities.Arcsinh,
    "chi2": lambda: mobilities.Exponential(2.0),
    "hellinger": lambda: mobilities.Exponential(0.5),
}
WITHOUT_SUMS = ("logistic", "classifier")
# Enough for a network not to tell a cloud's points from the other's one by one.
GRADIENT_PENALTY = 0.1
RATIOS: Mapping[str, Callable[[kernels.Kernel, PairwiseSum], estimators.Estimator]] = {
    "kde": lambda kernel, sums: estimators.KDE(kernel, pairwise=sums),
    "ulsif": lambda kernel, sums: estimators.ULSIF(kernel, pairwise=sums),
    "rulsif": lambda kernel, sums: estimators.RuLSIF(kernel, pairwise=sums),
    "kliep": lambda kernel, sums: estimators.KLIEP(kernel, pairwise=sums),
    "logistic": lambda kernel, sums: estimators.KernelLogistic(kernel),
    "classifier": lambda kernel, sums: estimators.Classifier(gradient_penalty=GRADIENT_PENALTY),
}
CRITICS: Mapping[str, Callable[[], estimators.Estimator]] = {
    "exact": estimators.CTransformCritic,
    "clip": estimators.WeightClippingCritic,
    "gp": estimators.GradientPenaltyCritic,
    "lipschitz": estimators.LipschitzCritic,
}
INTEGRATORS: Mapping[str, Callable[[], integrators.Integrator]] = {
    "euler": integrators.Euler,
    "heun": integrators.Heun,
    "rk4": integrators.RK4,
    "euler-maruyama": integrators.EulerMaruyama,
}


@dataclass(frozen=True, eq=False)
class Projection:
    """On principal axes, the rows of `axes`."""

    mean: np.ndarray
    axes: np.ndarray

    def of(self, points: Points) -> np.ndarray:
        return (points.numpy() - self.mean) @ self.axes.T


@dataclass(frozen=True)
class Means:
    """What metrics are made of: the flows' kernel, and the number of directions that a sliced
    distance takes.
    """

    kernel: kernels.Kernel
    directions: int


METRICS: Mapping[str, tuple[str, Callable[[Means], metrics.Metric]]] = {
    "w2": ("W2", lambda _: metrics.W2(max_points=EXACT_AT_MOST)),
    "w1": ("W1", lambda _: metrics.W1(max_points=EXACT_AT_MOST)),
    "sliced": ("sliced W2", lambda means: metrics.SlicedW2(projections=means.directions)),
    "mmd2": ("MMD^2", lambda means: metrics.MMD2(means.kernel)),
    "mmd": ("MMD", lambda means: metrics.MMD(means.kernel)),
    "energy": ("energy distance", lambda _: metrics.EnergyDistance()),
}


def suffix_of(name: str) -> str:
    """The ending of a file that `name` stands for; nothing where it is a name."""
    return "" if name in TARGETS else Path(name).suffix.lower()


def target(
    name: str,
    *,
    pca: int = 0,
    key: str | None = None,
    columns: Sequence[str] | None = None,
    bright: bool = False,
) -> tuple[samplers.Sampler, Projection | None]:
    """The sampler that `name` or a file of that name stands for, and what projects other points
    with it.
    """
    suffix = suffix_of(name)
    if pca and (name in SHAPES or suffix in PICTURES):
        raise SettingError(
            f"`pca` is for data of more than two dimensions, and the target {name} is in the plane:"
            " leave it out"
        )
    if name in SHAPES:
        return SHAPES[name](), None
    if name in DATA_SETS:
        return DATA_SETS[name](pca or None), (
            Projection(*principal_axes(_all_of(name).numpy(), pca)) if pca else None
        )
    if suffix in PICTURES:
        return _picture(name, bright, "target"), None
    rows = rows_of(name, "target", key, columns, wide=pca > 0)
    if not pca:
        return rows, None
    most = min(rows.points.shape)
    if _checks.count(pca, "pca") > most:
        raise SettingError(
            f"`pca` must be at most {most} for {name}, {len(rows)} points of {rows.dim}"
            f" coordinates, got {pca}"
        )
    from sklearn.decomposition import PCA

    fitted = PCA(pca, svd_solver="full")
    return samplers.FromArray(fitted.fit_transform(rows.points.numpy())), Projection(
        fitted.mean_, fitted.components_
    )


def start(
    name: str,
    dim: int,
    project: Projection | None = None,
    *,
    key: str | None = None,
    columns: Sequence[str] | None = None,
    bright: bool = False,
) -> samplers.Sampler:
    """The sampler that `name` or a file of that name stands for as a start, in the target's space
    of so many dimensions.

    Points of more coordinates go through the projection of the target. A data set in another space
    is shown in its own principal components.
    """
    if name in SHAPES:
        return SHAPES[name]()
    if suffix_of(name) in PICTURES:
        return _picture(name, bright, "start")
    rows: samplers.FromFile | samplers.FromArray
    rows = (
        samplers.FromArray(_all_of(name))
        if name in DATA_SETS
        else rows_of(name, "start", key, columns, wide=project is not None)
    )
    if rows.dim == dim:
        return rows
    if project is not None and project.mean.shape == (rows.dim,):
        return samplers.FromArray(project.of(rows.points))
    if name in DATA_SETS and dim <= rows.dim:
        return DATA_SETS[name](dim)
    if project is None:
        return rows
    raise SettingError(
        f"`start` must have all coordinates of the target or its {dim} of `pca`, got {rows.dim} in"
        f" {name}: choose them with `columns`"
    )


def _all_of(name: str) -> Points:
    """The rows of a data set, unprojected."""
    whole = DATA_SETS[name](None)
    assert isinstance(whole, Rows)
    return whole.points


def rows_of(
    name: str,
    setting: str,
    key: str | None = None,
    columns: Sequence[str] | None = None,
    *,
    wide: bool = False,
) -> samplers.FromFile | samplers.FromArray:
    """The points in a file, of a trajectory those at its end; an error names the setting that says
    which.
    """
    try:
        if (last := _last_of(name, key)) is not None:
            if columns is not None:
                raise ValueError(
                    f"`columns` chooses coordinates in a table, and {name} is a trajectory: leave"
                    " it out"
                )
            return samplers.FromArray(last)
        return samplers.FromFile(name, key=key, columns=columns, wide=wide)
    except (ValueError, TypeError, OSError) as error:
        raise SettingError(
            str(error).replace("`path`", f"`{setting}`").replace("`points`", "its array")
        ) from None


def arrays_of(name: str) -> list[str]:
    """The arrays in an .npz file that a key may choose among: several, and no trajectory. Nothing
    where that cannot be read.
    """
    if not os.path.isfile(at_home(name)):
        return []
    try:
        with np.load(at_home(name), allow_pickle=False) as file:
            return [] if len(file.files) < 2 or "state/points" in file.files else list(file.files)
    except (OSError, ValueError, AttributeError, EOFError, BadZipFile):
        return []


def _last_of(name: str, key: str | None) -> Points | None:
    """The particles at the end of a trajectory; nothing where the file is something else."""
    if key is not None or Path(name).suffix.lower() != ".npz" or not os.path.isfile(at_home(name)):
        return None
    try:
        with np.load(at_home(name), allow_pickle=False) as file:
            if not {"facts", "state/points"} <= set(file.files):
                return None
    except (OSError, ValueError, EOFError, BadZipFile):
        return None
    state = Trajectory.load(at_home(name)).state
    if state.x.log_mass is not None:
        raise ValueError(
            f"`path` {name} holds particles of unequal masses, which would be lost: give points of"
            " equal masses"
        )
    return state.x.points


def _picture(name: str, bright: bool, setting: str) -> samplers.FromImage:
    try:
        return samplers.FromImage(name, bright=bright)
    except (ValueError, OSError) as error:
        try:
            samplers.FromImage(name, bright=not bright)
        except (ValueError, OSError):
            raise SettingError(str(error).replace("`path`", f"`{setting}`")) from None
    raise SettingError(
        f"`{setting}` {name} has no {'bright' if bright else 'dark'} pixel:"
        f" {'leave out' if bright else 'add'} `bright`"
    )


def mobility(name: str, shift: float = 0.0) -> mobilities.Mobility:
    """The rescaling called `name`; only the vanilla one has a shift."""
    if name == "vanilla":
        return mobilities.Vanilla(shift)
    if shift:
        raise SettingError(
            f"`shift` is for the mobility vanilla, and the mobility is {name}: leave it out"
        )
    return MOBILITIES[name]()
