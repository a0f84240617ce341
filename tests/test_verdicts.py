"""What a run says of itself: unstable, diverged, arrived, on its way, stalled or farther; and
every argument acts or is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import particleflow as pf
from particleflow.cli.outputs import _table
from particleflow.clouds import Cloud
from particleflow.estimators import KDE, ClosedForm, CTransformCritic, DrMMD
from particleflow.flows import EnergySlope
from particleflow.kernels import Gaussian
from particleflow.metrics import W1, W2, SlicedW2, floor
from particleflow.nearness import nearness
from particleflow.samplers import Minibatch, Rings

KERNEL = Gaussian(0.2)


def start(n: int = 110) -> Tensor:
    return pf.samplers.Gaussian(dim=2, mean=(0, -0.3), std=0.1).sample(n, seed=1)


def rings(n: int = 130) -> Tensor:
    return Rings().sample(n, seed=0)


DESCENTS: dict[str, tuple[pf.Flow, tuple[float, ...]]] = {
    "mmd": (pf.mmd_flow(KERNEL), (5.0, 20.0, 1000.0)),
    "kale": (pf.kale_flow(KERNEL, lam=0.1), (0.1, 10.0, 100.0)),
    "drmmd": (pf.Flow(DrMMD(KERNEL, lam=0.1), mobility=EnergySlope()), (1.0, 100.0)),
}
# the largest and the smallest dt of each; what lies between takes long
BLOW_UPS = [
    pytest.param(flow, dt, marks=() if dt in (steps[0], steps[-1]) else pytest.mark.slow)
    for flow, steps in DESCENTS.values()
    for dt in steps
]


@pytest.mark.parametrize(
    ("flow", "dt"),
    BLOW_UPS,
    ids=[f"{name} {dt:g}" for name, (_, steps) in DESCENTS.items() for dt in steps],
)
def test_a_blow_up_is_no_success(flow: pf.Flow, dt: float) -> None:
    path = pf.simulate(flow, start(), rings(), steps=30, dt=dt, metrics={"W2": W2()})
    assert path.status == path.verdict == "unstable"
    assert path.message.startswith("try dt = ")
    assert f"dt = {dt:g} is too large" in path.message
    step = path.report["unstable_from"]
    assert 1 <= step <= 30
    assert f"at step {step}" in path.message
    assert int(path.steps[-1]) == 30  # nothing is lost
    better = float(path.message.split()[3].rstrip(";"))
    assert pf.simulate(flow, start(), rings(), steps=30, dt=better).status == "completed"


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 7, 30])
def test_the_first_rise_is_found_whatever_is_recorded(every: int) -> None:
    """A risen energy between two records is as wrong as one at a record."""
    path = pf.simulate(
        pf.mmd_flow(KERNEL), start(), rings(), steps=30, dt=1.0, save=pf.SaveAt(every=every)
    )
    energies = pf.simulate(
        pf.mmd_flow(KERNEL), start(), rings(), steps=30, dt=1.0, save=pf.SaveAt(every=1)
    ).energy
    first = int((energies[1:] > energies[:-1] + 1e-9).nonzero()[0, 0]) + 1
    assert (path.status, path.report["unstable_from"]) == ("unstable", first)


def test_states_of_a_loop_carry_it_too() -> None:
    states = list(islice(pf.iterate(pf.mmd_flow(KERNEL), start(), rings(), dt=20.0), 6))
    assert states[0].status == "running"
    assert [state.status for state in states[1:]] == ["unstable"] * 5
    assert not any(state.ended for state in states)
    assert states[-1].message.startswith("try dt = ")


def test_what_ran_well_is_not_called_unstable() -> None:
    """Far starts, noise, Langevin's tails, minibatches, a network, float32: none leaves the box of
    both clouds.
    """
    x, y = start(), rings()
    far = x + 30
    runs: list[tuple[pf.Flow, Tensor, Any]] = [
        (pf.mmd_flow(KERNEL), far, y),
        (pf.mmd_flow(KERNEL), x.float(), y.float()),
        (pf.mmd_flow(KERNEL, noise=0.3), x, y),
        (pf.mono_flow(KDE(KERNEL)), far, y),
        (pf.langevin(pf.samplers.Gaussian(dim=2, std=3.0)), x, y),
        (pf.kale_flow(KERNEL, lam=0.1), x, Minibatch(Rings(), 90)),
        (pf.wgan_flow(CTransformCritic()), x, y),
    ]
    for flow, begin, target in runs:
        path = pf.simulate(flow, begin, target, steps=40)
        assert path.status == "completed", (flow, path.message)


@pytest.mark.parametrize(
    "kernel",
    [pf.kernels.Laplace(0.5), pf.kernels.Energy()],
    ids=lambda kernel: type(kernel).__name__,
)
def test_particles_that_hop_over_each_other_are_no_blow_up(kernel: Any) -> None:
    """A kernel with a kink lets an energy rise a little where particles meet on a line, at the
    suggested dt too; a large dt is still found.
    """
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 1)) + 1, rng.normal(size=(50, 1))
    flow = pf.mmd_flow(kernel)
    dt = flow.suggest_dt(x, y)
    assert pf.simulate(flow, x, y, steps=200, dt=dt).status == "completed"
    assert pf.simulate(flow, x, y, steps=30, dt=1e4 * dt).status == "unstable"


def test_a_moving_target_can_be_left_too() -> None:
    path = pf.simulate(pf.mmd_flow(KERNEL), start(), Minibatch(Rings(), 90), steps=10, dt=100.0)
    assert path.status == "unstable"
    assert "particles had left the box" in path.message


def test_a_run_that_moves_nothing_or_comes_no_nearer_says_so() -> None:
    far = pf.simulate(pf.mmd_flow(KERNEL), start() + 30, rings(), steps=20)
    assert (far.status, far.verdict) == ("completed", "stalled")
    assert far.message.startswith("stalled: ")
    away = pf.simulate(pf.Flow(ClosedForm(lambda z: z)), start(), 0.1 * rings(), steps=20, dt=0.01)
    assert away.verdict == "farther"
    assert away.message.startswith("farther: ")
    assert str(away.summary()).startswith("farther: ")


def test_arrived_is_said_at_the_floor_only() -> None:
    flow = pf.mono_flow(KDE(KERNEL))
    few, many = (
        pf.simulate(flow, start(100), rings(150), steps=steps, dt=0.015) for steps in (40, 600)
    )
    assert few.verdict == "on its way"
    assert many.verdict == "arrived"
    assert many.nearness is not None
    assert many.nearness.last <= many.nearness.bound < many.nearness.first
    assert many.message == ""


LAWS: dict[str, Any] = {
    "rings": lambda n, seed: Rings().sample(n, seed=seed).numpy(),
    "line": lambda n, seed: np.random.default_rng(seed).normal(size=(n, 1)),
    "gauss": lambda n, seed: np.random.default_rng(seed).normal(size=(n, 5)),
}


def cloud(points: Any, mass: Any = None) -> Cloud:
    return Cloud(torch.from_numpy(points), mass=None if mass is None else torch.from_numpy(mass))


@pytest.mark.parametrize(
    ("law", "n", "m"),
    [
        ("line", 110, 150),
        ("rings", 60, 200),
        pytest.param("gauss", 110, 150, marks=pytest.mark.slow),
        pytest.param("line", 60, 200, marks=pytest.mark.slow),
        pytest.param("rings", 110, 150, marks=pytest.mark.slow),
        pytest.param("gauss", 60, 200, marks=pytest.mark.slow),
    ],
)
def test_arrived_is_what_a_fresh_sample_would_be(law: str, n: int, m: int) -> None:
    """The bound is the 95 % quantile of W2 between samples of the law, and steady: a bound from the
    floor's own spread was off by a third.
    """
    draw = LAWS[law]
    truth = np.quantile(
        [W2()(draw(n, 1000 + seed), draw(m, 2000 + seed)) for seed in range(150)], 0.95
    )
    found = [
        nearness(cloud(draw(n, 300) + 9), cloud(draw(n, 300 + seed)), cloud(draw(m, 400 + seed)))
        for seed in range(16)
    ]
    bounds = [near.bound for near in found]
    assert np.mean(bounds) == pytest.approx(truth, rel=0.2)
    assert np.std(bounds) < 0.13 * np.mean(bounds)
    assert sum(near.verdict == "arrived" for near in found) >= 12
    worse = [
        nearness(
            cloud(draw(n, 300) + 9),
            cloud(draw(n, 300 + seed) + 2 * truth),
            cloud(draw(m, 400 + seed)),
        )
        for seed in range(6)
    ]
    assert [near.verdict for near in worse] == ["on its way"] * 6


@pytest.mark.parametrize("n", [1, 5, 420])
def test_a_verdict_does_not_depend_on_the_order_of_the_rows(n: int) -> None:
    rng = np.random.default_rng(0)
    x0, x, y, mass = (
        rng.normal(size=(n, 2)) + 3,
        rng.normal(size=(n, 2)),
        rng.normal(size=(460, 2)),
        rng.uniform(0.2, 2, 460),
    )
    one, other = rng.permutation(n), rng.permutation(460)
    assert nearness(cloud(x0), cloud(x), cloud(y, mass)) == nearness(
        cloud(x0[one]), cloud(x[one]), cloud(y[other], mass[other])
    )


def test_few_points_that_are_far_have_not_arrived() -> None:
    """Of few points some random split is likely to be the one that there is."""
    rng = np.random.default_rng(0)
    for n in (1, 2, 4, 5):
        x, y = rng.normal(size=(n, 2)) + 9, rng.normal(size=(4, 2))
        assert nearness(cloud(x + 9), cloud(x), cloud(y)).verdict == "on its way"


@pytest.mark.parametrize("left", [1, 3])
def test_stragglers_have_not_arrived(left: int) -> None:
    """They are as far from the others in every split of both clouds."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 2)), rng.normal(size=(100, 2))
    x[:left] += 12
    assert nearness(cloud(x + 9), cloud(x), cloud(y)).verdict == "on its way"


