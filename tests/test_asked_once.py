"""What a step needs is asked once: the target once a fit, clouds converted once a run."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

import particleflow as pf
from particleflow import clouds
from particleflow.clouds import Clock, Cloud

X = np.random.default_rng(0).normal(size=(30, 2))
KERNEL = pf.kernels.Gaussian(1.0)


@dataclass
class Counted:
    """A target that moves, and counts how often it is asked."""

    asked: list[int] = field(default_factory=list)

    def at(self, clock: Clock) -> Cloud:
        self.asked.append(clock.step)
        shift = 0.01 * clock.t
        return Cloud(torch.from_numpy(np.random.default_rng(1).normal(size=(40, 2)) + shift))


def test_a_target_is_asked_once_a_fit() -> None:
    """11 states of Euler's method: 11 fits, at steps 0 to 10."""
    target = Counted()
    path = pf.simulate(
        pf.mmd_flow(KERNEL),
        X,
        target,
        steps=10,
        dt=0.1,
        save=pf.SaveAt(every=1),
        metrics={"W2": pf.metrics.W2()},
    )
    assert path.report["fits"] == 11
    assert target.asked == list(range(11))


def test_a_target_is_asked_once_at_each_stage() -> None:
    """Heun fits twice a step: at the state, and at its trial stage before the next one."""
    target = Counted()
    pf.simulate(pf.mmd_flow(KERNEL), X, target, steps=3, dt=0.1, integrator=pf.Heun())
    assert target.asked == [0, 0, 1, 1, 2, 2, 3]


def test_a_loop_asks_once_a_state() -> None:
    target = Counted()
    states = pf.iterate(pf.mmd_flow(KERNEL), X, target, dt=0.1)
    seen = [next(states) for _ in range(5)]
    assert target.asked == list(range(5))
    for state in seen:
        expected = Counted().at(state.clock)
        assert state.target is not None
        assert torch.equal(state.target.points, expected.points)


@pytest.mark.parametrize("records", [11, 21])
def test_metrics_of_the_package_convert_no_cloud(monkeypatch, records: int) -> None:
    """The start and the target, and what the verdict compares at the end: not one a record."""
    calls: list[str] = []
    convert = clouds.as_cloud

    def counting(value, name, **like):
        calls.append(name)
        return convert(value, name, **like)

    monkeypatch.setattr(clouds, "as_cloud", counting)
    metrics = {
        "W2": pf.metrics.W2(),
        "W1": pf.metrics.W1(),
        "MMD2": pf.metrics.MMD2(KERNEL),
        "MMD": pf.metrics.MMD(KERNEL),
        "energy distance": pf.metrics.EnergyDistance(),
        "sliced": pf.metrics.SlicedW2(),
    }
    path = pf.simulate(
        pf.mmd_flow(KERNEL),
        X,
        X[:20] + 1,
        steps=records - 1,
        dt=0.1,
        save=pf.SaveAt(every=1),
        metrics=metrics,
    )
    assert len(path) == records
    assert calls == ["x0", "target", "x", "y", "x", "y"]


def test_a_metric_that_was_changed_is_called_as_it_is() -> None:
    class Doubled(pf.metrics.W2):
        def __call__(self, x, y) -> float:
            return 2 * super().__call__(x, y)

    path = pf.simulate(
        pf.mmd_flow(KERNEL),
        X,
        X[:20] + 1,
        steps=2,
        dt=0.1,
        metrics={"W2": pf.metrics.W2(), "twice": Doubled()},
    )
    assert torch.equal(path.metrics["twice"], 2 * path.metrics["W2"])
