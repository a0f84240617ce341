"""Flows between two Gaussians: any h' > 0 reaches the target, naive descent of f does not.

1000 particles go from N((1, 1), I) to p = N(0, [[1, 0.8], [0.8, 0.89]]), until t = 20. r is p /
N(mean, covariance) with the cloud's own moments (+ 1e-9 I). log r is cut to +- 40, and |v| to 20.

Source: Yi, Zhu and Liu 2023.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import particleflow as pf
from particleflow._typing import Memory
from particleflow.clouds import Cloud
from particleflow.estimators import ClosedForm, Moments
from particleflow.integrators.base import Refit
from particleflow.mobilities import (
    LSGAN,
    Arcsinh,
    Exponential,
    Mobility,
    NonSaturating,
    Unit,
    Vanilla,
    custom,
)

TARGET = pf.samplers.Gaussian(mean=[0.0, 0.0], cov=[[1.0, 0.8], [0.8, 0.89]])
START = pf.samplers.Gaussian(mean=[1.0, 1.0], cov=[[1.0, 0.0], [0.0, 1.0]])
PARTICLES = 1000
END = 20.0
CAP = 20.0


def naive(f: Callable[[Tensor], Tensor]) -> Mobility:
    """Return the mobility h(d) = -f(e^d) of the flow v = -r f'(r) grad log r.

    The flow descends f along the particles as if the ratio did not move with them.
    """
    return custom(lambda d: -f(torch.exp(d)), allow_nonmonotone=True)


@dataclass(frozen=True)
class Capped:
    """Explicit Euler with |v| at most `most`: the ratio of far Gaussians is e^{+-40}."""

    most: float
    order: float = 1.0
    stages: int = 1
    stochastic: bool = False

    def step(
        self, flow: pf.Flow, refit: Refit, state: pf.State, dt: float
    ) -> tuple[Cloud, float, Memory]:
        v, _ = flow.velocity(state.x, state.fit, state.clock)
        v = v * (self.most / v.norm(dim=1, keepdim=True)).clamp_max(1.0)
        return Cloud(state.x.points + dt * v), dt, state.stepper


@dataclass(frozen=True)
class Case:
    """A flow, and the stated range of its final |mean| if there is one."""

    make: Callable[[], Mobility]
    low: float | None = None
    high: float | None = None
    climbs: bool = True


CASES = {
    "logit": Case(Unit, 0.0, 1e-3),
    "shifted vanilla, C = 5": Case(lambda: Vanilla(shift=5.0), 0.0, 1e-3),
    "arcsinh": Case(Arcsinh, 0.0, 1e-3),
    "non-saturating": Case(NonSaturating, 0.004, 0.005),
    "vanilla (JS)": Case(Vanilla, 0.005, 0.04),
    "MLE (KL)": Case(lambda: Exponential(1.0)),
    "chi^2": Case(lambda: Exponential(2.0)),
    "Hellinger": Case(lambda: Exponential(0.5)),
    "LSGAN (0, 1, 1)": Case(lambda: LSGAN(0, 1, 1), 0.52, 0.63),
    "h' = 8 r^2 / (1 + r)^3": Case(lambda: custom(_pearson, slope=_pearson_slope), 0.004, 0.06),
    "LSGAN (-1, 1, 0)": Case(
        lambda: LSGAN(-1, 1, 0, allow_nonmonotone=True), 1.12, 1.21, climbs=False
    ),
    "naive KL": Case(lambda: naive(lambda r: r * torch.log(r)), 1.37, 1.50, climbs=False),
    "naive chi^2": Case(lambda: naive(lambda r: (r - 1) ** 2), 1.12, 1.25, climbs=False),
    "naive Hellinger": Case(lambda: naive(lambda r: (r**0.5 - 1) ** 2), 0.73, 0.82, climbs=False),
    "naive JS": Case(
        lambda: naive(lambda r: r * torch.log(r) - (1 + r) * torch.log((1 + r) / 2)),
        0.97,
        1.12,
        climbs=False,
    ),
}


def run(name: str, seed: int, steps: int, save: pf.SaveAt) -> pf.Trajectory:
    """Run the flow until t = 20.

    Raises
    ------
    RuntimeError
        If the run does not get there.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`(aim|h)` must", category=UserWarning)
        mobility = CASES[name].make()
    flow = pf.mono_flow(ClosedForm(TARGET, current=Moments(jitter=1e-9), clip=40.0), mobility)
    start = START.sample(PARTICLES, seed=seed)
    path = pf.simulate(flow, start, steps=steps, dt=END / steps, integrator=Capped(CAP), save=save)
    if path.status != "completed":
        raise RuntimeError(f"{name}, seed {seed}: {path.status}: {path.message}")
    return path


def final_mean(name: str, seed: int, steps: int) -> float:
    """Return |mean| of the particles at the end."""
    return float(run(name, seed, steps, pf.SaveAt(steps=[0])).particles[-1].mean(0).norm())


def _pearson(d: Tensor) -> Tensor:
    """Return 4 (r / (1 + r))^2, the mobility of the flow of int (p - q)^2 / (p + q).

    The coding (-1, 1, 0) estimates this divergence.
    """
    return 4 * torch.sigmoid(d) ** 2


def _pearson_slope(d: Tensor) -> Tensor:
    return 8 * torch.sigmoid(d) ** 2 * torch.sigmoid(-d)
