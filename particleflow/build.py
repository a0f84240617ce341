"""From settings to objects: where names become samplers, kernels and flows, and what was left open is chosen from the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from particleflow import _checks, estimators, flows, integrators, kernels, metrics, mobilities, samplers, schedules
from particleflow._typing import Points
from particleflow._words import nearest
from particleflow.config import (
    BESIDE,
    FLOWS,
    HALVINGS,
    LAM,
    OPTIONS,
    PARTICLES,
    PICTURES,
    POINT_FILES,
    RECORDS,
    ROWS,
    SAMPLES,
    STEPS,
    TARGETS,
    WIDTH,
    SettingError,
    Settings,
    of_flow,
)
from particleflow.samplers.data import Rows
from particleflow.trajectory import SaveAt

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
INTEGRATORS: Mapping[str, Callable[[], integrators.Integrator]] = {
    "euler": integrators.Euler,
    "heun": integrators.Heun,
    "rk4": integrators.RK4,
    "euler-maruyama": integrators.EulerMaruyama,
}
METRICS: Mapping[str, tuple[str, Callable[[kernels.Kernel], metrics.Metric]]] = {
    "w2": ("W2", lambda _: metrics.W2()),
    "w1": ("W1", lambda _: metrics.W1()),
    "sliced": ("sliced W2", lambda _: metrics.SlicedW2()),
    "mmd2": ("MMD^2", lambda kernel: metrics.MMD2(kernel)),
    "mmd": ("MMD", lambda kernel: metrics.MMD(kernel)),
    "energy": ("energy distance", lambda _: metrics.EnergyDistance()),
}


@dataclass(frozen=True)
class Plan:
    """One flow, and how it is to be stepped."""

    flow: flows.Flow
    steps: int
    dt: float
    integrator: integrators.Integrator


@dataclass(frozen=True)
class Task:
    """All that a run needs, nothing left open. `settings` says the same in words and numbers: building them again gives the same task."""

    x0: Points
    y: Tensor
    plans: Mapping[str, Plan]
    metrics: Mapping[str, metrics.Metric]
    records: int
    seed: int
    settings: Settings
    rows: int | None
    """Of a target that is a file or a data set: how many there are to draw from."""

    def save_at(self, plan: Plan) -> SaveAt:
        return SaveAt(every=max(1, -(-plan.steps // self.records)))


def task(settings: Settings, names: Sequence[str]) -> Task:
    """Build the flows called `names` and the clouds they move between; choose what `settings` leave open.

    Raises
    ------
    ValueError, TypeError, OSError
        Anything that cannot be used, before any step is made.
    """
    seed = _checks.count(settings.get("seed") or 0, "seed", least=0)
    name = settings.get("target") or "rings"
    pca = settings["pca"] if settings.get("pca") is not None else 2 if name in DATA_SETS else 0
    law = target(name, pca=pca, key=settings.get("key"), bright=bool(settings.get("bright")))
    y = _draw(law, settings.get("m"), "m", seed, default=ROWS if isinstance(law, (samplers.FromFile, samplers.FromArray)) else SAMPLES)
    kernel, bandwidth = _kernel(settings, y, names)
    scale = float(y.var(0, unbiased=False).mean().sqrt()) or bandwidth or 1.0
    x0, start = _start(settings, y, scale, seed + 1)
    wanted = settings.get("metrics") or ["w2", "mmd2"]
    records = _checks.count(_given(settings.get("records"), RECORDS), "records")
    plans: dict[str, Plan] = {}
    tables: dict[str, Settings] = {}
    for flow in names:
        plans[flow], tables[flow] = _plan(flow, settings, law, name, kernel, scale, x0, y)
    chosen: Settings = {
        **{key: settings[key] for key in ("flow", "flows") if key in settings},
        "target": name if name in TARGETS else str(Path(name).expanduser().resolve()),
        "n": len(x0),
        "m": len(y),
        **start,
        "pca": pca,
        "key": settings.get("key"),
        "bright": settings.get("bright"),
        "seed": seed,
        "threads": settings.get("threads"),
        "kernel": settings.get("kernel") or "gaussian",
        "bandwidth": bandwidth,
        "metrics": list(wanted),
        "records": records,
        "gif": settings.get("gif") is not False,
    }
    resolved = {option.name: chosen[option.name] for option in OPTIONS if chosen.get(option.name) is not None}
    measures = {METRICS[m][0]: METRICS[m][1](kernel) for m in wanted}
    rows = len(law) if isinstance(law, Rows) else None
    return Task(x0, y, plans, measures, records, seed, {**resolved, **tables}, rows)


def target(name: str, *, pca: int = 0, key: str | None = None, bright: bool = False) -> samplers.Sampler:
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
        return samplers.FromImage(name, bright=bright)
    rows = samplers.FromFile(name, key=key)
    if not pca:
        return rows
    most = min(rows.points.shape)
    if _checks.count(pca, "pca") > most:
        raise SettingError(f"`pca` must be at most {most} for {name}, {len(rows)} points of {rows.dim} coordinates, got {pca}")
    from sklearn.decomposition import PCA

    return samplers.FromArray(PCA(pca, svd_solver="full").fit_transform(rows.points.numpy()))


def mobility(name: str, shift: float = 0.0) -> mobilities.Mobility:
    """The rescaling called `name`; only the vanilla one has a shift."""
    if name == "vanilla":
        return mobilities.Vanilla(shift)
    if shift:
        raise SettingError(f"`shift` is for the mobility vanilla, and the mobility is {name}: leave it out")
    return MOBILITIES[name]()


def _draw(law: samplers.Sampler, size: int | None, name: str, seed: int, *, default: int) -> Tensor:
    """`size` samples. The rows of a file come as they are when all are asked for."""
    rows = len(law) if isinstance(law, Rows) else None
    if size is None:
        size = default if rows is None else min(default, rows)
    if isinstance(law, Rows) and size == rows:
        return law.points.clone()
    return law.sample(_checks.count(size, name), seed=seed)


def _kernel(settings: Settings, y: Tensor, names: Sequence[str]) -> tuple[kernels.Kernel, float | None]:
    name, bandwidth = settings.get("kernel") or "gaussian", settings.get("bandwidth")
    if name == "energy":
        stuck = [flow for flow in names if flow in ("kale", "mono")]
        if stuck:
            raise SettingError(f"`kernel` energy is not positive, which {stuck[0]} needs: use it with mmd or mmd-noise, or take laplace")
        if bandwidth is not None:
            raise SettingError("`bandwidth` has no meaning for the kernel energy: leave it out")
        return kernels.Energy(), None
    if bandwidth is None:
        bandwidth = _short(kernels.default_bandwidth(y))
    return KERNELS[name](bandwidth), bandwidth


def _start(settings: Settings, y: Tensor, scale: float, seed: int) -> tuple[Tensor, Settings]:
    """The particles' start, and the settings that give it again."""
    name, mean, std = settings.get("start") or "auto", settings.get("start_mean"), settings.get("start_std")
    if name not in ("auto", "gaussian"):
        if mean is not None or std is not None:
            raise SettingError(f"`start_mean` and `start_std` are for a Gaussian start, and the start is the file {name}: leave them out")
        rows = samplers.FromFile(name)
        x0 = _draw(rows, settings.get("n"), "n", seed, default=len(rows))
        _checks.same_space(x0, y, "start", "target")
        return x0, {"start": str(Path(name).expanduser().resolve())}
    dim = y.shape[1]
    if mean is None:
        mean = [_short(v) for v in (y.mean(0) + BESIDE * _longest_axis(y)).tolist()]
    if len(mean) not in (1, dim):
        raise SettingError(f"`start_mean` must be one number or {dim}, one for each coordinate of the target, got {len(mean)}")
    std = _checks.positive(_given(std, _short(WIDTH * scale)), "start_std", remedy="for all particles in one place take a small one")
    law = samplers.Gaussian(dim, mean=mean if len(mean) == dim else mean[0], std=std)
    x0 = law.sample(_checks.count(_given(settings.get("n"), PARTICLES), "n"), seed=seed)
    return x0, {"start": "gaussian", "start_mean": list(mean), "start_std": std}


