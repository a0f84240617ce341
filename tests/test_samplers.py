"""Known laws: what is drawn, the densities, the scores, and the refusals."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from forked import Python
from torch import Tensor

from particleflow.samplers import (
    Checkerboard,
    Density,
    FromArray,
    Gaussian,
    Mixture,
    Moons,
    Rings,
    Sampler,
    Spiral,
    SwissRoll,
)

GAUSSIAN = Gaussian(mean=[1.0, 1.0], cov=[[1.0, 0.8], [0.8, 0.89]])
SAMPLERS = [
    Gaussian(dim=3),
    GAUSSIAN,
    Mixture.four_gaussians(),
    Mixture([Rings(), Moons(noise=0.1)], weights=[1.0, 3.0]),
    Rings(),
    Rings(noise=0.05),
    Rings(spaced=True, noise=0.01),
    Moons(),
    Spiral(arms=3),
    SwissRoll(noise=0.02),
    Checkerboard(),
    Checkerboard(noise=0.1),
    FromArray([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]),
]
DENSITIES = [  # smooth, in the plane, with all but 1e-9 of the mass within [-4, 6]^2
    Gaussian(mean=(1.0, 0.5), std=(0.3, 0.7)),
    Gaussian(mean=(1.0, 1.0), cov=[[0.5, 0.4], [0.4, 0.445]]),
    Mixture.four_gaussians(),
    Mixture(
        [Gaussian(dim=2, std=0.2), Rings(noise=0.2), Checkerboard(noise=0.2)],
        weights=[1.0, 2.0, 0.5],
    ),
    Rings(noise=0.1),
    Rings(centres=[(1.0, 0.0), (0.0, 1.0)], radius=0.5, noise=0.4),
    Checkerboard(noise=0.1),
    Checkerboard(squares=3, noise=0.5),
]
FIVE_SIGMA = 5.0  # a two-sided probability of 6e-7 per number that is compared


def identity(law: object) -> str:
    return repr(law)[:60]


def within(values: Tensor, expected: Tensor | float) -> bool:
    """Is the mean of iid values (n, ...) within five standard errors of the expected one?"""
    error = values.std(0) / math.sqrt(len(values))
    return bool(((values.mean(0) - expected).abs() <= FIVE_SIGMA * error).all())


# every sampler


@pytest.mark.parametrize("sampler", SAMPLERS, ids=identity)
def test_a_sample_is_a_fresh_function_of_the_seed(sampler: Sampler) -> None:
    assert isinstance(sampler, Sampler)
    first, again = sampler.sample(50, seed=3), sampler.sample(50, seed=3)
    assert first.shape == (50, sampler.dim)
    assert first.dtype == torch.float64
    assert first.device.type == "cpu"
    assert torch.equal(first, again)
    assert first.data_ptr() != again.data_ptr()
    first.zero_()
    assert torch.equal(sampler.sample(50, seed=3), again)
    assert not torch.equal(sampler.sample(50, seed=4), again)
    assert torch.equal(sampler.sample(50), sampler.sample(50, seed=0))


@pytest.mark.parametrize("sampler", SAMPLERS, ids=identity)
def test_the_dtype_only_rounds(sampler: Sampler) -> None:
    single = sampler.sample(20, seed=1, dtype=torch.float32)
    assert single.dtype == torch.float32
    assert torch.equal(single, sampler.sample(20, seed=1).float())


@pytest.mark.parametrize("sampler", SAMPLERS, ids=identity)
def test_global_random_state_is_neither_read_nor_changed(sampler: Sampler) -> None:
    before = sampler.sample(9, seed=1)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    ours, numpys = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    assert torch.equal(sampler.sample(9, seed=1), before)
    assert torch.equal(torch.get_rng_state(), ours)
    after = np.random.get_state()  # noqa: NPY002
    assert np.array_equal(after[1], numpys[1])
    assert after[2] == numpys[2]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"n": 0}, "`n` must be >= 1, got 0"),
        ({"n": 5, "seed": -1}, "`seed` must be >= 0, got -1"),
    ],
)
def test_what_sample_refuses(arguments: dict[str, int], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Moons().sample(**arguments)


def test_sample_refuses_half_precision() -> None:
    with pytest.raises(
        TypeError, match=r"`dtype` must be torch.float32 or torch.float64, got torch.float16"
    ):
        Moons().sample(3, dtype=torch.float16)


# densities and scores


@pytest.mark.parametrize("law", DENSITIES, ids=identity)
def test_the_density_integrates_to_one(law: Density) -> None:
    """The trapezoidal rule converges faster than any power for smooth densities that vanish at the
    edge.
    """
    axis = torch.linspace(-4, 6, 301, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    total = law.log_density(grid).exp().sum() * (axis[1] - axis[0]) ** 2
    assert total.item() == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("law", DENSITIES, ids=identity)
def test_the_score_is_the_gradient_of_the_log_density(law: Density) -> None:
    z = (
        4 * torch.rand(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 2
    ).requires_grad_()
    (expected,) = torch.autograd.grad(law.log_density(z).sum(), z)
    torch.testing.assert_close(law.score(z.detach()), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("law", DENSITIES, ids=identity)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_density_and_score_stay_finite_far_away(law: Density, dtype: torch.dtype) -> None:
    angle = torch.linspace(0, 2 * math.pi, 9, dtype=dtype)
    z = 50 * torch.stack(
        [angle.cos(), angle.sin()], 1
    )  # at least 50 standard deviations from any part of any of them
    log, score = law.log_density(z), law.score(z)
    assert log.dtype == score.dtype == dtype
    assert log.isfinite().all()
    assert score.isfinite().all()
    assert (log < -1000).all()
    assert ((score * z).sum(1) < 0).all()  # it leads back


@pytest.mark.parametrize("law", DENSITIES, ids=identity)
def test_samples_follow_the_density(law: Density) -> None:
    """E over the sample of a test function equals its integral against the density, and the mean
    score is zero.
    """
    axis = torch.linspace(-4, 6, 301, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    share = law.log_density(grid).exp() * (axis[1] - axis[0]) ** 2

    def probes(z: Tensor) -> Tensor:
        waves = z @ torch.tensor([[1.0, 0.5], [-2.0, 3.0], [4.0, 1.0]], dtype=z.dtype).T
        return torch.cat([z, z**2, z[:, :1] * z[:, 1:], waves.sin(), waves.cos()], 1)

    assert isinstance(law, Sampler)
    x = law.sample(20_000, seed=1)
    assert within(probes(x), share @ probes(grid))
    assert within(law.score(x), 0.0)


def test_the_gaussian_against_scipy() -> None:
    from scipy.stats import multivariate_normal

    z = torch.tensor([[0.0, 0.0], [1.0, 2.0], [40.0, -30.0]], dtype=torch.float64)
    assert GAUSSIAN.cov is not None
    expected = multivariate_normal(GAUSSIAN.mean, GAUSSIAN.cov).logpdf(z.numpy())
    np.testing.assert_allclose(GAUSSIAN.log_density(z).numpy(), expected, rtol=1e-12)


def test_the_ring_density_at_its_centre_and_the_score_there() -> None:
    """p(0) = exp(-radius^2 / (2 sigma^2)) / (2 pi sigma^2), since I_0(0) = 1.

    The score there is zero by symmetry.
    """
    law, z = (
        Rings(centres=[(0.0, 0.0)], radius=0.3, noise=0.2),
        torch.zeros(1, 2, dtype=torch.float64),
    )
    assert law.log_density(z).item() == pytest.approx(
        -0.5 * 1.5**2 - math.log(2 * math.pi * 0.04), rel=1e-14
    )
    assert torch.equal(law.score(z), z)


def test_the_clean_checkerboard_is_uniform_on_half_of_the_board() -> None:
    law, x = Checkerboard(squares=4), Checkerboard(squares=4).sample(500, seed=0)
    torch.testing.assert_close(
        law.log_density(x), torch.full((500,), math.log(0.5), dtype=torch.float64)
    )
    off = torch.tensor([[-0.25, -0.75], [1.5, 0.2]], dtype=torch.float64)
    assert law.log_density(off).tolist() == [-math.inf, -math.inf]
    assert not law.score(torch.cat([x, off])).any()
    odd = Checkerboard(squares=3)
    assert odd.log_density(odd.sample(5)).tolist() == pytest.approx([math.log(9 / (4 * 5))] * 5)


def test_a_mixture_needs_the_density_of_every_component() -> None:
    law = Mixture([Gaussian(dim=2), Moons()])
    for method in (law.log_density, law.score):
        with pytest.raises(TypeError, match="Moons has none"):
            method(torch.zeros(1, 2, dtype=torch.float64))


def test_queries_of_another_dimension_are_refused() -> None:
    for law in (GAUSSIAN, Mixture.four_gaussians(), Rings(noise=0.1), Checkerboard()):
        with pytest.raises(
            ValueError, match=r"`z` must be \(Q, 2\) like the samples, got \(4, 3\)"
        ):
            law.log_density(torch.zeros(4, 3, dtype=torch.float64))


def test_a_ring_without_noise_has_no_density() -> None:
    with pytest.raises(ValueError, match="`noise` must be > 0 for a density, got 0"):
        Rings().score(torch.zeros(1, 2, dtype=torch.float64))


# moments and shapes


def test_moments_of_the_gaussian_with_a_covariance() -> None:
    x = GAUSSIAN.sample(20_000, seed=2)
    centred = x - 1
    assert within(x, 1.0)
    assert within(
        centred[:, :, None] * centred[:, None, :],
        torch.tensor([[1, 0.8], [0.8, 0.89]], dtype=torch.float64),
    )


def test_the_interval_can_fail() -> None:
    assert not within(GAUSSIAN.sample(20_000, seed=2), 1.05)


def test_mixture_weights_are_shares() -> None:
    x = Mixture([Gaussian(dim=1, mean=-9.0), Gaussian(dim=1, mean=9.0)], weights=[1.0, 4.0]).sample(
        4000, seed=0
    )
    right = (x[:, 0] > 0).double()
    assert within(right, 0.8)
    assert 0.1 < right[:400].mean() < 1  # in random order, not component by component


def test_four_gaussians_are_the_published_task() -> None:
    law = Mixture.four_gaussians()
    corners = torch.tensor([[0.0, 0.0], [0.0, 1.8], [1.8, 0.0], [1.8, 1.8]], dtype=torch.float64)
    peak = math.log(0.25 / (2 * math.pi * 0.25**2))
    torch.testing.assert_close(
        law.log_density(corners), torch.full((4,), peak, dtype=torch.float64)
    )
    x = law.sample(8000, seed=0)
    assert within((x - 0.9) ** 2, 0.9**2 + 0.25**2)


def test_the_spaced_rings_are_the_published_target() -> None:
    """80 points a ring, angle 2 pi i / 80, rings of radius .3 at heights 0, -.75, -1.5: `Y` of the
    published three rings.
    """
    angle = 2 * math.pi * np.arange(80) / 80
    ring = 0.3 * np.stack([np.cos(angle), np.sin(angle)], 1)
    published = np.concatenate([ring + [0, height] for height in (0, -0.75, -1.5)])
    np.testing.assert_allclose(
        Rings(spaced=True).sample(240, seed=7).numpy(), published, rtol=0, atol=1e-15
    )


def test_spaced_rings_share_what_is_left_over() -> None:
    x = Rings(spaced=True).sample(8)
    heights = (0.375 - x[:, 1]) // 0.75  # 0, 1, 2
    assert heights.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert Rings(spaced=True).sample(1).tolist() == [[0.3, 0.0]]


def test_random_rings_lie_on_the_rings() -> None:
    x = Rings(centres=[(1.0, 2.0), (-3.0, 0.0)], radius=0.5).sample(2000, seed=1)
    apart = torch.cdist(x, torch.tensor([[1.0, 2.0], [-3.0, 0.0]], dtype=torch.float64))
    torch.testing.assert_close(apart.min(1).values, torch.full((2000,), 0.5, dtype=torch.float64))
    assert within((apart[:, 0] < 1).double(), 0.5)


def arc_positions(
    x: Tensor, curve: Callable[[np.ndarray], np.ndarray], parameters: np.ndarray
) -> np.ndarray:
    """Where on a finely sampled curve each point lies, in units of its length, and a check that it
    lies there.
    """
    path = curve(parameters)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    apart = torch.cdist(x, torch.from_numpy(path))
    assert apart.min(1).values.max() < 2 * length[-1] / len(parameters)
    return length[apart.argmin(1).numpy()] / length[-1]


def test_moons_are_half_circles_and_uniform_in_arc_length() -> None:
    from scipy.stats import kstest

    x = Moons().sample(3000, seed=0)
    upper = (
        torch.cdist(x, torch.tensor([[-0.5, -0.25]], dtype=torch.float64))[:, 0] - 1
    ).abs() < 1e-9
    lower = (
        torch.cdist(x, torch.tensor([[0.5, 0.25]], dtype=torch.float64))[:, 0] - 1
    ).abs() < 1e-9
    assert bool((upper ^ lower).all())
    assert within(upper.double(), 0.5)
    assert within(x, 0.0)
    top = x[upper].numpy() + [0.5, 0.25]
    assert kstest(np.arctan2(top[:, 1], top[:, 0]) / math.pi, "uniform").pvalue > 1e-4
    bottom = [0.5, 0.25] - x[lower].numpy()
    assert kstest(np.arctan2(bottom[:, 1], bottom[:, 0]) / math.pi, "uniform").pvalue > 1e-4


def test_moons_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import make_moons

    theirs, _ = make_moons(400, noise=None)
    ours = Moons().sample(4000, seed=0)
    assert (
        torch.cdist(torch.from_numpy(theirs) - torch.tensor([0.5, 0.25]), ours).min(1).values.max()
        < 0.02
    )


@pytest.mark.parametrize("turns", [0.25, 1.0, 5.0])
def test_the_spiral_is_uniform_in_arc_length(turns: float) -> None:
    from scipy.stats import kstest

    def curve(theta: np.ndarray) -> np.ndarray:
        return (theta / theta[-1])[:, None] * np.stack([np.cos(theta), np.sin(theta)], 1)

    x = Spiral(arms=1, turns=turns).sample(1500, seed=0)
    where = arc_positions(x, curve, np.linspace(0, 2 * np.pi * turns, 20_001))
    assert kstest(where, "uniform").pvalue > 1e-4
    assert kstest(where**2, "uniform").pvalue < 1e-4  # and the test can tell


def test_spiral_arms_are_turned_copies() -> None:
    x = Spiral(arms=3, turns=0.5).sample(3000, seed=0)
    radius = x.norm(dim=1)
    angle = (
        torch.atan2(x[:, 1], x[:, 0]) - math.pi * radius
    )  # theta = 2 pi turns r: what is left is 2 pi / 3 times the arm
    arm = (angle / (2 * math.pi / 3)) % 3
    assert (arm - arm.round()).abs().max() < 1e-9
    for k in range(3):
        assert within((arm.round() % 3 == k).double(), 1 / 3)


def test_the_swiss_roll_is_that_of_scikit_learn() -> None:
    from scipy.stats import ks_2samp
    from sklearn.datasets import make_swiss_roll

    theirs = make_swiss_roll(4000, random_state=0)[0][:, [0, 2]] / (4.5 * math.pi)
    ours = SwissRoll().sample(3000, seed=0)
    assert torch.cdist(ours, torch.from_numpy(theirs)).min(1).values.max() < 0.02
    assert ks_2samp(ours.norm(dim=1).numpy(), np.linalg.norm(theirs, axis=1)).pvalue > 1e-4


@pytest.mark.parametrize(
    "make", [Moons, Spiral, SwissRoll, Checkerboard, Rings], ids=lambda make: make.__name__
)
def test_noise_is_added_to_the_clean_points(make: Callable[..., Sampler]) -> None:
    clean, noisy = make().sample(5000, seed=0), make(noise=0.3).sample(5000, seed=0)
    added = noisy - clean
    assert within(added, 0.0)
    assert within(added**2, 0.3**2)


# construction


def test_gaussians_that_are_equal() -> None:
    assert (
        Gaussian(dim=2).dim
        == Gaussian(mean=(0.0, 1.0)).dim
        == Gaussian(std=(1.0, 2.0)).dim
        == GAUSSIAN.dim
        == 2
    )
    array = Gaussian(
        mean=np.array([1.0, 1.0]), cov=torch.tensor([[1.0, 0.8], [0.8, 0.89]], dtype=torch.float64)
    )
    assert array == GAUSSIAN
    assert hash(array) == hash(GAUSSIAN)
    assert torch.equal(
        Gaussian(dim=2, mean=3).sample(4), Gaussian(mean=[3, 3], std=[1, 1]).sample(4)
    )
    assert (
        repr(Gaussian(dim=2, mean=(0, -0.3), std=0.01))
        == "Gaussian(dim=2, mean=(0.0, -0.3), std=0.01, cov=None)"
    )


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Gaussian(), r"`dim` is needed where neither .* tells it, e.g. Gaussian\(dim=2\)"),
        (lambda: Gaussian(dim=0), "`dim` must be >= 1, got 0"),
        (
            lambda: Gaussian(dim=3, mean=(0.0, 1.0)),
            r"must agree on a dimension >= 1, got \{'mean': 2, 'dim': 3\}",
        ),
        (lambda: Gaussian(mean=[]), "must agree on a dimension >= 1"),
        (lambda: Gaussian(dim=2, std=0.0), "`std` must be > 0, got 0"),
        (lambda: Gaussian(std=[1.0, -2.0]), "`std` must be > 0, got -2"),
        (lambda: Gaussian(dim=2, std=1.0, cov=np.eye(2)), "`std` and `cov` were both given"),
        (
            lambda: Gaussian(cov=[[1.0, 2.0], [2.0, 1.0]]),
            "`cov` must be positive definite, got a least eigenvalue of -1",
        ),
        (lambda: Gaussian(cov=[[1.0, 0.5], [0.0, 1.0]]), "`cov` must be symmetric"),
        (lambda: Gaussian(cov=[1.0, 2.0]), r"`cov` must be a \(d, d\) matrix, got shape \(2,\)"),
        (
            lambda: Gaussian(mean=[[1.0]]),
            r"`mean` must be a number or d numbers, got shape \(1, 1\)",
        ),
        (lambda: Gaussian(mean=[0.0, math.nan]), r"`mean` must be finite, got \[0.0, nan\]"),
        (lambda: Mixture([]), "`components` must hold at least one sampler"),
        (
            lambda: Mixture([Gaussian(dim=2), Gaussian(dim=3)]),
            r"`components` must have one dimension, got \[2, 3\]",
        ),
        (
            lambda: Mixture([Gaussian(dim=2)], weights=[0.5, 0.5]),
            "one number per component, got 2 weights and 1 components",
        ),
        (lambda: Mixture([Gaussian(dim=2)], weights=[0.0]), "`weights` must be > 0, got 0"),
        (lambda: Rings(radius=0.0), "`radius` must be > 0, got 0"),
        (lambda: Rings(centres=[(0.0, 0.0, 0.0)]), r"`centres` must be \(K, 2\), got \(1, 3\)"),
        (lambda: Moons(noise=-0.1), "`noise` must be >= 0, got -0.1"),
        (lambda: Spiral(arms=0), "`arms` must be >= 1, got 0"),
        (lambda: Spiral(turns=0.0), "`turns` must be > 0, got 0"),
        (lambda: SwissRoll(noise=math.inf), "`noise` must be finite, got inf"),
        (lambda: Checkerboard(squares=0), "`squares` must be >= 1, got 0"),
    ],
)
def test_what_the_laws_refuse(make: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


def test_numbers_are_asked_for() -> None:
    with pytest.raises(TypeError, match="`mean` must be numbers, got 'left'"):
        Gaussian(dim=2, mean="left")


def test_wrong_types_are_refused_without_run_time_checks(python: Python) -> None:
    """A process of its own runs without run-time checks: these would refuse first."""
    refused = {
        "Mixture([[0.0, 1.0]])": (
            "`components` must be samplers, got list: wrap an array in FromArray"
        ),
        "Minibatch([[0.0, 1.0]], 5)": (
            "`sampler` must be a sampler, got list: wrap an array in FromArray"
        ),
        "Moons().sample(2.5)": (
            "`n` must be an integer, got 2.5: pass how many points to draw, e.g. 300"
        ),
    }
    lines = ["from particleflow.samplers import *"]
    for call in refused:
        lines += ["try:", f"    {call}", "except TypeError as error:", "    print(error)"]
    done = python.run("-c", "\n".join(lines))
    assert done.stdout.splitlines() == list(refused.values())
