"""Statements about the reverse KL flow of Gaussians, Langevin dynamics, and orders of schemes."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Clock
from particleflow.estimators import ClosedForm, Moments
from particleflow.integrators import RK4, Euler, Heun

from .laws import LINE, PLANE, draw, flow_moments, moments, normals, two_points
from .statement import Statement

THEORY = "theory page, Langevin dynamics and the reverse KL flow"
YI = "Yi, Zhu and Liu 2023"
UNIT = pf.samplers.Gaussian(dim=1)
# The largest error of a random mean or variance, in standard errors: a chance of 6e-7 each.
SIGMAS = 5.0


def reverse_kl(target: pf.samplers.Gaussian) -> pf.Flow:
    """The flow of KL(q||p), with the ratio of the cloud's own moments."""
    return pf.mono_flow(ClosedForm(target, current=Moments()))


def on_the_line(what: str, seed: int) -> float:
    """What the flow from N(-2, 0.5^2) to N(1, 1.5^2) has at t = 1, by RK4 or Euler."""
    euler = what == "euler"
    scheme = Euler() if euler else RK4()
    start = two_points(-2.0, 0.5)
    path = pf.simulate(reverse_kl(LINE[0]), start, t1=1.0, dt=0.01, integrator=scheme)
    end = path.particles[-1]
    return {
        "mean": lambda: float(end.mean()),
        "std": lambda: float(end.std(correction=0)),
        "euler": lambda: float(end.std(correction=0)),
        "kl": lambda: float(path.energy[-1]),
        # both clouds are images of two atoms: W2^2 is that of the Gaussians
        "w2": lambda: pf.metrics.W2()(end, two_points(1.0, 1.5)),
    }[what]()


def plane_moments(seed: int) -> float:
    """Error of the moments at t = 0.7 of any cloud, beside the matrix formula."""
    x = normals(23, 2, seed, "start", mean=1.0).exp()
    cov = np.cov(x.numpy().T, bias=True)
    mean, expected = flow_moments(PLANE[0], x.mean(0).numpy(), cov, 0.7)
    end = pf.simulate(reverse_kl(PLANE[0]), x, t1=0.7, dt=0.005, integrator=RK4()).particles[-1]
    found = np.cov(end.numpy().T, bias=True)
    return float(max(np.abs(end.mean(0).numpy() - mean).max(), np.abs(found - expected).max()))


def w2_in_the_plane(seed: int) -> float:
    """Exact W2 of a cloud with q's exact moments and its image under the optimal map to p."""
    (mu, p), (m, _) = (tuple(map(torch.tensor, moments(law))) for law in PLANE)
    x = draw(PLANE[1], 120, seed, "start")
    x = (x - x.mean(0)) @ torch.linalg.inv(
        torch.linalg.cholesky(torch.cov(x.T, correction=0))
    ).T + m
    values, vectors = torch.linalg.eigh(p)  # q is I: the map is p^{1/2}
    root = vectors @ torch.diag(values.sqrt()) @ vectors.T
    return pf.metrics.W2()(x, (x - m) @ root + mu)


def in_errors(end: Tensor, mean: float, variance: float) -> float:
    """The larger error of mean and variance, in standard errors of the sample."""
    n = len(end)
    of_mean = abs(float(end.mean()) - mean) / math.sqrt(variance / n)
    return max(of_mean, abs(float(end.var()) - variance) / (variance * math.sqrt(2 / n)))


def langevin_marginal(temperature: float, seed: int) -> float:
    """Error at t = 1 of Langevin dynamics on the line, beside the flow of KL(q||p)."""
    x0 = draw(LINE[1], 10_000, seed, "start")
    mean, cov = flow_moments(LINE[0], np.array([-2.0]), np.array([[0.25]]), 1.0)
    flow = pf.langevin(LINE[0], temperature=temperature)
    path = pf.simulate(flow, x0, steps=200, dt=0.005, seed=seed, save=pf.SaveAt(steps=[0]))
    return in_errors(path.particles[-1], float(mean[0]), float(cov[0, 0]))