def test_repeats_of_one_point_can_be_reached() -> None:
    y = np.ones((30, 2))
    assert nearness(cloud(y[:20] + 1), cloud(y[:20] + 1e-4), cloud(y)).verdict == "arrived"
    assert nearness(cloud(y[:20] + 1), cloud(y[:20] + 1e-2), cloud(y)).verdict == "on its way"


def test_a_verdict_survives_a_file(tmp_path: Path) -> None:
    for dt, steps in ((0.015, 30), (3.0, 8)):
        path = pf.simulate(
            pf.mono_flow(KDE(KERNEL)) if dt < 1 else pf.mmd_flow(KERNEL),
            start(),
            rings(),
            steps=steps,
            dt=dt,
        )
        again = pf.Trajectory.load(path.save(tmp_path / "run.npz"))
        assert (again.status, again.verdict, again.message) == (
            path.status,
            path.verdict,
            path.message,
        )
        assert again.summary() == path.summary()
        assert str(again.summary()) == str(path.summary())


def test_a_summary_tells_the_run() -> None:
    path = pf.simulate(
        pf.mmd_flow(KERNEL), start(), rings(), steps=20, dt=0.05, metrics={"W2": W2()}
    )
    lines = str(path.summary()).splitlines()
    assert lines[0].startswith(f"{path.verdict}: 20 steps of dt = 0.05 to t = 1 in ")
    assert lines[1].startswith("W2 to the target ")
    assert "(floor " in lines[1]
    assert " particles are more than " in lines[2]  # the recorded W2 is that of the second line


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize(("n", "m"), [(100, 400), (300, 200)])
def test_a_floor_is_the_distance_of_two_fresh_samples(d: int, n: int, m: int) -> None:
    rng = np.random.default_rng(d)
    truth = np.mean([W2()(rng.normal(size=(n, d)), rng.normal(size=(m, d))) for _ in range(12)])
    found = [floor(W2(), rng.normal(size=(m, d)), n).value for _ in range(6)]
    assert np.mean(found) == pytest.approx(truth, rel=0.25)


