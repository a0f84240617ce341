"""Rules that choose bandwidth and noise: closed forms, theorems, and clouds that repeat rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

import particleflow as pf
from particleflow.adaptive import Arbel, Continuation, SignalNoise, TargetSignal
from particleflow.adaptive.arbel import _constants
from particleflow.adaptive.pairs import Pairs
from particleflow.adaptive.signal import QUARTER, signal, strongest
from particleflow.clouds import Clock, Cloud
from particleflow.estimators import KALE, MMD, Annealed, Estimator, Fit, Stragglers
from particleflow.estimators.base import SameBandwidth
from particleflow.kernels import (
    IMQ,
    Cauchy,
    Gaussian,
    Kernel,
    Laplace,
    Matern32,
    Matern52,
    default_bandwidth,
)
from particleflow.testing import check_estimator

X = pf.samplers.Gaussian(dim=2, mean=(1.5, 0), std=0.5).sample(23, seed=0)
Y = pf.samplers.Gaussian(dim=2).sample(31, seed=1)
ORIGIN = torch.zeros(1, 2, dtype=torch.float64)
# The bandwidth of the largest signal of two points at the distance 1, and of the second maximum.
BEST, SECOND = 1 / math.sqrt(2 + math.sqrt(2)), 1 / math.sqrt(2 - math.sqrt(2))


def bandwidth(rule: Any, x: Any = X, y: Any = Y, step: int = 0, memory: Any = None) -> float:
    length: float = rule.at(Cloud(x), Cloud(y), Clock(step=step), memory or {})[0]
    return length


def point(rho: float, dim: int = 2) -> Any:
    y = torch.zeros(1, dim, dtype=torch.float64)
    y[0, 0] = rho
    return y


# ---- continuation
# --------------------------------------------------------------------------------------------------


def test_ends_that_are_given_later_begin_anew() -> None:
    """A run that goes on with a rule of other ends must not keep those of the first one."""
    _, memory = Continuation(10, start=2.0, end=0.5).at(Cloud(X), Cloud(Y), Clock(step=0), {})
    for rule in (Continuation(10, start=8.0, end=0.5), Continuation(10, start=8.0, end=0.1)):
        assert bandwidth(rule, step=10, memory=memory) == 8.0
        _, later = rule.at(Cloud(X), Cloud(Y), Clock(step=10), memory)
        assert bandwidth(rule, step=16, memory=later) == rule.end
    same = Continuation(20, start=2.0, end=0.5)
    assert bandwidth(same, step=6, memory=memory) == pytest.approx(1.0, rel=1e-14)
    assert bandwidth(Continuation(10), step=6, memory=memory) == 0.5
    _, found = TargetSignal(every=5, least=0.4).at(Cloud(X), Cloud(Y), Clock(step=0), {})
    assert bandwidth(TargetSignal(every=5, least=40.0), step=5, memory=found) == 40.0


def test_continuation_falls_geometrically_and_ends_exactly() -> None:
    rule, memory, found = Continuation(10, share=0.5, end=0.25), {}, []
    for step in range(3, 12):
        length, memory = rule.at(Cloud(ORIGIN), Cloud(point(4.0)), Clock(step=step), memory)
        found.append(length)
    assert found[:5] == pytest.approx([4 * 0.5 ** (4 * k / 5) for k in range(5)], rel=1e-14)
    assert found[5:] == [0.25] * 4


def test_continuation_reads_both_ends_off_the_clouds() -> None:
    length, memory = Continuation(100).at(Cloud(X), Cloud(Y), Clock(), {})
    distances = torch.cdist(X, Y).flatten().sort().values
    assert length == pytest.approx(float(distances[math.ceil(0.9 * len(distances)) - 1]), rel=1e-14)
    assert bandwidth(Continuation(100), step=60, memory=memory) == default_bandwidth(Y)
    assert bandwidth(Continuation(100, start=2.0, end=1.0), step=0) == 2.0
    # a start that is nearer than the target's own scale
    assert bandwidth(Continuation(100, end=9.0)) == 9.0


def test_the_quantile_counts_masses() -> None:
    y = torch.tensor([[1.0, 0.0], [5.0, 0.0]], dtype=torch.float64)
    for share, wanted in ((0.05, 1.0), (0.15, 5.0)):
        pairs = Pairs.drawn(Cloud(ORIGIN), Cloud(y, mass=[1 - share, share]), 300)
        assert pairs.quantile(0.9) == wanted


def test_a_target_in_one_place_needs_an_end() -> None:
    with pytest.raises(ValueError, match="`end` must be given for a target without a scale, got 5"):
        bandwidth(Continuation(10), y=point(1.0).repeat(5, 1))
    with pytest.raises(ValueError, match="got no target: pass start= and end="):
        Continuation(10).at(Cloud(X), None, Clock(), {})


def test_a_moving_target_is_read_at_the_first_fit() -> None:
    flow = pf.mmd_flow(Gaussian(1.0), bandwidth=Continuation(4))
    target = pf.samplers.Minibatch(pf.samplers.Gaussian(dim=2), 20)
    states = list(zip(pf.iterate(flow, X, target, dt=0.1), range(4), strict=False))
    first = target.at(Clock())
    assert states[0][0].fit.memory["rule/ends"][1] == default_bandwidth(first)
    assert states[3][0].fit.report["bandwidth"] == default_bandwidth(first)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("words", "make"),
    [
        ("`steps` must be", lambda: Continuation(0)),
        ("`share` must be <= 1, got 2", lambda: Continuation(5, share=2)),
        ("`end` must be > 0", lambda: Continuation(5, end=0.0)),
        ("`every` must be", lambda: TargetSignal(every=0)),
        ("`least` must be > 0", lambda: TargetSignal(least=-1.0)),
        ("`most` must be", lambda: Arbel(most=0)),
    ],
)
def test_refused(words: str, make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=words):
        make()


# ---- the target's signal
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rho", [1e-4, 0.7, 30.0])
@pytest.mark.parametrize("dim", [1, 3])
def test_two_points_have_the_largest_signal_at_0_541_distances(rho: float, dim: int) -> None:
    found = bandwidth(TargetSignal(), point(0.0, dim), point(rho, dim))
    assert found / rho == pytest.approx(BEST, abs=1e-4)


def test_the_second_maximum_is_smaller_and_not_found() -> None:
    pairs = Pairs.drawn(Cloud(ORIGIN), Cloud(point(1.0)), 9)

    def score(length: float) -> float:
        return signal(pairs, Gaussian(length))

    assert math.exp(score(SECOND) - score(BEST)) == pytest.approx(0.085, abs=5e-4)
    assert strongest(score, 1.1, 2.0) == pytest.approx(SECOND, rel=1e-3)
    assert strongest(score, 0.01, 2.0) == pytest.approx(BEST, rel=1e-3)


@pytest.mark.parametrize("kernel", [Gaussian(0.8), Matern52(0.9)], ids=["Gaussian", "Matern52"])
def test_the_signal_is_the_change_of_the_force_as_the_target_moves(kernel: Kernel) -> None:
    step, changes = 1e-5, []
    for here, there in ((X, Y), (Y, X)):

        def force(shift: Any, here: Any = here, there: Any = there) -> Any:
            s = torch.cdist(here, there + shift).square()
            d = here[:, None] - there - shift
            return (2 * kernel.slope(s)[..., None] * d).mean(1).square().sum(1)

        axes = step * torch.eye(2, dtype=torch.float64)
        change = torch.stack([(force(e) - force(-e)) / (2 * step) for e in axes]).norm(dim=0)
        logs, few = change.log().sort().values, QUARTER * len(change)
        whole = math.floor(few)
        changes.append((logs[:whole].sum() + (few - whole) * logs[whole]) / few)
    pairs = Pairs.drawn(Cloud(X), Cloud(Y), 99)
    wanted = 0.5 * float(sum(changes)) + 3 * math.log(pairs.farthest)
    assert signal(pairs, kernel) == pytest.approx(wanted, abs=1e-6)


def test_a_search_is_made_every_few_steps_and_follows_the_clouds() -> None:
    rule, memory, found = TargetSignal(every=3, least=1e-3), {}, []
    for step in range(7):
        y = Cloud(point(2.0**-step))
        length, memory = rule.at(Cloud(ORIGIN), y, Clock(step=step), memory)
        found.append(length / BEST)
    assert found == pytest.approx([1, 1, 1, 1 / 8, 1 / 8, 1 / 8, 1 / 64], rel=1e-4)


def test_the_signal_is_not_sought_below_the_scale_of_the_target() -> None:
    assert bandwidth(TargetSignal(), Y, Y) >= default_bandwidth(Y)
    assert bandwidth(TargetSignal(least=50.0)) == 50.0
    assert bandwidth(TargetSignal(), X + 20) > 5 * bandwidth(TargetSignal())


def test_clouds_in_one_place_keep_the_last_bandwidth() -> None:
    rule = TargetSignal(every=1)
    length, memory = rule.at(Cloud(ORIGIN), Cloud(point(1.0)), Clock(), {})
    assert rule.at(Cloud(ORIGIN), Cloud(ORIGIN), Clock(step=1), memory)[0] == length
    with pytest.raises(ValueError, match="needs a distance between the clouds"):
        bandwidth(rule, ORIGIN, ORIGIN)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_noise_of_the_largest_signal_between_two_points(dim: int) -> None:
    x, y, narrow = point(0.0, dim), point(2.0, dim), 0.1
    flow = pf.mmd_flow(Gaussian(narrow), noise=SignalNoise(y))
    beta = flow.beta(Cloud(x), pf.fit(flow.estimator, x, y), Clock())
    u = (4 + dim + math.sqrt((4 + dim) ** 2 - 4 * (2 + dim))) / 2
    assert math.hypot(beta, narrow) == pytest.approx(2 / math.sqrt(u), rel=2e-4)
    wide = pf.mmd_flow(Gaussian(5.0), noise=SignalNoise(y))
    assert wide.beta(Cloud(x), pf.fit(wide.estimator, x, y), Clock()) == 0.0


# ---- the theorem on noise
# --------------------------------------------------------------------------------------------------

FLOW = pf.mmd_flow(Gaussian(1.2), noise=Arbel())


def half_mmd2(x: Any) -> float:
    return 0.5 * pf.metrics.MMD2(Gaussian(1.2))(Cloud(x), Cloud(Y))


@pytest.mark.parametrize(
    ("kernel", "second", "fourth"),
    [
        (Gaussian(0.5), 4.0, 48.0),
        (Matern52(0.5), 20 / 3, 400.0),
        (IMQ(0.5), 4.0, 144.0),
        (Cauchy(0.5), 8.0, 384.0),
    ],
)
def test_the_constants_are_derivatives_at_zero(
    kernel: Kernel, second: float, fourth: float
) -> None:
    assert _constants(kernel) == pytest.approx((second, fourth))
    # the bounds that the theorem takes from them, for a witness of this kernel
    fit = pf.fit(MMD(kernel), X, Y)
    norm = math.sqrt(2 * float(fit.value or 0.0))
    shift = 0.1 * pf.Draws(3).normal("shift", 0, X)
    before, after = (fit.witness.value_and_grad(z)[1] for z in (X, X + shift))
    assert bool((before.norm(dim=1) <= math.sqrt(second) * norm).all())
    bound = math.sqrt(fourth) * norm * shift.norm(dim=1)
    assert bool(((after - before).norm(dim=1) <= bound).all())


def test_arbel_is_the_largest_level_that_keeps_the_bound() -> None:
    for shift in (0.0, 3.0):
        x, rule = Cloud(X + shift), Arbel()
        fit = pf.fit(FLOW.estimator, x, Y)
        beta = FLOW.beta(x, fit, Clock())
        assert 0 < beta <= 1.2 / math.sqrt(12 * 2)
        kept, broken = (
            [rule.excess(x, fit, FLOW.estimator, k * beta) for k in levels]
            for levels in ((0.5, 1.0), (1.02, 2.0, 3.0, 4.0))
        )
        assert min(kept) >= 0
        assert max(broken) < 0


def test_the_expected_mmd_falls_by_what_the_theorem_says() -> None:
    fit, dt = pf.fit(FLOW.estimator, X, Y), 0.25
    smooth = _constants(Gaussian(1.2))[0]
    beta = FLOW.beta(Cloud(X), fit, Clock())
    after, speeds = [], []
    for seed in range(10):
        velocity, _ = FLOW.velocity(Cloud(X), fit, Clock(draws=pf.Draws(seed)))
        after.append(half_mmd2(X + dt * velocity))
        speeds.append(float(velocity.square().sum(1).mean()))
    least = dt / 2 * (1 - 3 * dt * smooth) * (sum(speeds) / 10)
    assert beta > 0
    assert half_mmd2(X) - sum(after) / 10 >= least > 0


def test_the_mmd_falls_over_a_run() -> None:
    runs = [
        zip(pf.iterate(FLOW, X, Y, dt=0.25, seed=seed), range(8), strict=False) for seed in (1, 2)
    ]
    values = torch.tensor([[state.fit.value or 0.0 for state, _ in run] for run in runs])
    assert bool((values.mean(0).diff() < 0).all())


def test_arbel_takes_the_bandwidth_of_the_fit() -> None:
    annealed = pf.mmd_flow(Gaussian(9.0), bandwidth=lambda clock: 1.2, noise=Arbel())
    betas = [
        flow.beta(Cloud(X), pf.fit(flow.estimator, X, Y), Clock()) for flow in (FLOW, annealed)
    ]
    assert betas[0] == betas[1]


@pytest.mark.parametrize(
    ("noise", "flow"),
    [
        (Arbel(), lambda noise: pf.mmd_flow(Laplace(1.0), noise=noise)),
        (Arbel(), lambda noise: pf.mmd_flow(Matern32(1.0), noise=noise)),
        (Arbel(), lambda noise: pf.kale_flow(Gaussian(1.0), lam=0.1, noise=noise)),
        (Arbel(), lambda noise: pf.mono_flow(pf.estimators.KDE(), noise=noise)),
        (SignalNoise(Y), lambda noise: pf.mmd_flow(Laplace(1.0), noise=noise)),
    ],
)
def test_a_rule_without_a_meaning_is_refused(noise: Any, flow: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=rf"`noise` {type(noise).__name__} must have"):
        flow(noise)


# ---- all rules
# --------------------------------------------------------------------------------------------------

RULES: dict[str, Callable[[Cloud, Cloud], float]] = {
    "Continuation": lambda x, y: Continuation(9).at(x, y, Clock(), {})[0],
    "its end": lambda x, y: float(Continuation(9).at(x, y, Clock(), {})[1]["ends"][1]),
    "TargetSignal": lambda x, y: TargetSignal(least=1e-3).at(x, y, Clock(), {})[0],
    "SignalNoise": lambda x, y: SignalNoise(y).at(
        x, pf.fit(MMD(Gaussian(0.3)), x, y), Clock(), MMD(Gaussian(0.3))
    ),
    "Arbel": lambda x, y: Arbel().at(x, pf.fit(FLOW.estimator, x, y), Clock(), FLOW.estimator),
}


@pytest.mark.parametrize("name", RULES)
def test_the_order_of_rows_and_repeats_of_the_clouds_change_nothing(name: str) -> None:
    rule = RULES[name]
    found = rule(Cloud(X), Cloud(Y))
    # the witness itself sums in another order
    assert rule(Cloud(X.flip(0)), Cloud(Y.roll(7, 0))) == pytest.approx(found, rel=1e-12)
    assert rule(Cloud(X.repeat(3, 1)), Cloud(Y.repeat(2, 1))) == pytest.approx(found, rel=1e-9)


@pytest.mark.parametrize("name", RULES)
def test_a_row_repeated_many_times_is_no_collapse(name: str) -> None:
    x, y = (torch.cat([points, points[:1].repeat(200, 1)]) for points in (X, Y))
    found, plain = RULES[name](Cloud(x), Cloud(y)), RULES[name](Cloud(X), Cloud(Y))
    assert found > 0.1 * plain


@pytest.mark.parametrize("rule", [TargetSignal(every=2), Continuation(6)], ids=["signal", "falls"])
def test_a_run_resumes_bit_for_bit(rule: Any) -> None:
    flow = pf.mmd_flow(Gaussian(1.0), bandwidth=rule, noise=Arbel())
    states = [state for state, _ in zip(pf.iterate(flow, X, Y, dt=0.1), range(6), strict=False)]
    rest = [
        state for state, _ in zip(pf.iterate(flow, states[3], Y, dt=0.1), range(3), strict=False)
    ]
    assert torch.equal(rest[-1].x.points, states[-1].x.points)


@pytest.mark.parametrize(
    "estimator",
    [
        Annealed(MMD(Gaussian(1.0)), Continuation(5)),
        Annealed(KALE(lam=0.1), TargetSignal(every=1)),
    ],
    ids=["MMD", "KALE"],
)
def test_the_rules_keep_the_contract_of_an_estimator(estimator: Any) -> None:
    check_estimator(estimator)


@dataclass(frozen=True)
class Outer(SameBandwidth):
    """An estimator of one's own around another one."""

    estimator: Estimator
    deterministic, log_ratio, needs_target, energy_slope = True, False, True, None

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Any) -> Fit:
        return self.estimator.fit(x, y, clock, memory)


def test_a_bandwidth_that_changes_within_an_estimator_of_ones_own_is_seen() -> None:
    falling = Annealed(MMD(Gaussian(1.0)), Continuation(50))
    flow = pf.Flow(Outer(Stragglers(falling, 5.0)))
    assert flow.annealed
    assert not pf.Flow(Outer(MMD(Gaussian(1.0)))).annealed
    assert "the bandwidth has come down to" in pf.simulate(flow, X, Y, steps=4, dt=0.1).message
