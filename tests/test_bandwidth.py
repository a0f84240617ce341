"""Bandwidths read off the data."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist

from particleflow import samplers
from particleflow.kernels import default_bandwidth, median_distance


@pytest.mark.parametrize("d", [1, 2, 7])
def test_the_median_of_all_pairs(d: int) -> None:
    points = np.random.default_rng(d).standard_normal((61, d))
    want = np.median(pdist(points))
    assert median_distance(points) == pytest.approx(want, rel=1e-14)
    assert median_distance(torch.from_numpy(points)) == pytest.approx(want, rel=1e-14)
    assert median_distance(points.astype(np.float32)) == pytest.approx(want, rel=1e-6)


def test_a_large_cloud_is_thinned_evenly() -> None:
    points = np.random.default_rng(0).standard_normal((4100, 2))
    assert median_distance(points) == pytest.approx(np.median(pdist(points[::3])), rel=1e-14)


@pytest.mark.parametrize("points", [np.ones((5, 2)), np.ones((1, 2)), np.concatenate([np.zeros((90, 2)), np.ones((10, 2))])])
def test_a_cloud_without_scale_is_refused(points: np.ndarray) -> None:
    text = rf"`points` must not be a constant cloud: the median distance between its {len(points)} points is 0.*pass bandwidth= yourself"
    with pytest.raises(ValueError, match=text):
        median_distance(points)
    with pytest.raises(ValueError, match=text):
        default_bandwidth(points)


@pytest.mark.parametrize(("d", "factor"), [(1, math.sqrt(1 / 32)), (2, 0.25), (8, 0.5), (32, 1.0), (50, 1.0)])
def test_the_default_is_a_share_of_the_median(d: int, factor: float) -> None:
    points = np.random.default_rng(d).standard_normal((40, d))
    assert default_bandwidth(points) == pytest.approx(factor * median_distance(points), rel=1e-14)


def test_the_default_is_near_the_published_bandwidths() -> None:
    """Three rings: sqrt(0.05) = .22; four Gaussians: .5 (Glaser et al. 2021). Within 20 %."""
    assert default_bandwidth(samplers.Rings().sample(600, seed=0)) == pytest.approx(0.22, rel=0.2)
    assert default_bandwidth(samplers.Mixture.four_gaussians().sample(600, seed=0)) == pytest.approx(0.5, rel=0.2)


def test_scale_follows_the_data() -> None:
    points = np.random.default_rng(3).standard_normal((30, 2))
    assert default_bandwidth(1e-4 * points) == pytest.approx(1e-4 * default_bandwidth(points), rel=1e-12)
    assert default_bandwidth(points + 1e6) == pytest.approx(default_bandwidth(points), rel=1e-8)