def test_a_part_of_the_points_is_told() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(900, 5)), rng.normal(size=(700, 5)) + 0.3
    for make, name in ((W2, "W2 (root)"), (W1, "W1")):
        metric = make(max_points=500)
        with pytest.warns(RuntimeWarning, match="500"):
            metric(x, y)
        assert metric.label_of(x, y) == f"{name}, of 500 drawn"
        assert metric.label_of(x[:400], y[:300]) == name
    with pytest.warns(RuntimeWarning, match="500"):
        path = pf.simulate(
            pf.mmd_flow(Gaussian(2.0)),
            x,
            y,
            steps=1,
            metrics={"W2": W2(max_points=500), "sliced": SlicedW2()},
        )
    assert path.report["labels"]["W2"] == "W2 (root), of 500 drawn"
    assert "of 500 drawn" in str(path.summary())


def test_a_seed_given_to_a_run_that_goes_on_acts() -> None:
    flow = pf.mmd_flow(KERNEL, noise=0.2)
    half = pf.simulate(flow, start(), rings(), steps=5, dt=0.05, seed=3)
    kept, same, other = (
        pf.simulate(flow, half, steps=3, **more).particles[-1]
        for more in ({}, {"seed": 3}, {"seed": 4})
    )
    assert torch.equal(kept, same)
    assert not torch.equal(kept, other)
    with pytest.raises(ValueError, match="pass `seed` or `draws`, not both"):
        pf.simulate(flow, half, steps=3, seed=3, draws=pf.clouds.Draws(4))


