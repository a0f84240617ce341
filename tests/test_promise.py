"""What approximate sums promise, held against exact ones on random problems that nobody chose for
them.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from benchmarks.speed.promise_problems import (
    FEWEST,
    HIGH,
    MOST,
    PLANE,
    SHAPES,
    Outcome,
    examine,
    problem,
    summary,
)
from particleflow import pairwise
from particleflow.kernels import Gaussian
from particleflow.pairwise import Dense
from particleflow.pairwise.base import Promise

BACKENDS = [
    ("Mesh", PLANE),
    ("Fourier", PLANE),
    ("Culled", PLANE),
    ("Nystroem", HIGH),
    ("Auto", PLANE),
]
FEW = 700  # sources at most in the fast tests
PROBLEMS = 100


@pytest.mark.parametrize(("name", "dims"), BACKENDS, ids=[name for name, _ in BACKENDS])
@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(seed, marks=() if seed < len(SHAPES) else pytest.mark.slow)
        for seed in range(2 * len(SHAPES))
    ],
)
def test_the_promise_holds(name, dims, seed):
    backend = getattr(pairwise, name)
    drawn = problem(seed, dims, most=FEW)
    outcome = examine(backend(rtol=drawn.rtol), drawn)
    assert outcome.kept or not outcome.claimed, outcome


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dims"), BACKENDS, ids=[name for name, _ in BACKENDS])
def test_the_promise_holds_in_a_hundred_problems_and_is_not_idle(name, dims):
    backend = getattr(pairwise, name)
    outcomes = []
    for seed in range(PROBLEMS):
        drawn = problem(seed, dims)
        outcomes.append(examine(backend(rtol=drawn.rtol), drawn))
    told = summary(outcomes)
    assert told["kept"] == told["problems"] > PROBLEMS // 2, told
    assert told["slack"] is None or told["slack"] <= 30, told


@dataclass(frozen=True)
class _Liar:
    """Sums with another bandwidth than it was asked for, and promises `promised`."""

    bandwidth_error: float
    promised: float | None

    def sources(self, kernel, points):
        return _LiarSources(
            Dense().sources(Gaussian(kernel.bandwidth * (1 + self.bandwidth_error)), points),
            self.promised,
        )


@dataclass(frozen=True)
class _LiarSources:
    inner: object
    promised: float | None

    def field(self, w):
        return _LiarField(self.inner.field(w), self.promised)


@dataclass(frozen=True)
class _LiarField:
    inner: object
    promised: float | None

    def __add__(self, other):
        return _LiarField(self.inner + other.inner, self.promised)

    def value_and_grad(self, z):
        return self.inner.value_and_grad(z)

    def promise(self, z):
        return None if self.promised is None else Promise(self.promised, self.promised)

    def explain(self, z):
        return {"backend": "_Liar", "why": ""}


@pytest.fixture(scope="module")
def gaussian_problem():
    for seed in range(PROBLEMS):
        drawn = problem(seed, most=FEW)
        if (
            isinstance(drawn.kernel, Gaussian)
            and drawn.shape == "normal"
            and drawn.parts[0][1].ndim == 1
        ):
            return drawn
    raise AssertionError("no such problem")


def test_a_broken_promise_is_seen(gaussian_problem):
    honest, loose, small, wrong = (
        examine(_Liar(error, promised), gaussian_problem)
        for error, promised in ((0.0, 1e-2), (1e-9, 1e-2), (1e-9, 0.0), (0.5, None))
    )
    assert honest.kept
    assert loose.kept
    assert min(honest.slack) > 1
    assert not small.kept, "an error above the promise"
    assert not wrong.kept, "no promise, but a row beyond the tolerance asked for"
    told = summary([honest, small, wrong, Outcome("_Liar", "", claimed=False)])
    assert (told["problems"], told["kept"]) == (3, 1)
    assert len(told["broken"]) == 2


def test_the_truth_is_that_of_autograd(gaussian_problem):
    z = gaussian_problem.z.double().requires_grad_(True)
    value = torch.zeros(len(z), dtype=torch.float64)
    for x, w in gaussian_problem.parts:
        s = ((z[:, None] - x.double()[None]) ** 2).sum(-1)
        value = value + torch.exp(-s / (2 * gaussian_problem.kernel.bandwidth**2)) @ w.double()
    (grad,) = torch.autograd.grad(value.sum(), z)
    exact_value, exact_grad = gaussian_problem.truth
    value_scale, grad_scale = gaussian_problem.scales
    assert (exact_value - value.detach()).abs().max() < 1e-12 * value_scale
    assert (exact_grad - grad).abs().max() < 1e-12 * grad_scale


def test_problems_are_functions_of_their_seed_and_meet_what_is_to_be_met():
    drawn = [problem(seed, dims) for dims in (PLANE, HIGH) for seed in range(PROBLEMS)]
    again = problem(3)
    assert torch.equal(again.z, drawn[3].z)
    assert again.kernel == drawn[3].kernel
    for each in drawn:
        m, n = (len(points) for points, _ in each.parts)
        assert m != n
        assert FEWEST <= min(m, n) <= max(m, n) <= MOST
        assert all(torch.isfinite(t).all() for part in each.parts for t in part)
    for part, dims in ((drawn[:PROBLEMS], PLANE), (drawn[PROBLEMS:], HIGH)):
        assert {each.shape for each in part} == set(SHAPES)
        assert {type(each.kernel).__name__ for each in part} == {
            "Gaussian",
            "Laplace",
            "Matern32",
            "Matern52",
            "IMQ",
            "Energy",
        }
        assert {each.z.shape[1] for each in part} == set(dims)
        assert {each.z.dtype for each in part} == {torch.float32, torch.float64}
        assert {each.parts[0][1].ndim for each in part} == {1, 2}
        assert any((each.parts[0][1] < 0).any() for each in part)
        assert any(len(each.z) != len(each.parts[1][0]) for each in part)