def stationary(tau: float, temperature: float, seed: int) -> float:
    """Error of the variance of the unadjusted algorithm on N(0, 1), in standard errors."""
    x0, flow = draw(UNIT, 20_000, seed, "start"), pf.langevin(UNIT, temperature=temperature)
    path = pf.simulate(flow, x0, steps=80, dt=tau, seed=seed, save=pf.SaveAt(steps=[0]))
    return in_errors(path.particles[-1], 0.0, temperature / (1 - tau / 2))


def mono_at_rest(seed: int) -> float:
    """Variance at the end of Euler's method for the MonoFlow on N(0, 1), steps of 0.5."""
    x0 = draw(pf.samplers.Gaussian(dim=1, mean=1.0, std=0.5), 500, seed, "start")
    end = pf.simulate(reverse_kl(UNIT), x0, steps=80, dt=0.5).particles[-1]
    return float(end.var(correction=0))


def order(name: str, seed: int) -> float:
    """The order of a scheme: the slope of its error at t = 1 against dt."""
    scheme, steps = {"euler": (Euler(), 80), "heun": (Heun(), 40), "rk4": (RK4(), 40)}[name]
    x = 0.7 * normals(12, 2, seed, "start") + 1
    cov = np.cov(x.numpy().T, bias=True)
    mean, expected = flow_moments(PLANE[0], x.mean(0).numpy(), cov, 1.0)
    errors = []
    for n in (steps, 2 * steps):
        end = pf.simulate(reverse_kl(PLANE[0]), x, steps=n, dt=1 / n, integrator=scheme).particles[
            -1
        ]
        found = np.cov(end.numpy().T, bias=True)
        errors.append(max(np.abs(end.mean(0).numpy() - mean).max(), np.abs(found - expected).max()))
    return math.log2(errors[0] / errors[1])


def frozen_order(seed: int) -> float:
    """The order of Heun's method when the field of the step's start serves both stages."""
    x = 0.7 * normals(12, 2, seed, "start") + 1
    cov = np.cov(x.numpy().T, bias=True)
    _, expected = flow_moments(PLANE[0], x.mean(0).numpy(), cov, 1.0)
    flow, errors = reverse_kl(PLANE[0]), []
    for n in (40, 80):
        z, dt = x.clone(), 1 / n
        for _ in range(n):
            fit = pf.fit(flow.estimator, z)
            first = flow.velocity(pf.Cloud(z), fit, Clock())[0]
            second = flow.velocity(pf.Cloud(z + dt * first), fit, Clock())[0]
            z = z + 0.5 * dt * (first + second)
        errors.append(np.abs(np.cov(z.numpy().T, bias=True) - expected).max())
    return math.log2(errors[0] / errors[1])


def energy_rise(flow: str, seed: int) -> float:
    """The largest rise of the energy in a step, over the first energy, at the suggested dt."""
    x = normals(60, 2, seed, "start", mean=1.5)
    kernel, y = pf.kernels.Gaussian(0.7), normals(75, 2, seed, "target")
    made = pf.mmd_flow(kernel) if flow == "mmd" else pf.kale_flow(kernel, lam=0.1)
    energy = pf.simulate(made, x, y, steps=60).energy
    return float((energy[1:] - energy[:-1]).max() / energy[0])


