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

# Random problems of MMD, KDE, a known density and Langevin flow, in d = 1 to 5, and their steps:
# few, for the default suite.
QUICK, FEW = (8, 9, 14, 42, 46, 49, 62, 65, 68, 92), 50


@pytest.mark.parametrize("number", QUICK)
def test_the_suggested_step_is_stable_on_some_random_problems(number: int) -> None:
    assert dt.is_stable(dt.drawn(number), FEW)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(100))
def test_the_suggested_step_is_stable_on_random_problems(number: int) -> None:
    assert dt.is_stable(dt.drawn(number))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flow", "kernel", "task"),
    [
        ("mmd", "Energy", "line"),
        ("mmd", "Energy", "five"),
        ("mmd", "Laplace", "rings"),
        ("mmd", "Laplace", "line"),
        ("kde", "Laplace", "line"),
        ("kale-0.1", "Laplace", "rings"),
    ],
)
def test_at_a_kink_the_suggestion_is_within_four_times_the_largest_stable_step(
    flow: str, kernel: str, task: str
) -> None:
    assert 1 <= dt.largest(dt.problem(flow, kernel, task)) <= 4


def test_a_step_beyond_the_largest_is_not_stable() -> None:
    """The measure tells a good step from one whose particles hop, and from one that diverges."""
    one = dt.problem("mmd", "Energy", "line")
    step = one.suggested
    end = dt.ended(one, step / 4, FEW)
    assert end is not None
    assert dt.stable(one, step, [end], FEW) is not None
    assert dt.stable(one, 8 * step, [end], FEW) is None
    assert dt.stable(one, 1e4 * step, [], FEW) is None


def test_suggestions_at_a_kink_follow_the_units() -> None:
    """Lengths times c: dt grows like c^2 where k has no unit, and like c where k is a length."""
    one = dt.problem("mmd", "Laplace", "gaussian", sizes=(20, 30))
    for made, power in ((lambda c: Laplace(0.4 * c), 2), (lambda c: Energy(), 1)):
        plain = pf.mmd_flow(made(1.0)).suggest_dt(one.x, one.y)
        found = pf.mmd_flow(made(100.0)).suggest_dt(100 * one.x, 100 * one.y)
        assert found == pytest.approx(100**power * plain, rel=1e-6)


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


def test_kernels_without_a_kink_take_a_third_of_eulers_limit() -> None:
    """Rates of tiny differences, which the rule at a kink must not touch: these are the steps."""
    one = dt.problem("mmd", "Gaussian", "rings", sizes=(20, 30))
    flows = (
        pf.mmd_flow(Gaussian(0.2)),
        pf.mmd_flow(Matern32(0.2)),
        pf.mono_flow(KDE(Gaussian(0.2))),
        pf.mono_flow(ULSIF(Gaussian(0.2))),
        pf.kale_flow(Gaussian(0.2), lam=0.1),
    )
    assert [flow.suggest_dt(one.x, one.y) for flow in flows] == [0.11, 0.08, 0.02, 0.0083, 0.0051]
