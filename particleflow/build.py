"""From settings to objects: what was left open is chosen from the data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from particleflow import (
    _checks,
    estimators,
    flows,
    integrators,
    kernels,
    metrics,
    samplers,
    schedules,
    starts,
)
from particleflow._typing import Points
from particleflow._words import nearest
from particleflow.catalogue import FLOWS, PICTURES, POINT_FILES, TARGETS
from particleflow.config import (
    BULK,
    BY_NAME,
    DIRECTIONS,
    EXACT_AT_MOST,
    EXACT_UNASKED,
    FAR,
    HALVINGS,
    LAM,
    ONE_THREAD,
    OPTIONS,
    PARTICLES,
    RECORDED,
    RECORDS,
    ROWS,
    RTOL,
    SAMPLES,
    SORTED,
    STEPS,
    SettingError,
    Settings,
    absolute,
    of_flow,
    processors,
)
from particleflow.estimators.training import Trained
from particleflow.kernels.declared import positive_kind
from particleflow.kernels.scaled import Scaled
from particleflow.names import (
    CRITICS,
    DATA_SETS,
    INTEGRATORS,
    KERNELS,
    METRICS,
    RATIOS,
    WITH_DENSITY,
    WITHOUT_SUMS,
    Means,
    Projection,
    arrays_of,
    mobility,
    suffix_of,
    target,
)
from particleflow.names import start as start_of
from particleflow.pairwise import Auto
from particleflow.samplers.data import Rows


@dataclass(frozen=True)
class Plan:
    """One flow, and how it is to be stepped."""

    flow: flows.Flow
    steps: int
    dt: float
    integrator: integrators.Integrator


@dataclass(frozen=True)
class Task:
    """All that a run needs, nothing left open. `settings` says the same in words and numbers:
    building them again gives the same task.

    `threads` is for the run: what is built here is small, and built by one, so that it does not
    depend on their number.
    """

    x0: Points
    y: Tensor
    plans: Mapping[str, Plan]
    every: Mapping[str, int]
    """Steps from one record of a flow to the next."""
    metrics: Mapping[str, metrics.Metric]
    seed: int
    threads: int
    settings: Settings
    rows: int | None
    """Of a target that is a file or a data set: how many there are to draw from."""
    notes: tuple[str, ...] = ()
    """What was chosen otherwise than usual, and why."""


def task(settings: Settings, names: Sequence[str]) -> Task:
    """Build the flows called `names` and the clouds they move between; choose what `settings` leave
    open.

    Raises
    ------
    ValueError, TypeError, OSError
        Anything that cannot be used, before any step is made.
    """
    seed = _checks.count(settings.get("seed") or 0, "seed", least=0)
    name = settings.get("target") or "rings"
    pca = settings["pca"] if settings.get("pca") is not None else 2 if name in DATA_SETS else 0
    columns = settings.get("columns")
    choices = _Choices.of(settings)
    law, project = target(
        name,
        pca=pca,
        key=choices.key["target"],
        columns=choices.columns["target"],
        bright=choices.bright,
    )
    y = _draw(
        law,
        settings.get("m"),
        "m",
        seed,
        default=ROWS if isinstance(law, (samplers.FromFile, samplers.FromArray)) else SAMPLES,
    )
    kernel, bandwidth = _kernel(settings, y, names)
    bulk = starts.in_order(_bulk(y))
    scale = float(bulk.var(0, unbiased=False).mean().sqrt()) or bandwidth or 1.0
    x0, start = _start(settings, bulk, scale, seed + 1, project)
    wanted, notes = _metrics(settings.get("metrics"), x0, y)
    notes = [*starts.notes(settings, names, y, bulk, scale), *notes]
    means = Means(kernel, int(min(200, max(DIRECTIONS, SORTED // (len(x0) + len(y))))))
    records = _checks.count(_given(settings.get("records"), RECORDS), "records")
    most = max(1, RECORDED // (x0.nbytes * len(names)) - 1)
    threads = _given(
        settings.get("threads"), processors() if max(len(x0), len(y)) > ONE_THREAD else 1
    )
    plans: dict[str, Plan] = {}
    tables: dict[str, Settings] = {}
    for flow in names:
        plans[flow], tables[flow] = _plan(flow, names, settings, law, name, kernel, scale, x0, y)
    if most < min(records, max(plan.steps for plan in plans.values())):
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
        "columns": columns,
        "bright": settings.get("bright"),
        "seed": seed,
        "threads": _checks.count(threads, "threads"),
        "kernel": settings.get("kernel") or "gaussian",
        "bandwidth": bandwidth,
        "metrics": list(wanted),
        "records": records,
        "gif": settings.get("gif") is not False,
    }
    resolved = {
        option.name: chosen[option.name]
        for option in OPTIONS
        if chosen.get(option.name) is not None
    }
    measures = {METRICS[m][0]: METRICS[m][1](means) for m in wanted}
    rows = len(law) if isinstance(law, Rows) else None
    every = {flow: spacing(plan.steps, records, most) for flow, plan in plans.items()}
    return Task(
        x0, y, plans, every, measures, seed, threads, {**resolved, **tables}, rows, tuple(notes)
    )


@dataclass(frozen=True)
class _Choices:
    """What is taken of the files of target and start: each option serves those that it can, and
    must serve one.
    """

    key: Mapping[str, str | None]
    columns: Mapping[str, Sequence[str] | None]
    bright: bool

    @classmethod
    def of(cls, settings: Settings) -> _Choices:
        key, columns, bright = (
            settings.get("key"),
            settings.get("columns"),
            bool(settings.get("bright")),
        )
        target_name = settings.get("target") or "rings"
        both = {"target": target_name, "start": _of_start(settings)}
        for role, name in both.items():
            if name is not None and suffix_of(name):
                absolute(name, role)  # refused before anything is read
        files = {role: suffix_of(name) for role, name in both.items() if name is not None}
        named = f"the target is {target_name}" + (
            f" and the start {both['start']}" if both["start"] is not None else ""
        )
        tables = [role for role, suffix in files.items() if suffix in POINT_FILES]
        packed = [role for role, suffix in files.items() if suffix == ".npz"]
        several = [role for role in packed if key in arrays_of(str(both[role]))] or packed[:1]
        if bright and not set(files.values()) & set(PICTURES):
            raise SettingError(
                f"`bright` is for pictures ({' '.join(PICTURES)}), and {named}: leave it out"
            )
        if key is not None and not several:
            raise SettingError(f"`key` chooses an array of an .npz file, and {named}: leave it out")
        if columns is not None and not tables:
            raise SettingError(
                f"`columns` chooses coordinates in a file of points, and {named}: leave it out"
            )
        return cls(
            {role: key if role in several else None for role in both},
            {role: columns if role in tables else None for role in both},
            bright,
        )


def spacing(steps: int, records: int, most: int = 10**9) -> int:
    """Steps from one record to the next: a divisor of `steps`, that which gives the number of
    records nearest to `records` and up to `most`.

    Where none comes within a factor of 1.5 the last record is nearer to its neighbour than the
    others are.
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


