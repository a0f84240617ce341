"""A user's part that raises in the middle of a run: it is named, and nothing that was computed is
lost.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Clock, Cloud, Draws
from particleflow.estimators import KDE, MMD, ClosedForm, Fit
from particleflow.integrators import Euler
from particleflow.kernels import Gaussian
from particleflow.mobilities import Vanilla

KERNEL = Gaussian(0.8)
rng = np.random.default_rng(0)
X = torch.from_numpy(0.6 * rng.standard_normal((13, 2)) + 0.9)
Y = torch.from_numpy(rng.standard_normal((17, 2)))


# as users run it: this suite's own checks of types would answer first
pytestmark = pytest.mark.usefixtures("unchecked")


@dataclass
class Fuse:
    """Blows in the step after the third record: a metric lights it there."""

    lit: bool = False
    seen: list[int] = field(default_factory=list)

    def metric(self, x: Cloud, y: Cloud) -> float:
        self.seen.append(len(self.seen))
        self.lit = len(self.seen) == 4
        return float(len(self.seen))

    def check(self) -> None:
        if self.lit:
            raise ArithmeticError("blown")


def kernel(fuse: Fuse) -> pf.Flow:
    class Mine:
        def profile(self, s: Tensor) -> Tensor:
            fuse.check()
            return KERNEL.profile(s)

        def slope(self, s: Tensor) -> Tensor:
            fuse.check()
            return KERNEL.slope(s)

        def curvature(self, s: Tensor) -> Tensor:
            return KERNEL.curvature(s)

    return pf.mmd_flow(Mine())


def formula(fuse: Fuse) -> pf.Flow:
    def mine(s: Tensor) -> Tensor:
        fuse.check()
        return torch.exp(-s / 2)

    return pf.mmd_flow(mine)


def mobility(fuse: Fuse) -> pf.Flow:
    class Mine(Vanilla):
        def slope(self, d: Tensor) -> Tensor:
            fuse.check()
            return super().slope(d)

    return pf.mono_flow(KDE(KERNEL), Mine())


def estimator(fuse: Fuse) -> pf.Flow:
    class Mine(MMD):
        def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Mapping[str, Tensor]) -> Fit:
            fuse.check()
            return super().fit(x, y, clock, memory)

    return pf.Flow(Mine(KERNEL))


def score(fuse: Fuse) -> pf.Flow:
    def mine(z: Tensor) -> Tensor:
        fuse.check()
        return -z

    return pf.Flow(ClosedForm(mine))


def noise(fuse: Fuse) -> pf.Flow:
    def mine(clock: Clock, fit: Fit) -> float:
        fuse.check()
        return 0.1

    return pf.mmd_flow(KERNEL, noise=mine)


def diffusion(fuse: Fuse) -> pf.Flow:
    def mine(clock: Clock) -> float:
        fuse.check()
        return 0.1

    return pf.Flow(MMD(KERNEL), diffusion=mine)


def reaction(fuse: Fuse) -> pf.Flow:
    def mine(w: Tensor) -> Tensor:
        fuse.check()
        return 0.1 * w

    return pf.Flow(MMD(KERNEL), reaction=mine)


FLOWS: dict[str, Callable[[Fuse], pf.Flow]] = {
    "`kernel` Mine": kernel,
    "`kernel` Radial": formula,
    "`mobility` Mine": mobility,
    "`estimator` Mine": estimator,
    "`estimator` ClosedForm": score,
    "`noise` noise.<locals>.mine": noise,
    "`diffusion` (mine": diffusion,
    "`reaction` reaction.<locals>.mine": reaction,
}


def kept(path: pf.Trajectory, fuse: Fuse, part: str) -> None:
    assert path.status == "failed"
    assert path.message.startswith(f"after step 3: ArithmeticError('blown'), raised in {part}"), (
        path.message
    )
    assert "test_parts_that_raise.py:" in path.message
    assert 'raise ArithmeticError("blown")' in path.report["traceback"]
    assert path.steps.tolist() == [0, 1, 2, 3]
    assert path.metrics["count"].tolist() == [1, 2, 3, 4]
    assert bool(path.particles.isfinite().all())


@pytest.mark.filterwarnings("ignore:the run failed:RuntimeWarning")
@pytest.mark.parametrize("part", FLOWS)
def test_a_part_of_the_flow_that_raises_is_named_and_the_run_is_kept(part: str) -> None:
    fuse = Fuse()
    path = pf.simulate(FLOWS[part](fuse), X, Y, steps=9, dt=0.01, metrics={"count": fuse.metric})
    kept(path, fuse, part)


@pytest.mark.filterwarnings("ignore:the run failed:RuntimeWarning")
def test_a_sampler_a_target_an_integrator_and_draws_are_named() -> None:
    fuse = Fuse()

    class Drawn(pf.samplers.Gaussian):
        def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
            fuse.check()
            return super().draw(n, rng)

    class Moving:
        def at(self, clock: Clock) -> Cloud:
            fuse.check()
            return Cloud(Y + clock.t)

    class Stepping(Euler):
        def step(self, *given: Any) -> Any:
            fuse.check()
            return super().step(*given)

    class Rolling(Draws):
        def normal(self, stream: str, step: int, like: Tensor) -> Tensor:
            fuse.check()
            return super().normal(stream, step, like)

    cases: list[tuple[str, Any, dict[str, Any]]] = [
        ("`sampler` Drawn", pf.samplers.Minibatch(Drawn(dim=2), 19), {}),
        ("`target` Moving", Moving(), {}),
        ("`integrator` Stepping", Y, {"integrator": Stepping()}),
        ("`draws` Rolling", Y, {"draws": Rolling(0)}),
    ]
    for part, target, more in cases:
        fuse.seen.clear()
        fuse.lit = False
        path = pf.simulate(
            pf.mmd_flow(KERNEL, noise=0.1),
            X,
            target,
            steps=9,
            dt=0.01,
            metrics={"count": fuse.metric},
            **more,
        )
        kept(path, fuse, part)


@pytest.mark.filterwarnings("ignore:the run failed:RuntimeWarning")
def test_what_a_record_had_before_one_of_its_metrics_raised_is_kept() -> None:
    fuse = Fuse()

    def mine(x: Cloud, y: Cloud) -> float:
        fuse.check()
        return 2.0

    save = pf.SaveAt(every=1, velocity=True)
    path = pf.simulate(
        pf.mmd_flow(KERNEL),
        X,
        Y,
        steps=9,
        dt=0.01,
        metrics={"count": fuse.metric, "mine": mine},
        save=save,
    )
    kept(path, fuse, "`metrics` 'mine'")
    assert path.metrics["mine"].tolist() == pytest.approx([2.0, 2.0, 2.0, math.nan], nan_ok=True)
    assert path.velocity is not None
    assert bool(path.energy.isfinite().all() and path.velocity.isfinite().all())
    whole = pf.simulate(pf.mmd_flow(KERNEL), X, Y, steps=9, dt=0.01, save=save)
    assert torch.equal(path.energy, whole.energy[:4])
    fuse.lit = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rest = pf.simulate(pf.mmd_flow(KERNEL), path, steps=6, save=save)
    assert torch.equal(rest.particles, whole.particles)


def test_a_run_that_failed_is_kept_where_warnings_are_errors() -> None:
    fuse = Fuse()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept(
            pf.simulate(estimator(fuse), X, Y, steps=9, dt=0.01, metrics={"count": fuse.metric}),
            fuse,
            "`estimator` Mine",
        )


def test_a_part_without_words_is_met_before_any_work() -> None:
    """The report holds its repr: one that raises at the end would lose the run."""
    calls = []

    class Mute:
        def __repr__(self) -> str:
            raise ArithmeticError("no words")

        def __call__(self, x: Cloud, y: Cloud) -> float:
            calls.append(1)
            return 1.0

    with pytest.raises(ArithmeticError, match="no words"):
        pf.simulate(pf.mmd_flow(KERNEL), X, Y, steps=3, dt=0.1, metrics={"mute": Mute()})
    assert not calls


@pytest.mark.parametrize(
    ("flow", "told"),
    [
        (
            pf.mmd_flow(KERNEL, noise=lambda clock, fit: "big"),
            "`noise` must be a number, got str: return one number for each clock",
        ),
        (
            pf.mmd_flow(KERNEL, noise=lambda clock: torch.ones(3)),
            "`noise` must be a number, got Tensor",
        ),
        (
            pf.Flow(MMD(KERNEL), diffusion=lambda clock: math.nan),
            "`diffusion` must be finite, got nan",
        ),
        (
            pf.Flow(MMD(KERNEL), reaction=lambda w: w[:, None]),
            r"`reaction` function must map \(Q,\) to \(Q,\), got \(13, 1\) for \(13,\)",
        ),
    ],
)
def test_answers_that_are_none_are_refused_by_name(flow: pf.Flow, told: str) -> None:
    states = pf.iterate(flow, X, Y, dt=0.1)
    next(states)
    with pytest.raises((TypeError, ValueError), match=told):
        next(states)


def test_a_witness_of_another_shape_is_refused() -> None:
    """It would be broadcast, and move the particles in silence."""

    class Column(MMD):
        def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Mapping[str, Tensor]) -> Fit:
            class Witness:
                log_ratio = False

                def value_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
                    return torch.zeros(len(z), 1), torch.ones(1, 2)

            return Fit(Witness())

    class Nothing(MMD):
        def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Mapping[str, Tensor]) -> Any:
            return None

    with pytest.raises(
        ValueError,
        match=(
            r"`estimator` Column has a witness with value \(Q,\) and gradient \(Q, d\), got \(13,"
            r" 1\) for \(13,\)"
        ),
    ):
        pf.Flow(Column(KERNEL)).suggest_dt(X, Y)
    with pytest.raises(
        TypeError, match=r"`estimator` Nothing must return a Fit from fit, got None: return pf\.Fit"
    ):
        pf.simulate(pf.Flow(Nothing(KERNEL)), X, Y, steps=2)
