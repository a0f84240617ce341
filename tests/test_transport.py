"""The perfect critic: duality, slopes, unit speed, ties, masses; and Sinkhorn's potential on its
way to the exact one.
"""

from __future__ import annotations

import builtins
import math
import re
from itertools import permutations

import numpy as np
import ot
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

import particleflow as pf
from particleflow import metrics
from particleflow.clouds import Cloud
from particleflow.estimators import CTransformCritic, transport
from particleflow.estimators.transport import distances

ENTROPIC = CTransformCritic(exact_up_to=0, regularisation=0.1)
each_critic = pytest.mark.parametrize(
    "critic", [CTransformCritic(), ENTROPIC], ids=["exact", "entropic"]
)


def normal(
    n: int, d: int, seed: int, shift: float = 0.0, dtype: torch.dtype = torch.float64
) -> Tensor:
    return torch.from_numpy(np.random.default_rng([seed, d]).standard_normal((n, d)) + shift).to(
        dtype
    )


def weighted(points: Tensor, seed: int) -> Cloud:
    """Masses that add up to something else than one, one of them none."""
    mass = torch.from_numpy(np.random.default_rng(seed).uniform(0.2, 3, len(points)))
    mass[2] = 0
    return Cloud(points, log_mass=mass.log().to(points.dtype))


def gain(fit: pf.Fit, x: Cloud, y: Cloud) -> float:
    """E_p w - E_q w, by the witness itself."""
    current, target = (
        cloud.mass.double()
        @ fit.witness.value_and_grad(cloud.points)[0].double()
        / cloud.mass.double().sum()
        for cloud in (x, y)
    )
    return float(target - current)


def test_the_dual_is_the_best_of_all_matchings() -> None:
    x, y = normal(6, 2, 0), normal(6, 2, 1, 0.5)
    cost = distances(x, y)
    best = min(float(cost[range(6), order].mean()) for order in map(list, permutations(range(6))))
    fit = pf.fit(CTransformCritic(), x, y)
    assert fit.value == pytest.approx(best, rel=1e-12)
    assert fit.report["converged"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("n", "m", "d"), [(40, 57, 1), (57, 40, 2), (30, 31, 16), (1, 9, 2), (9, 1, 3)]
)
def test_the_dual_is_the_cost_of_the_plan(n: int, m: int, d: int, dtype: torch.dtype) -> None:
    """Also through the witness: w carries the potential to the points of both clouds."""
    for x, y in [(Cloud(normal(n, d, 0, dtype=dtype)), Cloud(normal(m, d, 1, 0.7, dtype)))] + (
        [(weighted(normal(n, d, 2, dtype=dtype), 3), weighted(normal(m, d, 4, dtype=dtype), 5))]
        if min(n, m) > 2
        else []
    ):
        fit = pf.fit(CTransformCritic(), x, y)
        exact = metrics.W1()(x, y)
        assert fit.value == pytest.approx(exact, rel=1e-11)
        assert gain(fit, x, y) == pytest.approx(
            exact, rel=1e-11 if dtype == torch.float64 else 1e-5
        )


@each_critic
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_no_two_points_see_a_slope_above_one(critic: CTransformCritic, dtype: torch.dtype) -> None:
    fit = pf.fit(critic, weighted(normal(40, 3, 0, dtype=dtype), 1), normal(57, 3, 1, 1.0, dtype))
    a, b = 3 * normal(2000, 3, 2, dtype=dtype), 3 * normal(2000, 3, 3, dtype=dtype)
    b[1000:] = a[1000:] + 1e-3 * b[1000:]
    a[-1], b[-1] = 1e6, -1e6
    (u, grad), (v, _) = fit.witness.value_and_grad(a), fit.witness.value_and_grad(b)
    assert u.dtype == grad.dtype == dtype
    rounding = 20 * torch.finfo(dtype).eps
    assert bool(((u - v).abs() <= (a - b).norm(dim=1) * (1 + rounding) + 50 * rounding).all())
    assert float(grad.norm(dim=1).max()) <= 1 + rounding
    assert not fit.witness.log_ratio


