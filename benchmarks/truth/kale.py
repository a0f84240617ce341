"""Statements about KALE: its limits, its certificate, its velocity, its solver."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Clock, Cloud

from .laws import draw, gap, gram, normals
from .statement import Statement

GLASER = "Glaser, Arbel and Gretton 2021"
PAGE = "KALE page"
KERNEL = pf.kernels.Gaussian(0.7)
LAPLACE = pf.kernels.Laplace(1.0)


def kale(lam: float, x: Tensor | Cloud, y: Tensor | Cloud, kernel: pf.kernels.Kernel) -> pf.Fit:
    return pf.fit(pf.estimators.KALE(kernel, lam=lam), x, y)


def worth(fit: pf.Fit) -> float:
    """The value of a fit that has one."""
    assert fit.value is not None
    return fit.value


def clouds(seed: int) -> tuple[Tensor, Tensor]:
    return normals(40, 2, seed, "x", mean=0.6), normals(30, 2, seed, "y")


def shared_atoms(seed: int) -> tuple[Cloud, Cloud]:
    """Moving and target masses on the same 20 atoms; seed 0 is the published draw."""
    atoms = torch.linspace(-2, 2, 20, dtype=torch.float64)[:, None]
    rng = np.random.default_rng(seed)
    q, p = (torch.from_numpy(rng.dirichlet(np.full(20, 3.0))) for _ in range(2))
    return Cloud(atoms, mass=q), Cloud(atoms, mass=p)


def published_atoms(lam: float, seed: int) -> float:
    return worth(kale(lam, *shared_atoms(0), LAPLACE))


def large_value(seed: int) -> float:
    """(KALE - MMD^2/2) lam over its stated limit, at lam = 1e4."""
    (x, y), lam = clouds(seed), 1e4
    half = worth(pf.fit(pf.estimators.MMD(KERNEL), x, y))
    f = gram(KERNEL, y, x).mean(1) - gram(KERNEL, y, y).mean(1)
    return (worth(kale(lam, x, y, KERNEL)) - half) * lam / (half - 0.5 * float(f.square().mean()))


def velocity_gap(lam: float, seed: int) -> float:
    """Relative distance of KALE's velocity from that of MMD flow, root mean square."""
    x, y = clouds(seed)
    v = pf.fit(pf.estimators.MMD(KERNEL), x, y).witness.value_and_grad(x)[1]
    u = (1 + lam) * kale(lam, x, y, KERNEL).witness.value_and_grad(x)[1]
    return float((u - v).norm() / v.norm())


def velocity_order(seed: int) -> float:
    return velocity_gap(1e3, seed) / velocity_gap(1e4, seed)


def small_value(seed: int) -> float:
    """(KALE - KL) / lam over its stated limit KL - |log q/p|^2 / 2, on shared atoms."""
    (x, y), lam = shared_atoms(seed), 1e-6
    log = (x.mass / y.mass).log()
    kl = float((x.mass * log).sum())
    norm = float(log @ torch.linalg.solve(gram(LAPLACE, x.points, x.points), log))
    return (worth(kale(lam, x, y, LAPLACE)) - kl) / lam / (kl - 0.5 * norm)


def divergence_of_samples(seed: int) -> float:
    """lam KALE over D / 2, D = min over a >= 0 of |mu_x - sum_j a_j k(y_j, .)|^2."""
    x, y = normals(25, 1, seed, "x", mean=1.0), normals(20, 1, seed, "y")
    root = np.linalg.cholesky(gram(LAPLACE, y, y).numpy())
    image = np.linalg.solve(root, gram(LAPLACE, y, x).mean(1).numpy())
    left = float(gram(LAPLACE, x, x).mean()) - float(image @ image) + nnls(root.T, image)[1] ** 2
    return 1e-6 * worth(kale(1e-6, x, y, LAPLACE)) / (left / 2)


def duality_gap(lam: float, seed: int) -> float:
    """The certificate: dual minus primal value, relative."""
    fit = kale(lam, *clouds(seed), KERNEL)
    return float(fit.report["gap"]) / worth(fit)


