"""A kernel that states its facts in one place is found by every backend, by the checks and by the
command line: `Blend` is written as a built-in kernel would be, and nothing else knows of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from test_keops import in_torch
from torch import Tensor

import particleflow as pf
from particleflow.cli import task
from particleflow.cli.parts import KERNELS
from particleflow.cli.records import Kernel as Record
from particleflow.kernels.built_in import BUILT_IN
from particleflow.kernels.declared import falls_fast, has_kink, is_built_in, positive_kind
from particleflow.kernels.facts import LN2, ExponentialTail, Facts, KeOpsFormula, Profile
from particleflow.kernels.matern import matern_spectrum
from particleflow.kernels.scaled import Scaled
from particleflow.pairwise import Auto, Compiled, Culled, Dense, Fourier, Mesh, Nystroem
from particleflow.pairwise.base import PairwiseSum
from particleflow.pairwise.exact.keops import written
from particleflow.pairwise.exact.sorted import Sorted
from particleflow.testing import check_backend, check_kernel


def _odd(c: float, r: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    t = c * r
    sinh, cosh = np.sinh(t), np.cosh(t)
    return (
        t * cosh - (1 + t**2 / 6) * sinh,
        c * (2 * t / 3 * sinh - t**2 / 6 * cosh),
        c**2 * (t / 3 * cosh + (2 / 3 - t**2 / 6) * sinh),
    )


@dataclass(frozen=True)
class Blend(Scaled):
    """(1 + t + t^2 / 6) e^{-t}, t = r / bandwidth: the mean of both Matern kernels of that rate."""

    facts: ClassVar[Facts] = Facts(
        kinked=False,
        tail=ExponentialTail(1.0, (1.0, 1.0, 1 / 6), _odd),
        cost=1.6,
        freedom=None,
        profile=Profile(
            1 / LN2,
            lambda p: p.r,
            lambda p: p.decay * (p.a * (p.a * (1 / 6) + 1.0) + 1.0),
            lambda p: p.decay * (p.a + 4.0),
            lambda p: p.decay * (p.a * (p.a + 3.0) - (p.a + 4.0) * p.d),
            (1.0, LN2 / 6, 1 / 6),
        ),
        keops=KeOpsFormula(
            1,
            "Exp(-{r})",
            "(1+{r}+{s}*Inv(IntCst(6)))",
            "((4+{r})*Inv(IntCst(6)))",
            "(({r}*(3+{r})-{d}*(4+{r}))*Inv(IntCst(6)))",
            "(Log(1+{r}+{s}*Inv(IntCst(6)))-{r})",
            "(4+{r})*Inv(6+6*{r}+{s})",
        ),
    )

    def profile(self, s: Tensor) -> Tensor:
        return self.log_profile(s).exp()

    def slope(self, s: Tensor) -> Tensor:
        t = self._distance(s)
        return -(4 + t) / 12 * torch.exp(-t) / self.bandwidth**2

    def curvature(self, s: Tensor) -> Tensor:
        t = self._distance(s)
        return (3 + t) / (24 * t) * torch.exp(-t) / self.bandwidth**4

    def laplacian(self, s: Tensor, d: int) -> Tensor:
        t = self._distance(s)
        return torch.exp(-t) * (t * (3 + t) - d * (4 + t)) / (6 * self.bandwidth**2)

    def log_profile(self, s: Tensor) -> Tensor:
        t = self._distance(s)
        return torch.log1p(t + t**2 / 6) - t

    def log_slope(self, s: Tensor) -> Tensor:
        t = self._distance(s)
        return -(4 + t) / 12 / (1 + t + t**2 / 6) / self.bandwidth**2

    def spectrum(self, omega2: Tensor, d: int) -> Tensor:
        l = self.bandwidth
        return 0.5 * (
            matern_spectrum(1.5, math.sqrt(3) * l, omega2, d)
            + matern_spectrum(2.5, math.sqrt(5) * l, omega2, d)
        )


KERNEL = Blend(0.7)
# Each built-in kernel that has a logarithm, of one bandwidth.
MADE = [kind(0.7) for kind in pf.kernels.built_in.BUILT_IN if positive_kind(kind)]


def test_it_is_a_kernel_and_its_facts_are_its_own() -> None:
    check_kernel(KERNEL)
    assert is_built_in(KERNEL)
    assert falls_fast(Blend)
    assert not has_kink(KERNEL)


@pytest.mark.parametrize(
    ("backend", "dim", "rtol"),
    [
        (Dense(), 2, None),
        (Compiled(), 3, None),
        (Culled(rtol=1e-8), 2, 1e-7),
        (Mesh(rtol=1e-2), 1, 1e-1),
        (Fourier(rtol=1e-6), 2, 1e-5),
        (Fourier(), 1, 1e-10),
        (Auto(), 2, 1e-4),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, PairwiseSum) else str(value),
)
def test_every_backend_sums_it(backend: Any, dim: int, rtol: float | None) -> None:
    check_backend(backend, KERNEL, dim, rtol=rtol)


@pytest.mark.parametrize(
    "backend", [Compiled(), Culled(), Mesh(rtol=1e-2), Fourier(), Nystroem(), Sorted()]
)
def test_no_backend_falls_back(backend: Any) -> None:
    """Where a backend stands in for another its name would tell."""
    rng, d = np.random.default_rng(5), 1 if isinstance(backend, Sorted) else 2
    x, w, z = (torch.from_numpy(rng.normal(size=size)) for size in ((900, d), (900,), (300, d)))
    field = backend.sources(Blend(0.5), x).field(w)
    name = "Fourier" if isinstance(backend, Sorted) else type(backend).__name__
    assert field.explain(z)["backend"] == name
    s = (z[:, None] - x).square().sum(-1)
    error = (field.value(z) - Blend(0.5).profile(s) @ w).abs().max()
    assert float(error) <= (1e-2 if name in ("Mesh", "Nystroem") else 1e-4) * float(w.abs().sum())


@pytest.mark.parametrize("kernel", [KERNEL, *MADE])
def test_the_formula_of_keops_is_the_kernel(kernel: Any) -> None:
    formula, d = kernel.facts.keops, 3
    unit = formula.unit * kernel.bandwidth
    s = torch.logspace(-6, 2.5, 50).double()
    there = s * unit**2
    terms = {
        name: in_torch(written(formula, "{" + name + "}", d), s)
        for name in ("common", "profile", "pull", "bend", "log", "log_pull")
    }
    bend = 4 * there * kernel.curvature(there) + 2 * d * kernel.slope(there)
    for found, wanted in (
        (terms["common"] * terms["profile"], kernel.profile(there)),
        (terms["common"] * terms["pull"], -2 * kernel.slope(there) * unit**2),
        (terms["common"] * terms["bend"], bend * unit**2),
        (terms["log"], kernel.log_profile(there)),
        (terms["log_pull"], -2 * kernel.log_slope(there) * unit**2),
    ):
        assert torch.allclose(found + 0 * s, wanted, rtol=1e-8, atol=1e-13)


def test_a_record_is_enough_for_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    record = Record(
        name="blend",
        line="(1 + t + t^2/6) exp(-t), t = r / bandwidth",
        where=f"{__name__}:Blend",
        arguments=("bandwidth",),
    )
    monkeypatch.setitem(KERNELS, "blend", record)
    settings = {"kernel": "blend", "bandwidth": 0.3, "n": 9, "m": 11, "steps": 3, "dt": 1e-3}
    made = task.task(settings, ["mmd", "kale"])
    assert made.plans["mmd"].flow.estimator.kernel == Blend(0.3)


def test_the_records_say_what_the_kernels_are() -> None:
    kinds = {record.load(): record for record in KERNELS.values()}
    assert list(kinds) == list(BUILT_IN)
    for kind, record in kinds.items():
        assert record.positive == positive_kind(kind)
        assert record.arguments == (("bandwidth",) if issubclass(kind, Scaled) else ())


@pytest.mark.parametrize("fact", ["kinked", "tail", "cost", "freedom", "profile", "keops"])
def test_a_missing_fact_is_named(fact: str) -> None:
    stated = {**vars(Blend.facts)}
    del stated[fact]
    with pytest.raises(TypeError, match=f"'{fact}'"):
        Facts(**stated)


@pytest.mark.parametrize(
    ("changed", "clause"),
    [
        ({"kinked": True}, r"facts\.kinked"),
        ({"tail": ExponentialTail(1.0, (1.0, 1.0), _odd)}, r"facts\.tail must"),
        ({"tail": ExponentialTail(1.0, (1.0, 1.0, 1 / 6), lambda c, r: (r, r, r))}, r"tail\.odd"),
        ({"profile": replace(Blend.facts.profile, units=(1.0, LN2, 1 / 6))}, r"profile\.slope"),
        ({"profile": replace(Blend.facts.profile, length=1.0)}, r"profile\.value"),
    ],
)
def test_a_wrong_fact_is_named(changed: dict[str, Any], clause: str) -> None:
    class Wrong(Blend):
        facts: ClassVar[Facts] = replace(Blend.facts, **changed)

    with pytest.raises(AssertionError, match=clause):
        check_kernel(Wrong(0.7))


def test_a_subclass_does_not_inherit_the_facts() -> None:
    class Changed(Blend):
        pass

    assert not is_built_in(Changed(0.7))
    with pytest.raises(TypeError, match="`kernel` must be"):
        Compiled().sources(Changed(0.7), torch.zeros(3, 2, dtype=torch.float64))
