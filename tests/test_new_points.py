"""New points along a finished flow: they move as the particles do, and come back."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import particleflow as pf
from particleflow.estimators import KDE, ClosedForm, CTransformCritic, Moments
from particleflow.integrators import (
    RK4,
    Adam,
    Adaptive,
    BogackiShampine,
    Descent,
    Euler,
    EulerMaruyama,
    Heun,
    Momentum,
    Paced,
    Periodic,
    Reflecting,
)
from particleflow.mobilities import Vanilla
from particleflow.transport import replay

pytestmark = pytest.mark.usefixtures("unchecked")

TARGET, START = pf.samplers.Gaussian(dim=2, std=0.7), pf.samplers.Gaussian(mean=(1, 0.5), std=0.4)
Y, X, Z = TARGET.sample(40, seed=1), START.sample(30, seed=2), START.sample(7, seed=3)
KERNEL = pf.kernels.Gaussian(0.5)
SEEDED = torch.Generator().manual_seed(0)
MMD, BENT = pf.mmd_flow(KERNEL), pf.mono_flow(KDE(KERNEL), Vanilla())


class Middle:
    """A user's scheme that is no tableau: the midpoint rule."""

    order, stages, stochastic = 2.0, 2, False

    def step(self, flow: Any, refit: Any, state: Any, dt: float) -> Any:
        clock = pf.Clock(state.clock.t + dt / 2, state.clock.step, state.clock.draws)
        half = pf.Cloud(state.x.points + dt / 2 * flow.velocity(state.x, state.fit, state.clock)[0])
        v, _ = flow.velocity(half, refit(half, clock), clock)
        return pf.Cloud(state.x.points + dt * v), dt, state.stepper


def run(flow: pf.Flow = MMD, **options: Any) -> pf.Trajectory:
    return pf.simulate(flow, X, Y, **({"steps": 4} | options))


RUNS = {
    "Euler": {},
    "RK4": {"flow": BENT, "integrator": RK4(), "dt": 0.1, "steps": 2},
    "Adaptive": {"integrator": Adaptive(BogackiShampine(), rtol=1e-4)},
    "Adaptive with trials": {"integrator": Adaptive(rtol=1e-5), "dt": 9.0, "steps": 1},
    "to a time": {"integrator": Adaptive(), "steps": None, "t1": 2.0},
    "Paced": {"integrator": Paced()},
    "Descent": {"integrator": Descent(Heun())},
    "Momentum": {"integrator": Momentum(0.5)},
    "Adam": {"integrator": Adam()},
    "a user's": {"integrator": Middle()},
    "noise": {"flow": pf.mmd_flow(KERNEL, noise=0.2), "integrator": Heun()},
    "a rule's noise": {"flow": pf.mmd_flow(KERNEL, noise=pf.Arbel()), "steps": 2},
    "diffusion": {"flow": pf.langevin(TARGET)},
    "a moving target": {"target": pf.samplers.Minibatch(TARGET, 16), "dt": 0.1},
    "annealed": {"flow": pf.auto_flow(X, Y), "steps": 5},
    "masses": {"flow": pf.unbalanced(MMD)},
    "KALE": {"flow": pf.kale_flow(KERNEL, lam=0.1), "steps": 2},
    "W1": {"flow": pf.wgan_flow(CTransformCritic()), "dt": 0.02, "steps": 4},
}


@pytest.mark.parametrize("name", RUNS)
def test_training_points_come_to_the_same_bits(name: str) -> None:
    options = dict(RUNS[name])
    flow, target = options.pop("flow", MMD), options.pop("target", Y)
    path = pf.simulate(flow, X, target, **({"steps": 4} | options))
    assert float((path.particles[-1] - X).abs().max()) > 1e-3
    assert torch.equal(path.transport(X), path.particles[-1])


def test_some_particles_move_as_all_do() -> None:
    path = run(BENT, integrator=Heun())
    assert float((path.transport(X[:7]) - path.particles[-1, :7]).abs().max()) < 1e-12


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    path = run(integrator=Momentum(0.3))
    whole = path.transport(Z)
    monkeypatch.setattr("particleflow.transport.points.NUMBERS", 12)
    assert float((path.transport(Z) - whole).abs().max()) < 1e-12


def test_all_records() -> None:
    path = run(save=pf.SaveAt(every=2))
    moved = path.transport(Z, records=True)
    assert moved.shape == (len(path), 7, 2)
    assert torch.equal(moved[0], Z)
    assert torch.equal(moved[1], path.transport(Z, record=1))
    assert torch.equal(path.transport(X, records=True), path.particles)


