"""Check that a built-in kernel's facts agree with its methods (`particleflow.kernels.facts`)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from particleflow.kernels import Kernel
from particleflow.kernels.declared import bandwidth_of, facts_of
from particleflow.kernels.facts import ExponentialTail, Facts, GaussianTail, Pair
from particleflow.testing.contract import Contract

# Relative error allowed between two formulas of one number, of sizes up to the largest term.
AGREES = 1e-9
Number: TypeAlias = "Lanes | Tensor | float"


@dataclass(frozen=True)
class Lanes:
    """A vector of compiled code, as a tensor: what the compiler hands formulas in `Pair`."""

    t: Tensor

    def __add__(self, other: Number) -> Lanes:
        return Lanes(self.t + _tensor(other))

    def __radd__(self, other: float) -> Lanes:
        return Lanes(other + self.t)

    def __sub__(self, other: Number) -> Lanes:
        return Lanes(self.t - _tensor(other))

    def __rsub__(self, other: float) -> Lanes:
        return Lanes(other - self.t)

    def __mul__(self, other: Number) -> Lanes:
        return Lanes(self.t * _tensor(other))

    def __rmul__(self, other: float) -> Lanes:
        return Lanes(other * self.t)

    def __truediv__(self, other: Number) -> Lanes:
        return Lanes(self.t / _tensor(other))

    def __rtruediv__(self, other: float) -> Lanes:
        return Lanes(other / self.t)

    def rsqrt(self) -> Lanes:
        return Lanes(self.t.rsqrt())

    def root(self, least: float) -> Lanes:
        return Lanes(self.t.clamp_min(least).sqrt())

    def at_least(self, bound: float) -> Lanes:
        return Lanes(self.t.clamp_min(bound))

    def where(self, relation: str, bound: float, true: Number, false: Number) -> Lanes:
        held = self.t > bound if relation == ">" else self.t < bound
        return Lanes(torch.where(held, _tensor(true) + 0 * self.t, _tensor(false) + 0 * self.t))


def _tensor(number: Number) -> Tensor | float:
    return number.t if isinstance(number, Lanes) else number


def check_facts(contract: Contract, kernel: Kernel, squares: Tensor) -> None:
    """Check that the facts agree with the kernel's own methods.

    The methods are called at the squared distances `squares`, in squared bandwidths. A kernel that
    states no facts passes.
    """
    facts = facts_of(kernel)
    if facts is None:
        return
    unit = bandwidth_of(kernel) or 1.0
    s = squares[squares < 100.0]
    there = s * unit**2
    _kink(contract, facts, kernel, unit)
    _tail(contract, facts, kernel.profile(there), s)
    _profile(contract, facts, kernel, s, unit)


def _kink(contract: Contract, facts: Facts, kernel: Kernel, unit: float) -> None:
    """Check `kinked`: the slope in s grows like 1 / r towards a kink, and is bounded elsewhere."""
    near, nearer = kernel.slope(torch.tensor([1e-10, 1e-14], dtype=torch.float64) * unit**2).abs()
    kinked = bool(nearer > 10 * near)
    contract.require(
        facts.kinked == kinked,
        "facts.kinked must tell whether k has a kink at zero",
        f"{facts.kinked}, where slope grows {float(nearer / near):.3g} times from s = 1e-10 to"
        " 1e-14",
        "correct the fact",
    )


def _tail(contract: Contract, facts: Facts, values: Tensor, s: Tensor) -> None:
    tail = facts.tail
    if isinstance(tail, GaussianTail):
        _same(contract, "facts.tail", torch.exp(-0.5 * s), values)
    if isinstance(tail, ExponentialTail):
        t = tail.rate * s.sqrt().numpy()
        here, there = (
            np.polynomial.polynomial.polyval(sign * t, tail.coefficients)
            * np.exp(-sign * t * tail.decay)
            for sign in (1.0, -1.0)
        )
        _same(contract, "facts.tail", torch.from_numpy(here), values)
        odd = torch.from_numpy(tail.odd(tail.rate, t / tail.rate)[0])
        size = torch.from_numpy(np.abs(here) + np.abs(there))
        _same(contract, "facts.tail.odd", odd, torch.from_numpy((here - there) / 2), size)


def _profile(contract: Contract, facts: Facts, kernel: Kernel, s: Tensor, unit: float) -> None:
    profile = facts.profile
    q = Lanes(s * profile.length**2)
    there = s * unit**2
    value, slope = kernel.profile(there), kernel.slope(there)
    for d in (1, 3):
        bare = Pair(q, float(d), profile.length)
        decay = Lanes(torch.exp2(-profile.exponent(bare).t)) if profile.exponent else None
        pair = Pair(q, float(d), profile.length, decay)
        bend, pull = 4 * there * kernel.curvature(there), 2 * d * slope
        for name, told, wanted, size in (
            ("value", profile.units[0] * profile.value(pair).t, value, None),
            (
                "slope",
                profile.units[1] * profile.length * profile.slope(pair).t,
                -2 * slope * unit**2,
                None,
            ),
            (
                "laplacian",
                profile.units[2] * profile.laplacian(pair).t,
                (bend + pull) * unit**2,
                (bend.abs() + pull.abs()) * unit**2,
            ),
        ):
            _same(contract, f"facts.profile.{name}", told, wanted, size)


def _same(
    contract: Contract, fact: str, told: Tensor, wanted: Tensor, size: Tensor | None = None
) -> None:
    off = (told - wanted).abs() / (wanted.abs() if size is None else size)
    worst = float(off.max())
    contract.require(
        math.isfinite(worst) and worst <= AGREES,
        f"{fact} must be the formula of the kernel's own methods",
        f"a relative difference of {worst:.2g}",
        "derive it again",
    )