@each_critic
def test_the_gradient_by_differences(critic: CTransformCritic) -> None:
    witness = pf.fit(critic, normal(20, 3, 0), normal(27, 3, 1, 1.0)).witness
    z, h = normal(50, 3, 2), 1e-6
    grad = witness.value_and_grad(z)[1]
    for k, step in enumerate(h * torch.eye(3, dtype=torch.float64)):
        slope = (witness.value_and_grad(z + step)[0] - witness.value_and_grad(z - step)[0]) / (
            2 * h
        )
        assert float((slope - grad[:, k]).abs().max()) < 1e-5
    if critic is not ENTROPIC:
        assert torch.allclose(
            grad.norm(dim=1), torch.ones(50, dtype=torch.float64), rtol=0, atol=1e-14
        )


@pytest.mark.parametrize(("n", "m"), [(200, 200), (200, 170), (60, 200)])
def test_w1_falls_at_unit_rate(unchecked, n: int, m: int) -> None:
    """N((5, 5), I) to N(0, I), no particle yet at its match. At particles that share their mass
    among several matches the loss is of second order.
    """
    x, y = normal(n, 2, 0, 5.0), normal(m, 2, 1)
    path = pf.simulate(
        pf.wgan_flow(CTransformCritic()),
        x,
        y,
        steps=20,
        dt=0.02,
        metrics={"W1": metrics.W1()},
        save=pf.SaveAt(every=5),
    )
    w1 = [float(value) for value in path.metrics["W1"]]
    assert np.diff(w1) / 0.1 == pytest.approx(np.full(4, -1.0), rel=1e-9 if n == m else 1e-3)


def test_a_particle_follows_its_own_match_although_others_tie() -> None:
    """A corner of the linear program has N + M - 1 tight pairs, of which only N carry mass."""
    x, y = normal(50, 2, 0, 5.0), normal(50, 2, 1)
    fit = pf.fit(CTransformCritic(), x, y)
    reach = fit.witness.v - distances(x, y)
    assert int((reach > reach.amax(1, keepdim=True) - 1e-10).sum()) > 80
    match = y[linear_sum_assignment(distances(x, y).numpy())[1]]
    assert (
        float(
            (fit.witness.value_and_grad(x)[1] - (match - x) / (match - x).norm(dim=1, keepdim=True))
            .abs()
            .max()
        )
        < 1e-14
    )


def test_matches_of_a_shared_particle() -> None:
    """Pulled by both along the bisector; nowhere by opposite ones, nor where at least half has
    arrived; away where less than that has.
    """
    at = torch.zeros(1, 2, dtype=torch.float64)

    def pull(*matches: tuple[float, float]) -> list[float]:
        return (
            pf.fit(CTransformCritic(), at, torch.tensor(matches, dtype=torch.float64))
            .witness.value_and_grad(at)[1][0]
            .tolist()
        )

    assert pull((2.0, 0.0), (0.0, 5.0)) == pytest.approx([math.sqrt(0.5)] * 2, rel=1e-12)
    assert pull((2.0, 0.0), (-3.0, 0.0)) == [0.0, 0.0]
    assert pull((2.0, 0.0), (0.0, 0.0)) == [0.0, 0.0]
    assert pull((2.0, 0.0), (0.0, 0.0), (3.0, 0.0)) == pytest.approx([1.0, 0.0])


@pytest.mark.parametrize("middle", [0.0, 1.0, 1e3])
@pytest.mark.parametrize("copies", [1, 2])
def test_opposite_pulls_cancel_up_to_rounding(middle: float, copies: int) -> None:
    """Whatever rounding leaves of them is no direction; a particle, or two of them at one place."""
    at = torch.full((copies, 2), middle, dtype=torch.float64)
    for far in (0.7, 1.5, 2.5, 3.0, 7.0):
        ends = at[0] + torch.tensor([[2.0, 0.0], [-far, 0.0]], dtype=torch.float64)
        grad = pf.fit(CTransformCritic(), at, ends).witness.value_and_grad(at)[1]
        assert not grad.any()
    # where they do not cancel, half of a thousandth is a direction
    shares = torch.tensor([0.5005, 0.4995], dtype=torch.float64)
    fit = pf.fit(CTransformCritic(), at, pf.Cloud(ends, mass=shares))
    assert torch.allclose(fit.witness.value_and_grad(at)[1], at.new_tensor([1.0, 0.0]))


