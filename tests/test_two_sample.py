"""The permutation test of MMD: its statistic, its level, its power, and what changes nothing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

import particleflow as pf
from particleflow import Cloud
from particleflow.kernels import Energy, FeatureKernel, Gaussian, median_distance
from particleflow.metrics import MMD2, EnergyDistance, two_sample

KERNEL = Gaussian(0.8)


def normal(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d))) + shift


@pytest.mark.parametrize("d", [1, 2, 10])
def test_the_statistic_is_mmd2_at_the_pooled_median(d: int) -> None:
    x, y = normal(17, d, 0), normal(29, d, 1, 0.3)
    found = pf.two_sample(x, y, permutations=9)
    assert found.bandwidth == median_distance(torch.cat([x, y]))
    assert found.statistic == pytest.approx(MMD2(Gaussian(found.bandwidth))(x, y), rel=1e-10)
    assert (found.n, found.m, found.permutations, found.compared) == (17, 29, 9, (17, 29))


def test_a_kernel_without_bandwidth() -> None:
    x, y = normal(17, 2, 0), normal(29, 2, 1, 0.3)
    found = two_sample(x, y, kernel=Energy(), permutations=9)
    assert found.bandwidth is None
    assert found.statistic == pytest.approx(EnergyDistance()(x, y), rel=1e-10)


class Means:
    def features(self, z: Tensor) -> Tensor:
        return z

    def gradient(self, z: Tensor, c: Tensor) -> Tensor:
        return c.expand_as(z)


def test_features() -> None:
    """With the points as their own features MMD^2 is the squared distance of the means."""
    x, y = normal(17, 2, 0), normal(29, 2, 1, 0.3)
    found = two_sample(x, y, kernel=FeatureKernel(Means()), permutations=9)
    distance = (x.mean(0) - y.mean(0)).square().sum()
    assert found.statistic == pytest.approx(float(distance), rel=1e-10)


def test_the_p_value_is_that_of_all_relabellings() -> None:
    x, y = normal(3, 2, 0), normal(5, 2, 1, 0.7)
    pool, metric = torch.cat([x, y]), MMD2(KERNEL)
    observed, values = metric(x, y), []
    for rows in itertools.combinations(range(8), 3):
        others = [k for k in range(8) if k not in rows]
        values.append(metric(pool[list(rows)], pool[others]))
    exact = np.mean(np.array(values) >= observed - 1e-12)
    found = two_sample(x, y, kernel=KERNEL, permutations=4999).p_value
    assert 0.05 < exact < 0.95
    assert abs(found - exact) < 4 * np.sqrt(exact * (1 - exact) / 4999)


@pytest.mark.parametrize("d", [1, 2, 10])
def test_p_is_uniform_for_samples_of_one_distribution(d: int) -> None:
    values = np.array(
        [
            two_sample(
                normal(21, d, 2 * k), normal(30, d, 2 * k + 1), permutations=199, seed=k
            ).p_value
            for k in range(200)
        ]
    )
    assert scipy.stats.kstest(values, "uniform").pvalue > 0.01
    low, high = scipy.stats.binom.interval(0.999, 200, 0.05)
    assert low <= int((values <= 0.05).sum()) <= high


@pytest.mark.parametrize("d", [1, 2, 10])
def test_a_shift_is_seen(d: int) -> None:
    found = [
        two_sample(normal(60, d, 2 * k), normal(80, d, 2 * k + 1, 1.0), seed=k) for k in range(5)
    ]
    assert all(one.p_value == 0.001 for one in found)
    assert str(found[0]).startswith("different: MMD^2 ")
    assert str(found[0]).endswith(", p = 0.001 (999 permutations)")


def test_a_cloud_does_not_differ_from_itself() -> None:
    x = normal(40, 2, 0)
    found = two_sample(x, x[torch.randperm(40)])
    assert found.p_value == 1
    assert found.statistic == pytest.approx(0, abs=1e-14)
    assert str(found).startswith("no difference seen: MMD^2 ")


@pytest.mark.parametrize("sizes", [(23, 40), (30, 30)], ids=str)
def test_neither_the_order_of_rows_nor_of_the_clouds_matters(sizes: tuple[int, int]) -> None:
    x, y = (normal(n, 2, k, 0.35 * k).mul(4).round() for k, n in enumerate(sizes))
    one = two_sample(x, y)
    assert 0.002 < one.p_value < 0.9
    mixed = two_sample(x[torch.randperm(len(x))], y[torch.randperm(len(y))])
    swapped = two_sample(y, x)
    assert mixed.p_value == swapped.p_value == one.p_value
    assert swapped.statistic == pytest.approx(one.statistic, rel=1e-10)
    assert (swapped.n, swapped.m) == (one.m, one.n)


def test_float32() -> None:
    x, y = normal(23, 2, 0).float(), normal(40, 2, 1, 0.4).float()
    assert two_sample(x, y) == two_sample(x.double(), y.double())


@pytest.mark.parametrize("sizes", [(5000, 40), (2400, 2300)], ids=str)
def test_a_part_of_large_clouds_is_drawn(sizes: tuple[int, int]) -> None:
    x, y = (normal(n, 1, k, 0.5 * k) for k, n in enumerate(sizes))
    found = two_sample(x, y, kernel=KERNEL, permutations=9)
    parts = (3960, 40) if sizes[1] == 40 else (2000, 2000)
    assert found.compared == parts
    assert (found.n, found.m) == sizes
    drawn = f", {parts[0]} of {sizes[0]} and {parts[1]} of {sizes[1]} points drawn)"
    assert str(found).endswith(drawn)
    swapped = two_sample(y, x.flip(0), kernel=KERNEL, permutations=9)
    assert swapped.statistic == pytest.approx(found.statistic, rel=1e-10)
    assert swapped.compared == parts[::-1]


def test_masses() -> None:
    x, y = normal(23, 2, 0), normal(40, 2, 1, 0.4)
    doubled = Cloud(x, mass=torch.full((23,), 2.0))
    assert two_sample(doubled, y) == two_sample(x, y)
    with pytest.raises(ValueError, match=r"`y` must have equal masses.*pass y\.points"):
        two_sample(x, Cloud(y, mass=torch.linspace(1, 2, 40)))


def test_points_in_one_place_need_a_kernel() -> None:
    x, y = torch.ones(4, 2), torch.ones(5, 2)
    with pytest.raises(ValueError, match=r"`x` and `y` must not be a constant cloud.*kernel="):
        two_sample(x, y)
    assert two_sample(x, y, kernel=KERNEL).p_value == 1
