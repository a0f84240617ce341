"""Statements about starts that are several bandwidths away: the stall, and what cures it."""

from __future__ import annotations

from functools import cache, partial

import torch

import particleflow as pf

from .laws import draw, normals
from .statement import Statement

CHOOSING = "choosing page, a far start"


@cache
def far_run(seed: int, noise: bool) -> dict[str, tuple[float, float]]:
    """W2 and MMD^2 at the start and the end of 3000 steps from five bandwidths away."""
    x0 = draw(pf.samplers.Gaussian(mean=(5.0, 0.0), std=0.5), 150, seed, "start")
    y = normals(170, 2, seed, "target")
    kernel = pf.kernels.Gaussian(1.0)
    beta = pf.schedules.Geometric(3.0, ratio=0.5, every=500) if noise else None
    flow = pf.mmd_flow(kernel, noise=beta)
    save = pf.SaveAt(steps=[0])
    end = pf.simulate(flow, x0, y, steps=3000, dt=1.0, seed=seed, save=save).particles[-1]
    metrics = {"W2": pf.metrics.W2(), "MMD2": pf.metrics.MMD2(kernel)}
    return {name: (metric(x0, y), metric(end, y)) for name, metric in metrics.items()}


def far(metric: str, seed: int) -> float:
    start, end = far_run(seed, False)[metric]
    return end / start


def far_with_noise(metric: str, seed: int) -> float:
    return far_run(seed, True)[metric][1] / far_run(seed, False)[metric][1]


def energy_w2_squared(t: float, seed: int) -> float:
    """W2^2 to delta_0 after a flow of the energy kernel from delta_{-1}, 400 particles."""
    start = -1 + 1e-9 * torch.arange(400, dtype=torch.float64)[:, None]
    target = torch.zeros(1, 1, dtype=torch.float64)
    flow = pf.mmd_flow(pf.kernels.Energy())
    end = pf.simulate(flow, start, target, steps=round(t / 0.005), dt=0.005).particles[-1]
    return pf.metrics.W2()(end, target) ** 2


def coincident(seed: int) -> float:
    """W2^2 at t = 1/2 of particles that start in one place."""
    start = torch.full((40, 1), -1.0, dtype=torch.float64)
    target = torch.zeros(1, 1, dtype=torch.float64)
    end = pf.simulate(pf.mmd_flow(pf.kernels.Energy()), start, target, steps=50, dt=0.01)
    return pf.metrics.W2()(end.particles[-1], target) ** 2