@each_critic
def test_coincident_clouds_are_at_rest(critic: CTransformCritic) -> None:
    """Finite, and exactly still where the potential is exact."""
    one = torch.ones(4, 2, dtype=torch.float64)
    cloud = normal(12, 2, 0)
    for x, y in ((one, one[:3]), (cloud, cloud.flip(0)), (cloud, torch.cat([cloud, cloud]))):
        fit = pf.fit(critic, x, y)
        value, grad = fit.witness.value_and_grad(torch.cat([x, x + 1e-300, x + 3]))
        assert bool(torch.isfinite(value).all())
        assert bool(torch.isfinite(grad).all())
        if critic is not ENTROPIC:
            assert fit.value == pytest.approx(0, abs=1e-12)
            assert not fit.witness.value_and_grad(x)[1].any()
    spread = pf.fit(critic, one, normal(7, 2, 1))
    assert bool(torch.isfinite(spread.witness.value_and_grad(one)[1]).all())


def test_sinkhorn_tends_to_the_exact_potential(unchecked) -> None:
    """From below; values and gradients."""
    x, y = weighted(normal(60, 2, 0, 2.0), 1), weighted(normal(47, 2, 1), 2)
    exact = metrics.W1()(x, y)
    sharp = pf.fit(CTransformCritic(), x, y).witness.value_and_grad(x.points)[1]
    errors = []
    for eps in (0.5, 0.1, 0.02):
        fit = pf.fit(
            CTransformCritic(exact_up_to=46, regularisation=eps, max_iterations=3000), x, y
        )
        assert fit.report["converged"]
        assert fit.report["regularisation"] == eps
        assert fit.value <= exact
        errors.append(
            (
                exact - fit.value,
                float((fit.witness.value_and_grad(x.points)[1] - sharp).norm(dim=1).mean()),
            )
        )
    assert errors[2][0] < 0.2 * errors[1][0] < 0.04 * errors[0][0]
    assert errors[2][1] < 0.5 * errors[1][1] < 0.25 * errors[0][1]
    assert errors[2][0] < 5e-3 * exact


def test_what_has_not_converged_says_so_and_is_a_bound_all_the_same() -> None:
    x, y = normal(30, 2, 0), normal(37, 2, 1)
    fit = pf.fit(CTransformCritic(exact_up_to=0, regularisation=1e-3, max_iterations=10), x, y)
    assert not fit.report["converged"]
    assert fit.report["gap"] > 1e-4
    assert 0 < fit.value < metrics.W1()(x, y)


def test_the_regularisation_is_chosen_once(unchecked) -> None:
    y = 4 * normal(37, 2, 1)
    critic = CTransformCritic(exact_up_to=10)
    first = pf.fit(critic, normal(30, 2, 0, 3.0), y)
    spread = float((y - y.mean(0)).square().sum(1).mean().sqrt())
    assert first.report["regularisation"] == pytest.approx(spread / 20, rel=1e-12)
    second = critic.fit(Cloud(normal(30, 2, 0)), Cloud(0.1 * y), pf.Clock(), first.memory)
    assert second.report["regularisation"] == first.report["regularisation"]


@each_critic
def test_a_run_on_fresh_batches_goes_on_bit_for_bit(critic: CTransformCritic) -> None:
    target = pf.samplers.Minibatch(pf.samplers.Rings(), 9)
    x = 0.1 * normal(8, 2, 0, dtype=torch.float32)
    flow = pf.wgan_flow(critic)
    whole = pf.simulate(flow, x, target, steps=4, dt=0.05, seed=7)
    rest = pf.simulate(
        flow, pf.simulate(flow, x, target, steps=2, dt=0.05, seed=7), target, steps=2
    )
    assert whole.particles.dtype == torch.float32
    assert torch.equal(whole.particles[-1], rest.particles[-1])


