"""Contracts are declared: a name that happens to exist on a user's object changes no number, and a
part that raises is named.
"""

from __future__ import annotations

from collections import UserList
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Clock, Cloud, Draws
from particleflow.estimators import KDE, MMD, CTransformCritic, Fit
from particleflow.estimators.base import check_estimator, smoothness_of
from particleflow.kernels import Gaussian, Laplace, Radial
from particleflow.kernels.declared import has_kink
from particleflow.mobilities import Linear, Unit
from particleflow.watch import Watch

KERNEL = Gaussian(0.8)
rng = np.random.default_rng(0)
X = torch.from_numpy(0.6 * rng.standard_normal((13, 2)) + 0.9)
Y = torch.from_numpy(rng.standard_normal((17, 2)))


# as users run it: this suite's own checks of types would answer first
pytestmark = pytest.mark.usefixtures("unchecked")


# ---- estimators
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Blurred(MMD):
    """Fields of its own whose names others use."""

    smooth: float = 0.0
    at: float = 1.0
    seed: str = "none"
    bandwidth: str = "wide"


@dataclass(frozen=True)
class Own:
    """No subclass of an estimator here: it declares the four facts, and nothing else."""

    of: MMD = field(default_factory=lambda: MMD(KERNEL))
    smooth: bool = False
    deterministic: ClassVar[bool] = True
    log_ratio: ClassVar[bool] = False
    needs_target: ClassVar[bool] = True
    energy_slope: ClassVar[float] = 1.0

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Mapping[str, Tensor]) -> Fit:
        return self.of.fit(x, y, clock, memory)


@dataclass(frozen=True)
class Smooth(Own):
    smooth_witness: ClassVar[bool] = True


@dataclass(frozen=True)
class Jumping(Own):
    smooth_witness: ClassVar[bool] = False


def test_a_field_called_smooth_changes_no_step() -> None:
    step = pf.Flow(MMD(KERNEL)).suggest_dt(X, Y)
    for value in (0.0, False, None, "no"):
        assert pf.Flow(Blurred(KERNEL, smooth=value)).suggest_dt(X, Y) == step
    assert pf.Flow(Own(smooth=True)).suggest_dt(X, Y) == pf.Flow(Own(smooth=False)).suggest_dt(X, Y)


def test_an_estimator_that_declares_nothing_takes_the_smaller_step() -> None:
    declared, jumping, nothing = (
        pf.Flow(estimator()).suggest_dt(X, Y) for estimator in (Smooth, Jumping, Own)
    )
    assert declared == pf.Flow(MMD(KERNEL)).suggest_dt(X, Y)
    assert declared != jumping
    assert nothing == min(declared, jumping)
    assert [
        smoothness_of(estimator) for estimator in (Smooth(), Jumping(), Own(), CTransformCritic())
    ] == [True, False, None, False]


@pytest.mark.parametrize("fact", ["deterministic", "log_ratio", "needs_target", "smooth_witness"])
@pytest.mark.parametrize(
    "wrong",
    [lambda self: False, 0, "no", None, np.zeros(2)],
    ids=["method", "int", "str", "None", "array"],
)
def test_a_fact_of_another_type_is_refused(fact: str, wrong: Any) -> None:
    """A method in its place would count as True."""
    estimator = type("Mine", (Smooth,), {fact: wrong})()
    with pytest.raises(
        TypeError,
        match=f"`{fact}` must be True or False for Mine, got .*: write {fact}=True or {fact}=False",
    ):
        pf.Flow(estimator)


def test_an_energy_slope_of_another_type_is_refused() -> None:
    with pytest.raises(
        TypeError,
        match=(
            r"`energy_slope` must be a number, got .*: the constant c of v = c grad w for Mine, or"
            r" None"
        ),
    ):
        check_estimator(type("Mine", (Smooth,), {"energy_slope": "1"})())


def test_methods_that_others_use_are_not_taken_for_ours() -> None:
    """`grad` of a witness, `in_flow` of an estimator, `of` of a kernel: declared by inheriting, or
    not at all.
    """

    @dataclass(frozen=True)
    class Witness:
        of: Any
        log_ratio: ClassVar[bool] = False

        def value_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
            value, grad = self.of.value_and_grad(z)
            return value, grad

        def grad(self, z: Tensor) -> Tensor:
            raise NotImplementedError("not the gradient in z")

    class Mine(Smooth):
        def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Mapping[str, Tensor]) -> Fit:
            return Fit(Witness(super().fit(x, y, clock, memory).witness))

        def in_flow(self) -> str:
            return "in motion"

    plain = pf.simulate(pf.Flow(MMD(KERNEL)), X, Y, steps=3, dt=0.1)
    path = pf.simulate(pf.Flow(Mine()), X, Y, steps=3, dt=0.1)
    assert path.status == "completed"
    torch.testing.assert_close(path.particles, plain.particles)
    with pytest.raises(
        TypeError, match="`kernel` must be positive to estimate a density, got Radial"
    ):
        KDE(Radial(lambda s: torch.exp(-s / 2)))


