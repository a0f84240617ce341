"""Read what a kernel declares, and refuse what cannot be a kernel.

Sums ask about kernels here only. Nothing is guessed from an attribute. A built-in kernel states its
facts. A user's kernel declares its scale by `with_bandwidth`, and a kink by `kinked_at_zero`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from functools import lru_cache
from typing import Any, TypeGuard, cast

import torch
from torch import Tensor

from particleflow import _checks
from particleflow.kernels.bandwidth import Bandwidth, is_rule
from particleflow.kernels.built_in import BUILT_IN
from particleflow.kernels.contract import (
    Kernel,
    KnownKink,
    KnownLaplacian,
    KnownSpectrum,
    PositiveKernel,
    ScaledKernel,
)
from particleflow.kernels.facts import ExponentialTail, Facts, GaussianTail, Profile, Tail
from particleflow.kernels.radial import Radial
from particleflow.kernels.scaled import Scaled


def facts_of(kernel: object) -> Facts | None:
    """Return the facts in the body of the kernel's own class, see `stated`."""
    return stated(type(kernel))


def stated(kind: type) -> Facts | None:
    """Return the `Facts` in the body of this class, or None without any.

    A parent's facts do not count: a subclass may have changed anything that the parent states.
    """
    facts = vars(kind).get("facts")
    return facts if isinstance(facts, Facts) else None


def tail_of(kernel: object) -> Tail | None:
    """Return the tail of a built-in kernel, and None for any other kernel."""
    facts = facts_of(kernel)
    return None if facts is None else facts.tail


def exponential_tail(kernel: object) -> ExponentialTail | None:
    """Return the tail P(t) e^{-decay t} of a built-in kernel, and None without this form."""
    tail = tail_of(kernel)
    return tail if isinstance(tail, ExponentialTail) else None


def is_gaussian(kernel: object) -> TypeGuard[Any]:
    """Is the kernel e^{-s / (2 bandwidth^2)}, the one radial kernel that factors over the axes?"""
    return isinstance(tail_of(kernel), GaussianTail)


def falls_fast(kind: type) -> bool:
    """Do kernels of this class fall exponentially, so that far pairs may be left out?"""
    facts = stated(kind)
    return facts is not None and (
        isinstance(facts.tail, GaussianTail)
        or (isinstance(facts.tail, ExponentialTail) and facts.tail.decay)
    )


def profile_of(kind: type) -> Profile:
    """Return the formulas for compiled sums of a built-in kernel's class."""
    facts = stated(kind)
    assert facts is not None
    return facts.profile


def names_of(holds: Callable[[type], bool]) -> str:
    """Name the built-in kernels for which `holds` is true, for a message: A, B or C."""
    *first, last = [kind.__name__ for kind in BUILT_IN if holds(kind)]
    return f"{', '.join(first)} or {last}" if first else last


def is_built_in(kernel: object) -> bool:
    """Does the kernel's own class state facts? A subclass is not built in."""
    return facts_of(kernel) is not None


def bandwidth_of(kernel: Any) -> float | None:
    """Return the declared bandwidth of a kernel, or None.

    `Energy` has no bandwidth. A user's kernel declares one as a `ScaledKernel`.
    """
    if is_built_in(kernel):
        return kernel.bandwidth if isinstance(kernel, Scaled) else None
    return float(kernel.bandwidth) if _declares(kernel) else None


def has_facts(kernel: Any) -> bool:
    """Is the kernel built in, or does it declare its scale, so that fast sums may be planned?"""
    return is_built_in(kernel) or _declares(kernel)


def has_laplacian(kernel: Any) -> TypeGuard[KnownLaplacian]:
    """Does `kernel.laplacian(s, d)` give the laplacian? Only a built-in kernel is asked."""
    return is_built_in(kernel) and isinstance(kernel, KnownLaplacian)


def has_spectrum(kernel: object) -> bool:
    """Does `kernel.spectrum(omega2, d)` give the Fourier transform?

    Only a built-in kernel is asked: a user's method of that name may mean something else.
    """
    return is_built_in(kernel) and _knows_spectrum(cast("Hashable", type(kernel)))


@lru_cache(maxsize=256)
def _knows_spectrum(kind: Any) -> bool:
    return issubclass(kind, KnownSpectrum)


def is_positive(kernel: Any) -> TypeGuard[PositiveKernel]:
    """Is the kernel a `PositiveKernel`?

    Each class is asked once: isinstance() of a protocol takes as long as a sum over a few thousand
    pairs.
    """
    return positive_kind(type(kernel))