def certified_error(seed: int) -> float:
    """The true error of a rough solution's witness gradient, over the bound of its certificate."""
    (x, y), lam = clouds(seed), 1e-2
    rough = pf.fit(pf.estimators.KALE(KERNEL, lam=lam, rtol=1e-2), x, y)
    z = normals(60, 2, seed, "queries", mean=0.3)
    wrong = (
        rough.witness.value_and_grad(z)[1] - kale(lam, x, y, KERNEL).witness.value_and_grad(z)[1]
    )
    envelope_gap = float(rough.report["gap"]) / (1 + lam)
    return float(wrong.norm(dim=1).max()) / ((2 * envelope_gap / lam) ** 0.5 / KERNEL.bandwidth)


def velocity_is_the_gradient(seed: int) -> float:
    """Error of (1 + lam) grad w = -N dKALE/dx_i, by central differences."""
    x, y = normals(7, 2, seed, "x", mean=0.5), normals(11, 2, seed, "y")
    lam, h, found = 0.1, 1e-4, torch.empty_like(x)
    v = (1 + lam) * kale(lam, x, y, KERNEL).witness.value_and_grad(x)[1]
    for i in range(len(x)):
        for k in range(2):
            step = torch.zeros_like(x)
            step[i, k] = h
            ends = [worth(kale(lam, x + sign * step, y, KERNEL)) for sign in (1, -1)]
            found[i, k] = -len(x) * (ends[0] - ends[1]) / (2 * h)
    return gap(found, v)


def two_starts(seed: int) -> float:
    """Relative distance of the solutions from a cold start and from another cloud's memory."""
    (x, y), lam = clouds(seed), 0.1
    estimator, clock = pf.estimators.KALE(KERNEL, lam=lam), Clock()
    cold = estimator.fit(Cloud(x), Cloud(y), clock, {})
    memory = estimator.fit(Cloud(x + 0.3), Cloud(y), clock, {}).memory
    warm = estimator.fit(Cloud(x), Cloud(y), clock, memory)
    return gap(warm.witness.value_and_grad(x)[1], cold.witness.value_and_grad(x)[1])


def perturbed_run(seed: int) -> float:
    """Distance of two runs after 200 steps whose starts differ by 1e-12."""
    y = draw(pf.samplers.Rings(), 90, seed, "target")
    x = draw(pf.samplers.Gaussian(mean=(0.0, -0.3), std=0.1), 70, seed, "start")
    nudge = 1e-12 * normals(70, 2, seed, "nudge")
    flow = pf.kale_flow(pf.kernels.Gaussian.from_denominator(0.1), lam=1e-3)
    ends = [
        pf.simulate(flow, start, y, steps=200, dt=1e-4).particles[-1] for start in (x, x + nudge)
    ]
    return float((ends[0] - ends[1]).abs().max())


def newton_steps(n: int, seed: int) -> float:
    """Newton iterations of a cold solve of n + n points at lam = 0.1."""
    x, y = normals(n, 2, seed, "x", mean=0.5), normals(n, 2, seed, "y")
    return float(kale(0.1, x, y, pf.kernels.Gaussian(0.5)).report["iterations"])


def newton_growth(seed: int) -> float:
    return newton_steps(2000, seed) / newton_steps(200, seed)


def stiffness(lam: float, seed: int) -> float:
    """dt suggested for lam over the one for lam / 10, on the three rings."""
    y = draw(pf.samplers.Rings(), 150, seed, "target")
    x = draw(pf.samplers.Gaussian(mean=(0.0, -0.3), std=0.1), 120, seed, "start")
    kernel = pf.kernels.Gaussian(0.2)
    large, small = (pf.kale_flow(kernel, lam=part).suggest_dt(x, y) for part in (lam, lam / 10))
    return large / small


