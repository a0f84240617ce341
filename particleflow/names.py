"""What each name stands for: targets, kernels, mobilities, integrators, metrics, and files of points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from particleflow import _checks, estimators, integrators, kernels, metrics, mobilities, samplers
from particleflow.catalogue import PICTURES, POINT_FILES, TARGETS
from particleflow.config import EXACT_AT_MOST, SettingError
from particleflow.pairwise import PairwiseSum

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
KERNELS: Mapping[str, Callable[[float], kernels.Kernel]] = {
    "gaussian": kernels.Gaussian,
    "laplace": kernels.Laplace,
    "matern32": kernels.Matern32,
    "matern52": kernels.Matern52,
    "imq": kernels.IMQ,
}
MOBILITIES: Mapping[str, Callable[[], mobilities.Mobility]] = {
    "logit": mobilities.Unit,
    "mle": mobilities.Exponential,
    "ns": mobilities.NonSaturating,
    "arcsinh": mobilities.Arcsinh,
    "chi2": lambda: mobilities.Exponential(2.0),
    "hellinger": lambda: mobilities.Exponential(0.5),
}
WITHOUT_SUMS = ("logistic", "classifier")
# They choose their penalty by points that are left out.
LEAVING_OUT = ("ulsif", "rulsif", "logistic")
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


@dataclass(frozen=True)
class Means:
    """What metrics are made of: the flows' kernel, and the number of directions that a sliced distance takes."""

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


def target(
    name: str, *, pca: int = 0, key: str | None = None, columns: Sequence[str] | None = None, bright: bool = False
) -> samplers.Sampler:
    """The sampler that `name` or a file of that name stands for."""
    suffix = "" if name in TARGETS else Path(name).suffix.lower()
    if bright and suffix not in PICTURES:
        raise SettingError(f"`bright` is for pictures ({' '.join(PICTURES)}), and the target is {name}: leave it out")
    if key is not None and suffix not in POINT_FILES:
        raise SettingError(f"`key` chooses an array of an .npz file, and the target is {name}: leave it out")
    if pca and (name in SHAPES or suffix in PICTURES):
        raise SettingError(f"`pca` is for data of more than two dimensions, and the target {name} is in the plane: leave it out")
    if name in SHAPES:
        return SHAPES[name]()
    if name in DATA_SETS:
        return DATA_SETS[name](pca or None)
    if suffix in PICTURES:
        return _picture(name, bright)
    rows = rows_of(name, "target", key, columns, wide=pca > 0)
    if not pca:
        return rows
    most = min(rows.points.shape)
    if _checks.count(pca, "pca") > most:
        raise SettingError(f"`pca` must be at most {most} for {name}, {len(rows)} points of {rows.dim} coordinates, got {pca}")
    from sklearn.decomposition import PCA

    return samplers.FromArray(PCA(pca, svd_solver="full").fit_transform(rows.points.numpy()))


def rows_of(
    name: str, setting: str, key: str | None = None, columns: Sequence[str] | None = None, *, wide: bool = False
) -> samplers.FromFile:
    """The points in a file; an error names the setting that says which."""
    try:
        return samplers.FromFile(name, key=key, columns=columns, wide=wide)
    except (ValueError, TypeError, OSError) as error:
        raise SettingError(str(error).replace("`path`", f"`{setting}`").replace("`points`", "its array")) from None


def _picture(name: str, bright: bool) -> samplers.FromImage:
    try:
        return samplers.FromImage(name, bright=bright)
    except (ValueError, OSError) as error:
        try:
            samplers.FromImage(name, bright=not bright)
        except (ValueError, OSError):
            raise SettingError(str(error).replace("`path`", "`target`")) from None
    raise SettingError(f"`target` {name} has no {'bright' if bright else 'dark'} pixel: {'leave out' if bright else 'add'} `bright`")


def mobility(name: str, shift: float = 0.0) -> mobilities.Mobility:
    """The rescaling called `name`; only the vanilla one has a shift."""
    if name == "vanilla":
        return mobilities.Vanilla(shift)
    if shift:
        raise SettingError(f"`shift` is for the mobility vanilla, and the mobility is {name}: leave it out")
    return MOBILITIES[name]()
