"""Clouds, clocks and counter-based randomness."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

import particleflow as pf
from particleflow.clouds import (
    Clock,
    Cloud,
    Draws,
    FixedTarget,
    Randomness,
    Replay,
    Target,
    as_cloud,
    as_clouds,
)
from particleflow.kept import Kept


def weighted(n: int = 23, d: int = 3) -> tuple[Cloud, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    points, mass = rng.standard_normal((n, d)), rng.random(n)
    return Cloud(torch.from_numpy(points), log_mass=torch.from_numpy(np.log(mass))), points, mass


def test_equal_masses_unless_given() -> None:
    cloud = Cloud(torch.zeros(4, 2))
    assert (len(cloud), cloud.dim) == (4, 2)
    assert cloud.mass.tolist() == [0.25] * 4
    assert cloud.mass.dtype == torch.float32


def test_integrals_against_a_weighted_cloud() -> None:
    """The mass need not be one: `mean` is the integral, `moments` those of the normalised cloud."""
    cloud, points, mass = weighted()
    np.testing.assert_allclose(cloud.mass.numpy(), mass, rtol=1e-15)
    values = np.random.default_rng(1).standard_normal((23, 2, 4))
    np.testing.assert_allclose(
        cloud.mean(torch.from_numpy(values)).numpy(),
        np.einsum("n,nab->ab", mass, values),
        rtol=1e-13,
    )
    mean, covariance = cloud.moments()
    np.testing.assert_allclose(mean.numpy(), np.average(points, axis=0, weights=mass), rtol=1e-13)
    np.testing.assert_allclose(
        covariance.numpy(), np.cov(points.T, aweights=mass, ddof=0), rtol=1e-12
    )


def test_integrals_against_an_equal_cloud() -> None:
    points = np.random.default_rng(2).standard_normal((40, 2))
    cloud = Cloud(torch.from_numpy(points))
    mean, covariance = cloud.moments()
    np.testing.assert_allclose(mean.numpy(), points.mean(0), rtol=1e-13)
    np.testing.assert_allclose(covariance.numpy(), np.cov(points.T, ddof=0), rtol=1e-12)
    np.testing.assert_allclose(cloud.mean(cloud.points).numpy(), points.mean(0), rtol=1e-13)


def test_double() -> None:
    cloud = Cloud(torch.ones(2, 1), log_mass=torch.zeros(2)).double()
    assert (cloud.points.dtype, cloud.log_mass.dtype) == (torch.float64, torch.float64)
    assert Cloud(torch.ones(2, 1)).double().log_mass is None


# ---------------------------------------------------------------- randomness

LIKE = torch.zeros(5, 2, dtype=torch.float64)


def test_draws_are_a_pure_function_of_seed_stream_and_step() -> None:
    first = Draws(3).normal("noise", 7, LIKE)
    Draws(3).normal("noise", 8, LIKE)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    assert torch.equal(Draws(3).normal("noise", 7, LIKE), first)
    others = [
        Draws(4).normal("noise", 7, LIKE),
        Draws(3).normal("brownian", 7, LIKE),
        Draws(3).normal("noise", 8, LIKE),
    ]
    assert not any(torch.equal(first, other) for other in others)
    # "1/2" + "3" and "1" + "2/3" must not meet
    assert not torch.equal(Draws(1).normal("2", 3, LIKE), Draws(12).normal("", 3, LIKE))


def test_draws_leave_global_random_state_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    Draws(0).normal("noise", 0, LIKE)
    Draws(0).child_seed("batch", 0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_follow_shape_and_dtype(dtype: torch.dtype) -> None:
    for shape in ((1,), (4, 3), (2, 3, 4)):
        drawn = Draws(0).normal("noise", 0, torch.zeros(shape, dtype=dtype))
        assert (tuple(drawn.shape), drawn.dtype) == (shape, dtype)


def test_draws_are_standard_normal_and_independent() -> None:
    """Kolmogorov-Smirnov over 200 steps of 100 numbers, and the correlation of neighbouring steps
    and of streams: 99.9 % intervals.
    """
    like = torch.zeros(100, dtype=torch.float64)
    rows = np.array([Draws(11).normal("noise", step, like).numpy() for step in range(200)])
    other = np.array([Draws(11).normal("brownian", step, like).numpy() for step in range(200)])
    assert scipy.stats.kstest(rows.ravel(), "norm").pvalue > 1e-3
    bound = scipy.stats.norm.ppf(1 - 0.5e-3)
    assert abs((rows[1:] * rows[:-1]).sum()) / np.sqrt(rows[1:].size) < bound
    assert abs((rows * other).sum()) / np.sqrt(rows.size) < bound


def test_a_biased_source_fails_that_test() -> None:
    biased = (
        np.concatenate(
            [Draws(11).normal("noise", step, torch.zeros(100)).numpy() for step in range(200)]
        )
        + 0.05
    )
    assert scipy.stats.kstest(biased, "norm").pvalue < 1e-3


def test_child_seeds_fit_every_generator() -> None:
    seeds = [Draws(0).child_seed("batch", step) for step in range(500)]
    assert len(set(seeds)) == 500
    assert all(0 <= seed < 2**63 for seed in seeds)
    torch.Generator().manual_seed(max(seeds))
    assert Draws(0).child_seed("batch", 3) == seeds[3]


def test_a_bad_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="`seed` must be >= 0, got -1"):
        Draws(-1)


def test_replay_gives_back_what_was_recorded() -> None:
    recorded = np.random.default_rng(0).standard_normal((3, 5, 2))
    for arrays in (recorded, torch.from_numpy(recorded)):
        replay = Replay({"noise": arrays}, seed=9)
        assert torch.equal(replay.normal("noise", 2, LIKE), torch.from_numpy(recorded[2]))
        assert replay.normal("noise", 1, LIKE.float()).dtype == torch.float32
        assert replay.child_seed("batch", 4) == Draws(9).child_seed("batch", 4)
        assert isinstance(replay, Randomness)
    assert isinstance(Draws(), Randomness)


@pytest.mark.parametrize(
    ("stream", "step", "text"),
    [
        ("brownian", 0, "`arrays` must hold the stream 'brownian', got ['noise']: record it too"),
        (
            "noise",
            3,
            "`arrays['noise']` holds 3 steps and step 3 was asked for: run at most 3 steps",
        ),
        ("noise", 0, "`arrays['noise'][0]` must be (5, 2) like the particles, got (4, 2)"),
    ],
)
def test_replay_refuses_what_it_does_not_hold(stream: str, step: int, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        Replay({"noise": np.zeros((3, 4, 2))}).normal(stream, step, LIKE)


# ---------------------------------------------------------------- clocks, targets, caches


def test_a_fixed_target_is_the_same_at_every_step() -> None:
    cloud = Cloud(torch.ones(3, 2))
    target = FixedTarget(cloud)
    assert target.at(Clock()) is target.at(Clock(t=3.0, step=9))
    assert target.at(Clock()).points is cloud.points
    assert FixedTarget(None).at(Clock()) is None
    assert isinstance(target, Target)


def test_what_is_kept_is_kept_until_the_numbers_change() -> None:
    kept, calls = Kept(), []

    def make() -> int:
        calls.append(1)
        return len(calls)

    points = np.ones((3, 2))
    cloud = Cloud(torch.from_numpy(points))
    assert [kept.get(cloud, make), kept.get(Cloud(cloud.points.clone()), make)] == [1, 1]
    points[0, 0] = 5.0  # behind torch's back
    assert kept.get(cloud, make) == 2
    assert kept.get(Cloud(cloud.points, log_mass=torch.zeros(3, dtype=torch.float64)), make) == 3
    assert kept.get(Cloud(cloud.points.float()), make) == 4


def test_what_is_kept_of_a_fixed_target_is_known_by_the_object() -> None:
    kept, points = Kept(), torch.ones(3, 2)
    fixed = FixedTarget(Cloud(points)).at(Clock())
    assert fixed is not None
    with pytest.raises(ZeroDivisionError):
        kept.get(fixed, lambda: 1 // 0)
    assert [kept.get(fixed, lambda: "first"), kept.get(fixed, lambda: "second")] == [
        "first",
        "first",
    ]
    points.fill_(2.0)  # which nobody may
    assert kept.get(fixed, lambda: "second") == "first"
    assert kept.get(FixedTarget(Cloud(points)).at(Clock()), lambda: "second") == "second"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_as_cloud_copies(dtype: torch.dtype) -> None:
    points, log_mass = torch.ones(3, 2, dtype=torch.float64), torch.zeros(3, dtype=dtype)
    cloud = as_cloud(Cloud(points, log_mass=log_mass), "x")
    assert cloud.log_mass.dtype == torch.float64
    cloud.points.zero_()
    cloud.log_mass.fill_(9.0)
    assert float(points.sum()) == 6.0
    assert float(log_mass.sum()) == 0.0
    assert as_cloud([[1, 2]], "x").points.dtype == torch.float64


@pytest.mark.parametrize(
    "pair",
    [
        (torch.ones(3, 2), [[1.0, 2.0]]),
        (np.ones((4, 2)), torch.ones(3, 2)),
        (Cloud(torch.ones(3, 2)), np.ones((4, 2), int)),
    ],
)
def test_what_is_no_tensor_follows_the_tensor(pair: tuple[Any, Any]) -> None:
    x, y = as_clouds(*pair)
    assert x.points.dtype == y.points.dtype == torch.float32


@pytest.mark.parametrize(
    ("x", "y", "kind", "text"),
    [
        (
            torch.ones(3, 2),
            torch.ones(3, 2, dtype=torch.float64),
            TypeError,
            "`x0` and `target` must have one dtype, got torch.float32 and ",
        ),
        (
            torch.ones(3, 2),
            np.ones((3, 1)),
            ValueError,
            "`target` must be (M, 2) like `x0`, got (3, 1)",
        ),
        (
            torch.ones(3, 2),
            [[np.nan, 1.0]],
            ValueError,
            "`target` must be finite, got [nan, 1.0] in row 0",
        ),
        (
            torch.ones(3, 2).half(),
            [[1.0, 1.0]],
            TypeError,
            "`x0` must be float32 or float64, got torch.float16",
        ),
        (
            Cloud(torch.ones(3, 2), log_mass=torch.full((3,), -torch.inf)),
            [[1, 1]],
            ValueError,
            "`x0` must have a total mass > 0 and finite, got 0",
        ),
        (
            Cloud(torch.ones(3, 2), log_mass=torch.full((3,), torch.nan)),
            [[1, 1]],
            ValueError,
            "`x0` must have a total mass > 0 and finite, got nan",
        ),
    ],
)
def test_clouds_that_cannot_meet_are_refused(
    x: Any, y: Any, kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=re.escape(text)):
        as_clouds(x, y, "x0", "target")


def test_weights_are_given_by_name() -> None:
    points = torch.zeros(4, 2, dtype=torch.float64)
    masses = torch.tensor([0.5, 0.25, 0.25, 0.0])
    cloud = Cloud(points, mass=masses)
    assert torch.equal(cloud.mass, masses.double())
    assert cloud.log_mass is not None
    assert cloud.log_mass[3] == -torch.inf
    assert repr(cloud) == "Cloud(4 points in 2-d, float64, masses 0 to 0.5, total 1)"
    assert repr(Cloud(points.float())) == "Cloud(4 points in 2-d, float32, equal mass 1/4)"
    assert Cloud([[1, 2], [3, 4]], mass=np.array([1, 3])).mass.tolist() == pytest.approx([1, 3])
    with np.errstate(all="ignore"):
        small = Cloud(points.float(), mass=np.full(4, 1e-60)).log_mass
    assert small is not None
    assert small[0] == pytest.approx(math.log(1e-60))  # below float32, but its logarithm is not
    for line, text in [
        ("Cloud(points, masses)", "takes weights by name, got a second positional"),
        ("Cloud(points, mass=masses, log_mass=masses)", "got both"),
        ("Cloud(points, mass=masses[:3])", r"`mass` must be \(4,\), .* got shape \(3,\)"),
        ("Cloud(points, mass=masses.log())", "log_mass="),
        ("Cloud(points, mass=0 * masses)", "total > 0, got 4 zeros"),
        ("Cloud(points, mass=['a'] * 4)", "must be real numbers"),
        ("Cloud(points, mass=[1, 2, float('nan'), 1])", "got nan in row 2"),
        ("Cloud(points[0])", r"`points` must be \(n, d\)"),
        ("Cloud(points, log_mass=masses[:, None])", r"`log_mass` must be \(4,\)"),
        ("Cloud(points, mass=1j * masses)", "must be real"),
        (
            "as_cloud(Cloud(points, log_mass=masses), 'x')",
            "`x` has masses that sum to 1 in the place of their logarithms: pass .*mass=",
        ),
    ]:
        with pytest.raises((TypeError, ValueError), match=text):
            eval(line)


def test_totals_that_no_motion_can_reconcile_are_told(recwarn: pytest.WarningsRecorder) -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 9, 2))
    flow = pf.mmd_flow(pf.kernels.Gaussian(1.0))
    pf.simulate(flow, x, Cloud(y, mass=np.full(9, 1 / 9)), steps=1, dt=0.1)
    pf.simulate(replace(flow, reaction=lambda w: w), x, Cloud(y, mass=np.ones(9)), steps=1, dt=0.1)
    pf.simulate(flow, Cloud(x), pf.samplers.Minibatch(pf.samplers.Rings(), 5), steps=1, dt=0.1)
    assert not [w for w in recwarn if "total mass" in str(w.message)]
    for pair in (
        (x, Cloud(y, mass=np.ones(9))),
        (Cloud(x, mass=np.ones(9)), pf.samplers.Minibatch(pf.samplers.Rings(), 5)),
    ):
        with pytest.warns(
            RuntimeWarning,
            match=r"`x0` has a total mass of .* and `target` of .* no `reaction`.*m / m.sum\(\)",
        ):
            pf.simulate(flow, *pair, steps=1, dt=0.1)


@pytest.mark.parametrize(
    "line",
    [
        "pf.kernels.default_bandwidth(Rings())",
        "Cloud(Rings())",
        "pf.samplers.FromArray(Rings())",
        "pf.metrics.W2()(Rings(), np.ones((3, 2)))",
        "pf.mmd_flow(pf.kernels.Gaussian(1.0)).suggest_dt(Rings(), np.ones((3, 2)))",
    ],
)
def test_a_sampler_in_the_place_of_points_is_named(line: str) -> None:
    with pytest.raises(
        TypeError,
        match=r"got the sampler Rings\(\.\.\.\): draw some, Rings\(\.\.\.\)\.sample\(300, seed=0\)",
    ):
        eval(line, {**globals(), "Rings": pf.samplers.Rings})
    with pytest.raises(TypeError, match="got the class Rings"):
        eval(line.replace("Rings()", "Rings"), {**globals(), "Rings": pf.samplers.Rings})