STATEMENTS = (
    *(
        Statement(
            name=f"kale-atoms-{end}",
            words=words,
            source="20 shared atoms, Laplace kernel, published draw of the masses",
            number="KALE",
            low=value - 5e-7,
            high=value + 5e-7,
            measure=partial(published_atoms, lam),
            random=False,
            seconds=0.02,
        )
        for end, lam, value, words in (
            ("large", 1e4, 0.004892, "At lam = 1e4 KALE is 0.004892, MMD^2 / 2 being 0.004891."),
            ("small", 1e-6, 0.247090, "At lam = 1e-6 KALE is 0.247090, KL being 0.247121."),
        )
    ),
    Statement(
        name="kale-large-lam",
        words="For large lam KALE is MMD^2/2 + (MMD^2/2 - E_p f^2/2) / lam, f = mu_q - mu_p.",
        source=PAGE + ", equation moreau-kale-large",
        number="(KALE - MMD^2/2) lam / the stated coefficient, lam = 1e4",
        low=0.999,
        high=1.001,
        measure=large_value,
        seconds=0.02,
    ),
    Statement(
        name="kale-velocity-large-lam",
        words="At lam = 1e4 the velocity of KALE flow differs from that of MMD flow by about 9e-5.",
        source=GLASER + "; theory page, KALE flow",
        number="relative distance of the velocities",
        low=4.5e-5,
        high=1.8e-4,
        measure=partial(velocity_gap, 1e4),
        seconds=0.01,
    ),
    Statement(
        name="kale-velocity-order",
        words="This difference falls like 1 / lam.",
        source=PAGE + ", large lam",
        number="difference at lam = 1e3 / at 1e4",
        low=9.9,
        high=10.1,
        measure=velocity_order,
        seconds=0.01,
    ),
    Statement(
        name="kale-small-lam",
        words="On shared atoms KALE is KL + lam (KL - |log q/p|^2 / 2) for small lam.",
        source=PAGE + ", equation moreau-small",
        number="(KALE - KL) / lam / the stated coefficient, lam = 1e-6",
        low=0.99,
        high=1.01,
        measure=small_value,
        seconds=0.03,
    ),
    Statement(
        name="kale-diverges",
        words="Between two different samples KALE does not tend to KL as lam falls: it grows like"
        " D / (2 lam).",
        source="theory page, equation kale-diverges",
        number="lam KALE / (D / 2), lam = 1e-6",
        low=0.99,
        high=1.01,
        measure=divergence_of_samples,
        seconds=0.05,
    ),
    *(
        Statement(
            name=f"kale-certificate-{lam:g}",
            words=f"At lam = {lam:g} dual and primal value agree: the solution is certified.",
            source="theory page, equation kale-gap",
            number="duality gap / value",
            low=0.0,
            high=1e-10,
            measure=partial(duality_gap, lam),
            seconds=0.02,
        )
        for lam in (1e-3, 0.1, 10.0)
    ),
    Statement(
        name="kale-error-bound",
        words="The gap of an unfinished solution bounds the error of its velocity everywhere.",
        source=PAGE + ", equation moreau-error",
        number="true error of grad h / its bound, a solve stopped at 1e-2",
        low=0.0,
        high=1.0,
        measure=certified_error,
        seconds=0.03,
    ),
    Statement(
        name="kale-velocity",
        words="(1 + lam) grad w is minus the Wasserstein gradient of KALE, the factor included.",
        source="theory page, equation kale-velocity",
        number="largest relative error, finite differences",
        low=0.0,
        high=1e-5,
        measure=velocity_is_the_gradient,
        seconds=0.1,
    ),
    Statement(
        name="kale-two-starts",
        words="A solve from nothing and one from another cloud's solution give the same velocity.",
        source="stated to 5e-15; the solver stops at a relative error of h of 1e-12",
        number="largest relative difference",
        low=0.0,
        high=1e-11,
        measure=two_starts,
        seconds=0.02,
    ),
    Statement(
        name="kale-perturbed",
        words="A nudge of the start by 1e-12 stays below 1e-9 in 200 steps, so that runs can be"
        " compared step by step.",
        source="three rings, lam = 1e-3, dt = 1e-4",
        number="largest distance of a particle after 200 steps",
        low=0.0,
        high=1e-9,
        measure=perturbed_run,
        seconds=1.0,
    ),
    Statement(
        name="kale-newton",
        words="A cold solve at lam = 0.1 takes about five Newton iterations.",
        source="developers' page on KALE's solver",
        number="Newton iterations, N = M = 1000",
        low=2.5,
        high=10.0,
        measure=partial(newton_steps, 1000),
        seconds=0.2,
    ),
    Statement(
        name="kale-newton-size",
        words="The Newton iterations hardly depend on the number of points.",
        source="developers' page on KALE's solver",
        number="iterations at N = M = 2000 / at 200",
        low=0.5,
        high=2.0,
        measure=newton_growth,
        seconds=0.1,
    ),
    *(
        Statement(
            name=f"kale-stiff-{lam:g}",
            words=f"The step of KALE flow shrinks about in proportion to lam, here below {lam:g}.",
            source="README, how to choose; choosing page, lam",
            number=f"suggested dt at lam = {lam:g} / at {lam / 10:g}, three rings",
            low=5.0,
            high=20.0,
            measure=partial(stiffness, lam),
            seconds=0.25,
        )
        for lam in (0.1, 0.01)
    ),
)