def _draw(law: samplers.Sampler, size: int | None, name: str, seed: int, *, default: int) -> Tensor:
    """`size` samples. The rows of a file come as they are when all are asked for."""
    rows = len(law) if isinstance(law, Rows) else None
    if size is None:
        size = default if rows is None else min(default, rows)
    if isinstance(law, Rows) and size == rows:
        return law.points.clone()
    return law.sample(_checks.count(size, name), seed=seed)


def _kernel(
    settings: Settings, y: Tensor, names: Sequence[str]
) -> tuple[kernels.Kernel, float | None]:
    name, bandwidth = settings.get("kernel") or "gaussian", settings.get("bandwidth")
    kind = KERNELS[name]
    stuck = [flow for flow in names if flow in ("kale", "mono")]
    if stuck and not positive_kind(kind):
        raise SettingError(
            f"`kernel` {name} is not positive, which {stuck[0]} needs: use it with mmd or"
            " mmd-noise, or take laplace"
        )
    if not issubclass(kind, Scaled):
        if bandwidth is not None:
            raise SettingError(f"`bandwidth` has no meaning for the kernel {name}: leave it out")
        return kind(), None
    if bandwidth is None:
        try:
            bandwidth = _short(kernels.default_bandwidth(y))
        except ValueError:
            raise SettingError(
                "`bandwidth` cannot be chosen from the target, most of whose points coincide: give"
                " a length"
            ) from None
    return kind(bandwidth), bandwidth


