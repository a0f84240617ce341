"""Statements about integrators: orders, chosen step lengths, and steps that lower the energy."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Replay
from particleflow.estimators import KDE, ClosedForm, DrMMD, Moreau
from particleflow.flows import EnergySlope
from particleflow.integrators import (
    RK4,
    Adaptive,
    BogackiShampine,
    Descent,
    DormandPrince,
    Euler,
    Heun,
    RungeKutta,
)
from particleflow.kernels import Cauchy, Energy, Gaussian, Laplace

from .guide import rings
from .laws import normals
from .statement import Statement

THEORY = "theory page, integrators"
# Schemes, and the numbers of steps at which their errors are measured: far above rounding.
SCHEMES: dict[str, tuple[RungeKutta, tuple[int, ...]]] = {
    "Euler": (Euler(), (24, 48, 96)),
    "Heun": (Heun(), (12, 24, 48)),
    "BogackiShampine": (BogackiShampine(), (12, 24, 48)),
    "RK4": (RK4(), (12, 24, 48)),
    "DormandPrince": (DormandPrince(), (30, 40, 50)),
}
KERNEL = Gaussian(1.5)
# A target whose density is known, and whose score is not linear.
DENSITY = pf.samplers.Mixture(
    [pf.samplers.Gaussian(dim=2, mean=(m, 0.0), std=1.0) for m in (-1.0, 1.5)], weights=[0.6, 0.4]
)
# Flows of few particles, and the times at which they have come a good part of their way.
FLOWS: dict[str, tuple[Callable[[], pf.Flow], float]] = {
    "MMD": (lambda: pf.mmd_flow(KERNEL), 6.0),
    "KALE": (lambda: pf.kale_flow(KERNEL, lam=1.0), 4.0),
    "KDE": (lambda: pf.mono_flow(KDE(KERNEL)), 4.0),
    "density": (lambda: pf.Flow(ClosedForm(DENSITY)), 1.0),
}
# Seconds of all statements about a flow's schemes, which share the reference.
COST = {"MMD": 0.6, "KALE": 2.5, "KDE": 1.05, "density": 0.55}
# Steps of the reference, by the scheme of order 5: its error is 1/300 of that at 50 steps.
EXACT = 160
# Steps of Euler's method on the rings, after which W2 is compared.
FIXED = 200
CONSERVATIVE: dict[str, Callable[[], pf.Flow]] = {
    "mmd": lambda: pf.mmd_flow(KERNEL),
    "mmd-cauchy": lambda: pf.mmd_flow(Cauchy(0.9)),
    "mmd-laplace": lambda: pf.mmd_flow(Laplace(0.9)),
    "mmd-energy": lambda: pf.mmd_flow(Energy()),
    "kale": lambda: pf.kale_flow(KERNEL, lam=0.1),
    "drmmd": lambda: pf.Flow(DrMMD(KERNEL, lam=0.1), mobility=EnergySlope()),
    "chi2": lambda: pf.Flow(
        Moreau(KERNEL, divergence=pf.divergences.ChiSquare(), lam=0.1), mobility=EnergySlope()
    ),
}


def clouds(flow: str, seed: int) -> tuple[Tensor, Tensor | None]:
    """A start of 13 points and a target of 17; no target where the density is known."""
    x = 0.6 * normals(13, 2, seed, "start") + 0.9
    return x, None if flow == "density" else normals(17, 2, seed, "target")


def end(flow: str, seed: int, steps: int, scheme: RungeKutta) -> Tensor:
    make, t1 = FLOWS[flow]
    x, y = clouds(flow, seed)
    path = pf.simulate(
        make(), x, y, steps=steps, dt=t1 / steps, integrator=scheme, save=pf.SaveAt(steps=[0])
    )
    return path.particles[-1]


@cache
def exact(flow: str, seed: int) -> Tensor:
    return end(flow, seed, EXACT, DormandPrince())


def order(scheme: str, flow: str, seed: int) -> float:
    """The order of a scheme: minus the slope of log error against log steps."""
    made, steps = SCHEMES[scheme]
    errors = [float((end(flow, seed, n, made) - exact(flow, seed)).norm()) for n in steps]
    return -float(np.polyfit(np.log(steps), np.log(errors), 1)[0])


def adaptive_error(flow: str, seed: int) -> float:
    """The largest error over the tolerance times the clouds' spread, at rtol 1e-3 and 1e-5."""
    make, t1 = FLOWS[flow]
    x, y = clouds(flow, seed)
    points = x if y is None else torch.cat([x, y])
    spread, found = float((points - points.mean(0)).square().mean().sqrt()), []
    for rtol in (1e-3, 1e-5):
        path = pf.simulate(make(), x, y, t1=t1, dt=0.05, integrator=Adaptive(rtol=rtol))
        assert float(path.times[-1]) == t1
        off = path.particles[-1] - exact(flow, seed)
        found.append(float(off.square().mean().sqrt()) / (rtol * spread))
    return max(found)


