"""Distances within classes and around a torus: W2, verdicts, strays and the rule `Arrived`."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Cloud
from particleflow.integrators import Periodic
from particleflow.metrics import W1, W2
from particleflow.nearness import nearness
from particleflow.spaces import PLAIN, Space
from particleflow.strays import joined

SIDES = (1.0, 2.5, 0.7)


def uniform(n: int, d: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    sides = torch.tensor(SIDES[:d], dtype=torch.float64)
    return torch.rand(n, d, dtype=torch.float64, generator=generator) * sides


def over_images(x: Tensor, y: Tensor, sides: tuple[float, ...], power: int) -> float:
    """The cost by the nearest of the images of each target point, by POT's solver."""
    import ot

    shifts = [(-s, 0.0, s) if math.isfinite(s) else (0.0,) for s in sides]
    squares = [
        ((x[:, None] - y - torch.tensor(shift, dtype=torch.float64)) ** 2).sum(2)
        for shift in itertools.product(*shifts)
    ]
    cost = torch.stack(squares).amin(0) ** (power / 2)
    a, b = (np.full(len(z), 1 / len(z)) for z in (x, y))
    return float(ot.emd2(a, b, cost.numpy()))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_distance_on_a_torus_is_that_to_the_nearest_image(d: int) -> None:
    x, y = uniform(40, d, 0), uniform(55, d, 1)
    sides = SIDES[:d]
    assert W2(periods=sides)(x, y) ** 2 == pytest.approx(over_images(x, y, sides, 2), rel=1e-7)
    assert W1(periods=sides)(x, y) == pytest.approx(over_images(x, y, sides, 1), rel=1e-7)
    assert W2(periods=sides)(x, y) < W2()(x, y)
    # a shift of all moves nothing, by any number of turns
    moved = W2(periods=list(sides))(x + 0.3 + 7 * torch.tensor(sides), y + 0.3)
    assert moved == pytest.approx(W2(periods=sides)(x, y), rel=1e-7)


def test_an_axis_may_have_no_period() -> None:
    x, y = uniform(40, 2, 0), uniform(55, 2, 1)
    half = W2(periods=(1.0, math.inf))
    assert half(x, y) ** 2 == pytest.approx(over_images(x, y, (1.0, math.inf), 2), rel=1e-7)
    assert W2(periods=math.inf)(x, y) == pytest.approx(W2()(x, y), rel=1e-12)
    assert W2(periods=1.0)(x, y) == W2(periods=(1.0, 1.0))(x, y)


def test_periods_come_as_numbers_lists_arrays_and_tensors() -> None:
    for given in (1, [1.0], np.array([1.0]), torch.tensor(1.0)):
        assert W2(periods=given) == W2(periods=1.0)


@pytest.mark.parametrize("periods", [0.0, -1.0, math.nan, (), (1.0, 0.0)])
def test_a_period_is_a_length(periods: object) -> None:
    with pytest.raises(ValueError, match="`periods` must be"):
        W2(periods=periods)


def test_there_is_a_period_for_each_axis() -> None:
    with pytest.raises(ValueError, match="for each of the 2 axes, got 3"):
        W2(periods=(1.0, 1.0, 1.0))(uniform(4, 2, 0), uniform(5, 2, 1))
    with pytest.raises(TypeError, match="periods"):
        W2(periods="1")


# --- Classes -----------------------------------------------------------------------------------

X_LABELS, Y_LABELS = np.repeat(["a", "b"], [30, 50]), np.repeat(["b", "a"], [45, 75])
SPOTS = {"a": -1.0, "b": 1.0}


def swapped() -> tuple[Tensor, Tensor]:
    """Two classes that must change places; without classes the start is like the target."""
    rng = np.random.default_rng(0)
    x = [[SPOTS[name], 0.0] for name in X_LABELS] + rng.normal(0, 0.2, (80, 2))
    y = [[-SPOTS[name], 0.0] for name in Y_LABELS] + rng.normal(0, 0.2, (120, 2))
    return torch.from_numpy(x), torch.from_numpy(y)


def by_class(x: Tensor, y: Tensor) -> float:
    shares = {"a": 30 / 80, "b": 50 / 80}
    parts = {name: W2()(x[name == X_LABELS], y[name == Y_LABELS]) for name in shares}
    return math.sqrt(sum(share * parts[name] ** 2 for name, share in shares.items()))