def _metrics(asked: list[str] | None, x0: Tensor, y: Tensor) -> tuple[list[str], list[str]]:
    """The names of the metrics, and what is to be said about them: exact transport is for small
    clouds, but on the line.
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
        raise SettingError(
            f"`metrics` {slow[0]} is exact, for at most {EXACT_AT_MOST} points, got {size}: use"
            " sliced, or leave it out"
        )
    return list(asked), []


def _bulk(y: Tensor) -> Tensor:
    """The points that are not outliers: nine tenths of them or more."""
    distance = (y - y.median(0).values).norm(dim=1)
    inner = distance.sort().values[math.ceil(BULK * len(y)) - 1]
    return y[distance <= FAR * inner]


def _start(
    settings: Settings, y: Tensor, scale: float, seed: int, project: Projection | None = None
) -> tuple[Tensor, Settings]:
    """The particles' start, and the settings that give it again."""
    name, mean, std = (
        settings.get("start") or "auto",
        settings.get("start_mean"),
        settings.get("start_std"),
    )
    if name not in ("auto", "gaussian"):
        if mean is not None or std is not None:
            raise SettingError(
                f"`start_mean` and `start_std` are for a Gaussian start, and the start is {name}:"
                " leave them out"
            )
        choices = _Choices.of(settings)
        law = start_of(
            name,
            y.shape[1],
            project,
            key=choices.key["start"],
            columns=choices.columns["start"],
            bright=choices.bright,
        )
        file = suffix_of(name) in POINT_FILES
        x0 = _draw(
            law,
            settings.get("n"),
            "n",
            seed,
            default=len(law) if file and isinstance(law, Rows) else PARTICLES,
        )
        _checks.same_space(x0, y, "start", "target")
        return x0, {"start": name if name in TARGETS else absolute(name, "start")}
    dim = y.shape[1]
    place, width = (
        starts.place(y, scale) if mean is None and std is None else starts.beside(y, scale)
    )
    if mean is None:
        mean = [_short(v, within=1e-3 * width) for v in place.tolist()]
    if len(mean) not in (1, dim):
        raise SettingError(
            f"`start_mean` must be one number or {dim}, one for each coordinate of the target, got"
            f" {len(mean)}"
        )
    std = _checks.positive(
        _given(std, _short(width)),
        "start_std",
        remedy="for all particles in one place take a small one",
    )
    around = samplers.Gaussian(dim, mean=mean if len(mean) == dim else mean[0], std=std)
    x0 = around.sample(_checks.count(_given(settings.get("n"), PARTICLES), "n"), seed=seed)
    return x0, {"start": "gaussian", "start_mean": list(mean), "start_std": std}


def _of_start(settings: Settings) -> str | None:
    """What the particles start from that is no Gaussian: a file, or the name of a target."""
    name = settings.get("start") or "auto"
    return None if name in ("auto", "gaussian") else name


