"""Suggested steps beside the largest stable ones: random problems, and kernels with a kink."""

from __future__ import annotations

import pytest
import torch

import particleflow as pf
from benchmarks import dt
from particleflow.estimators import KDE, ULSIF
from particleflow.kernels import Energy, Gaussian, Laplace, Matern32

# A test measures the steps as users run them.
pytestmark = pytest.mark.usefixtures("unchecked")

# Random problems that take 0.3 s or less: MMD, KDE, a known density, Langevin; d = 1 to 5.
QUICK = (8, 9, 14, 42, 46, 49, 62, 65, 68, 92)


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(number, marks=() if number in QUICK else pytest.mark.slow)
        for number in range(100)
    ],
)
def test_the_suggested_step_is_stable_on_random_problems(number: int) -> None:
    assert dt.is_stable(dt.drawn(number))


@pytest.mark.parametrize(
    ("flow", "kernel", "task"),
    [
        ("mmd", "Energy", "line"),
        pytest.param("mmd", "Laplace", "rings", marks=pytest.mark.slow),
        pytest.param("mmd", "Energy", "five", marks=pytest.mark.slow),
        pytest.param("mmd", "Laplace", "line", marks=pytest.mark.slow),
        pytest.param("kde", "Laplace", "line", marks=pytest.mark.slow),
        pytest.param("kale-0.1", "Laplace", "rings", marks=pytest.mark.slow),
    ],
)
def test_at_a_kink_the_suggestion_is_within_four_times_the_largest_stable_step(
    flow: str, kernel: str, task: str
) -> None:
    assert 1 <= dt.largest(dt.problem(flow, kernel, task)) <= 4


def test_a_step_beyond_the_largest_is_not_stable() -> None:
    """The measure tells a good step from one whose particles hop, and from one that diverges."""
    one = dt.problem("mmd", "Energy", "line")
    end = dt.ended(one, one.suggested / 4)
    assert end is not None
    assert dt.stable(one, one.suggested, [end]) is not None
    assert dt.stable(one, 8 * one.suggested, [end]) is None
    assert dt.stable(one, 1e4 * one.suggested, []) is None


def test_suggestions_at_a_kink_follow_the_units() -> None:
    """Lengths times c: dt grows like c^2 where k has no unit, and like c where k is a length."""
    one = dt.problem("mmd", "Laplace", "gaussian", sizes=(20, 30))
    for made, power in ((lambda c: Laplace(0.4 * c), 2), (lambda c: Energy(), 1)):
        plain = pf.mmd_flow(made(1.0)).suggest_dt(one.x, one.y)
        for unit in (1e-2, 1e2):
            found = pf.mmd_flow(made(unit)).suggest_dt(unit * one.x, unit * one.y)
            assert found == pytest.approx(unit**power * plain, rel=1e-6)


def test_at_a_kink_a_target_of_one_place_takes_a_share_of_the_extent() -> None:
    """Particles hop about the place by dt, which is a hundredth of the extent or less."""
    x = torch.linspace(-1, 1, 20, dtype=torch.float64)[:, None]
    for y in (torch.zeros(1, 1, dtype=torch.float64), torch.zeros(7, 1, dtype=torch.float64)):
        assert 1e-4 < pf.mmd_flow(Energy()).suggest_dt(x, y) <= 0.02


def test_a_bandwidth_below_the_spacing_shortens_the_step() -> None:
    """A pair is felt within a bandwidth: a difference of the spacing would not see it."""
    one = dt.problem("mmd", "Laplace", "gaussian", sizes=(20, 30))
    wide, narrow = (
        pf.mmd_flow(Laplace(bandwidth)).suggest_dt(one.x, one.y) for bandwidth in (0.4, 1e-3)
    )
    assert narrow < 1e-3 * wide


def test_kernels_without_a_kink_keep_their_steps() -> None:
    """Numbers of tiny differences, which a change of the rule at a kink must not touch."""
    one = dt.problem("mmd", "Gaussian", "rings", sizes=(20, 30))
    flows = (
        pf.mmd_flow(Gaussian(0.2)),
        pf.mmd_flow(Matern32(0.2)),
        pf.mono_flow(KDE(Gaussian(0.2))),
        pf.mono_flow(ULSIF(Gaussian(0.2))),
        pf.kale_flow(Gaussian(0.2), lam=0.1),
    )
    assert [flow.suggest_dt(one.x, one.y) for flow in flows] == [0.088, 0.06, 0.015, 0.0062, 0.0038]
