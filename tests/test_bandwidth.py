"""Bandwidths read off the data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import gaussian_kde
from sklearn.neighbors import KernelDensity

import particleflow as pf
from particleflow import samplers
from particleflow.clouds import Cloud
from particleflow.estimators import KALE, KDE, KLIEP, ULSIF, KernelLogistic, RuLSIF
from particleflow.kernels import CrossValidated, Median, Scott, default_bandwidth, median_distance
from particleflow.subsets import places


@pytest.mark.parametrize("d", [1, 2, 7])
def test_the_median_of_all_pairs(d: int) -> None:
    points = np.random.default_rng(d).standard_normal((61, d))
    want = np.median(pdist(points))
    assert median_distance(points) == pytest.approx(want, rel=1e-14)
    assert median_distance(torch.from_numpy(points)) == pytest.approx(want, rel=1e-14)
    assert median_distance(points.astype(np.float32)) == pytest.approx(want, rel=1e-6)


def test_a_large_cloud_s_median_is_that_of_a_part() -> None:
    points = np.random.default_rng(0).standard_normal((4100, 2))
    assert median_distance(points) == pytest.approx(np.median(pdist(points)), rel=0.01)


def test_pairs_of_repeats_are_no_distances() -> None:
    """Two places, however heavy one is; and masses for repeats."""
    assert median_distance(np.concatenate([np.zeros((90, 2)), np.ones((10, 2))])) == pytest.approx(
        math.sqrt(2), rel=1e-14
    )
    few = np.random.default_rng(1).standard_normal((40, 3))
    counts = np.random.default_rng(2).integers(1, 6, 40)
    heavy = Cloud(torch.from_numpy(few), mass=torch.from_numpy(counts))
    assert median_distance(np.repeat(few, counts, 0)) == pytest.approx(
        median_distance(heavy), rel=1e-14
    )
    assert median_distance(heavy) != pytest.approx(median_distance(few), rel=1e-3)


@pytest.mark.parametrize("points", [np.ones((5, 2)), np.ones((1, 2))])
def test_a_cloud_without_scale_is_refused(points: np.ndarray) -> None:
    text = (
        rf"`points` must not be a constant cloud: the median distance between its {len(points)}"
        r" points is 0.*pass bandwidth= yourself"
    )
    with pytest.raises(ValueError, match=text):
        median_distance(points)
    with pytest.raises(ValueError, match=text):
        default_bandwidth(points)


@pytest.mark.parametrize(
    ("d", "factor"), [(1, math.sqrt(1 / 32)), (2, 0.25), (8, 0.5), (32, 1.0), (50, 1.0)]
)
def test_the_default_is_a_share_of_the_median(d: int, factor: float) -> None:
    points = np.random.default_rng(d).standard_normal((40, d))
    assert default_bandwidth(points) == pytest.approx(factor * median_distance(points), rel=1e-14)


def test_the_default_is_near_the_published_bandwidths() -> None:
    """Three rings: sqrt(0.05) = .22; four Gaussians: .5 (Glaser et al. 2021). Within 20 %."""
    assert default_bandwidth(samplers.Rings().sample(600, seed=0)) == pytest.approx(0.22, rel=0.2)
    assert default_bandwidth(
        samplers.Mixture.four_gaussians().sample(600, seed=0)
    ) == pytest.approx(0.5, rel=0.2)


def test_scale_follows_the_data() -> None:
    points = np.random.default_rng(3).standard_normal((30, 2))
    assert default_bandwidth(1e-4 * points) == pytest.approx(
        1e-4 * default_bandwidth(points), rel=1e-12
    )
    assert default_bandwidth(points + 1e6) == pytest.approx(default_bandwidth(points), rel=1e-8)


def test_scott_is_scipy_s() -> None:
    points = np.random.default_rng(0).standard_normal((50, 1)) * 3
    cloud = Cloud(torch.from_numpy(points))
    assert Scott().of(cloud) == pytest.approx(
        gaussian_kde(points.T).scotts_factor() * points.std(), rel=1e-12
    )
    shares = np.random.default_rng(1).dirichlet(np.ones(50))
    heavy = gaussian_kde(points.T, weights=shares)
    spread = math.sqrt(shares @ (points[:, 0] - shares @ points[:, 0]) ** 2)
    weighted = Cloud(cloud.points, log_mass=torch.from_numpy(shares).log() + 1)
    assert Scott(2.0).of(weighted) == pytest.approx(2 * heavy.scotts_factor() * spread, rel=1e-12)


def test_median_with_masses() -> None:
    """Equal masses change nothing (an odd number of pairs); points without mass are not there."""
    points = torch.from_numpy(np.random.default_rng(0).standard_normal((11, 2)))
    assert Median(0.5).of(
        Cloud(points, log_mass=torch.zeros(11, dtype=torch.float64))
    ) == pytest.approx(0.5 * median_distance(points), rel=1e-14)
    shadows = Cloud(
        torch.cat([points, 100 * points]),
        log_mass=torch.tensor([0.0] * 11 + [-math.inf] * 11, dtype=torch.float64),
    )
    assert Median().of(shadows) == pytest.approx(median_distance(points), rel=1e-14)


def test_cross_validation_finds_the_likeliest_bandwidth() -> None:
    """Against scikit-learn's densities of all points but one: no bandwidth of a finer grid is
    likelier, by more than the grid's steps allow.
    """
    points = np.random.default_rng(2).standard_normal((60, 2))

    def score(bandwidth: float) -> float:
        rest = [
            KernelDensity(bandwidth=bandwidth).fit(np.delete(points, i, 0)).score(points[i : i + 1])
            for i in range(60)
        ]
        return float(np.mean(rest))

    found = CrossValidated().of(Cloud(torch.from_numpy(points)))
    assert score(found) >= max(
        score(found * 2**0.25), score(found / 2**0.25), score(found * 2), score(found / 2)
    )
    steps = math.log2(found / median_distance(points)) * 4
    assert steps == pytest.approx(round(steps), abs=1e-9)


def test_cross_validation_scales_as_the_rate_says() -> None:
    """Its bandwidth of parts that are far apart is that of the parts; of a cloud of which only a
    part was left out, narrower.
    """
    one = np.random.default_rng(3).standard_normal((200, 2))
    two = np.concatenate([one, one[::-1] * [1, -1] + [500, 0]])
    alone, together = (
        CrossValidated().of(Cloud(torch.from_numpy(points))) for points in (one, two)
    )
    assert together == pytest.approx(alone, rel=0.35)
    large = torch.from_numpy(np.random.default_rng(4).standard_normal((8000, 2)))
    points, _ = places(Cloud(large), 1000)
    assert len(points) == 1000
    narrower = CrossValidated().of(Cloud(points)) * (1000 / 8000) ** (1 / 6)
    assert CrossValidated().of(Cloud(large)) == pytest.approx(
        narrower, rel=0.2
    )  # both from grids of steps of 19 %


def test_rules_follow_the_scale_and_refuse_none() -> None:
    points = torch.from_numpy(np.random.default_rng(5).standard_normal((30, 2)))
    for rule in (CrossValidated(), Scott(), Median(2.0)):
        assert rule.of(Cloud(1e-3 * points)) == pytest.approx(
            1e-3 * rule.of(Cloud(points)), rel=1e-9
        )
        assert rule.of(Cloud(points.float())) == pytest.approx(rule.of(Cloud(points)), rel=1e-5)
        with pytest.raises(
            ValueError, match=r"must (have a scale|not be a constant cloud).* is 0.*: pass"
        ):
            rule.of(Cloud(torch.ones(5, 2)))
    with pytest.raises(ValueError, match="`factor` must be > 0, got 0"):
        Scott(0)


CHOOSE_FROM_Y = [KALE(), KALE(reverse=True), KDE(), ULSIF(), RuLSIF(), KLIEP()]


@pytest.mark.parametrize(
    "estimator", [*CHOOSE_FROM_Y, KDE(Scott()), KDE(Median()), KDE(CrossValidated())], ids=str
)
@pytest.mark.parametrize("n", [1, 20])
def test_an_estimator_that_finds_no_scale_asks_for_its_kernel(estimator: Any, n: int) -> None:
    """What the user can pass there; in one place to the last digit, too, whose variance is
    rounding.
    """
    cloud, one_place = (
        torch.from_numpy(np.random.default_rng(6).standard_normal((30, 2))),
        torch.full((n, 2), 0.1, dtype=torch.float64),
    )
    text = (
        rf"`{{}}` must not be a constant cloud for a bandwidth to be chosen from it, got {n} points"
        r" whose .* is 0: pass kernel= yourself"
    )
    with pytest.raises(ValueError, match=text.format("y")):
        pf.fit(estimator, cloud, one_place)
    if estimator not in CHOOSE_FROM_Y:
        with pytest.raises(ValueError, match=text.format("x")):
            pf.fit(estimator, one_place, cloud)


def test_clouds_of_one_place_leave_logistic_regression_without_a_scale() -> None:
    one_place = torch.full((20, 2), 0.1, dtype=torch.float64)
    with pytest.raises(
        ValueError,
        match=(
            r"`lam` and `kernel` are chosen from two places of each cloud or more, got 1 and 1:"
            r" pass both"
        ),
    ):
        pf.fit(KernelLogistic(), one_place, one_place)