def weak_order(seed: int) -> float:
    """The order of the variance's error at t = 1 on dX = -X dt + sqrt 2 dW.

    The noises of all steps and the start are orthogonal, of mean 0 and variance 1: the variance of
    the particles is then that of infinitely many.
    """
    raw = np.random.default_rng(seed).standard_normal((256, 82))
    raw[:, 0] = 1.0
    columns = torch.from_numpy(np.linalg.qr(raw)[0][:, 1:]) * math.sqrt(256)
    flow, errors = pf.Flow(ClosedForm(lambda z: -z), diffusion=math.sqrt(2)), []
    wanted = 0.25 * math.exp(-2) + 1 - math.exp(-2)
    for n in (20, 40, 80):
        noise = Replay({"brownian": columns[:, 1 : n + 1].T[:, :, None]})
        path = pf.simulate(flow, 0.5 * columns[:, :1], steps=n, dt=1 / n, draws=noise)
        errors.append(abs(float(path.particles[-1].var(correction=0)) - wanted))
    return -float(np.polyfit(np.log((20, 40, 80)), np.log(errors), 1)[0])


def descent_increase(flow: str, seed: int) -> float:
    """The largest rise of the energy in a step of Descent."""
    x, y = clouds(flow, seed)
    path = pf.simulate(
        CONSERVATIVE[flow](), x, y, steps=150, integrator=Descent(), save=pf.SaveAt(every=1)
    )
    assert path.report["controller"]["largest_increase"] == 0
    return max(0.0, float(path.energy.diff().max()))


@cache
def _descended(flow: str, seed: int) -> tuple[float, float]:
    """Steps and trials of Descent over the steps of Euler's method, at equal W2 on three rings."""
    x, y = rings(seed)
    made = pf.mmd_flow(Gaussian(0.2)) if flow == "mmd" else pf.kale_flow(Gaussian(0.2), lam=0.1)
    w2, seen, dt = pf.metrics.W2(), pf.SaveAt(steps=[0]), made.suggest_dt(x, y)
    aim = w2(pf.simulate(made, x, y, steps=FIXED, dt=dt, save=seen).particles[-1], y)
    for state in pf.iterate(made, x, y, dt=dt, integrator=Descent()):
        taken, held = state.clock.step, state.stepper
        if state.ended or taken == FIXED or w2(state.x.points, y) <= aim:
            break
    trials = taken + float(held["backtracks"])
    return taken / FIXED, trials / FIXED


def descent_ratio(flow: str, what: int, seed: int) -> float:
    return _descended(flow, seed)[what]


STATEMENTS = (
    *(
        Statement(
            name=f"order-{scheme}-{flow}".lower(),
            words=f"{scheme} is of order {made.order:g} on the flow of {flow}.",
            source=THEORY,
            number="fitted order of the error at a fixed time",
            low=made.order - 0.15,
            high=made.order + 0.15,
            measure=partial(order, scheme, flow),
            seconds=COST[flow],
            group=f"orders-{flow}",
        )
        for flow in FLOWS
        for scheme, (made, _) in SCHEMES.items()
    ),
    Statement(
        name="weak-order-euler-maruyama",
        words="Euler-Maruyama is of weak order 1.",
        source=THEORY,
        number="fitted order of the variance's error at t = 1",
        low=0.85,
        high=1.15,
        measure=weak_order,
        seconds=0.2,
    ),
    *(
        Statement(
            name=f"adaptive-error-{flow}".lower(),
            words=f"The error of Adaptive is within its tolerance on the flow of {flow}.",
            source="integrators page, Adaptive",
            number="root mean square error / (rtol times the clouds' spread)",
            low=0.0,
            high=1.0,
            measure=partial(adaptive_error, flow),
            seconds=COST[flow],
            group=f"orders-{flow}",
        )
        for flow in FLOWS
    ),
    *(
        Statement(
            name=f"descent-falls-{flow}",
            words=f"Descent never raises the energy: {flow}.",
            source="integrators page, Descent",
            number="largest rise of the energy in 150 steps",
            low=0.0,
            high=0.0,
            measure=partial(descent_increase, flow),
            seconds=0.15,
        )
        for flow in CONSERVATIVE
    ),
    *(
        Statement(
            name=f"descent-{what}-{flow}",
            words=f"Descent needs a third of the {what} of Euler's method on three rings: {flow}.",
            source="integrators page, Descent",
            number=f"{what} / {FIXED} steps of the suggested dt, at equal W2",
            low=0.0,
            high=1 / 3,
            measure=partial(descent_ratio, flow, k),
            seconds=seconds,
            group=f"descent-{flow}",
        )
        for flow, seconds in (("mmd", 0.25), ("kale", 0.65))
        for k, what in enumerate(("steps", "fits"))
    ),
)
