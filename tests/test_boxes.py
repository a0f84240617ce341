"""Bounded worlds: reflecting walls, periodic sides, and kernels whose distances wrap."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Cloud
from particleflow.estimators import ClosedForm
from particleflow.integrators import (
    RK4,
    Adam,
    Adaptive,
    Descent,
    Euler,
    EulerMaruyama,
    Heun,
    Paced,
    Periodic,
    Reflecting,
)
from particleflow.kernels import Gaussian, Laplace
from particleflow.kernels import Periodic as Torus
from particleflow.plotting.scenes.jumps import jumped
from particleflow.plotting.scenes.scene import Scene

INF = math.inf
RNG = np.random.default_rng(0)
X = torch.from_numpy(RNG.uniform(0.0, 0.5, (23, 2)))
Y = torch.from_numpy(RNG.uniform(0.0, 1.0, (31, 2)))
TORUS = Torus(Gaussian(0.15), 0.0, 1.0)
FLOW = pf.mmd_flow(TORUS)
FREE = pf.langevin(lambda z: torch.zeros_like(z))  # dX = sqrt(2) dW


def at(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)[:, None]


# ---- where points go


def test_a_wall_puts_a_point_back_as_far_inside() -> None:
    box = Reflecting(Euler(), 1.0, 3.0)
    points = at(1.0, 2.5, 3.0, 0.75, 3.5, 5.25, -1.5, 9.0)
    assert box.wrapped(points)[:, 0].tolist() == [1.0, 2.5, 3.0, 1.25, 2.5, 1.25, 2.5, 1.0]
    assert Reflecting(Euler(), 1.0, INF).wrapped(at(-7.0, 9.0))[:, 0].tolist() == [9.0, 9.0]
    assert Reflecting(Euler(), -INF, 3.0).wrapped(at(-7.0, 9.0))[:, 0].tolist() == [-7.0, -3.0]


def test_a_side_puts_a_point_in_at_the_other_one() -> None:
    box = Periodic(Euler(), 1.0, 3.0)
    points = at(1.0, 2.5, 3.0, 0.75, 3.5, 5.25, -1.5, 9.0)
    assert box.wrapped(points)[:, 0].tolist() == [1.0, 2.5, 3.0, 2.75, 1.5, 1.25, 2.5, 1.0]
    below = box.wrapped(at(1.0 - 1e-17, np.nextafter(1.0, 0)))
    assert bool(((below >= 1.0) & (below <= 3.0)).all())


def test_each_axis_may_have_ends_of_its_own() -> None:
    points = torch.tensor([[1.25, 1.25, 7.0], [-0.25, -0.25, -7.0]], dtype=torch.float64)
    sides = Periodic(Euler(), [0, -INF, -INF], [1, INF, INF])
    box = Reflecting(sides, [-INF, 0, -INF], [INF, 1, INF])
    start = Cloud(torch.full((2, 3), 0.5, dtype=torch.float64))
    flow = pf.Flow(ClosedForm(lambda z: points - 0.5))
    path = pf.simulate(flow, start, steps=1, dt=1.0, integrator=box)
    assert path.state.x.points.tolist() == [[0.25, 0.75, 7.0], [0.75, 0.25, -7.0]]
    assert path.report["periods"] == [[0.0, 1.0], None, None]


def test_points_that_are_lost_stay_lost() -> None:
    for kind in (Reflecting, Periodic):
        lost = kind(Euler(), 0.0, 1.0).wrapped(at(math.nan, 0.5))
        assert lost.isnan()[:, 0].tolist() == [True, False]
    flow = pf.Flow(ClosedForm(lambda z: z * math.nan))
    path = pf.simulate(flow, X, steps=3, dt=0.1, integrator=Reflecting(Euler(), 0.0, 1.0))
    assert path.status == "diverged"


# ---- the dynamics


def test_a_torus_can_be_replaced_by_another() -> None:
    assert replace(TORUS, high=2.0) == Torus(Gaussian(0.15), 0.0, 2.0)


@pytest.mark.parametrize("kind", [Reflecting, Periodic])
def test_diffusion_in_a_box_has_the_closed_form(kind: Any) -> None:
    """Waves of the box decay: cos(k pi x / w) with walls, cos(2 k pi x / w) without."""
    w, n, t = 2.0, 20_000, 0.15
    start = torch.full((n, 1), -0.4, dtype=torch.float64)
    box = kind(EulerMaruyama(), -1.0, 1.0)
    path = pf.simulate(FREE, start, t1=t, dt=0.01, integrator=box, seed=4)
    x = path.state.x.points[:, 0] + 1
    assert 0 <= float(x.min()) < float(x.max()) <= w
    for k in (1, 2):
        omega = k * math.pi / w * (1 if kind is Reflecting else 2)
        wanted = math.exp(-(omega**2) * t) * math.cos(omega * 0.6)
        assert float((omega * x).cos().mean()) == pytest.approx(wanted, abs=4 / math.sqrt(2 * n))


@pytest.mark.parametrize("kind", [Reflecting, Periodic])
def test_a_uniform_distribution_stays_uniform(kind: Any) -> None:
    n = 20_000
    x = torch.from_numpy(np.random.default_rng(1).uniform(0, [1.0, 3.0], (n, 2)))
    box = kind(EulerMaruyama(), [0, 0], [1, 3])
    path = pf.simulate(FREE, x, steps=30, dt=0.02, integrator=box, seed=2)
    after = path.state.x.points / torch.tensor([1.0, 3.0], dtype=torch.float64)
    # the variance of the variance of n uniform numbers is (1/80 - 1/144) / n
    for j in range(2):
        assert float(after[:, j].var()) == pytest.approx(1 / 12, abs=4 * math.sqrt(1 / 180 / n))
        assert float(after[:, j].mean()) == pytest.approx(0.5, abs=4 / math.sqrt(12 * n))
    shares = torch.histc(after[:, 0] * 4 // 1 * 4 + after[:, 1] * 4 // 1, 16, 0, 16) / n
    assert float((n * (shares - 1 / 16) ** 2 * 16).sum()) < 37.7  # chi^2 of 15, level 0.001


def odd(z: Tensor) -> Tensor:
    """A field along each axis that is odd about the walls 0 and 1."""
    return torch.sin(math.pi * z) * 9 * torch.cos(math.pi * z)


@pytest.mark.parametrize(
    "scheme",
    [
        pytest.param(Euler(), marks=pytest.mark.slow),
        Heun(),
        pytest.param(RK4(), marks=pytest.mark.slow),
    ],
    ids=["Euler", "Heun", "RK4"],
)
def test_images_are_a_wall(scheme: Any) -> None:
    """Method of images: a run without walls in a field that is mirrored, folded at the end."""
    flow = pf.Flow(ClosedForm(odd))
    x = torch.from_numpy(np.random.default_rng(3).uniform(0, 1, (40, 2)))
    dt = 0.2  # long steps: particles hop through the walls
    free = pf.simulate(flow, x, steps=4, dt=dt, integrator=scheme)
    walls = Reflecting(scheme, 0.0, 1.0)
    crossed = ((free.particles < 0) | (free.particles > 1)).any()
    inside = pf.simulate(flow, x, steps=4, dt=dt, integrator=walls)
    assert bool(crossed)
    torch.testing.assert_close(inside.particles, walls.wrapped(free.particles), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "noise", [pytest.param(None, marks=pytest.mark.slow), 0.1], ids=["plain", "noise"]
)
def test_a_torus_has_no_origin(noise: float | None) -> None:
    """A run that starts elsewhere on the torus is the same run, elsewhere."""
    shift = torch.tensor([0.37, 0.81], dtype=torch.float64)
    box = Periodic(Heun(), 0.0, 1.0)
    flow = pf.mmd_flow(TORUS, noise=noise)
    one = pf.simulate(flow, X, Y, steps=12, dt=0.01, integrator=box)
    moved = box.wrapped(X + shift), box.wrapped(Y + shift)
    other = pf.simulate(flow, *moved, steps=12, dt=0.01, integrator=box)
    gap = other.particles - one.particles - shift
    torch.testing.assert_close(gap - gap.round(), torch.zeros_like(gap), rtol=0, atol=1e-9)
    torch.testing.assert_close(other.energy, one.energy, rtol=1e-9, atol=1e-12)
    plain = pf.simulate(flow, X, Y, steps=12, dt=0.01, integrator=Heun())
    wrapped = box.wrapped(plain.particles)
    torch.testing.assert_close(wrapped, one.particles, rtol=0, atol=1e-9)
    assert not torch.equal(wrapped, plain.particles)


@pytest.mark.parametrize("kind", [Reflecting, Periodic])
def test_a_mirrored_start_gives_the_mirrored_run(kind: Any) -> None:
    box = kind(Heun(), [0.0, 0.0], [1.0, 1.0])
    flow = (
        pf.mmd_flow(Gaussian(0.3))
        if kind is Reflecting
        else pf.mmd_flow(Torus(Gaussian(0.3), [0.0, 0.0], [1.0, 1.0]))
    )
    mirror = lambda z: torch.stack([1 - z[..., 0], z[..., 1]], -1)
    one, other = (
        pf.simulate(flow, f(X), f(Y), steps=15, dt=0.3, integrator=box)
        for f in (lambda z: z, mirror)
    )
    torch.testing.assert_close(other.particles, mirror(one.particles), rtol=0, atol=1e-9)


def test_masses_are_kept_in_a_box() -> None:
    x = Cloud(X, mass=np.arange(1.0, 24.0))
    for box in (Reflecting(Euler(), 0.0, 1.0), Periodic(Euler(), 0.0, 1.0)):
        path = pf.simulate(
            pf.Flow(ClosedForm(lambda z: 3 + 0 * z)), x, steps=20, dt=0.13, integrator=box
        )
        assert torch.equal(path.state.x.log_mass, x.log_mass)
        assert 0 <= float(path.particles.min()) <= float(path.particles.max()) <= 1


def test_a_torus_keeps_the_mean_force_at_zero() -> None:
    """Particles push each other apart with no net force, and end evenly spread."""
    alone = pf.Flow(pf.estimators.MMD(TORUS))
    far = Cloud(torch.full((7, 2), 0.5, dtype=torch.float64), mass=np.full(7, 1e-12))
    states = itertools.islice(
        pf.iterate(alone, X, far, dt=0.1, integrator=Periodic(Euler(), 0.0, 1.0)), 5
    )
    for state in states:
        velocity, _ = alone.velocity(state.x, state.fit, state.clock)
        assert float(velocity.mean(0).abs().max()) < 1e-10 < float(velocity.abs().max())


# ---- the facts of the other integrator


@pytest.mark.parametrize(
    "inner",
    [Paced(), pytest.param(Adaptive(rtol=1e-4), marks=pytest.mark.slow), Descent()],
    ids=["Paced", "Adaptive", "Descent"],
)
def test_lengths_are_chosen_within_a_box_too(inner: Any) -> None:
    box = Periodic(inner, 0.0, 1.0)
    path = pf.simulate(FLOW, X, Y, steps=25, dt=0.05, integrator=box, save=pf.SaveAt(every=1))
    assert path.report["controller"]
    assert path.report["lengths"][0] < path.report["lengths"][1]
    assert bool((path.energy.diff() <= 1e-12).all())
    assert 0 <= float(path.particles.min()) < float(path.particles.max()) <= 1
    jumps = (path.particles.diff(dim=0).abs() > 0.5).any()
    assert bool(jumps)
    half = pf.simulate(FLOW, X, Y, steps=10, dt=0.05, integrator=box)
    whole = pf.simulate(FLOW, half, steps=15, integrator=box)
    assert torch.equal(whole.state.x.points, path.state.x.points)


def test_a_velocity_is_taken_where_a_particle_was_put_back() -> None:
    """Paced keeps the velocity at the end of a step, before particles are put back."""
    flow = pf.Flow(ClosedForm(lambda z: 1 + z))
    run = pf.simulate(flow, X, steps=6, dt=0.3, integrator=Reflecting(Paced(), 0.0, 1.0))
    box = Reflecting(Paced(), 0.0, 1.0)
    part = pf.simulate(flow, X, steps=1, dt=0.3, integrator=box)
    for _ in range(5):  # each run begins without what is kept from step to step
        part = pf.simulate(flow, part, steps=1, dt=0.3, integrator=Reflecting(Paced(), 0.0, 1.0))
    assert torch.equal(part.state.x.points, run.state.x.points)
    free = pf.simulate(flow, X, steps=6, dt=0.3, integrator=Paced())
    assert float(free.particles.max()) > 1


def test_another_integrator_within_the_box_does_not_take_over_the_memory() -> None:
    half = pf.simulate(FLOW, X, Y, steps=10, dt=0.05, integrator=Periodic(Paced(), 0.0, 1.0))
    box = Periodic(Descent(), 0.0, 1.0)
    on = pf.simulate(FLOW, half, steps=1, dt=0.05, integrator=box)
    bare = pf.simulate(FLOW, half.state.x, Y, steps=1, dt=0.05, integrator=box)
    assert torch.equal(on.state.x.points, bare.state.x.points)


def test_the_orders_are_told() -> None:
    assert (Reflecting(RK4(), 0, 1).order, Periodic(RK4(), 0, 1).order) == (1.0, 4.0)
    assert Reflecting(RK4(), 0, 1).stages == 4
    assert Reflecting(EulerMaruyama(), 0, 1).stochastic
    for box in (Reflecting(Heun(), -99, 99), Periodic(Heun(), -99, 99)):
        pf.testing.check_integrator(box)


def test_a_flow_that_presses_on_a_wall_is_not_unstable() -> None:
    """A target beyond the wall is refused; a density whose mode is there is not."""
    away = pf.Flow(ClosedForm(pf.samplers.Gaussian(dim=2, mean=(2.0, 0.5), std=0.5)))
    path = pf.simulate(away, X, steps=60, dt=0.02, integrator=Reflecting(Euler(), 0.0, 1.0))
    assert path.status == "completed"
    assert float(path.state.x.points[:, 0].min()) > 0.8


# ---- the kernel of a torus


@pytest.mark.parametrize(
    "sides", [(1.0,), (1.0, 1.5), pytest.param((1.0, 1.5, 0.7), marks=pytest.mark.slow)]
)
def test_the_kernel_is_a_sum_over_images(sides: tuple[float, ...]) -> None:
    d, rng = len(sides), np.random.default_rng(5)
    kernel = Torus(Gaussian(0.3), [0.0] * d, list(sides))
    length = torch.tensor(sides, dtype=torch.float64)
    z, y = (torch.from_numpy(rng.uniform(-1, 2, (n, d))) for n in (9, 6))
    w = torch.from_numpy(rng.normal(size=6))
    z.requires_grad_()
    wanted = torch.zeros(9, dtype=torch.float64)
    for n in itertools.product(range(-8, 9), repeat=d):
        s = (z[:, None] - y + torch.tensor(n) * length).square().sum(2)
        wanted = wanted + Gaussian(0.3).log_profile(s).exp() @ w
    (slope,) = torch.autograd.grad(wanted.sum(), z)
    value = kernel.map.features(z.detach()) @ (kernel.map.features(y).T @ w)
    grad = kernel.map.gradient(z.detach(), kernel.map.features(y).T @ w)
    torch.testing.assert_close(value, wanted.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(grad, slope, rtol=0, atol=1e-11)


def test_a_large_box_is_the_plane() -> None:
    flow = pf.mmd_flow(Torus(Gaussian(0.15), -2.0, 3.0))
    box = Periodic(Euler(), -2.0, 3.0)
    torus = pf.simulate(flow, X, Y, steps=10, dt=0.05, integrator=box)
    plane = pf.simulate(pf.mmd_flow(Gaussian(0.15)), X, Y, steps=10, dt=0.05)
    torch.testing.assert_close(torus.particles, plane.particles, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_a_run_on_a_torus_goes_over_the_edge() -> None:
    """The way over the edge is the short one."""
    rng = np.random.default_rng(7)
    x0, y = (torch.from_numpy(rng.normal(m, 0.05, (n, 2))) for m, n in ((0.15, 40), (0.85, 60)))
    torus = pf.mmd_flow(Torus(Gaussian(0.25), 0.0, 1.0))
    path = pf.simulate(torus, x0, y, steps=60, dt=0.029, integrator=Periodic(Paced(), 0.0, 1.0))
    assert path.nearness is not None
    assert path.nearness.last < 0.1 * path.nearness.first
    assert float(((path.particles > 0.3) & (path.particles < 0.7)).double().mean()) < 0.05


def test_pictures_do_not_draw_a_line_across_the_box() -> None:
    box = Periodic(Euler(), 0.0, 1.0)
    flow = pf.Flow(ClosedForm(lambda z: 0 * z + torch.tensor([1.0, 0.0], dtype=torch.float64)))
    path = pf.simulate(flow, X, steps=10, dt=0.1, integrator=box, save=pf.SaveAt(every=1))
    over = jumped(path)
    assert over is not None
    assert over.sum(0).tolist() == [int(x + 1 >= 1) for x in X[:, 0]]  # each goes round once
    scene = Scene.of({"": path}, [0, 10], between=frozenset([""]))
    for step in np.arange(0.5, 10):
        trail = scene.trail("", float(step), 1.0)
        assert float(np.abs(np.diff(trail[..., 0], axis=1)).max(initial=0.0)) < 0.11
    walls = Reflecting(Euler(), 0.0, 1.0)
    assert jumped(pf.simulate(flow, X, steps=10, dt=0.1, integrator=walls)) is None


# ---- what is refused


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Reflecting(Euler, 0, 1), "without its parentheses"),
        (lambda: Reflecting(Adam(), 0, 1), "must follow the flow"),
        (lambda: Reflecting(Euler(), 1, 1), "`low` must be below `high`"),
        (lambda: Reflecting(Euler(), math.nan, 1), "`low` must be below `high`"),
        (lambda: Reflecting(Euler(), [0, 0], [1, 1, 1]), "as many numbers"),
        (lambda: Periodic(Euler(), 0, INF), "must be finite"),
        (lambda: Torus(Gaussian(1.0), 0, INF), "must be finite for a kernel"),
        (lambda: Torus(Laplace(1.0), 0, 1), "falls fast"),
        (lambda: Torus(pf.kernels.Energy(), 0, 1), "spectrum"),
        (lambda: Torus(Gaussian(1e-6), 0, 1), "at most 8192 modes"),
    ],
)
def test_a_box_that_is_none_is_refused(make: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        make()


@pytest.mark.parametrize(
    ("flow", "x", "y", "box", "words"),
    [
        (FLOW, X + 0.7, Y, Periodic(Euler(), 0, 1), "`x0` must lie in the box"),
        (FLOW, X, Y + 0.7, Reflecting(Euler(), 0, 1), "`target` must lie in the box"),
        (FLOW, X, Y, Reflecting(Euler(), [0] * 3, [1] * 3), "one number for each axis"),
        (pf.mmd_flow(Gaussian(0.2)), X, Y, Periodic(Euler(), 0, 1), "does not wrap"),
        (pf.kale_flow(Gaussian(0.2), lam=0.1), X, Y, Periodic(Euler(), 0, 1), "does not wrap"),
        (pf.mmd_flow(Torus(Gaussian(0.2), 0, 2)), X, Y, Periodic(Euler(), 0, 1), "does not wrap"),
        (pf.auto_flow(X, Y), X, Y, Periodic(Euler(), 0, 1), "does not wrap"),
    ],
    ids=["start", "target", "axes", "kernel", "KALE", "another box", "auto"],
)
def test_a_run_that_does_not_fit_its_box_is_refused(
    flow: Any, x: Any, y: Any, box: Any, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        pf.simulate(flow, x, y, steps=1, dt=0.1, integrator=box)