def _plan(
    name: str,
    names: Sequence[str],
    settings: Settings,
    law: samplers.Sampler,
    target_name: str,
    kernel: kernels.Kernel,
    scale: float,
    x0: Tensor,
    y: Tensor,
) -> tuple[Plan, Settings]:
    """One flow of `names` with its steps, and its table of settings."""

    def said(option: str, default: Any) -> Any:
        return _given(of_flow(settings, name, option), default)

    def taught(estimator: estimators.Estimator, what: str) -> estimators.Estimator:
        """A network with its first training as it was asked for."""
        if not isinstance(estimator, Trained):
            if _meant(settings, name, names, "first_steps"):
                raise SettingError(
                    f"`first_steps` is for a network, which the {what} is not: leave it out"
                )
            return estimator
        table["first_steps"] = said("first_steps", estimator.first_steps)
        return replace(estimator, first_steps=table["first_steps"])

    steps = _checks.count(said("steps", STEPS), "steps")
    stepper = said("integrator", "euler-maruyama" if name == "langevin" else "euler")
    if name == "langevin" and stepper != "euler-maruyama":
        raise SettingError(
            "`integrator` must be euler-maruyama for langevin, which has Brownian motion, got"
            f" {stepper}: leave it out"
        )
    rtol = said("rtol", RTOL.get(name, RTOL["mmd"]))
    sums = Auto(rtol=rtol)
    table: Settings = {"steps": steps, "dt": None, "integrator": stepper} | (
        {"rtol": rtol} if name in RTOL else {}
    )
    if name == "mmd":
        flow = flows.mmd_flow(kernel, pairwise=sums)
    elif name == "mmd-noise":
        beta = _checks.non_negative(said("beta", _short(scale)), "beta")
        half = _checks.positive(said("beta_half", steps / HALVINGS), "beta_half")
        flow = flows.mmd_flow(
            kernel,
            noise=schedules.Geometric(beta, ratio=0.5, every=half, smooth=True),
            pairwise=sums,
        )
        table |= {"beta": beta, "beta_half": half}
    elif name == "kale":
        lam = said("lam", LAM)
        flow = flows.kale_flow(kernel, lam=lam, pairwise=sums)
        table |= {"lam": lam}
    elif name == "mono":
        ratio, bend, shift = said("ratio", "kde"), said("mobility", "logit"), said("shift", 0.0)
        if ratio != "kale" and _meant(settings, name, names, "lam"):
            raise SettingError(
                f"`lam` is for the ratio kale, and the ratio is {ratio}: leave it out"
            )
        if ratio in WITHOUT_SUMS and _meant(settings, name, names, "rtol"):
            raise SettingError(
                f"`rtol` is for sums over pairs, and the ratio {ratio} takes none: leave it out"
            )
        table |= {"ratio": ratio, "mobility": bend, "shift": shift}
        if ratio == "kale":
            table |= {"lam": said("lam", LAM), "rtol": said("rtol", RTOL["kale"])}
            estimator: estimators.Estimator = estimators.KALE(
                kernel, lam=table["lam"], pairwise=Auto(rtol=table["rtol"])
            )
        else:
            estimator = RATIOS[ratio](kernel, sums)
            table = {
                key: value
                for key, value in table.items()
                if key != "rtol" or ratio not in WITHOUT_SUMS
            }
        flow = flows.mono_flow(taught(estimator, f"ratio {ratio}"), mobility(bend, shift))
    elif name == "w1":
        critic = said("critic", "exact")
        table |= {"critic": critic}
        flow = flows.wgan_flow(taught(CRITICS[critic](), f"critic {critic}"))
    elif name == "langevin":
        if target_name not in WITH_DENSITY:
            known = ", ".join(WITH_DENSITY)
            raise SettingError(
                f"`target` must have a known density for langevin, one of {known}, got"
                f" {target_name}: choose another flow"
            )
        assert isinstance(law, samplers.Density)
        temperature = said("temperature", 1.0)
        flow = flows.langevin(law, temperature=temperature)
        table |= {"temperature": temperature}
    else:
        raise SettingError(
            f"`flow` must be one of {', '.join(FLOWS)}, got '{name}'{nearest(name, FLOWS)}"
        )
    if INTEGRATORS[stepper]().stages > 1 and not flow.estimator.deterministic:
        raise SettingError(
            f"`integrator` must be euler for the network of {name}, which is trained from step to"
            f" step, got {stepper}: leave it out"
        )
    given = of_flow(settings, name, "dt")
    table["dt"] = (
        flow.suggest_dt(x0, y)
        if given is None
        else _checks.positive(given, "dt", remedy="leave it out to have one chosen")
    )
    return Plan(flow, steps, table["dt"], INTEGRATORS[stepper]()), table


def _meant(settings: Settings, flow: str, names: Sequence[str], option: str) -> bool:
    """Was the option given for this flow: in its own table, or for all where no other flow of the
    run takes it?
    """
    others = set(names) & set(BY_NAME[option].flows) - {flow}
    return option in settings.get(flow, {}) or (settings.get(option) is not None and not others)


def _given(value: Any, default: Any) -> Any:
    return default if value is None else value


def _short(value: float, *, within: float = math.inf) -> float:
    """Four digits: what is chosen here should be easy to read and to type. More where four would be
    off by more than `within`.
    """
    shorter = (float(f"{value:.{digits}g}") for digits in range(4, 17))
    return next((short for short in shorter if abs(short - value) <= within), value)