@pytest.mark.parametrize(
    "report",
    [{"bandwidth": "wide"}, {"bandwidth": torch.ones(3)}, {"gap": "small"}, {"iterations": None}],
    ids=str,
)
def test_a_report_s_own_words_are_not_read_as_numbers(report: dict[str, Any]) -> None:
    class Mine(Smooth):
        def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Mapping[str, Tensor]) -> Fit:
            return Fit(super().fit(x, y, clock, memory).witness, report=report)

    assert pf.simulate(pf.Flow(Mine()), X, Y, steps=3, dt=0.1).status == "completed"


# ---- mobilities
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Steeper(Linear):
    """It changes what its parent states."""

    def slope(self, d: Tensor) -> Tensor:
        return self.factor * torch.exp(d)


@dataclass(frozen=True)
class Renamed(Linear):
    pass


class Falling:
    def h(self, d: Tensor) -> Tensor:
        return -d

    def slope(self, d: Tensor) -> Tensor:
        return -torch.ones_like(d)

    def curvature(self, d: Tensor) -> Tensor:
        return torch.zeros_like(d)


def test_a_subclass_of_linear_that_is_not_linear_keeps_its_slope() -> None:
    x, estimator = Cloud(X), KDE(KERNEL)
    fit = pf.fit(estimator, X, Y)
    value, grad = fit.witness.value_and_grad(X)
    velocity, _ = pf.Flow(estimator, Steeper(2.0)).velocity(x, fit, Clock())
    torch.testing.assert_close(velocity, 2 * value.exp()[:, None] * grad)
    assert not pf.Flow(estimator, Steeper()).conservative
    with pytest.raises(ValueError, match=r"`mobility` must be Unit\(\) or Linear\(\) for MMD"):
        pf.Flow(MMD(KERNEL), Steeper())
    mmd = pf.fit(MMD(KERNEL), X, Y)
    torch.testing.assert_close(
        pf.Flow(MMD(KERNEL), Renamed(2.0)).velocity(x, mmd, Clock())[0],
        2 * pf.Flow(MMD(KERNEL)).velocity(x, mmd, Clock())[0],
    )
    assert pf.Flow(MMD(KERNEL), Renamed()).conservative
    assert pf.Flow(MMD(KERNEL), Unit()).conservative


@pytest.mark.parametrize(
    "allowed", ["no", 1, lambda self: True, np.ones(2)], ids=["word", "number", "function", "array"]
)
def test_only_true_allows_a_mobility_that_falls(allowed: Any) -> None:
    with pytest.raises(TypeError, match="`allow_nonmonotone` must be True or False"):
        pf.mono_flow(KDE(KERNEL), type("Mine", (Falling,), {"allow_nonmonotone": allowed})())
    with pytest.raises(ValueError, match=r"`mobility` Falling must have h'\(d\) > 0"):
        pf.mono_flow(KDE(KERNEL), Falling())


# ---- targets, draws, queries
# --------------------------------------------------------------------------------------------------


class Table(list[list[float]]):
    def at(self, row: int) -> list[float]:
        return self[row]


class Rows(UserList[list[float]]):
    def at(self, row: int) -> list[float]:
        return self.data[row]


class Framed:
    def __init__(self, rows: list[list[float]]) -> None:
        self.rows, self.at = rows, {}

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array(self.rows)


class Weighted(Cloud):
    def at(self, row: int) -> Tensor:
        return self.points[row]


@pytest.mark.parametrize(
    "kind", [Table, Rows, Framed, lambda rows: Weighted(torch.tensor(rows, dtype=torch.float64))]
)
def test_points_with_a_method_called_at_are_points(kind: Callable[[Any], Any]) -> None:
    path = pf.simulate(pf.mmd_flow(KERNEL), X, kind(Y.tolist()), steps=2, dt=0.1)
    assert path.target is not None
    assert torch.equal(path.target, Y)
    assert torch.equal(
        path.particles, pf.simulate(pf.mmd_flow(KERNEL), X, Y, steps=2, dt=0.1).particles
    )


class Turned(pf.samplers.Rings):
    at: float = 0.3


class Answering(pf.samplers.Rings):
    def at(self, angle: Any) -> list[float]:
        return [1.0, 2.0]


