"""`check_kernel`: the contract of a kernel (`particleflow.kernels.contract`), clause by clause."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from particleflow.kernels import Kernel, Radial, ScaledKernel
from particleflow.kernels.contract import KnownKink, PositiveKernel
from particleflow.kernels.declared import has_kink, has_laplacian, is_built_in
from particleflow.testing.contract import Contract, normals
from particleflow.testing.facts import check_facts

# Squared distances in units of the kernel's, none of them a round number, where kinks of a user's
# kernel would lie.
SQUARES = 1.2345 * 10 ** torch.linspace(-6, 4, 41, dtype=torch.float64)
# Central differences: the step as a share of s, their relative error, and their rounding as a share
# of the value there over s. Differences of values below the last share of the largest one are not
# looked at.
STEP, DIFFERENCE, ROUNDING, NEGLIGIBLE = 1e-4, 1e-4, 1e-10, 1e-14
# A Gram matrix may have eigenvalues down to this share of its trace below zero: rounding.
SEMIDEFINITE = 1e-10
# Squared distances, in squared bandwidths, at which a kink shows: there the slope grows like 1 / r,
# 100 times from the first to the second. It counts as a kink from GROWTH times on.
CLOSE, CLOSER, GROWTH = 1e-8, 1e-12, 10.0
# Parts of a vector, in shapes that a sum may ask for.
SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "()": lambda s: s[7],
    "(0,)": lambda s: s[:0],
    "(1,)": lambda s: s[9:10],
    "(21,) with strides": lambda s: s[::2],
    "(3, 7)": lambda s: s[:21].reshape(3, 7),
    "(2, 3, 4)": lambda s: s[:24].reshape(2, 3, 4),
}
METHODS = ("profile", "slope", "curvature")
LOGARITHMS = ("log_profile", "log_slope")


def check_kernel(kernel: Kernel | Callable[[Tensor], Tensor], *, definite: bool = True) -> None:
    r"""Check every clause of a kernel's contract; a broken one raises AssertionError.

    With :math:`k(z, y) = \text{profile}(s)` and s = |z - y|^2:

    - `profile`, `slope` and `curvature` map s elementwise, for any shape of s. They keep the dtype
      and the device of s, and do not change s.
    - All three are finite for s >= 0, also at s = 0. slope = d profile / ds and
      curvature = d slope / ds.
    - If the kernel has `log_profile` and `log_slope`: profile > 0. log_profile is its logarithm,
      also where the profile underflows, and log_slope = d log_profile / ds.
    - If it has `with_bandwidth`: k_l(s) = k_1(s / l^2). Kernels of one bandwidth are equal and have
      the same hash. Kernels of two bandwidths are unequal.
    - If its class states `facts`: the facts agree with the methods.
    - If it has `kinked_at_zero`: the value is True where the slope grows without bound as s falls
      to 0, else False.
    - Gram matrices K are positive semidefinite. For a kernel without logarithms w' K w >= 0 is
      enough for weights w of sum zero.

    Parameters
    ----------
    kernel : Kernel, or callable of the squared distance
        The part to be checked, an instance.
    definite : bool
        False leaves out the clause about Gram matrices, which density estimates do not need. MMD^2,
        KALE and Nystroem sums need it.

    Raises
    ------
    AssertionError
        A clause is broken. The message names it, what came, and the remedy.

    Cost: about 0.02 s.

    >>> pf.testing.check_kernel(lambda s: 1 / (1 + s))
    >>> pf.testing.check_kernel(lambda s: s)  # the sign is wrong
    Traceback (most recent call last):
    AssertionError: ...a Gram matrix must be positive semidefinite...
    """
    made = Radial(kernel) if callable(kernel) and not isinstance(kernel, (Kernel, type)) else kernel
    contract = Contract("a kernel", kernel)
    what = (
        f"the class {kernel.__name__}"
        if isinstance(kernel, type)
        else f"{type(kernel).__name__} without " + _missing(made)
    )
    clause = "a kernel must have profile, slope and curvature"
    contract.require(
        not isinstance(kernel, type) and isinstance(made, Kernel),
        clause,
        what,
        "add them, or pass Radial(lambda s: ...)",
    )
    assert isinstance(made, Kernel)
    _declared_scale(contract, made)
    positive = isinstance(made, PositiveKernel)
    for name in (*METHODS, *(LOGARITHMS if positive else ())):
        _elementwise(contract, name, getattr(made, name), _unit(made))
    _derivatives(contract, made)
    _kink(contract, made)
    _family(contract, made)
    if isinstance(made, PositiveKernel):
        _logarithms(contract, made)
    if has_laplacian(made):
        _laplacian(contract, made)
    check_facts(contract, made, SQUARES)
    if definite:
        _definite(contract, made, positive)


def _missing(kernel: Any) -> str:
    return ", ".join(name for name in METHODS if not callable(getattr(kernel, name, None)))


def _unit(kernel: Any) -> float:
    """The declared bandwidth, else 1."""
    return (
        float(kernel.bandwidth)
        if isinstance(kernel, ScaledKernel) and kernel.bandwidth is not None
        else 1.0
    )


def _declared_scale(contract: Contract, kernel: Any) -> None:
    if not callable(getattr(kernel, "with_bandwidth", None)):
        return
    clause = "a kernel with with_bandwidth must have a `bandwidth` > 0"
    contract.require(
        isinstance(kernel, ScaledKernel),
        clause,
        "none",
        "add the attribute, or remove with_bandwidth: sums are exact then",
    )
    bandwidth = kernel.bandwidth
    if bandwidth is None:
        return
    number = isinstance(bandwidth, float | int) and not isinstance(bandwidth, bool)
    contract.require(
        number and 0 < bandwidth < math.inf,
        clause,
        repr(bandwidth),
        "keep a float, the kernel's unit of length",
    )
    same, other = kernel.with_bandwidth(bandwidth), kernel.with_bandwidth(2.5 * bandwidth)
    remedy = "make it a frozen dataclass whose fields are all that its values depend on"
    contract.require(
        kernel.bandwidth == bandwidth,
        "with_bandwidth must leave the kernel itself alone",
        f"bandwidth {kernel.bandwidth}",
        remedy,
    )
    for member, wanted in ((same, bandwidth), (other, 2.5 * bandwidth)):
        found = f"{member!r:.80}"
        contract.require(
            isinstance(member, ScaledKernel),
            "with_bandwidth must return a kernel with with_bandwidth",
            found,
            remedy,
        )
        contract.require(
            member.bandwidth == wanted,
            f"with_bandwidth({wanted:g}).bandwidth must be {wanted:g}",
            f"{member.bandwidth}",
            remedy,
        )
    contract.require(
        (same == kernel) is True,
        "kernels of one family and one bandwidth must be equal",
        f"{same!r:.80} != itself",
        remedy,
    )
    contract.require(
        (other == kernel) is False,
        "kernels of two bandwidths must be unequal",
        f"equality with {other!r:.80}",
        remedy,
    )
    clause = "kernels that are equal must hash alike"
    hashes = contract.call(lambda: (hash(same), hash(kernel)), clause=clause, remedy=remedy)
    contract.require(
        hashes[0] == hashes[1], clause, f"the hashes {hashes[0]} and {hashes[1]}", remedy
    )


def _family(contract: Contract, kernel: Any) -> None:
    if not isinstance(kernel, ScaledKernel) or kernel.bandwidth is None:
        return
    remedy = (
        "scale every length of the kernel by the bandwidth, or remove with_bandwidth: sums are"
        " exact then"
    )
    unit: Any
    unit, s = kernel.with_bandwidth(1.0), torch.cat([SQUARES.new_zeros(1), SQUARES])
    for length in (kernel.bandwidth, 0.3, 7.0):
        member: Any = kernel.with_bandwidth(length)
        for power, name in enumerate(METHODS):
            scaled, wanted = (
                getattr(member, name)(s * length**2) * length ** (2 * power),
                getattr(unit, name)(s),
            )
            worst = float(
                (scaled - wanted)[1:].abs().max() / wanted[1:].abs().max().clamp_min(1e-300)
            )
            clause = f"with_bandwidth must make k_l(s) = k_1(s / l^2), and {name} to match"
            contract.require(
                worst <= 1e-6,
                clause,
                f"a difference of {worst:.2g} between bandwidths 1 and {length:g}",
                remedy,
            )


def _elementwise(
    contract: Contract, name: str, method: Callable[[Tensor], Tensor], unit: float
) -> None:
    remedy = (
        "compute each entry from the same entry of s by torch operations, without changing s in"
        " place"
    )
    for dtype in (torch.float64, torch.float32):
        s = torch.cat([torch.zeros(1, dtype=dtype), (SQUARES * unit**2).to(dtype)])
        with contract.unchanged(f"{name}(s)", s=s):
            answer = contract.call(
                method, s, clause=f"{name}(s) must map a tensor s", remedy=remedy
            )
        contract.tensor(answer, tuple(s.shape), dtype, f"{name}(s)")
        lost = ~torch.isfinite(answer)
        found = (
            f"{float(answer[lost][0]) if lost.any() else 0.0} at s ="
            f" {float(s[lost][0]) if lost.any() else 0.0:.2g} in {dtype}"
        )
        contract.require(
            not bool(lost.any()),
            f"{name}(s) must be finite for every s >= 0",
            found,
            "cut s off below, e.g. s.clamp_min(1e-30)",
        )
        clause = f"{name}(s) must be elementwise"
        near = {torch.float64: 1e-12, torch.float32: 1e-5}[dtype]
        for shape, part in SHAPES.items():
            given = part(s)
            alone = contract.call(
                method, given, clause=f"{clause}, of the shape {shape}", remedy=remedy
            )
            contract.tensor(
                alone, tuple(given.shape), dtype, f"{name}(s) of s with the shape {shape}"
            )
            agrees = torch.allclose(alone, part(answer), rtol=near, atol=0.0)
            contract.require(
                agrees, clause, f"other numbers for the same s in the shape {shape}", remedy
            )


def _derivatives(contract: Contract, kernel: Kernel) -> None:
    unit = _unit(kernel)
    s = SQUARES * unit**2
    for name, of in (("slope", "profile"), ("curvature", "slope")):
        remedy = (
            f"differentiate {of} in s = |z - y|^2, not in the distance, or pass Radial(lambda s:"
            " ...)"
        )
        _same_derivative(
            contract,
            getattr(kernel, of),
            getattr(kernel, name),
            s,
            f"{name}(s) must be d {of} / ds",
            remedy,
        )


def _kink(contract: Contract, kernel: Kernel) -> None:
    # what a built-in kernel states is held against its methods by `check_facts`
    if is_built_in(kernel) or not isinstance(kernel, KnownKink):
        return
    s = torch.tensor([CLOSE, CLOSER], dtype=torch.float64) * _unit(kernel) ** 2
    close, closer = kernel.slope(s).abs().tolist()
    kinked = closer > GROWTH * close
    contract.require(
        has_kink(kernel) == kinked,
        f"kinked_at_zero must be {kinked}",
        f"{not kinked}, with |slope| {close:.3g} at s = {s[0]:.3g} and {closer:.3g} at {s[1]:.3g}",
        "declare kinked_at_zero as profile(r^2) is at r = 0",
    )


def _same_derivative(
    contract: Contract,
    function: Callable[[Tensor], Tensor],
    derivative: Callable[[Tensor], Tensor],
    s: Tensor,
    clause: str,
    remedy: str,
) -> None:
    step = STEP * s
    above, below = function(s + step), function(s - step)
    measured, told = (above - below) / (2 * step), derivative(s)
    rounding = (
        ROUNDING * torch.maximum(above.abs(), below.abs()) + NEGLIGIBLE * float(above.abs().max())
    ) / s
    wrong = (measured - told).abs() > DIFFERENCE * torch.maximum(
        measured.abs(), told.abs()
    ) + rounding
    at = int(wrong.to(torch.int8).argmax())
    found = (
        f"{float(told[at]):.6g} at s = {float(s[at]):.3g}, where differences give"
        f" {float(measured[at]):.6g}"
    )
    contract.require(not bool(wrong.any()), clause, found, remedy)


def _logarithms(contract: Contract, kernel: PositiveKernel) -> None:
    s = SQUARES * _unit(kernel) ** 2
    value, slope = kernel.profile(s), kernel.slope(s)
    at = int(value.argmin())
    found = f"{float(value[at]):.3g} at s = {float(s[at]):.3g}"
    contract.require(
        bool((value >= 0).all()),
        "a kernel with log_profile must be > 0",
        found,
        "remove log_profile and log_slope",
    )
    known = value > 1e-290
    remedy = "return log(profile), in a form that does not underflow, and slope / profile"
    log_known = kernel.log_profile(s)[known]
    agrees = torch.allclose(log_known, value[known].log(), rtol=1e-10, atol=1e-12)
    contract.require(
        agrees,
        "log_profile(s) must be log(profile(s))",
        _differing(log_known, value[known].log()),
        remedy,
    )
    log_slope = kernel.log_slope(s)[known]
    agrees = torch.allclose(log_slope, (slope / value)[known], rtol=1e-8, atol=0.0)
    contract.require(
        agrees,
        "log_slope(s) must be slope(s) / profile(s)",
        _differing(log_slope, (slope / value)[known]),
        remedy,
    )
    _same_derivative(
        contract,
        kernel.log_profile,
        kernel.log_slope,
        s,
        "log_slope(s) must be d log_profile / ds",
        remedy,
    )


def _differing(a: Tensor, b: Tensor) -> str:
    at = int((a - b).abs().argmax())
    return f"{float(a[at]):.8g} where it is {float(b[at]):.8g}"


def _laplacian(contract: Contract, kernel: Any) -> None:
    s = SQUARES * _unit(kernel) ** 2
    for d in (1, 2, 5):
        bend, pull = 4 * s * kernel.curvature(s), 2 * d * kernel.slope(s)
        told = kernel.laplacian(s, d)
        wrong = (told - bend - pull).abs() > 1e-10 * (bend.abs() + pull.abs())
        at = int(wrong.to(torch.int8).argmax())
        found = (
            f"{float(told[at]):.8g} at s = {float(s[at]):.3g}, where it is"
            f" {float((bend + pull)[at]):.8g}"
        )
        clause = f"laplacian(s, {d}) must be 4 s curvature + 2 d slope"
        contract.require(
            not bool(wrong.any()), clause, found, "derive it again, or remove the method"
        )


def _definite(contract: Contract, kernel: Kernel, positive: bool) -> None:
    """On even and random points, from much closer than the kernel's unit to much further apart."""
    kind = "positive semidefinite" if positive else "positive semidefinite on weights of sum zero"
    remedy = (
        "MMD^2 could be negative: take another kernel, or pass definite=False if it serves density"
        " estimates alone"
    )
    for d in (1, 2, 5):
        even = torch.stack(
            [
                torch.arange(40.0, dtype=torch.float64),
                *[torch.zeros(40, dtype=torch.float64)] * (d - 1),
            ],
            1,
        )
        for points in (even, 4 * normals(40, d, 3)):
            for spacing in (0.1, 0.3, 0.7, 1.5, 3.0):
                z = spacing * _unit(kernel) * points
                gram = kernel.profile(
                    torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist").square()
                )
                size = float(gram.abs().sum()) / len(gram)
                if not positive:
                    gram = gram - gram.mean(0) - gram.mean(1, keepdim=True) + gram.mean()
                least = float(torch.linalg.eigvalsh(gram)[0])
                found = (
                    f"an eigenvalue of {least:.3g} for 40 points of {d} coordinates at {spacing:g}"
                    " bandwidths from each other"
                )
                contract.require(
                    least >= -SEMIDEFINITE * size, f"a Gram matrix must be {kind}", found, remedy
                )