@pytest.mark.parametrize("name", ["Euler", "RK4", "Adaptive", "Descent", "a user's"])
def test_there_and_back(name: str) -> None:
    options = dict(RUNS[name])
    path = run(options.pop("flow", MMD), **options)
    there = path.transport(Z)
    back = path.transport(there, backward=True)
    assert float((there - Z).abs().max()) > 1e-2
    assert float((back - Z).abs().max()) < 1e-12
    assert float((path.transport(back) - there).abs().max()) < 1e-12


def test_back_from_a_record() -> None:
    path = run()
    back = path.transport(path.particles[3], record=3, backward=True)
    assert float((back - X).abs().max()) < 1e-12


def test_the_steps_backward_are_those_forward() -> None:
    path = pf.simulate(pf.kale_flow(KERNEL, lam=0.1), run(steps=5), steps=6)
    on = [(move.state.clock, move.state.x.points) for _, move in replay.forward(path, -1)]
    back = [(move.state.clock, move.state.x.points) for _, move in replay.backward(path, -1)]
    assert [clock.step for clock, _ in on] == list(range(11))
    assert [clock for clock, _ in back[::-1]] == [clock for clock, _ in on]
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(on, back[::-1], strict=True))


def test_noise_of_other_points_is_their_own() -> None:
    path = run(pf.mmd_flow(KERNEL, noise=0.2))
    some = path.transport(X[:7])
    assert torch.equal(some, path.transport(X[:7]))
    assert float((some - path.particles[-1, :7]).abs().max()) > 1e-3


def test_a_run_that_went_on() -> None:
    path, heavy = run(steps=4), run(steps=2, integrator=Momentum(0.5))
    for more in (
        pf.simulate(MMD, heavy, steps=2, integrator=Momentum(0.5)),
        pf.simulate(MMD, heavy, steps=2, integrator=Adam(), dt=0.01),
        pf.simulate(pf.kale_flow(KERNEL, lam=0.5), heavy, steps=1, integrator=Momentum(0.5)),
        pf.simulate(MMD, path, steps=3),
        pf.simulate(pf.kale_flow(KERNEL, lam=0.1), path, steps=1),
        pf.simulate(MMD, path.state, Y, steps=3),
    ):
        assert torch.equal(more.transport(more.particles[0]), more.particles[-1])


def test_a_loaded_trajectory_takes_its_flow_again(tmp_path: Path) -> None:
    path = run(integrator=Adaptive())
    loaded = pf.Trajectory.load(path.save(tmp_path / "path.npz"))
    with pytest.raises(ValueError, match=r"must hold the flow .*with_flow"):
        loaded.transport(Z)
    again = loaded.with_flow(MMD, integrator=Adaptive())
    assert float((again.transport(X) - path.particles[-1]).abs().max()) < 1e-12
    with pytest.raises(ValueError, match=r"with bandwidth=0\.5, got bandwidth=0\.6"):
        loaded.with_flow(pf.mmd_flow(pf.kernels.Gaussian(0.6)), integrator=Adaptive())
    with pytest.raises(ValueError, match=r"`integrator` .*rtol=0\.001, got rtol=0\.01"):
        loaded.with_flow(MMD, integrator=Adaptive(rtol=1e-2))
    with pytest.raises(ValueError, match="`target` must be that of the run"):
        loaded.with_flow(MMD, Y[1:], integrator=Adaptive())
    with pytest.raises(ValueError, match=r"`integrator` must be given, got None: .*Adaptive"):
        loaded.with_flow(MMD)


def test_another_flow_is_found_by_its_end(tmp_path: Path) -> None:
    flow = lambda factor: pf.mono_flow(ClosedForm(lambda z: -factor * z, current=None))
    path = pf.simulate(flow(1.0), X, steps=3, dt=0.1)
    loaded = pf.Trajectory.load(path.save(tmp_path / "path.npz"))
    with pytest.raises(ValueError, match="must come again to its own records, got particles"):
        loaded.with_flow(flow(2.0)).transport(Z)


def test_a_pickle_holds_no_recipe() -> None:
    path = pf.simulate(pf.mono_flow(ClosedForm(lambda z: -z)), X, steps=2, dt=0.1)
    assert path.recipe is not None
    assert pickle.loads(pickle.dumps(path)).recipe is None


RANDOM = {
    "noise": (pf.mmd_flow(KERNEL, noise=0.1), Euler(), "must not be random"),
    "diffusion": (pf.langevin(TARGET), EulerMaruyama(), "must not be random"),
    "memory": (MMD, Momentum(0.5), "must have no memory of each point"),
}