def test_samplers_with_something_called_at_are_answered_where_they_are_given() -> None:
    with pytest.raises(
        TypeError,
        match=r"`target` must be points, got the sampler Turned.*: draw some, target=Turned",
    ):
        pf.simulate(pf.mmd_flow(KERNEL), X, Turned(), steps=2)
    with pytest.raises(
        TypeError,
        match=(
            r"`target` must give a Cloud, or None, for each clock, got list from Answering.at:"
            r" return pf.Cloud"
        ),
    ):
        pf.simulate(pf.mmd_flow(KERNEL), X, Answering(), steps=2)
    for sampler in (Turned(), Answering()):
        with pytest.raises(TypeError, match="`x0` must be points, got the sampler"):
            pf.simulate(pf.mmd_flow(KERNEL), sampler, Y, steps=2)


class Noise:
    """Draws whose `seed` is something else than a number."""

    seed = object()

    def normal(self, stream: str, step: int, like: Tensor) -> Tensor:
        return Draws(3).normal(stream, step, like)

    def child_seed(self, stream: str, step: int) -> int:
        return Draws(3).child_seed(stream, step)


def test_the_seed_of_draws_of_one_s_own_is_not_guessed(tmp_path: Any) -> None:
    path = pf.simulate(pf.mmd_flow(KERNEL, noise=0.1), X, Y, steps=2, dt=0.1, draws=Noise())
    assert path.report["seed"] is None
    assert pf.Trajectory.load(path.save(tmp_path / "a.npz")).status == "completed"
    with pytest.raises(
        TypeError,
        match=(
            r"`draws` must have normal\(stream, step, like\) and child_seed.*got 5: pass pf\.Replay"
        ),
    ):
        pf.simulate(pf.mmd_flow(KERNEL), X, Y, steps=2, dt=0.1, draws=5)


class Tagged(Tensor):
    points = made = "mine"


@pytest.mark.parametrize(
    "backend", [pf.pairwise.Dense(), pf.pairwise.Fourier()], ids=lambda b: type(b).__name__
)
def test_a_tensor_with_names_of_its_own_is_a_tensor(backend: Any) -> None:
    weights = torch.linspace(-1, 1, len(X), dtype=torch.float64)
    field = backend.sources(KERNEL, X).field(weights)
    assert torch.equal(
        field.value(Y.clone().as_subclass(Tagged)).as_subclass(Tensor), field.value(Y)
    )


# ---- kernels
# --------------------------------------------------------------------------------------------------


class Sharp:
    """exp(-r) with a slope that is cut off, as Laplace has it."""

    kind = "kinked"

    def profile(self, s: Tensor) -> Tensor:
        return Laplace(1.0).profile(s)

    def slope(self, s: Tensor) -> Tensor:
        return Laplace(1.0).slope(s)

    def curvature(self, s: Tensor) -> Tensor:
        return Laplace(1.0).curvature(s)


class Declared(Sharp):
    kinked_at_zero: ClassVar[bool] = True


@dataclass(frozen=True)
class Mended(Laplace):
    """A subclass may have smoothed what its parent states."""


def hop(kernel: Any) -> float:
    """What the watch allows the energy to rise by."""
    flow = pf.mmd_flow(kernel)
    watch = Watch(flow, pf.clouds.FixedTarget(Cloud(Y)), 0.1, pf.Euler())
    watch.begin(next(pf.iterate(flow, X, Y, dt=0.1)))
    return watch._hop


def test_a_kink_is_declared() -> None:
    assert [has_kink(kernel) for kernel in (Laplace(1.0), pf.kernels.Energy(), Declared())] == [
        True
    ] * 3
    assert [has_kink(kernel) for kernel in (KERNEL, Sharp(), Mended(1.0), Radial(torch.exp))] == [
        False
    ] * 4
    assert hop(Declared()) == pytest.approx(hop(Laplace(1.0)), rel=1e-9)
    assert hop(Laplace(1.0)) > 0
    assert hop(Sharp()) == hop(Mended(1.0)) == 0
    for wrong in (1, "yes", lambda self: True):
        with pytest.raises(TypeError, match="`kinked_at_zero` must be True or False for Mine"):
            pf.mmd_flow(type("Mine", (Sharp,), {"kinked_at_zero": wrong})())


class Decibels(Sharp):
    """log_profile means something else here."""

    def log_profile(self, s: Tensor) -> Tensor:
        return 10 * self.profile(s).log10()

    def log_slope(self, s: Tensor) -> Tensor:
        return self.slope(s) / self.profile(s)


class Mistaken(Decibels):
    def log_profile(self, s: Tensor) -> Tensor:
        return Laplace(1.0).log_profile(s)

    def log_slope(self, s: Tensor) -> Tensor:
        return 2 * Laplace(1.0).log_slope(s)


def test_logarithms_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`kernel.log_profile` must be log\(profile\), got"):
        KDE(Decibels())
    with pytest.raises(
        ValueError, match=r"`kernel.log_slope` must be slope / profile.*: mend it, or leave out"
    ):
        pf.mmd_flow(Mistaken())