STATEMENTS = (
    *(
        Statement(
            name=f"reverse-kl-{what}",
            words=f"The flow of KL(q||p) from N(-2, 0.5^2) to N(1, 1.5^2) has at t = 1 {words}.",
            source=f"{YI}; theory page, equation gaussian-flow",
            number=words,
            low=value - error,
            high=value + error,
            measure=partial(on_the_line, what),
            random=False,
            seconds=0.1,
        )
        for what, words, value, error in (
            ("mean", "the mean -0.92354", -0.9235411652898637, 1e-8),
            ("std", "the deviation 1.19490", 1.1948955682341553, 1e-8),
            ("kl", "KL = 0.86691", 0.8669143245981292, 1e-8),
            ("w2", "W2 = 1.94759", 1.947588079869007, 1e-8),
            ("euler", "the deviation 1.1976067 by Euler, dt = 0.01", 1.1976067, 5e-8),
        )
    ),
    Statement(
        name="reverse-kl-plane",
        words="Mean and covariance of any cloud follow m = mu + E (m0 - mu), S = P + E (S0 - P) E.",
        source="theory page, equation gaussian-flow",
        number="largest error of an entry at t = 0.7",
        low=0.0,
        high=1e-6,
        measure=plane_moments,
        seconds=0.1,
    ),
    Statement(
        name="closed-w2",
        words="W2 between N((1, 1), I) and N(0, [[1, 0.8], [0.8, 0.89]]) is 1.57797338.",
        source="Gelbrich 1990",
        number="exact W2 of a cloud and its image under the optimal map",
        low=1.57797338 - 5e-9,
        high=1.57797338 + 5e-9,
        measure=w2_in_the_plane,
        seconds=0.05,
    ),
    Statement(
        name="langevin-marginals",
        words="Langevin dynamics has the same distribution at t = 1 as the flow of KL(q||p).",
        source=f"Jordan, Kinderlehrer and Otto 1998; {THEORY}",
        number="larger error of mean and variance, standard errors of 10 000 points",
        low=0.0,
        high=SIGMAS,
        measure=partial(langevin_marginal, 1.0),
        seconds=0.2,
    ),
    Statement(
        name="langevin-without-sqrt2",
        words="Without the factor sqrt 2 of the noise it has another distribution.",
        source=THEORY,
        number="larger error of mean and variance, standard errors of 10 000 points",
        low=SIGMAS,
        measure=partial(langevin_marginal, 0.5),
        seconds=0.2,
    ),
    *(
        Statement(
            name=f"ula-variance-{tau:g}",
            words=f"The unadjusted Langevin algorithm on N(0, 1) with steps of {tau:g} ends with"
            f" the variance 1 / (1 - tau / 2) = {1 / (1 - tau / 2):.4g}.",
            source="theory page, integrators; MonoFlow page, beside Langevin dynamics",
            number="error of mean and variance, standard errors of 20 000 points",
            low=0.0,
            high=SIGMAS,
            measure=partial(stationary, tau, 1.0),
            seconds=0.2,
        )
        for tau in (0.2, 0.5, 1.0)
    ),
    Statement(
        name="langevin-temperature",
        words="At the temperature T = 1/2 the stationary density is p^2: half the variance.",
        source=THEORY,
        number="error of mean and variance, standard errors of 20 000 points, steps of 0.1",
        low=0.0,
        high=SIGMAS,
        measure=partial(stationary, 0.1, 0.5),
        seconds=0.2,
    ),
    Statement(
        name="mono-unbiased",
        words="Euler's method for the MonoFlow ends with the target's variance, at any such step.",
        source="MonoFlow page, beside Langevin dynamics",
        number="variance at the end on N(0, 1), steps of 0.5",
        low=1 - 1e-9,
        high=1 + 1e-9,
        measure=mono_at_rest,
        seconds=0.1,
    ),
    *(
        Statement(
            name=f"order-{name}",
            words=f"{title} is of order {expected:g} for a flow of particles, refitted at each"
            " stage.",
            source="theory page, integrators",
            number="log2 of error at dt / at dt / 2",
            low=expected - 0.2,
            high=expected + 0.2,
            measure=partial(order, name),
            seconds=0.1,
        )
        for name, title, expected in (
            ("euler", "Euler's method", 1.0),
            ("heun", "Heun's method", 2.0),
            ("rk4", "The classical Runge-Kutta method", 4.0),
        )
    ),
    Statement(
        name="order-frozen",
        words="Fitted once a step, Heun's method drops to order 1.",
        source="theory page, integrators",
        number="log2 of error at dt / at dt / 2",
        low=0.8,
        high=1.2,
        measure=frozen_order,
        seconds=0.2,
    ),
    *(
        Statement(
            name=f"energy-falls-{flow}",
            words=f"The energy of {flow.upper()} flow only falls, at the suggested dt.",
            source="theory page, integrators",
            number="largest rise in a step / first energy, 60 steps",
            high=1e-12,
            measure=partial(energy_rise, flow),
            seconds=0.25,
        )
        for flow in ("mmd", "kale")
    ),
)
