"""Estimators whose bandwidth changes in a run: by a schedule, or by a rule with a memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

import particleflow as pf
from particleflow.clouds import Clock, Cloud
from particleflow.estimators import KALE, KDE, KLIEP, MMD, ULSIF, Annealed, DrMMD, KernelLogistic
from particleflow.estimators.base import OneKernel, energy_of
from particleflow.kernels import Energy, Gaussian, Laplace, Median, Radial
from particleflow.schedules import Geometric, Piecewise, by_time
from particleflow.testing import check_estimator
from particleflow.verdicts import traits

X = pf.samplers.Gaussian(dim=2, mean=(1.5, 0), std=0.5).sample(13, seed=0)
Y = pf.samplers.Gaussian(dim=2).sample(17, seed=1)
HALVING = Geometric(2.0, ratio=0.5, every=1)
INNER: dict[str, Any] = {
    "MMD": MMD(Laplace(9.0)),
    "KALE": KALE(Gaussian(9.0), lam=0.1),
    "KALE without a kernel": KALE(lam=0.1),
    "DrMMD": DrMMD(Gaussian(9.0), lam=0.1),
    "KDE": KDE(),
    "uLSIF": ULSIF(Gaussian(9.0)),
    "KLIEP": KLIEP(),
    "KernelLogistic": KernelLogistic(lam=0.1),
}


@dataclass(frozen=True)
class Slowing:
    """A rule with memory: the mean of the root mean square distances so far."""

    def at(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Any) -> tuple[float, Any]:
        assert y is not None
        now = torch.cdist(x.points, y.points).square().mean().sqrt().double()
        before = memory.get("mean", now)
        mean = (before * clock.step + now) / (clock.step + 1)
        return float(mean), {"mean": mean}


@dataclass(frozen=True)
class Recording:
    """A schedule of the time that notes when it was asked."""

    asked: list[tuple[int, float]] = field(default_factory=list)

    def __call__(self, clock: Clock) -> float:
        self.asked.append((clock.step, clock.t))
        return 1.0 + clock.t


def fit_of(estimator: Any, step: int = 0, memory: Any = None) -> pf.Fit:
    return estimator.fit(Cloud(X), Cloud(Y), Clock(step=step), memory or {})


@pytest.mark.parametrize("name", ["MMD", "KALE", "KDE"])
@pytest.mark.parametrize("rule", [HALVING, Slowing()], ids=["schedule", "rule"])
def test_it_keeps_the_contract(name: str, rule: Any) -> None:
    check_estimator(Annealed(INNER[name], rule))


@pytest.mark.parametrize("name", INNER)
def test_each_fit_is_that_of_the_kernel_with_the_current_bandwidth(name: str) -> None:
    inner = INNER[name]
    annealed = Annealed(inner, HALVING)
    for step, length in ((0, 2.0), (2, 0.5)):
        kernel = (inner.kernel or Gaussian(1.0)).with_bandwidth(length)
        wanted, found = fit_of(inner.with_kernel(kernel)), fit_of(annealed, step)
        told, seen = (fit.witness.value_and_grad(X) for fit in (wanted, found))
        assert all(torch.equal(a, b) for a, b in zip(told, seen, strict=True))
        assert found.value == wanted.value
        assert found.report == {**wanted.report, "bandwidth": length}
        slope = inner.energy_slope or wanted.energy_slope
        assert found.energy_slope == slope
    assert annealed.energy_slope is None
    assert not pf.Flow(annealed).conservative


def test_work_for_a_target_is_kept_while_the_bandwidth_stays() -> None:
    annealed = Annealed(MMD(Gaussian(1.0)), Piecewise([2, 5], [2.0, 1.0, 0.5]))
    x, y = Cloud(X), Cloud(Y)
    made = [annealed.held(x, y, Clock(step=step), {}) for step in range(6)]
    assert made[0] is made[1]
    assert made[2] is made[4]
    assert len({id(one) for one in (made[1], made[2], made[5])}) == 3


def test_a_run_resumes_bit_for_bit_from_a_file(tmp_path: Any) -> None:
    flow = pf.kale_flow(Gaussian(1.0), lam=0.1, bandwidth=Slowing())
    whole = pf.simulate(flow, X, Y, steps=5, dt=0.05)
    pf.simulate(flow, X, Y, steps=2, dt=0.05).save(tmp_path / "part.npz")
    rest = pf.simulate(flow, pf.Trajectory.load(tmp_path / "part.npz"), Y, steps=3, dt=0.05)
    assert torch.equal(rest.state.x.points, whole.state.x.points)
    assert rest.state.memory.keys() == whole.state.memory.keys()
    assert "rule/mean" in whole.state.memory
    assert float(rest.state.memory["rule/mean"]) == float(whole.state.memory["rule/mean"])


def test_stage_fits_take_the_bandwidth_at_the_time_of_the_stage() -> None:
    schedule = Recording()
    pf.simulate(
        pf.mmd_flow(Gaussian(1.0), bandwidth=schedule), X, Y, steps=1, dt=0.5, integrator=pf.Heun()
    )
    assert schedule.asked[:3] == [(0, 0.0), (0, 0.5), (1, 0.5)]


def test_the_velocity_follows_the_slope_of_each_fit() -> None:
    flow = pf.kale_flow(Gaussian(1.0), lam=0.25, bandwidth=HALVING)
    fit = fit_of(flow.estimator, 1)
    velocity, _ = flow.velocity(Cloud(X), fit, Clock(step=1))
    assert torch.equal(velocity, 1.25 * fit.witness.value_and_grad(X)[1])


def test_a_log_ratio_takes_any_mobility() -> None:
    annealed = Annealed(KDE(), HALVING)
    assert annealed.log_ratio
    flow = pf.mono_flow(annealed, pf.mobilities.Vanilla())
    fit = fit_of(flow.estimator)
    value, grad = fit.witness.value_and_grad(X)
    velocity, _ = flow.velocity(Cloud(X), fit, Clock())
    assert torch.equal(velocity, torch.sigmoid(value)[:, None] * grad)
    with pytest.raises(ValueError, match="its witness is a potential"):
        pf.Flow(Annealed(MMD(Gaussian(1.0)), HALVING), pf.mobilities.Vanilla())


def test_defaults_in_a_flow_are_those_of_the_estimator() -> None:
    flow = pf.mono_flow(Annealed(ULSIF(), HALVING))
    assert isinstance(flow.estimator, Annealed)
    assert flow.estimator.estimator == ULSIF(Gaussian(1.0)).in_flow()


def test_dt_is_suggested_for_the_bandwidth_at_the_start_or_at_a_state() -> None:
    inner = INNER["MMD"]
    flow = pf.Flow(Annealed(inner, Slowing()), mobility=pf.flows.EnergySlope())
    rms = float(torch.cdist(X, Y).square().mean().sqrt())
    held = inner.with_kernel(inner.kernel.with_bandwidth(rms))
    assert flow.suggest_dt(X, Y) == pf.Flow(held, flow.mobility).suggest_dt(X, Y)
    memory = {"rule/mean": torch.tensor(0.1, dtype=torch.float64)}
    late = inner.with_kernel(inner.kernel.with_bandwidth((0.1 * 3 + rms) / 4))
    assert flow.suggest_dt(X, Y, clock=Clock(step=3), memory=memory) == pf.Flow(
        late, flow.mobility
    ).suggest_dt(X, Y)


def test_advice_reads_the_bandwidth_of_the_last_fit() -> None:
    flow = pf.mmd_flow(Gaussian(9.0), bandwidth=HALVING)
    energy = energy_of(flow.estimator)
    assert energy is not None
    assert energy.kernel == Gaussian(9.0)
    end = list(zip(pf.iterate(flow, X, Y, dt=0.1), range(3), strict=False))[-1][0]
    told = traits(flow, end, fixed=True)
    assert (told.kernel, told.positive, told.bandwidth, told.reach) == (True, True, 0.5, 1.5)


def test_a_bandwidth_that_became_too_small_is_told() -> None:
    flow = pf.mono_flow(Annealed(KDE(), Piecewise([3], [1.0, 1e-3])))
    path = pf.simulate(flow, X, Y, steps=60, dt=0.05)
    assert path.status != "completed"
    assert "raise the bandwidth, 0.001" in path.message


class Bare(OneKernel):
    """It has a kernel, and is no estimator."""

    kernel = Gaussian(1.0)


@dataclass(frozen=True)
class Silent:
    def at(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Any) -> Any:
        return 1.0


REFUSED: dict[str, tuple[type[Exception], str, Callable[[], Any]]] = {
    "no kernel": (
        TypeError,
        r"`estimator` must have a kernel to anneal, got Moments",
        lambda: Annealed(pf.estimators.Moments(), HALVING),
    ),
    "no estimator": (
        TypeError,
        "`estimator` must have a kernel to anneal, got Bare",
        lambda: Annealed(Bare(), HALVING),
    ),
    "twice": (
        TypeError,
        "`estimator` must have a kernel to anneal, got Annealed",
        lambda: Annealed(Annealed(MMD(Gaussian(1.0)), HALVING), HALVING),
    ),
    "no bandwidth": (
        TypeError,
        r"kernel with a bandwidth, got Energy\(\)",
        lambda: pf.mmd_flow(Energy(), bandwidth=HALVING),
    ),
    "no declared bandwidth": (
        TypeError,
        "kernel with a bandwidth, got Radial",
        lambda: pf.mmd_flow(Radial(lambda s: torch.exp(-s)), bandwidth=HALVING),
    ),
    "features": (
        TypeError,
        "kernel with a bandwidth, got FeatureKernel",
        lambda: pf.mmd_flow(
            pf.kernels.FeatureKernel(pf.kernels.Neurons(X[:, :1])), bandwidth=HALVING
        ),
    ),
    "a rule of two bandwidths": (
        TypeError,
        r"kernel with a bandwidth, got Median",
        lambda: Annealed(KDE(Median()), HALVING),
    ),
    "a number": (
        TypeError,
        "`bandwidth` must be a schedule .* got float: .* a bandwidth that stays belongs to",
        lambda: pf.mmd_flow(Gaussian(1.0), bandwidth=0.5),
    ),
    "another at": (
        TypeError,
        "got Decreasing, whose `at` takes other arguments",
        lambda: pf.mmd_flow(Gaussian(1.0), bandwidth=pf.schedules.Decreasing(1.0)),
    ),
    "not positive": (
        ValueError,
        r"`bandwidth` must be > 0, got -1: it came at step 0, t = 0",
        lambda: fit_of(Annealed(MMD(Gaussian(1.0)), lambda clock: -1.0)),
    ),
    "no memory": (
        TypeError,
        r"`bandwidth` Silent must return a bandwidth and its memory, got 1.0",
        lambda: fit_of(Annealed(MMD(Gaussian(1.0)), Silent())),
    ),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    error, words, make = REFUSED[case]
    with pytest.raises(error, match=words):
        make()


def test_a_rule_that_raises_is_named() -> None:
    def failing(clock: Clock) -> float:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError) as caught:
        fit_of(Annealed(MMD(Gaussian(1.0)), failing))
    assert any("`bandwidth`" in note for note in caught.value.__notes__)


def test_a_schedule_of_the_time() -> None:
    flow = pf.mmd_flow(Gaussian(1.0), bandwidth=Geometric(2.0, every=1.0, smooth=True, of=by_time))
    path = pf.simulate(flow, X, Y, t1=1.0, dt=0.25)
    assert float(path.state.clock.t) == 1.0
    assert fit_of(flow.estimator).report["bandwidth"] == 2.0
