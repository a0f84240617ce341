"""Kernels of users' own making: whatever their objects carry, their sums are right."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from forked import Python
from torch import Tensor

import particleflow as pf
from particleflow.kernels import Gaussian, Radial, ScaledKernel
from particleflow.pairwise import Auto, Compiled, Culled, Dense, Fourier, Mesh, Nystroem

WIDE, NARROW = 4.0, 0.2


class Mixture:
    """exp(-s / (2 wide^2)) + exp(-s / (2 narrow^2)): two lengths, so no family of one."""

    wide: float = WIDE

    def _terms(self, s: Tensor) -> tuple[Tensor, Tensor]:
        return torch.exp(-0.5 * s / self.wide**2), torch.exp(-0.5 * s / NARROW**2)

    def profile(self, s: Tensor) -> Tensor:
        first, second = self._terms(s)
        return first + second

    def slope(self, s: Tensor) -> Tensor:
        first, second = self._terms(s)
        return -0.5 * (first / self.wide**2 + second / NARROW**2)

    def curvature(self, s: Tensor) -> Tensor:
        first, second = self._terms(s)
        return 0.25 * (first / self.wide**4 + second / NARROW**4)


@dataclass(frozen=True)
class Frozen(Mixture):
    bandwidth: float = WIDE


@dataclass
class Unhashable(Mixture):
    bandwidth: float = WIDE


class Plain(Mixture):
    def __init__(self) -> None:
        self.bandwidth = WIDE


class Tensors(Mixture):
    bandwidth = torch.tensor([1.0, 2.0])


class Words(Mixture):
    bandwidth = "wide"
    unit = length = scale = kind = None


class Spectral(Mixture):
    bandwidth = WIDE

    def spectrum(self, omega2: Tensor, d: int) -> Tensor:
        return torch.ones_like(omega2)


class Slots(Mixture):
    __slots__ = ("bandwidth",)

    def __init__(self) -> None:
        self.bandwidth = WIDE


class Odd(Mixture):
    """Its comparison answers with an array, as those of numpy do."""

    bandwidth = WIDE
    __hash__ = None

    def __eq__(self, other: object) -> Any:
        return np.array([True, False])


class Doubled(Gaussian):
    """A subclass that changes what its parent states, also its spectrum and its machine code."""

    def log_profile(self, s: Tensor) -> Tensor:
        return super().log_profile(s) + math.log(2)

    def laplacian(self, s: Tensor, d: int) -> Tensor:
        raise NotImplementedError("nobody asks for it")


class Changeable(Mixture):
    """Declares a family, but one object can become another: no plan of it may be kept."""

    def __init__(self, bandwidth: float) -> None:
        self.bandwidth = bandwidth

    def with_bandwidth(self, bandwidth: float) -> Changeable:
        return Changeable(bandwidth)


@dataclass(frozen=True)
class Quadratic:
    """1 / (1 + s / l^2), which declares its scale."""

    bandwidth: float

    def with_bandwidth(self, bandwidth: float) -> Quadratic:
        return Quadratic(bandwidth)

    def profile(self, s: Tensor) -> Tensor:
        return 1 / (1 + s / self.bandwidth**2)

    def slope(self, s: Tensor) -> Tensor:
        return -(self.profile(s) ** 2) / self.bandwidth**2

    def curvature(self, s: Tensor) -> Tensor:
        return 2 * self.profile(s) ** 3 / self.bandwidth**4


@dataclass(frozen=True)
class NoFamily(Frozen):
    """Declares a family and is none: its second length does not scale."""

    @property
    def wide(self) -> float:
        return self.bandwidth

    def with_bandwidth(self, bandwidth: float) -> NoFamily:
        return NoFamily(bandwidth)


UNDECLARED: list[Any] = [
    Frozen(),
    Unhashable(),
    Plain(),
    Tensors(),
    Words(),
    Spectral(),
    Slots(),
    Odd(),
    Doubled(0.3),
    Changeable(WIDE),
    Radial(Mixture().profile),
]
names = [type(kernel).__name__ for kernel in UNDECLARED]


def clouds(n: int, d: int = 2, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(n + d)
    return tuple(
        torch.from_numpy(rng.normal(size=shape)).to(dtype) for shape in ((n, d), (n,), (37, d))
    )


def direct(kernel: Any, x: Tensor, w: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    away = z[:, None].double() - x.double()
    s = away.square().sum(-1)
    return kernel.profile(s) @ w.double(), torch.einsum(
        "qn,n,qnd->qd", 2 * kernel.slope(s), w.double(), away
    )


@pytest.mark.parametrize("n", [50, 3000])
@pytest.mark.parametrize("kernel", UNDECLARED, ids=names)
def test_what_is_not_declared_is_summed_exactly(kernel: Any, n: int) -> None:
    x, w, z = clouds(n)
    field = Auto().sources(kernel, x).field(w)
    assert field.explain(z)["backend"] == "Dense"
    assert field.promise(z) is None
    for found, truth in zip(field.value_and_grad(z), direct(kernel, x, w, z), strict=True):
        assert torch.allclose(found, truth, rtol=1e-12, atol=1e-11 * float(w.abs().sum()))
    assert field.audit(z).value_error < 1e-10
    bend = field.laplacian(z)
    s = (z[:, None] - x).square().sum(-1)
    assert torch.allclose(
        bend,
        (4 * s * kernel.curvature(s) + 4 * kernel.slope(s)) @ w,
        rtol=1e-10,
        atol=1e-9 * float(w.abs().sum()),
    )


@pytest.mark.filterwarnings("ignore:.*does not declare its scale:RuntimeWarning")
@pytest.mark.parametrize("backend", [Mesh(), Fourier()], ids=lambda b: type(b).__name__)
@pytest.mark.parametrize("kernel", UNDECLARED, ids=names)
def test_a_fast_sum_asked_for_by_name_sums_it_exactly_too(kernel: Any, backend: Any) -> None:
    x, w, z = clouds(400)
    field = backend.sources(kernel, x).field(w)
    assert torch.allclose(field.value(z), direct(kernel, x, w, z)[0], rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize(
    "backend", [Culled(), Nystroem(), Compiled()], ids=lambda b: type(b).__name__
)
def test_code_that_knows_its_kernels_refuses_others(backend: Any) -> None:
    for kernel in UNDECLARED:
        with pytest.raises(TypeError, match="`kernel` must be"):
            backend.sources(kernel, clouds(50)[0])


def test_a_kernel_changed_between_two_sums_is_summed_as_it_is() -> None:
    x, w, z = clouds(3000)
    kernel = Plain()
    before = Auto().sources(kernel, x).field(w).value(z)
    kernel.wide = 1.0
    after = Auto().sources(kernel, x).field(w)
    assert torch.allclose(after.value(z), direct(kernel, x, w, z)[0], atol=1e-10)
    assert after.audit(z).value_error < 1e-10
    assert not torch.allclose(before, after.value(z))


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize(
    "kernel", [Quadratic(0.3), Quadratic(4.0), Radial(lambda s: torch.exp(-0.5 * s), bandwidth=0.5)]
)
def test_a_declared_scale_is_summed_fast_and_within_its_promise(kernel: Any, d: int) -> None:
    assert isinstance(kernel, ScaledKernel)
    x, w, z = clouds(20000, d)
    z = torch.cat([z, x])
    field = Auto().sources(kernel, x).field(w)
    promise = field.promise(z)
    assert promise is not None, field.explain(z)
    value, grad = direct(kernel, x, w, z[:37])
    assert float((field.value(z)[:37] - value).abs().max()) <= promise.value
    assert float((field.grad(z)[:37] - grad).norm(dim=1).max()) <= promise.grad


def test_a_formula_with_a_bandwidth_is_scaled() -> None:
    s = torch.linspace(0, 9, 50, dtype=torch.float64)
    kernel, known = Radial(lambda s: torch.exp(-0.5 * s), bandwidth=0.7), Gaussian(0.7)
    for name in ("profile", "slope", "curvature"):
        assert torch.allclose(getattr(kernel, name)(s), getattr(known, name)(s), rtol=1e-12)


def test_a_declaration_that_does_not_hold_is_refused() -> None:
    x, w, z = clouds(3000)
    with pytest.raises(
        ValueError,
        match=(
            r"`kernel` must be k_1\(s / bandwidth\^2\) where it has a method with_bandwidth, got"
            r" NoFamily"
        ),
    ):
        Auto().sources(NoFamily(), x).field(w).value(z)


@pytest.mark.parametrize(
    "kernel",
    [
        pf.kernels.Gaussian(0.4),
        pf.kernels.Laplace(2.0),
        pf.kernels.Matern32(1.0),
        pf.kernels.IMQ(3.0),
    ],
)
def test_built_in_kernels_are_families(kernel: Any) -> None:
    s = torch.linspace(0, 9, 50, dtype=torch.float64)
    other = kernel.with_bandwidth(0.7)
    assert type(other) is type(kernel)
    assert torch.allclose(other.profile(s * 0.7**2), kernel.profile(s * kernel.bandwidth**2))


@pytest.mark.parametrize(
    "kernel",
    [Frozen(), Unhashable(), Plain(), Slots(), Odd(), Doubled(0.5)],
    ids=lambda k: type(k).__name__,
)
def test_flows_and_metrics_take_them(kernel: Any) -> None:
    x, y = clouds(60)[0], clouds(70)[0] + 1
    for flow in (pf.mmd_flow(kernel), pf.kale_flow(kernel, lam=0.1)):
        path = pf.simulate(flow, x, y, steps=3, metrics={"mmd2": pf.metrics.MMD2(kernel)})
        assert path.status == "completed"
        assert path.metrics["mmd2"][-1] < path.metrics["mmd2"][0]


class WrongSlope(Plain):
    def slope(self, s: Tensor) -> Tensor:
        return super().slope(s) * 2 * s.sqrt()


MISTAKES: list[tuple[Any, type[Exception], str]] = [
    (pf.schedules.Constant(0.2), TypeError, "`kernel` must map"),
    (
        lambda x, y: torch.exp(-((x - y) ** 2)),
        TypeError,
        r"`kernel` must map squared distances .* fails: .*'y'.*s = \|x - y\|\^2 alone",
    ),
    (lambda s: torch.softmax(-s, 0), TypeError, "`kernel` must map s elementwise"),
    (lambda s: s.sum(), TypeError, "`kernel` must map s elementwise"),
    (lambda clock: clock.t, TypeError, "`kernel` must map squared distances"),
    (lambda s: 1 / s, ValueError, "`kernel` must be finite at every s >= 0"),
    (
        lambda s: torch.exp(-s.sqrt()),
        ValueError,
        "`kernel` must be finite at every s >= 0, got .* whose slope is",
    ),
    (WrongSlope(), ValueError, r"`kernel.slope` must be d profile / ds"),
    (
        Gaussian,
        TypeError,
        "`kernel` must be a kernel .*, got the class Gaussian without its arguments",
    ),
]


@pytest.mark.parametrize(("given", "error", "match"), MISTAKES)
def test_what_is_no_kernel_is_refused_where_it_is_given(
    given: Any, error: type[Exception], match: str
) -> None:
    for use in (pf.mmd_flow, pf.metrics.MMD2, lambda kernel: pf.kale_flow(kernel, lam=0.1)):
        with pytest.raises(error, match=match):
            use(given)


def test_without_run_time_checks_wrong_types_meet_the_same_words(python: Python) -> None:
    """This suite's own checks of types would answer first."""
    code = """
import particleflow as pf
for wrong in (pf.mobilities.Unit(), 0.2, "gaussian", None, lambda s: 1.0):
    try:
        pf.mmd_flow(wrong)
    except TypeError as error:
        print(error)
try:
    pf.kernels.Gaussian()
except TypeError as error:
    print(error)
"""
    told = python.run("-c", code).stdout.splitlines()
    kinds = ["Unit Unit(factor=1.0)", "float 0.2", "str 'gaussian'", "NoneType None"]
    for line, kind in zip(told, kinds, strict=False):
        assert line.startswith(
            "`kernel` must be a kernel such as pf.kernels.Gaussian(bandwidth=0.2)"
        )
        assert line.endswith(f"got {kind}: pass one of these")
    assert "`kernel` must map s elementwise" in told[4]
    assert told[5].startswith(
        "`bandwidth` must be a number for Gaussian, got nothing: pass a length"
    )


def test_the_reference_takes_any_kernel() -> None:
    x, w, z = clouds(90)
    for kernel in UNDECLARED:
        assert torch.allclose(
            Dense().sources(kernel, x).field(w).value(z), direct(kernel, x, w, z)[0], atol=1e-11
        )