def positive_kind(kind: type) -> bool:
    """Are the kernels of this class `PositiveKernel`?"""
    return _is_positive(cast("Hashable", kind))


@lru_cache(maxsize=256)
def _is_positive(kind: Any) -> bool:
    return all(
        callable(getattr(kind, name, None))
        for name in ("profile", "slope", "log_profile", "log_slope")
    )


def has_kink(kernel: Any) -> bool:
    """Has k a kink where two points meet?

    Particles hop over each other at a kink. A kernel that declares nothing counts as smooth. This
    is the careful choice: the energy of a flow on a smooth kernel may rise at no step.
    """
    facts = facts_of(kernel)
    return (
        facts.kinked
        if facts is not None
        else isinstance(kernel, KnownKink) and kernel.kinked_at_zero
    )


def _declares(kernel: Any) -> bool:
    """Is the kernel a user's `ScaledKernel` that can be compared and hashed?

    A plan made for one such kernel can serve every equal kernel.
    """
    if (
        any(stated(parent) for parent in type(kernel).__mro__)
        or not isinstance(kernel, ScaledKernel)
        or isinstance(kernel, type)
    ):
        return False
    bandwidth = kernel.bandwidth
    if (
        isinstance(bandwidth, bool)
        or not isinstance(bandwidth, float | int)
        or not 0 < bandwidth < math.inf
    ):
        return False
    try:
        return (kernel.with_bandwidth(bandwidth) == kernel) is True and _is_family(
            cast("Hashable", kernel)
        )
    except TypeError:  # it has no hash
        return False


@lru_cache(maxsize=256)
def _is_family(kernel: Any) -> bool:
    """Refuse a kernel whose `with_bandwidth` is not k_l(s) = k_1(s / l^2) at some distances."""
    s = (
        torch.tensor([0.0, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 20.0], dtype=torch.float64, device="cpu")
        ** 2
    )
    unit = kernel.with_bandwidth(1.0).profile(s)
    for bandwidth in (kernel.bandwidth, 0.3, 7.0):
        scaled = kernel.with_bandwidth(bandwidth).profile(s * bandwidth**2)
        if not torch.allclose(scaled, unit, rtol=1e-6, atol=1e-9 * float(unit.abs().max())):
            raise ValueError(
                "`kernel` must be k_1(s / bandwidth^2) where it has a method with_bandwidth, got"
                f" {kernel}, whose values at bandwidths 1 and {bandwidth:g} differ: remove"
                " with_bandwidth (sums are exact then), or scale every length of the kernel by the"
                " bandwidth"
            )
    return True


def as_kernel(kernel: Kernel | Callable[[Tensor], Tensor]) -> Kernel:
    r"""The kernel that an argument means, tried at some distances.

    .. math::

        k(z, y) = \varphi(s) , \qquad s = \left| z - y \right|^2 ,
        \qquad
        \text{slope}(s) = \varphi'(s) .

    A kernel is returned as it is, and a callable of s becomes a `Radial`. What is not built in is
    tried at s = 0 and at 41 values from 1e-6 to 1e4: its answers must be finite, elementwise, and
    `slope` the derivative of `profile`. Flows and estimators call it on what they are given.

    Parameters
    ----------
    kernel : Kernel or callable
        A kernel, or a function that maps a tensor s elementwise with functions of torch.

    Returns
    -------
    Kernel
        The same object, or a `Radial` without a bandwidth.

    Raises
    ------
    TypeError
        `kernel` is no kernel and no function of s, or its answers are no tensors like s.
    ValueError
        `kernel` is not finite at some s >= 0, or `slope` is not the derivative of `profile` in s,
        or `log_profile` is not the logarithm.

    Cost: a few calls of the kernel at 42 distances, none for a built-in kernel.

    >>> kernel = pf.kernels.as_kernel(lambda s: torch.exp(-3 * s))
    >>> kernel.slope(torch.tensor([0.0]))
    tensor([-3.])
    """
    if isinstance(kernel, type) or not (isinstance(kernel, Kernel) or callable(kernel)):
        what = (
            f"the class {kernel.__name__} without its arguments"
            if isinstance(kernel, type)
            else f"{type(kernel).__name__} {kernel!r:.80}"
        )
        wanted = (
            "`kernel` must be a kernel such as pf.kernels.Gaussian(bandwidth=0.2) or a callable of"
            " the squared distance"
        )
        raise TypeError(f"{wanted}, got {what}: pass one of these")
    made = kernel if isinstance(kernel, Kernel) else Radial(kernel)
    if not is_built_in(made):
        _try(made, kernel)
    return made