def labelled_run(steps: int, **options: object) -> pf.Trajectory:
    x, y = swapped()
    flow = pf.labelled(pf.auto_flow(x, y, steps=100), X_LABELS, Y_LABELS)
    return pf.simulate(flow, x, y, steps=steps, **options)


def test_classes_that_changed_places_have_not_arrived_at_the_start() -> None:
    x, y = swapped()
    path = labelled_run(1)
    near = path.nearness
    assert near is not None
    assert near.first == pytest.approx(by_class(x, y), rel=1e-9)
    assert near.last == pytest.approx(by_class(path.particles[-1], y), rel=1e-9)
    assert near.first > 1.8
    assert path.verdict != "arrived"
    assert "W2 to the target within classes 2.02 -> 1.4" in str(path.summary())
    # the distance that knows no classes
    assert W2()(x, y) < near.floor * 2
    assert path.summary().strays > 50


def test_classes_arrive_where_each_of_them_has() -> None:
    path = labelled_run(150)
    near = path.nearness
    assert near is not None
    assert (path.verdict, path.summary().strays) == ("arrived", 0)
    x, y = path.particles[-1], swapped()[1]
    assert near.last == pytest.approx(by_class(x, y), rel=1e-9)
    alone = {
        name: nearness(
            *(Cloud(z[name == X_LABELS]) for z in path.particles[[0, -1]]),
            Cloud(y[name == Y_LABELS]),
        )
        for name in ("a", "b")
    }
    whole = math.sqrt(30 / 80 * alone["a"].floor ** 2 + 50 / 80 * alone["b"].floor ** 2)
    assert near.floor == pytest.approx(whole, rel=1e-12)
    assert max(part.bound for part in alone.values()) > near.bound > near.floor


def test_arrived_looks_within_classes_and_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    whole = labelled_run(200, stop=pf.Arrived(every=10))
    assert "two fresh samples" in whole.report["stopped"]
    assert 20 <= int(whole.steps[-1]) < 200
    left = [15]

    def fails_once(x: Cloud, y: Cloud) -> float:
        left[0] -= 1
        if not left[0]:
            raise ValueError("once")
        return 0.0

    options = {
        "stop": pf.Arrived(every=10),
        "checkpoint": pf.Checkpoint(tmp_path / "run", every=10, seconds=0),
        "metrics": {"zero": fails_once},
        "save": pf.SaveAt(every=1),
    }
    with pytest.warns(RuntimeWarning, match="once"):
        assert labelled_run(200, **options).status == "failed"
    rest = labelled_run(200, **options)
    assert 0 < rest.report["resumed"]["step"] < 15
    assert int(rest.steps[-1]) == int(whole.steps[-1])
    assert torch.equal(rest.particles[-1], whole.particles[-1])
    assert rest.report["stopped"] == whole.report["stopped"]


# --- A torus -----------------------------------------------------------------------------------

TORUS = pf.kernels.Periodic(pf.kernels.Gaussian(0.15), low=0.0, high=1.0)
BOX = Periodic(pf.Euler(), low=0.0, high=1.0)


def around(n: int, centre: float, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(centre, 0.05, (n, 2)) % 1)


def test_a_cloud_astride_the_edge_has_arrived_at_its_like() -> None:
    """By plain distances some particles are a side away from all target points near them."""
    x, y = around(60, 0.0, 0), around(80, 0.0, 1)
    path = pf.simulate(pf.mmd_flow(TORUS), x, y, steps=1, dt=0.02, integrator=BOX)
    near = path.nearness
    assert near is not None
    assert near.last == pytest.approx(W2(periods=1.0)(path.particles[-1], y), rel=1e-9)
    assert (path.verdict, path.summary().strays) == ("arrived", 0)
    assert near.floor < 0.05
    assert "W2 to the target around the box 0.0" in str(path.summary())
    assert W2()(x, y) > 2 * near.floor


