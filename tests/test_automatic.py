"""Flows whose numbers are chosen from the clouds; the rules that end a run."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Cloud, extent
from particleflow.integrators import Paced
from particleflow.kernels import Energy, Gaussian, default_bandwidth
from particleflow.metrics import W2, floor


def normal(n: int, d: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)) * scale + shift)


def outliers(n: int, seed: int) -> Tensor:
    """N(0, I), each twentieth point at distance 30."""
    points = normal(n, 2, seed)
    angles = torch.linspace(0, 2 * math.pi, len(points[::20]) + 1, dtype=torch.float64)[:-1]
    points[::20] = 30 * torch.stack([angles.cos(), angles.sin()], 1)
    return points


def modes(n: int, seed: int) -> Tensor:
    points = normal(n, 1, seed, 0.3, -3.0)
    points[::2] += 6.0
    return points


TASKS = {
    "far": (normal(60, 2, 0, 0.5, 5.0), normal(80, 2, 1)),
    "outliers": (normal(60, 2, 0, 0.5), outliers(80, 1)),
    "modes": (normal(60, 1, 0, 0.3, -3.0), modes(80, 1)),
    "copies of three points": (
        normal(60, 2, 0, 0.3),
        torch.tensor([[-1.0, 0], [1, 0], [0, 2]]).double().repeat(27, 1)[:80],
    ),
    "from one place": (torch.zeros(60, 2, dtype=torch.float64), normal(80, 2, 1)),
    "in metres": (normal(60, 2, 0, 5e-7, 5e-6), normal(80, 2, 1, 1e-6)),
}


pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.mark.parametrize(
    "task",
    [
        task
        if task in ("outliers", "from one place")
        else pytest.param(task, marks=pytest.mark.slow)
        for task in TASKS
    ],
)
def test_it_arrives_with_no_number_given(task: str) -> None:
    x, y = TASKS[task]
    flow = pf.auto_flow(x, y)
    path = pf.simulate(flow, x, y)
    assert path.status == "completed"
    assert path.verdict == "arrived"
    least = floor(W2(), y, len(x)).value
    assert W2()(path.particles[-1], y) <= 1.1 * least
    assert "no more than that of two fresh samples" in path.report["stopped"]
    assert int(path.steps[-1]) < flow.most


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mmd", "kale", "mono"])
@pytest.mark.parametrize("task", TASKS)
def test_the_other_kinds_arrive_too(task: str, kind: str) -> None:
    x, y = TASKS[task]
    path = pf.simulate(pf.auto_flow(x, y, kind), x, y)
    assert path.verdict == "arrived"


def test_mmd_with_one_bandwidth_does_not_arrive() -> None:
    """Otherwise the tests above would show nothing."""
    x, y = TASKS["from one place"]
    flow = pf.mmd_flow(Gaussian(default_bandwidth(y)))
    assert pf.simulate(flow, x, y, steps=100).verdict != "arrived"
    x, y = TASKS["far"]
    assert pf.simulate(flow, x, y, steps=100).verdict != "arrived"


def test_the_numbers_are_those_it_tells_and_can_be_overruled() -> None:
    x, y = TASKS["far"]
    flow = pf.auto_flow(x, y)
    rule = flow.estimator.bandwidth
    assert (rule.start, rule.end) == (extent(x, y), default_bandwidth(y))
    folds = math.log(rule.start / rule.end)
    assert flow.steps == math.ceil(80 * folds / 0.6)
    assert (rule.steps, rule.share) == (flow.steps, 0.6)
    for number in (f"{rule.start:.3g}", f"{rule.end:.3g}", str(flow.steps)):
        assert number in str(flow)
    own = pf.auto_flow(x, y, bandwidth=0.5, start=9.0, steps=50, kernel=pf.kernels.Cauchy(1.0))
    assert (own.estimator.bandwidth.start, own.estimator.bandwidth.end, own.steps) == (9.0, 0.5, 50)
    assert isinstance(own.estimator.estimator.kernel, pf.kernels.Cauchy)
    assert ("MMD, kernel IMQ" in str(flow), "MMD, kernel Cauchy" in str(own)) == (True, True)
    told = str(own).splitlines()
    assert told[1:] == [
        "bandwidth  0.5  (given)",
        "start      9  (given)",
        "steps      50  (given)",
    ]
    assert "given" not in str(flow)
    assert "lam        0.3  (given)" in str(pf.auto_flow(x, y, "kale", lam=0.3))
    assert "lam        0.1  (the default)" in str(pf.auto_flow(x, y, "kale"))
    bent = pf.auto_flow(x, y, "mono", mobility=pf.mobilities.Vanilla())
    assert f"mobility   {pf.mobilities.Vanilla()}  (given)" in str(bent)
    path = pf.simulate(own, x, y, steps=7)
    assert int(path.steps[-1]) == 7
    assert "stopped" not in path.report


def test_a_run_that_ends_before_its_bandwidth_says_so() -> None:
    x, y = TASKS["far"]
    flow = pf.auto_flow(x, y)
    path = pf.simulate(flow, x, y, steps=50)
    end = f"{flow.estimator.bandwidth.end:.3g}"
    assert f"not to {end}: take {math.ceil(0.6 * flow.steps)} steps or more" in path.message
    assert "or plan for steps=50" in path.message
    planned = pf.simulate(pf.auto_flow(x, y, steps=50), x, y, steps=50)
    assert "bandwidth" not in planned.message
    whole, part = (pf.simulate(flow, x, y, steps=steps) for steps in (60, 25))
    both = pf.simulate(flow, part, steps=35)
    assert torch.equal(both.particles[-1], whole.particles[-1])


def test_the_order_of_the_rows_does_not_matter() -> None:
    x, y = TASKS["outliers"]
    order = torch.from_numpy(np.random.default_rng(5).permutation(len(y)))
    assert pf.auto_flow(x, y) == pf.auto_flow(x.flip(0), y[order])


def test_particles_in_one_place_are_moved_apart_by_the_seed() -> None:
    x, y = TASKS["from one place"]
    flow = pf.auto_flow(x, y)
    first, again, other = (
        pf.simulate(flow, x, y, steps=1, seed=seed).particles[0] for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0 < float(first.norm(dim=1).max()) < 0.1 * default_bandwidth(y)
    some = normal(60, 2, 0)
    some[7] = some[3]
    begun = pf.simulate(pf.auto_flow(some, y), some, y, steps=1).particles[0]
    moved = (begun != some).any(1).nonzero().ravel().tolist()
    assert moved == [3, 7]


def test_columns_of_different_scales_are_told() -> None:
    x, y = normal(40, 2, 0), normal(50, 2, 1) * torch.tensor([1.0, 200.0], dtype=torch.float64)
    assert "note: column 1 of y is" in str(pf.auto_flow(x, y))
    assert "note" not in str(pf.auto_flow(x, y / y.std(0)))


def test_points_without_mass_choose_nothing() -> None:
    x, y = TASKS["far"]
    far = torch.full((1, 2), 1e4, dtype=torch.float64)
    mass = torch.full((len(y) + 1,), 1 / len(y), dtype=torch.float64)
    mass[-1] = 0
    flow = pf.auto_flow(x, Cloud(torch.cat([y, far]), mass=mass))
    plain, rule = pf.auto_flow(x, y), flow.estimator.bandwidth
    assert flow.steps == plain.steps
    assert rule.start == plain.estimator.bandwidth.start
    assert rule.end == pytest.approx(plain.estimator.bandwidth.end, rel=1e-12)


def test_a_flow_that_finds_stragglers_is_annealed_as_before() -> None:
    x, y = TASKS["far"]
    flow = pf.auto_flow(x, y)
    watched = pf.stragglers(flow, beyond=1.0)
    path, plain = (pf.simulate(made, x, y, steps=12, dt=1.0) for made in (watched, flow))
    assert path.report["integrator"] == plain.report["integrator"] == "Euler()"
    path, plain = (
        pf.simulate(made, x, y, steps=12, integrator=integrator)
        for made, integrator in ((watched, None), (flow, Paced()))
    )
    assert path.report["integrator"] == "Paced(change=0.5)"
    assert path.message.endswith("plan for steps=12")
    assert path.report["dt"] == plain.report["dt"]
    assert torch.equal(path.particles, plain.particles)
    with pytest.raises(ValueError, match="needs a smooth witness, got that of Stragglers"):
        pf.simulate(pf.stragglers(flow, pull=Energy(), beyond=1.0), x, y)


def test_masses_may_change_beside_an_annealed_flow() -> None:
    x, y = (cloud[:30] for cloud in TASKS["far"])
    flow = pf.auto_flow(x[:20], y)
    path = pf.simulate(pf.unbalanced(flow), x[:20], y, steps=3)
    assert path.status == "completed"
    assert path.report["dt"] <= flow.suggest_dt(x[:20], y)
    assert bool((path.log_mass[-1] != path.log_mass[0]).any())


def test_bad_input_is_refused_by_name() -> None:
    x, y = TASKS["far"]
    for given, told in (
        ({"kind": "kall"}, "`kind` must be one of auto, mmd, kale, mono"),
        ({"lam": 0.5}, "`lam` is for the kind kale, not auto"),
        ({"kind": "kale", "mobility": pf.mobilities.Vanilla()}, "`mobility` is for the kind mono"),
        ({"bandwidth": -1.0}, "`bandwidth` must be"),
        ({"bandwidth": 2.0, "start": 1.0}, "`start` must be at least the last bandwidth, 2"),
        ({"steps": 0}, "`steps` must be"),
    ):
        with pytest.raises(ValueError, match=told):
            pf.auto_flow(x, y, **given)
    with pytest.raises(TypeError, match="a kernel with a bandwidth"):
        pf.auto_flow(x, y, kernel=Energy())
    with pytest.raises(ValueError, match="`x` and `y` must not be one place"):
        pf.auto_flow(torch.zeros(5, 2), torch.zeros(7, 2))
    with pytest.raises(ValueError, match="pass exactly one of `steps` and `t1`"):
        pf.simulate(pf.mmd_flow(Gaussian(1.0)), x, y)


def test_a_run_ends_where_its_stop_says() -> None:
    x, y = TASKS["far"]
    flow = pf.mmd_flow(Gaussian(3.0))
    path = pf.simulate(flow, x, y, steps=50, dt=0.5, stop=lambda state: state.clock.t >= 3)
    assert (path.status, int(path.steps[-1]), path.report["stopped"]) == (
        "completed",
        6,
        "`stop` was True",
    )
    assert "stopped: `stop` was True" in str(path.summary())
    told = pf.simulate(
        flow, x, y, steps=50, dt=0.5, stop=lambda s: "enough" if s.clock.step == 4 else ""
    )
    assert (int(told.steps[-1]), told.report["stopped"]) == (4, "enough")
    whole = pf.simulate(flow, x, y, steps=5, dt=0.5, stop=lambda state: None)
    assert "stopped" not in whole.report
    assert torch.equal(path.state.x.points, pf.simulate(flow, x, y, steps=6, dt=0.5).particles[-1])


def test_a_stop_may_return_one_truth_value_of_numpy_or_torch() -> None:
    x, y = TASKS["far"]
    flow = pf.mmd_flow(Gaussian(3.0))
    for stop in (
        lambda state: state.x.points[0, 0] < 1e9,
        lambda state: np.bool_(True),
    ):
        path = pf.simulate(flow, x, y, steps=5, dt=0.5, stop=stop)
        assert (path.status, int(path.steps[-1])) == ("completed", 1)
    whole = pf.simulate(flow, x, y, steps=5, dt=0.5, stop=lambda state: torch.tensor(False))
    assert int(whole.steps[-1]) == 5
    with pytest.warns(RuntimeWarning, match="`stop` must return True, False"):
        several = pf.simulate(flow, x, y, steps=5, dt=0.5, stop=lambda s: s.x.points[0] < 1e9)
    assert several.status == "failed"


def test_a_stop_that_raises_or_returns_nonsense_keeps_the_run() -> None:
    x, y = TASKS["far"]
    flow = pf.mmd_flow(Gaussian(3.0))

    def broken(state: pf.State) -> bool:
        return 1 / (3 - state.clock.step) < 0

    with pytest.warns(RuntimeWarning, match="raised in `stop` .*broken"):
        path = pf.simulate(flow, x, y, steps=50, dt=0.5, stop=broken)
    assert (path.status, int(path.steps[-1])) == ("failed", 3)
    with pytest.warns(RuntimeWarning, match="`stop` must return True, False, a sentence or None"):
        assert pf.simulate(flow, x, y, steps=5, dt=0.5, stop=lambda s: 3.0).status == "failed"
    for wrong in (3, "arrived", pf.Arrived):
        with pytest.raises(TypeError, match="`stop` must be a function"):
            pf.simulate(flow, x, y, steps=5, dt=0.5, stop=wrong)


def test_arrived_ends_at_the_floor_after_its_steps_and_where_nothing_moves() -> None:
    x, y = TASKS["far"]
    wide = pf.mmd_flow(pf.kernels.IMQ(4.0))
    least = floor(W2(), y, len(x)).value
    run = partial(pf.simulate, wide, x, y, steps=3000, integrator=Paced())
    path = run(stop=pf.Arrived(every=10), save=pf.SaveAt(every=10))
    values = [W2()(points, y) for points in path.particles]
    assert values[-1] <= least < min(values[1:-1])
    assert int(path.steps[-1]) < 400
    assert int(run(stop=pf.Arrived(after=400, every=10)).steps[-1]) == 400
    still = pf.simulate(
        pf.mmd_flow(Gaussian(0.01)), x, y, steps=500, dt=0.1, stop=pf.Arrived(every=5, patience=3)
    )
    assert "has not fallen by 1% in 15 steps" in still.report["stopped"]
    assert int(still.steps[-1]) == 20
    with pytest.raises(ValueError, match=r"Arrived\(\) needs a target"):
        pf.simulate(
            pf.langevin(pf.samplers.Gaussian(dim=2)), x, steps=50, dt=0.1, stop=pf.Arrived()
        )