@cache
def _reach(name: str, seed: int) -> tuple[float, float, float]:
    """W2 at the start, half way and at the end of a flow from five bandwidths away."""
    x0 = draw(pf.samplers.Gaussian(mean=(5.0, 0.0), std=0.5), 150, seed, "start")
    y = normals(170, 2, seed, "target")
    kernel, known = pf.kernels.Gaussian(1.0), pf.samplers.Gaussian(dim=2)
    ratio = pf.estimators.KDE(kernel)
    flow, dt, steps = {
        "bandwidth": (pf.mmd_flow(pf.kernels.Gaussian(3.0)), 2.0, 1000),
        "energy": (pf.mmd_flow(pf.kernels.Energy()), 0.05, 1000),
        "kale": (pf.kale_flow(kernel, lam=0.1), 0.05, 1000),
        "kde": (pf.mono_flow(ratio), 0.2, 400),
        "vanilla": (pf.mono_flow(ratio, pf.mobilities.Vanilla()), 0.2, 400),
        "shifted": (pf.mono_flow(ratio, pf.mobilities.Vanilla(shift=5.0)), 0.2, 400),
        "langevin": (pf.langevin(known), 0.05, 400),
    }[name]
    needed = y if flow.estimator.needs_target else None
    save = pf.SaveAt(steps=[0, steps // 2])
    path = pf.simulate(flow, x0, needed, steps=steps, dt=dt, seed=seed, save=save)
    start, half, end = (pf.metrics.W2()(points, y) for points in path.particles)
    return start, half, end


def nearer(name: str, seed: int) -> float:
    """W2 at the end over W2 at the start."""
    start, _, end = _reach(name, seed)
    return end / start


def over_the_floor(name: str, seed: int) -> float:
    """W2 at the end over W2 of two fresh samples of these sizes."""
    fresh, y = normals(150, 2, seed, "fresh"), normals(170, 2, seed, "target")
    return _reach(name, seed)[2] / pf.metrics.W2()(fresh, y)


def vanishing_slope(seed: int) -> float:
    """W2 of Vanilla() over that of Vanilla(shift=5), half way."""
    return _reach("vanilla", seed)[1] / _reach("shifted", seed)[1]


STATEMENTS = (
    Statement(
        name="mmd-stalls-far",
        words="Plain MMD flow stalls when the cloud starts five bandwidths away: W2 rises.",
        source="Arbel, Korba, Salim and Gretton 2019, section 4; theory page, MMD flow",
        number="W2 at the end / at the start, 3000 steps",
        low=1.0,
        measure=partial(far, "W2"),
        group="far",
        seconds=2.05,
    ),
    Statement(
        name="mmd-falls-while-w2-rises",
        words="In the same run MMD^2 falls, as it must, though W2 rises: record both.",
        source="theory page, MMD flow",
        number="MMD^2 at the end / at the start",
        high=1.0,
        measure=partial(far, "MMD2"),
        group="far",
        seconds=1.3,
    ),
    Statement(
        name="noise-cures-the-stall",
        words="Noise injection that fades (3, halved every 500 steps) brings that cloud nearer than"
        " plain MMD flow does.",
        source="Arbel, Korba, Salim and Gretton 2019, section 4",
        number="W2 at the end with noise / without",
        high=1.0,
        measure=partial(far_with_noise, "W2"),
        group="far",
        seconds=2.05,
    ),
    Statement(
        name="noise-lowers-mmd",
        words="The same noise ends at a lower MMD^2, too.",
        source="Arbel, Korba, Salim and Gretton 2019, section 4",
        number="MMD^2 at the end with noise / without",
        high=1.0,
        measure=partial(far_with_noise, "MMD2"),
        group="far",
        seconds=2.05,
    ),
    *(
        Statement(
            name=f"energy-kernel-t{100 * t:.0f}",
            words=f"The flow of the energy kernel from delta_-1 to delta_0 has W2^2 = {law} at"
            f" t = {t:g}.",
            source="Hertrich et al. 2024: quantiles min(-1 + 2 s t, 0)",
            number="W2^2, 400 distinct particles, dt = 0.005",
            low=expected - 0.01,
            high=expected + 0.01,
            measure=partial(energy_w2_squared, t),
            random=False,
            seconds=0.2,
        )
        for t, law, expected in (
            (0.25, "1 - 2t + 4t^2/3", 1 - 0.5 + 1 / 12),
            (0.5, "1 - 2t + 4t^2/3", 1 / 3),
            (1.0, "1 / (6t)", 1 / 6),
        )
    ),
    Statement(
        name="energy-coincident",
        words="Particles that start in exactly one place never part under the energy kernel:"
        " W2^2 = (1 - t)^2.",
        source="particles must start distinct, at -1 + 1e-9 i",
        number="W2^2 at t = 1/2",
        low=0.25 - 1e-12,
        high=0.25 + 1e-12,
        measure=coincident,
        random=False,
        seconds=0.05,
    ),
    Statement(
        name="far-wide-kernel",
        words="A kernel of three times the bandwidth reaches the cloud that stalls.",
        source=CHOOSING,
        number="W2 at the end / at the start",
        high=1.0,
        measure=partial(nearer, "bandwidth"),
        seconds=0.4,
    ),
    Statement(
        name="far-energy-kernel",
        words="The energy kernel reaches it without any bandwidth, and arrives.",
        source=CHOOSING,
        number="W2 at the end / at the start",
        high=0.2,
        measure=partial(nearer, "energy"),
        seconds=0.4,
    ),
    Statement(
        name="far-kale",
        words="KALE flow does not see a target that is five bandwidths away either: W2 rises.",
        source=CHOOSING + "; README, how to choose",
        number="W2 at the end / at the start, lam = 0.1, t = 50",
        low=1.0,
        measure=partial(nearer, "kale"),
        seconds=1.3,
        note="Half of the cloud spreads as far as the target, the rest is pushed away from it. At"
        " some draws the first outweighs, and W2 ends a hundredth lower.",
    ),
    Statement(
        name="far-kde",
        words="MonoFlow on a kernel density ratio arrives from any distance, nearer to its target"
        " sample than a fresh sample is.",
        source=CHOOSING + "; README, how to choose",
        number="W2 at the end / W2 of two fresh samples",
        high=1.0,
        measure=partial(over_the_floor, "kde"),
        seconds=0.3,
    ),
    Statement(
        name="far-shifted",
        words="With the shifted vanilla mobility (C = 5) it arrives, too.",
        source=CHOOSING,
        number="W2 at the end / W2 of two fresh samples",
        high=1.0,
        measure=partial(over_the_floor, "shifted"),
        group="far-shifted",
        seconds=0.25,
    ),
    Statement(
        name="far-vanilla-slow",
        words="Half way the vanilla mobility is behind the shifted one: its slope vanishes far"
        " away.",
        source=CHOOSING + "; theory page, MonoFlow",
        number="W2 half way, C = 0 / C = 5",
        low=1.0,
        measure=vanishing_slope,
        group="far-shifted",
        seconds=0.45,
    ),
    Statement(
        name="far-langevin",
        words="Langevin dynamics arrives from there: W2 ends within a fifth of the start.",
        source=CHOOSING,
        number="W2 at the end / at the start, t = 20",
        high=0.2,
        measure=partial(nearer, "langevin"),
        seconds=0.2,
    ),
)