def test_chunks_change_nothing(monkeypatch) -> None:
    for critic in (CTransformCritic(), ENTROPIC):
        fit = pf.fit(critic, normal(20, 2, 0), normal(27, 2, 1))
        z = torch.cat([normal(5, 2, 2), normal(20, 2, 0)])
        whole, value = fit.witness.value_and_grad(z), fit.value
        with monkeypatch.context() as patch:
            patch.setattr("particleflow.estimators.c_transform.CHUNK", 8 * 27 * 7)
            again = pf.fit(critic, normal(20, 2, 0), normal(27, 2, 1))
            assert again.value == pytest.approx(value, rel=1e-12)
            for a, b in zip(whole, again.witness.value_and_grad(z), strict=True):
                assert torch.allclose(a, b, rtol=0, atol=1e-9)


def test_without_pot(monkeypatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: object) -> object:
        if name == "ot":
            raise ImportError("No module named 'ot'")
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(
        ImportError,
        match=r"CTransformCritic needs POT, .* pip install POT, or use GradientPenaltyCritic\(\)",
    ):
        pf.fit(CTransformCritic(), torch.zeros(2, 2), torch.ones(3, 2))


REFUSED = {
    "CTransformCritic(exact_up_to=-1)": "`exact_up_to` must be >= 0, got -1",
    "CTransformCritic(regularisation=0)": "`regularisation` must be > 0, got 0",
    "CTransformCritic(regularisation='small')": "`regularisation` must be a number, got str",
    "CTransformCritic(tolerance=math.nan)": "`tolerance` must be finite, got nan",
    "CTransformCritic(max_iterations=0)": "`max_iterations` must be >= 1, got 0",
    "pf.fit(CTransformCritic(), normal(3, 2, 0))": (
        "`y` must be (M, d) points for CTransformCritic, got None"
    ),
    "pf.fit(CTransformCritic(), normal(3, 2, 0), normal(3, 1, 0))": (
        "`y` must be (M, 2) like `x`, got (3, 1)"
    ),
    "pf.mono_flow(CTransformCritic(), pf.mobilities.Vanilla())": (
        "`mobility` must be Unit() or Linear() for CTransformCritic"
    ),
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_is_refused(unchecked, code: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(REFUSED[code])):
        eval(code)


def test_sinkhorn_on_a_matrix_and_on_logarithms_end_at_one_potential(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Clouds too large for a matrix of distances, here all, take logarithms block by block."""
    x, y = weighted(normal(31, 2, 0, 1.5), 1), weighted(normal(23, 2, 1), 2)
    critic = CTransformCritic(
        exact_up_to=0, regularisation=0.05, tolerance=1e-12, max_iterations=5000
    )
    on_matrix = pf.fit(critic, x, y)
    monkeypatch.setattr(transport, "MATRIX", 0)
    on_logarithms = pf.fit(critic, x, y)
    assert on_matrix.report["iterations"] != on_logarithms.report["iterations"]
    values = []
    for fit in (on_matrix, on_logarithms):
        assert fit.report["converged"]
        value, grad = fit.witness.value_and_grad(normal(9, 2, 3))
        values.append(torch.column_stack([value - value[0], grad]))
    torch.testing.assert_close(values[0], values[1], rtol=0, atol=1e-9)


def test_where_a_kernel_matrix_runs_out_of_numbers_logarithms_do_not() -> None:
    x, y = Cloud(normal(31, 2, 0, 30.0)), Cloud(normal(23, 2, 1))
    assert transport._on_matrix(ot, x, y, [(1e-3, 50)], 1e-6) is None
    v, _, gap = transport._on_logarithms(ot, x, y, [(1e-3, 50)], 1e-6)
    assert bool(torch.isfinite(v).all())
    assert math.isfinite(gap)
