"""Metrics between two clouds: closed forms, other solvers, invariances."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.optimize import linprog
from torch import Tensor

from particleflow import metrics
from particleflow.clouds import Cloud
from particleflow.kernels import Energy, Gaussian, Laplace
from particleflow.metrics import (
    MMD,
    MMD2,
    W1,
    W2,
    EnergyDistance,
    LeftBehind,
    Metric,
    SlicedW2,
)
from particleflow.pairwise import Dense

ALL = [
    MMD2(Gaussian(0.7)),
    MMD(Gaussian(0.7)),
    EnergyDistance(),
    W1(),
    W2(),
    SlicedW2(projections=30),
]
DISTANCES = [MMD(Gaussian(0.7)), W1(), W2(), SlicedW2(projections=30)]
each = pytest.mark.parametrize("metric", ALL, ids=lambda metric: type(metric).__name__)


def normal(n: int, d: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)))


def weighted(n: int, d: int, seed: int) -> Cloud:
    generator = np.random.default_rng(seed)
    points, shares = generator.standard_normal((n, d)), generator.dirichlet(np.ones(n))
    return Cloud(torch.from_numpy(points), log_mass=torch.from_numpy(shares).log())


def quadrature(mean: list[float], covariance: list[list[float]], nodes: int) -> Cloud:
    """Gauss-Hermite nodes and weights of N(mean, covariance): integrates smooth functions to
    rounding.
    """
    z, w = np.polynomial.hermite_e.hermegauss(nodes)
    d = len(mean)
    grid = np.stack(np.meshgrid(*[z] * d, indexing="ij"), -1).reshape(-1, d)
    weights = np.stack(np.meshgrid(*[w / w.sum()] * d, indexing="ij"), -1).reshape(-1, d).prod(1)
    points = np.array(mean) + grid @ np.linalg.cholesky(np.array(covariance)).T
    return Cloud(torch.from_numpy(points), log_mass=torch.from_numpy(weights).log())


def optimal_cost(x: Cloud, y: Cloud, power: int) -> float:
    """The transport problem as a generic linear program, solved by HiGHS."""
    N, M = len(x), len(y)
    cost = np.linalg.norm(x.points.numpy()[:, None] - y.points.numpy()[None], axis=-1) ** power
    rows, columns = np.kron(np.eye(N), np.ones(M)), np.kron(np.ones(N), np.eye(M))
    solution = linprog(
        cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([x.mass, y.mass])
    )
    assert solution.status == 0
    return solution.fun


# ---- MMD and energy distance
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "q", "nodes", "expected"),
    [
        (([-2.0], [[0.25]]), ([1.0], [[2.25]]), (70, 80), 0.9473572753481838),
        (
            ([1.0, 1.0], [[1.0, 0.0], [0.0, 1.0]]),
            ([0.0, 0.0], [[1.0, 0.8], [0.8, 0.89]]),
            (38, 45),
            0.20894480077385524,
        ),
    ],
    ids=["1-D", "2-D"],
)
def test_mmd2_between_gaussians(p, q, nodes, expected):
    # E k = l^d |S|^{-1/2} exp(-delta' S^-1 delta / 2), S = S1 + S2 + l^2 I, with l = 1
    x, y = quadrature(*p, nodes[0]), quadrature(*q, nodes[1])
    assert MMD2(Gaussian(1.0))(x, y) == pytest.approx(expected, abs=1e-10)
    assert MMD(Gaussian(1.0))(x, y) == pytest.approx(math.sqrt(expected), abs=1e-10)


def test_mmd2_of_samples_is_the_v_statistic():
    # E MMD2 = MMD^2 + (1 - E k(X, X')) / N + (1 - E k(Y, Y')) / M; the mean of 300 draws within 4
    # standard errors (p = 6e-5)
    N, M, repetitions = 40, 25, 300
    truth = 0.9473572753481838
    bias = (1 - 1 / math.sqrt(1 + 2 * 0.25)) / N + (1 - 1 / math.sqrt(1 + 2 * 2.25)) / M
    x, y = -2 + 0.5 * normal(repetitions * N, 1, 0), 1 + 1.5 * normal(repetitions * M, 1, 1)
    values = np.array([MMD2(Gaussian(1.0))(a, b) for a, b in zip(x.split(N), y.split(M))])
    error = values.std(ddof=1) / math.sqrt(repetitions)
    assert abs(values.mean() - truth - bias) < 4 * error
    assert abs(values.mean() - truth) > 4 * error, "the test must notice a U-statistic"


def test_mmd2_is_the_double_sum():
    x, y = weighted(7, 3, 0), weighted(11, 3, 1)
    points, signed = torch.cat([x.points, y.points]), torch.cat([x.mass, -y.mass])
    expected = signed @ torch.exp(-torch.cdist(points, points) / 0.8) @ signed
    assert MMD2(Laplace(0.8))(x, y) == pytest.approx(float(expected), rel=1e-12)
    assert MMD2(Laplace(0.8), pairwise=Dense(max_bytes=500))(x, y) == pytest.approx(
        float(expected), rel=1e-12
    )


def test_mmd2_takes_masses_as_they_are():
    two, one = Cloud(torch.zeros(1, 2), log_mass=torch.tensor([math.log(2)])), torch.zeros(3, 2)
    assert MMD2(Gaussian(1.0))(two, one) == pytest.approx(
        1.0, rel=1e-6
    )  # (2 - 1)^2 k(0, 0), float32


def test_a_plain_callable_is_a_kernel():
    x, y = normal(6, 2, 0), normal(9, 2, 1)
    assert MMD2(lambda s: torch.exp(-s / 2))(x, y) == pytest.approx(
        MMD2(Gaussian(1.0))(x, y), rel=1e-13
    )


def test_what_is_kept_of_y_never_changes_a_result():
    kernel = Gaussian(0.5)
    metric = MMD2(kernel)
    x, array = normal(20, 2, 0), normal(30, 2, 1).numpy()
    y = torch.from_numpy(array)
    first = metric(x, y)
    assert metric(x, y) == first == MMD2(kernel)(x, y)
    version = y._version
    array[0] += 5.0  # through the shared memory: the tensor's identity and version stay
    assert y._version == version
    assert metric(x, y) == MMD2(kernel)(x, y) != first
    heavy = Cloud(y, log_mass=torch.log(torch.linspace(1.0, 2.0, 30, dtype=torch.float64) / 45))
    assert metric(x, heavy) == MMD2(kernel)(x, heavy) != metric(x, y)
    assert metric(x.float(), y.float()) == MMD2(kernel)(x.float(), y.float())
    assert metric == MMD2(kernel)
    assert hash(metric) == hash(MMD2(kernel))


def test_energy_distance_is_the_square_of_scipys():
    x, y = normal(23, 1, 0), 1 + 2 * normal(31, 1, 1)
    expected = scipy.stats.energy_distance(x[:, 0], y[:, 0]) ** 2
    assert EnergyDistance()(x, y) == pytest.approx(expected, rel=1e-12)
    assert MMD2(Energy())(x, y) == pytest.approx(expected, rel=1e-12)


# ---- exact transport
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("metric", "power"), [(W1(), 1), (W2(), 2)], ids=["W1", "W2"])
@pytest.mark.parametrize("d", [1, 2, 5])
class TestExact:
    def test_all_permutations(self, metric, power, d):
        x, y = normal(5, d, 0), normal(5, d, 1)
        twice = y.repeat_interleave(2, 0)  # the same measure with M = 10
        cost = torch.cdist(x, y) ** power
        best = min(
            float(cost[torch.arange(5), list(order)].mean())
            for order in itertools.permutations(range(5))
        )
        assert metric(x, twice) == pytest.approx(best ** (1 / power), rel=1e-12)

    def test_linear_program(self, metric, power, d):
        x, y = weighted(8, d, 2), weighted(13, d, 3)
        assert metric(x, y) == pytest.approx(optimal_cost(x, y, power) ** (1 / power), rel=1e-9)
        assert metric(x.points, y) == pytest.approx(
            optimal_cost(Cloud(x.points), y, power) ** (1 / power), rel=1e-9
        )

    def test_translation(self, metric, power, d):
        x, shift = normal(12, d, 4), torch.arange(1.0, d + 1, dtype=torch.float64)
        thrice = (x + shift).repeat(3, 1)
        assert metric(x, thrice) == pytest.approx(float(shift.norm()), rel=1e-12)

    def test_any_scale(self, metric, power, d):
        x, y = normal(9, d, 5), 1 + normal(14, d, 6)
        for scale in (1e-12, 1e9):
            assert metric(scale * x, scale * y) == pytest.approx(scale * metric(x, y), rel=1e-9)


def test_w2_between_gaussians_in_one_dimension():
    # W2^2 = (m1 - m2)^2 + (s1 - s2)^2, on the midpoints of equally likely cells
    def midpoints(n: int, mean: float, std: float) -> Tensor:
        return torch.from_numpy(scipy.stats.norm.ppf((np.arange(n) + 0.5) / n, mean, std))[:, None]

    x, y = midpoints(100_000, -0.9235411652898637, 1.1948955682341553), midpoints(130_000, 1.0, 1.5)
    assert W2()(x, y) == pytest.approx(1.947588079869007, abs=1e-5)
    assert SlicedW2()(x, y) == W2()(x, y)


def test_w1_in_one_dimension_against_scipy():
    x, y = weighted(40, 1, 0), weighted(27, 1, 1)
    expected = scipy.stats.wasserstein_distance(x.points[:, 0], y.points[:, 0], x.mass, y.mass)
    assert W1()(x, y) == pytest.approx(expected, rel=1e-12)


def test_w1_is_below_w2_and_sliced_too():
    for seed in range(20):
        x, y = weighted(15, 3, 2 * seed), weighted(22, 3, 2 * seed + 1)
        assert W1()(x, y) <= W2()(x, y)
        assert SlicedW2()(x, y) <= W2()(x, y)


@pytest.mark.parametrize(
    "metric", [W1(), W2(), SlicedW2(), EnergyDistance()], ids=lambda metric: type(metric).__name__
)
@pytest.mark.parametrize("d", [1, 2])
def test_total_masses_are_normalised(metric, d):
    x, y = weighted(10, d, 0), weighted(14, d, 1)
    heavy = Cloud(x.points, log_mass=x.log_mass + 3)
    assert metric(heavy, y) == pytest.approx(metric(x, y), rel=1e-12)


def test_a_large_cloud_is_subsampled_with_a_seed():
    x, y = normal(90, 2, 0), 1 + normal(120, 2, 1)
    value = W2(max_points=30)(x, y)
    assert value == W2(max_points=30)(x, y)
    assert value != W2(max_points=30, seed=1)(x, y)
    assert value != W2()(x, y)
    assert value == pytest.approx(W2()(x, y), rel=0.3)
    assert W2(max_points=120)(x, y) == W2()(x, y)
    assert "max_points=30" in repr(W2(max_points=30))


def test_a_line_is_never_subsampled():
    x, y = normal(90, 1, 0), normal(120, 1, 1)
    assert W2(max_points=10)(x, y) == W2()(x, y)


def test_the_subsample_follows_the_mass():
    # Three points of 100 hold all the mass: 30 systematic draws take each ten times.
    log_mass = torch.full((100,), -torch.inf, dtype=torch.float64)
    log_mass[[11, 50, 93]] = math.log(1 / 3)
    x = Cloud(normal(100, 2, 0), log_mass=log_mass)
    assert W2(max_points=30)(x, x.points[[11, 50, 93]]) == pytest.approx(0, abs=1e-7)


def test_the_subsample_is_unbiased():
    # The W1 to a far point is nearly linear, so its mean over 200 seeds is that of the cloud:
    # within 4 standard errors.
    points, far = normal(50, 2, 0), torch.tensor([[1e4, 0.0]], dtype=torch.float64)
    x = Cloud(points, log_mass=points[:, 0].log_softmax(0))
    values = np.array([W1(max_points=10, seed=seed)(x, far) for seed in range(200)])
    error = values.std(ddof=1) / math.sqrt(len(values))
    assert abs(values.mean() - W1()(x, far)) < 4 * error
    assert abs(values.mean() - W1()(x.points, far)) > 4 * error, (
        "the test must notice that masses were ignored"
    )


def test_the_subsample_does_not_follow_the_order():
    # Every second point is at 1: a stride of two would see one place only, and W2^2 to the halves
    # at 0 and 1 would be 1/2 (here |share - 1/2|).
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    squares = [W2(max_points=30, seed=seed)(x.repeat(30, 1), x) ** 2 for seed in range(20)]
    assert max(squares) < 0.3


def test_too_few_pivots_give_nan_and_a_warning():
    with pytest.warns(
        RuntimeWarning,
        match=(
            r"W2 of 40 and 30 points was not solved in max_iterations = 3 .*raise max_iterations="
        ),
    ):
        value = W2(max_iterations=3)(normal(40, 2, 0), normal(30, 2, 1))
    assert math.isnan(value)


def test_missing_pot_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(ImportError, match=r"need POT.*pip install POT, or use SlicedW2"):
        W2()(normal(4, 2, 0), normal(5, 2, 1))
    assert W2()(normal(4, 1, 0), normal(5, 1, 1)) > 0  # the line does not need it


def test_exact_transport_imports_no_keops():
    code = """if True:
        import sys, torch
        from particleflow.metrics import W2
        assert "ot" not in sys.modules
        assert abs(W2()(torch.eye(2), torch.ones(3, 2)) - 1) < 1e-12
        assert "ot" in sys.modules
        assert not {"pykeops", "keopscore", "geomloss"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- sliced
# --------------------------------------------------------------------------------------------------


def test_sliced_w2_is_the_mean_over_its_directions(monkeypatch):
    metric = SlicedW2(projections=25, seed=3)
    x, y = weighted(17, 3, 0), weighted(12, 3, 1)
    lines = (
        [Cloud((c.points @ t)[:, None], log_mass=c.log_mass) for c in (x, y)]
        for t in metric.directions(3)
    )
    squares = [optimal_cost(*pair, 2) for pair in lines]
    assert metric(x, y) == pytest.approx(math.sqrt(np.mean(squares)), rel=1e-9)
    whole = metric(x, y)
    monkeypatch.setattr(metrics.sliced, "LEVELS_AT_ONCE", 100)  # blocks of three directions
    assert metric(x, y) == pytest.approx(whole, rel=1e-14)


def test_sliced_w2_of_a_translation():
    x, shift = normal(19, 4, 0), torch.tensor([3.0, -1.0, 0.5, 2.0], dtype=torch.float64)
    thrice = (x + shift).repeat(3, 1)
    metric = SlicedW2()
    assert metric(x, thrice) == pytest.approx(
        math.sqrt(float((metric.directions(4) @ shift).square().mean())), rel=1e-12
    )
    # E (theta.c)^2 = |c|^2 / d with variance 2 |c|^4 (d - 1) / (d^2 (d + 2)): 20000 directions
    # within 4 standard errors
    many, d = SlicedW2(projections=20_000), 4
    error = math.sqrt(2 * (d - 1) / (d**2 * (d + 2)) / 20_000)
    assert many(x, thrice) ** 2 / float(shift @ shift) == pytest.approx(1 / d, abs=4 * error)


def test_directions_are_seeded_unit_vectors():
    first = SlicedW2(seed=5).directions(6)
    assert first.shape == (200, 6)
    assert torch.equal(first, SlicedW2(seed=5).directions(6))
    assert not torch.equal(first, SlicedW2(seed=6).directions(6))
    torch.testing.assert_close(
        first.norm(dim=1), torch.ones(200, dtype=torch.float64), rtol=1e-14, atol=0
    )


# ---- all
# --------------------------------------------------------------------------------------------------


def test_a_recorded_flow():
    # reference data computed independently in float64: snapshots of an MMD flow to three rings,
    # kernel exp(-|x - y|^2 / 0.1)
    data = np.load(Path(__file__).parent / "data" / "metrics_reference.npz")
    mmd2, w2 = MMD2(Gaussian.from_denominator(0.1)), W2()
    for x, expected_mmd2, expected_w2 in zip(data["x"], data["mmd2"], data["w2"]):
        assert mmd2(x, data["y"]) == pytest.approx(expected_mmd2, rel=1e-12)
        assert w2(x, data["y"]) == pytest.approx(expected_w2, rel=1e-12)


@each
@pytest.mark.parametrize("d", [1, 3])
class TestEach:
    def test_permutations_change_nothing(self, metric, d):
        x, y = weighted(16, d, 0), weighted(21, d, 1)
        order = torch.from_numpy(np.random.default_rng(2).permutation(16))
        assert metric(Cloud(x.points[order], log_mass=x.log_mass[order]), y) == pytest.approx(
            metric(x, y), rel=1e-11
        )

    def test_symmetry(self, metric, d):
        x, y = weighted(16, d, 0), weighted(21, d, 1)
        assert metric(x, y) == pytest.approx(metric(y, x), rel=1e-11)

    def test_a_cloud_is_at_zero_from_itself(self, metric, d):
        for cloud in (weighted(16, d, 0), normal(16, d, 0), torch.ones(5, d)):
            assert metric(cloud, cloud) == pytest.approx(0, abs=1e-12)

    def test_a_point_twice_is_a_point_of_double_mass(self, metric, d):
        x, y = normal(6, d, 0), normal(10, d, 1)
        heavy = Cloud(
            x, log_mass=torch.tensor([2.0, 1, 1, 1, 1, 1], dtype=torch.float64).div(7).log()
        )
        assert metric(heavy, y) == pytest.approx(metric(torch.cat([x, x[:1]]), y), rel=1e-11)

    def test_a_point_without_mass_is_not_there(self, metric, d):
        x, y = weighted(9, d, 0), weighted(12, d, 1)
        more = Cloud(
            torch.cat([x.points, x.points[:1] + 50]),
            log_mass=torch.cat([x.log_mass, torch.full((1,), -torch.inf)]),
        )
        assert metric(more, y) == pytest.approx(metric(x, y), rel=1e-11)

    def test_float32(self, metric, d):
        x, y = weighted(30, d, 0), weighted(20, d, 1)
        single = [Cloud(c.points.float(), log_mass=c.log_mass.float()) for c in (x, y)]
        assert metric(*single) == pytest.approx(metric(x, y), rel=2e-5)

    def test_arrays_follow_the_tensor(self, metric, d):
        x, y = normal(8, d, 0).float(), normal(11, d, 1).float()
        value = metric(x, y)
        assert isinstance(value, float)
        assert metric(x, y.numpy()) == metric(x.tolist(), y) == metric(Cloud(x), y) == value

    def test_inputs_are_left_alone(self, metric, d):
        x, y = normal(8, d, 0).requires_grad_(), normal(11, d, 1)
        before = x.detach().clone(), y.clone()
        metric(x, y)
        assert torch.equal(x, before[0])
        assert torch.equal(y, before[1])


@pytest.mark.parametrize("metric", DISTANCES, ids=lambda metric: type(metric).__name__)
def test_triangle_inequality(metric):
    for seed in range(0, 30, 3):
        x, y, z = weighted(5, 2, seed), weighted(7, 2, seed + 1), weighted(6, 2, seed + 2)
        assert metric(x, z) <= metric(x, y) + metric(y, z) + 1e-12


@each
def test_contract(metric):
    assert isinstance(metric, Metric)
    assert metric.label
    with pytest.raises(AttributeError, match="cannot assign"):
        metric.label = "other"


def test_labels_say_root_or_square():
    labels = [metric.label for metric in ALL]
    assert labels == [
        "MMD^2",
        "MMD (root)",
        "energy distance (squared)",
        "W1",
        "W2 (root)",
        "sliced W2 (root)",
    ]


@each
def test_bad_clouds_are_refused(metric):
    x = normal(4, 2, 0)
    with pytest.raises(
        ValueError, match=r"`y` must be \(M, 2\) like `x`, got \(5, 3\): pass the same coordinates"
    ):
        metric(x, normal(5, 3, 1))
    with pytest.raises(
        TypeError, match=r"`x` and `y` must have one dtype, got torch.float64 and torch.float32"
    ):
        metric(x, normal(5, 2, 1).float())
    with pytest.raises(ValueError, match=r"`x` must be finite, got \[nan, 0.0\] in row 1"):
        metric([[0.0, 0.0], [math.nan, 0.0]], x)
    with pytest.raises(
        TypeError, match=r"`y` must be an \(n, d\) array of real numbers, got NoneType"
    ):
        metric(x, None)
    massless = Cloud(x, log_mass=torch.full((4,), -torch.inf, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"`y` must have a total mass > 0 and finite, got 0"):
        metric(x, massless)


def test_bad_options_are_refused():
    for option, make in [("max_points", W2), ("max_iterations", W1), ("projections", SlicedW2)]:
        with pytest.raises(ValueError, match=f"`{option}` must be >= 1, got 0"):
            make(**{option: 0})
    with pytest.raises(ValueError, match="`seed` must be >= 0, got -1"):
        SlicedW2(seed=-1)


def test_pots_own_warnings_stay_inside():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        W2()(normal(40, 2, 0), normal(30, 2, 1))
    assert caught == []


# ---- particles left behind
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 7])
def test_particles_left_behind_are_counted(d):
    x, y = 2 * normal(611, d, 0), normal(110, d, 1)
    distances = torch.cdist(x, y).amin(1).sort().values
    radius = float(distances[399:401].mean())
    assert LeftBehind(radius)(x, y) == pytest.approx(211 / 611, rel=1e-12)
    assert LeftBehind(radius)(y, x) < LeftBehind(radius)(x, y)
    assert LeftBehind(100.0)(x, y) == 0
    assert LeftBehind(0.4).label == "share farther than 0.4 from the target"


def test_particles_left_behind_have_their_masses_and_massless_points_do_not_count():
    x = Cloud(torch.tensor([[0.0], [2.0], [5.0]]), mass=torch.tensor([0.5, 1.5, 2.0]))
    y = Cloud(torch.tensor([[0.0], [2.1], [5.0]]), mass=torch.tensor([0.3, 0.7, 0.0]))
    assert LeftBehind(0.2)(x, y) == pytest.approx(0.5)
    assert LeftBehind(0.05)(x, y) == pytest.approx(0.875)
    assert LeftBehind(2.0)(torch.tensor([[2.0]]), torch.tensor([[0.0]])) == 0  # not more than it


@pytest.mark.parametrize("radius", [0.0, -1.0, math.nan, math.inf])
def test_a_radius_is_a_positive_number(radius):
    with pytest.raises(ValueError, match="`radius` must be"):
        LeftBehind(radius)