def test_strays_are_looked_for_around_the_edge() -> None:
    """Particles just below the upper side are near a target just above the lower one."""
    x, y = Cloud(1 - uniform(60, 2, 0) / 50), Cloud(uniform(80, 2, 1) / 50)
    near, far = (joined([(x, y)], 0.1, lengths) for lengths in ((1.0, 1.0), None))
    assert near is not None
    assert far is not None
    assert (near.count, far.count) == (0, 60)
    half = joined([(x, y)], 0.1, (1.0, math.inf))
    assert half is not None
    assert half.count == 60
    # each group by its own part of the target
    groups = [(x, y), (y, y)]
    both = joined(groups, 0.1)
    assert both is not None
    assert (both.count, both.compared) == (60, 140)


def test_a_class_of_one_place_takes_the_spacing_of_the_others() -> None:
    line, place = Cloud(torch.arange(20.0)[:, None]), Cloud(torch.zeros(3, 1))
    x = Cloud([[3.5], [20.5], [-9.0]])
    both = joined([(x, line), (x, place)], 0.0)
    assert both is not None
    assert (both.count, both.distance, both.compared) == (1 + 3, 2.0, 6)
    assert joined([(x, place), (x, place)], 0.0) is None


class Early:
    """A rule that ends a run with an error."""

    def __call__(self, state: pf.State) -> str:
        if state.clock.step == 3:
            raise RuntimeError("enough")
        return ""


def test_an_early_end_is_compared_within_classes_from_a_file_too(tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="enough"):
        path = labelled_run(9, stop=Early())
    assert path.status == "failed"
    read = pf.Trajectory.load(path.save(tmp_path / "run.npz"))
    assert read.nearness == path.nearness
    assert read.nearness.last == pytest.approx(by_class(path.particles[-1], swapped()[1]), rel=1e-9)
    assert str(read.summary()) == str(path.summary())
    assert "within classes" in str(read.summary())


def test_a_folder_of_an_early_end_does_not_know_the_classes_and_says_so(tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="enough"):
        path = labelled_run(9, stop=Early(), checkpoint=tmp_path / "run")
    read = pf.Trajectory.load(tmp_path / "run")
    assert len(read) == len(path)
    assert read.nearness is None
    assert "or the classes, are not kept here" in str(read.summary())
    x, y = swapped()
    flow = pf.labelled(pf.auto_flow(x, y, steps=100), X_LABELS, Y_LABELS)
    assert read.with_flow(flow, y).nearness == path.nearness


def test_the_box_of_a_run_is_known_from_its_file(tmp_path: Path) -> None:
    flow = pf.mmd_flow(pf.kernels.Periodic(pf.kernels.Gaussian(0.2), 0.0, 1.0))
    x, y = uniform(40, 2, 0) % 1.0, uniform(55, 2, 1) % 1.0
    with pytest.warns(RuntimeWarning, match="enough"):
        path = pf.simulate(flow, x, y, steps=9, dt=0.1, integrator=BOX, stop=Early())
    read = pf.Trajectory.load(path.save(tmp_path / "run.npz"))
    assert "nearness" not in read.report
    assert read.nearness == path.nearness
    assert read.nearness.last == pytest.approx(W2(periods=1.0)(path.particles[-1], y), rel=1e-9)


def test_the_space_of_a_plain_run_is_plain() -> None:
    flow = pf.mmd_flow(pf.kernels.Gaussian(1.0))
    assert Space.of(flow, pf.Euler(), 2) == PLAIN
    assert Space.of(flow, BOX, 2).lengths == (1.0, 1.0)
    half = Periodic(pf.Euler(), [0, -math.inf], [2.0, math.inf])
    assert Space.of(flow, half, 2).lengths == (2.0, math.inf)


def test_a_curve_of_w2_stands_over_the_floor_of_its_own_distance() -> None:
    from particleflow.plotting.scenes.floors import floor_of

    x, y = around(60, 0.0, 0), around(80, 0.0, 1)
    metrics = {"plain": W2(), "torus": W2(periods=1.0)}
    path = pf.simulate(pf.mmd_flow(TORUS), x, y, steps=1, dt=0.02, integrator=BOX, metrics=metrics)
    assert path.report["labels"] == {"plain": "W2 (root)", "torus": "W2 (root), around the box"}
    near = path.nearness
    assert near is not None
    assert floor_of(path, "torus") == near.floor
    plain = floor_of(path, "plain")
    assert plain is not None
    assert plain == pf.metrics.floor(W2(), y, 60).value > 2 * near.floor