def test_another_flow_gets_a_step_of_its_own() -> None:
    first, second = pf.mmd_flow(KERNEL), pf.kale_flow(KERNEL, lam=1e-3)
    half = pf.simulate(first, start(), rings(), steps=3)
    assert pf.simulate(first, half, steps=2).report["dt"] == half.report["dt"]
    went = pf.simulate(second, half, steps=2)
    assert went.report["dt"] == second.suggest_dt(half.state.x, rings())
    assert went.report["dt"] < half.report["dt"] / 5


@dataclass(frozen=True)
class Cautious:
    """Euler's method that never takes more than `most` of what it is asked for."""

    most: float = 0.3
    order: int = 1
    stages: int = 1
    stochastic: bool = False

    def step(self, flow: Any, refit: Any, state: Any, dt: float) -> Any:
        used = self.most * dt
        velocity, _ = flow.velocity(state.x, state.fit, state.clock)
        return replace(state.x, points=state.x.points + used * velocity), used, {}


def test_a_final_time_is_reached_whatever_step_an_integrator_takes() -> None:
    path = pf.simulate(pf.mmd_flow(KERNEL), start(), rings(), t1=1.0, dt=0.1, integrator=Cautious())
    assert path.status == "completed"
    assert float(path.times[-1]) == pytest.approx(1.0, abs=1e-5)
    assert int(path.steps[-1]) > 30


def test_a_regularisation_acts_for_few_points_too() -> None:
    x, y = start(20), rings(30)
    assert pf.fit(CTransformCritic(regularisation=0.1), x, y).report["regularisation"] == 0.1
    assert (
        pf.fit(CTransformCritic(regularisation=0.1, exact_up_to=30), x, y).report["regularisation"]
        == 0
    )
    assert pf.fit(CTransformCritic(), x, y).report["regularisation"] == 0
    half = pf.simulate(pf.wgan_flow(CTransformCritic(regularisation=0.1)), x, y, steps=2, dt=0.01)
    rest = pf.simulate(pf.wgan_flow(CTransformCritic(regularisation=0.05)), half, steps=2, dt=0.01)
    assert float(rest.state.memory["regularisation"]) == 0.05


def test_no_run_is_lost_by_a_look_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from particleflow import verdicts

    def fails(*_: Any) -> None:
        raise ImportError("POT is missing")

    monkeypatch.setattr(verdicts, "doubtful", fails)
    path = pf.simulate(pf.mmd_flow(KERNEL), start(), rings(), steps=3, dt=0.05)
    assert path.status == "completed"
    assert len(path) == 4
    assert path.verdict == "completed"


def test_every_number_of_a_part_says_so(tmp_path) -> None:
    """The repr and the summary of a trajectory say it; the command line's table and file, too."""
    x, y = (
        np.random.default_rng(0).normal(size=(40, 2)),
        np.random.default_rng(1).normal(size=(30, 2)),
    )
    with pytest.warns(RuntimeWarning, match="of 20 drawn"):
        path = pf.simulate(
            pf.mmd_flow(pf.kernels.Gaussian(0.5)),
            x,
            y,
            steps=2,
            dt=0.1,
            metrics={"w2": pf.metrics.W2(max_points=20), "sliced": pf.metrics.SlicedW2()},
        )
    assert ", w2 (of 20 drawn) " in repr(path)
    assert ", sliced " in repr(path)
    assert "W2 (root), of 20 drawn " in str(path.summary())
    _table({"mmd": path}, tmp_path / "metrics.csv")
    assert (tmp_path / "metrics.csv").read_text().splitlines()[
        0
    ] == "flow,step,time,w2 (of 20 drawn),sliced,energy"
    many = np.random.default_rng(0).normal(size=(400, 2)) + 9
    still = pf.simulate(pf.mmd_flow(pf.kernels.IMQ(1.0)), many, y, steps=2, dt=1e-5)
    assert re.search(
        "of two fresh samples it is [0-9.]+, of 300 drawn; the particles have hardly moved",
        still.message,
    )