@pytest.mark.parametrize("name", RANDOM)
def test_what_has_no_way_back(name: str) -> None:
    flow, integrator, told = RANDOM[name]
    path = pf.simulate(flow, X, Y, steps=2, integrator=integrator)
    with pytest.raises(ValueError, match=told):
        path.transport(Z, backward=True)


@pytest.mark.parametrize(
    ("z", "options", "told"),
    [
        (Z.float(), {}, "must have one dtype"),
        (Z[:, :1], {}, "one space|columns|dimension|like"),
        (Z, {"record": 10}, "`record` must be between -5 and 4"),
        (Z, {"record": 1.5}, "`record` must be an integer"),
        (Z, {"records": True, "backward": True}, "`records` are all of a run"),
        (Z, {"backward": 1}, "`backward`"),
    ],
    ids=["dtype", "dimension", "record", "no number", "records", "flag"],
)
def test_bad_arguments(z: Tensor, options: dict[str, Any], told: str) -> None:
    with pytest.raises((ValueError, TypeError, IndexError), match=told):
        run().transport(z, **options)
    with pytest.raises(TypeError, match="`flow` must be the Flow of the run, got str"):
        run().with_flow("mmd")


TORUS = pf.mmd_flow(pf.kernels.Periodic(pf.kernels.Gaussian(0.15), 0.0, 1.0))
BOXES = {
    "sides": (TORUS, Periodic(RK4(), 0.0, 1.0)),
    "lengths within sides": (TORUS, Periodic(Adaptive(), 0.0, 1.0)),
    "lengths within walls": (MMD, Reflecting(Adaptive(), 0.0, 1.0)),
    "a descent within walls": (MMD, Reflecting(Descent(), 0.0, 1.0)),
    "both": (MMD, Reflecting(Reflecting(Paced(), [0.0, -9], [1.0, 9]), [-9, 0.0], [9, 1.0])),
}


@pytest.mark.parametrize("name", BOXES)
def test_points_move_in_the_box_of_the_run(name: str) -> None:
    flow, integrator = BOXES[name]
    x, y = (0.1 + 0.2 * torch.rand(n, 2, generator=SEEDED).double() for n in (30, 40))
    path = pf.simulate(flow, x, y + 0.6, steps=5, integrator=integrator)
    moved = path.transport(x[:7])
    assert float((moved - path.particles[-1, :7]).abs().max()) < 1e-12
    if isinstance(integrator, Periodic):
        assert bool(((path.particles[-1] < 0.1) | (path.particles[-1] > 0.6)).any()), "over an edge"
        assert float((path.transport(moved, backward=True) - x[:7]).abs().max()) < 1e-10
    for options in ({}, {"backward": True}):
        with pytest.raises(ValueError, match=r"`z` must lie in the box from .*, got 7 of 7 points"):
            path.transport(x[:7] + 1, **options)


def test_points_have_the_classes_of_the_particles_or_are_refused() -> None:
    path = run(pf.labelled(MMD, [0, 1] * 15, [1, 0] * 20))
    assert torch.equal(path.transport(X), path.particles[-1])
    with pytest.raises(ValueError, match=r"`z` must have a point for each .*, got 7 points for 30"):
        path.transport(Z)


def test_a_step_without_an_inverse_is_told() -> None:
    """Two kinks: points between them cross, and no point leads to the gap that they leave."""
    flow = pf.mono_flow(ClosedForm(lambda z: z.sign()))
    path = pf.simulate(flow, X, steps=1, dt=0.5)
    z = torch.tensor([[0.1, 0.2], [2.0, 2.0]]).double()
    with pytest.warns(RuntimeWarning, match="no origin .*1 of 2 points are NaN"):
        back = path.transport(z, backward=True)
    assert back.isnan().tolist() == [[True, True], [False, False]]
    assert back[1].tolist() == pytest.approx([1.5, 1.5])
    with pytest.raises(ValueError, match=r"no origin .*, got 1 of 1 points"):
        path.transport(z[:1], backward=True)


def test_moments_move_new_points_too() -> None:
    """One Euler step of the reverse KL flow in 1-d: z + dt (1 / s^2 - 1) z, s of the cloud."""
    x = torch.tensor([[-0.5], [0.5]], dtype=torch.float64)
    law = pf.samplers.Gaussian(dim=1)
    path = pf.simulate(pf.mono_flow(ClosedForm(law, current=Moments())), x, steps=1, dt=0.1)
    z = torch.tensor([[1.0], [-2.0], [0.3]], dtype=torch.float64)
    assert float((path.transport(z) - 1.3 * z).abs().max()) < 1e-12