def _longest_axis(y: Tensor) -> Tensor:
    """One standard deviation along the first principal axis, its largest entry positive: (d,)."""
    centred = y - y.mean(0)
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(y))
    axis = axes[:, -1] * variances[-1].clamp_min(0).sqrt()
    return axis * (-1.0 if axis[axis.abs().argmax()] < 0 else 1.0)


def _plan(
    name: str, settings: Settings, law: samplers.Sampler, target_name: str, kernel: kernels.Kernel, scale: float, x0: Tensor, y: Tensor
) -> tuple[Plan, Settings]:
    """One flow with its steps, and its table of settings."""

    def said(option: str, default: Any) -> Any:
        return _given(of_flow(settings, name, option), default)

    steps = _checks.count(said("steps", STEPS), "steps")
    stepper = said("integrator", "euler-maruyama" if name == "langevin" else "euler")
    if name == "langevin" and stepper != "euler-maruyama":
        raise SettingError(f"`integrator` must be euler-maruyama for langevin, which has Brownian motion, got {stepper}: leave it out")
    table: Settings = {"steps": steps, "dt": None, "integrator": stepper}
    if name == "mmd":
        flow = flows.mmd_flow(kernel)
    elif name == "mmd-noise":
        beta = _checks.non_negative(said("beta", _short(scale)), "beta")
        half = _checks.positive(said("beta_half", steps / HALVINGS), "beta_half")
        flow = flows.mmd_flow(kernel, noise=schedules.Geometric(beta, ratio=0.5, every=half, smooth=True))
        table |= {"beta": beta, "beta_half": half}
    elif name == "kale":
        lam = said("lam", LAM)
        flow = flows.kale_flow(kernel, lam=lam)
        table |= {"lam": lam}
    elif name == "mono":
        bend, shift = said("mobility", "logit"), said("shift", 0.0)
        flow = flows.mono_flow(estimators.KDE(kernel), mobility(bend, shift))
        table |= {"mobility": bend, "shift": shift}
    elif name == "langevin":
        if target_name not in WITH_DENSITY:
            known = ", ".join(WITH_DENSITY)
            raise SettingError(f"`target` must have a known density for langevin, one of {known}, got {target_name}: choose another flow")
        assert isinstance(law, samplers.Density)
        temperature = said("temperature", 1.0)
        flow = flows.langevin(law, temperature=temperature)
        table |= {"temperature": temperature}
    else:
        raise SettingError(f"`flow` must be one of {', '.join(FLOWS)}, got '{name}'{nearest(name, FLOWS)}")
    given = of_flow(settings, name, "dt")
    table["dt"] = flow.suggest_dt(x0, y) if given is None else _checks.positive(given, "dt", remedy="leave it out to have one chosen")
    return Plan(flow, steps, table["dt"], INTEGRATORS[stepper]()), table


def _given(value: Any, default: Any) -> Any:
    return default if value is None else value


def _short(value: float) -> float:
    """Four digits: what is chosen here should be easy to read and to type."""
    return float(f"{value:.4g}")