def as_kernel_or_rule(value: Any) -> Kernel | Bandwidth:
    """Return a bandwidth rule as it is, and anything else through `as_kernel`."""
    return value if is_rule(value) else as_kernel(value)


def _try(kernel: Kernel, given: Any) -> None:
    """Refuse a kernel whose answers at some s are not those of a kernel."""
    s = torch.tensor(
        [0.0, *(10 ** (k / 4) for k in range(-24, 17))], dtype=torch.float64, device="cpu"
    )
    remedy = (
        "pass a function of s = |x - y|^2 alone that maps a tensor elementwise, e.g. lambda s:"
        " torch.exp(-s / 2)"
    )
    if isinstance(kernel, KnownKink):
        _checks.flag(kernel.kinked_at_zero, "kinked_at_zero", of=type(kernel).__name__)
    answers = {}
    for name in (
        "profile",
        "slope",
        *(("log_profile", "log_slope") if isinstance(kernel, PositiveKernel) else ()),
    ):
        method = getattr(kernel, name)
        try:
            answer, alone = method(s), method(s[20:21])
        except Exception as error:
            raise TypeError(
                f"`kernel` must map squared distances s to numbers, got {given!r:.80}, which fails:"
                f" {error}: {remedy}"
            ) from error
        if (
            not isinstance(answer, Tensor)
            or answer.shape != s.shape
            or not torch.allclose(answer[20:21], alone, equal_nan=True)
        ):
            what = (
                f"a tensor of shape {tuple(answer.shape)}"
                if isinstance(answer, Tensor)
                else type(answer).__name__
            )
            raise TypeError(
                f"`kernel` must map s elementwise, got {given!r:.80}, which makes {what} of shape"
                f" {tuple(s.shape)}: {remedy}"
            )
        lost = ~torch.isfinite(answer)
        if bool(lost.any()):
            at = int(lost.nonzero()[0, 0])
            found = f"whose {name} is {float(answer[at])} at s = {float(s[at]):.2g}"
            raise ValueError(
                f"`kernel` must be finite at every s >= 0, got {given!r:.80}, {found}: smooth it,"
                " as in s + 1e-6"
            )
        answers[name] = answer.double()
    step = 1e-4 * s[1:]
    measured = (kernel.profile(s[1:] + step) - kernel.profile(s[1:] - step)).double() / (2 * step)
    slope, top = answers["slope"][1:], float(answers["profile"].abs().max())
    wrong = (measured - slope).abs() > 0.05 * torch.maximum(
        measured.abs(), slope.abs()
    ) + 1e-8 * top / s[1:]
    if int(wrong.sum()) > 3:  # a few may lie beside a kink
        at = int(wrong.nonzero()[0, 0])
        raise ValueError(
            f"`kernel.slope` must be d profile / ds, s = |x - y|^2, got {float(slope[at]):.4g} at s"
            f" = {float(s[1 + at]):.2g}, where profile changes by {float(measured[at]):.4g}:"
            " differentiate in s, not in the distance, or pass pf.kernels.Radial(lambda s: ...)"
        )
    if "log_profile" in answers:
        _try_logarithms(kernel, s, answers)


def _try_logarithms(kernel: Kernel, s: Tensor, answers: Mapping[str, Tensor]) -> None:
    """Refuse a `log_profile` or a `log_slope` that disagrees with `profile` and `slope`.

    Sums use either pair of methods.
    """
    profile = answers["profile"]
    sure = profile.abs() > 1e-200
    for name, truth in (
        ("log_profile", profile.abs().log()),
        ("log_slope", answers["slope"] / profile),
    ):
        wrong = sure & ((answers[name] - truth).abs() > 1e-3 * (1 + truth.abs()) + 1e-12)
        if bool((wrong | (sure & (profile < 0))).any()):
            at = int((wrong | (sure & (profile < 0))).nonzero()[0, 0])
            meant = (
                "log(profile)"
                if name == "log_profile"
                else "slope / profile, the derivative of log_profile in s"
            )
            raise ValueError(
                f"`kernel.{name}` must be {meant}, got {float(answers[name][at]):.4g} for"
                f" {float(truth[at]):.4g} at s = {float(s[at]):.2g}, where profile is"
                f" {float(profile[at]):.4g}: mend it, or leave out log_profile and log_slope (they"
                " say that k > 0)"
            )
