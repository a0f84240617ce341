"""Clauses of `check_backend` about right sums, compared with plain numpy in float64."""

from __future__ import annotations

import math
from typing import TypeGuard

import numpy as np
import torch

from particleflow.kernels import Kernel
from particleflow.kernels.contract import PositiveKernel, ScaledKernel
from particleflow.kernels.declared import bandwidth_of
from particleflow.testing.backend_case import SUMS, Case
from particleflow.testing.sums import exact_logs, exact_sums

# Exponents of the powers of two that multiply weights: the sums stay within the range of the dtype,
# but intermediate results may not.
POWERS = {torch.float64: 900, torch.float32: 90}


def check_sums(case: Case) -> None:
    case.compare(case.points(31, 1), case.points(47, 0), case.weights(47, 1, 2), "Q != N")
    case.compare(case.points(47, 1), case.points(31, 0), case.weights(31, 3, 2), "K = 3")
    case.compare(case.points(5, 1), case.points(1, 0), case.weights(1, 2, 3) + 1, "N = 1")
    case.compare(case.points(1, 1), case.points(6, 0), case.weights(6, 1, 3), "Q = 1")


def check_one_weight_vector(case: Case) -> None:
    """Check that w (N,) gives (Q,) and (Q, d), equal to the only column of w (N, 1)."""
    z, x, w = case.points(9, 1), case.points(14, 0), case.weights(14, 1, 2)
    want = exact_sums(case.kernel, z, x, w)
    field = case.field(x, w[:, 0])
    pair = field.value_and_grad(z)
    for value, grad, what in (
        (field.value(z), field.grad(z), "w (N,)"),
        (*pair, "w (N,), of value_and_grad"),
    ):
        case.close(value, want.value[:, 0], want.value_scale[:, 0], f"value ({what})")
        case.close(grad, want.grad[:, 0], want.grad_scale, f"grad ({what})")
    case.close(
        field.laplacian(z), want.laplacian[:, 0], want.laplacian_scale[:, 0], "laplacian (w (N,))"
    )


def check_coincident(case: Case) -> None:
    """Check duplicate sources, and queries that lie on sources.

    No NaN appears, and points that coincide exert no force on each other.
    """
    x = case.points(20, 0)
    x = torch.cat([x, x[:7], x[:2]])
    z = torch.cat([x[:9], case.points(4, 1)])
    case.compare(
        z, x, case.weights(len(x), 2, 3), "points that coincide", laplacian=not case.kinked
    )
    alone = case.field(x[:1], x.new_ones(1))
    force = alone.grad(x[:1])
    if case.approximates:
        s = torch.logspace(-6, 2, 1000, dtype=torch.float64)
        case.close(
            force,
            np.zeros((1, case.d)),
            (2 * s.sqrt() * case.kernel.slope(s)).abs().numpy(),
            "the force of a point on itself",
        )
    else:
        zero = bool((force == 0).all())
        case.require(
            zero,
            "the force of a point on itself must be exactly zero",
            str(force.tolist()),
            "mask pairs at no distance",
        )
    nothing = bool(alone.laplacian(x[:1]).isnan().any())
    case.require(
        not nothing,
        "the laplacian at a source must be a number",
        "NaN",
        "mask pairs at no distance, or cut s off below",
    )


def check_places_and_scales(case: Case) -> None:
    """Check a cloud at 1e6 from the origin, and clouds of extents 1e-3 and 1e3.

    The bandwidth follows the extent where there is one.
    """
    laplacian, bandwidth, kernel = not case.kinked, bandwidth_of(case.kernel), case.kernel
    case.compare(
        case.points(17, 1) + 1e6,
        case.points(23, 0) + 1e6,
        case.weights(23, 1, 2),
        "1e6 from the origin",
        laplacian=laplacian,
    )
    for extent in (1e-3, 1e3):
        scaled = (
            kernel.with_bandwidth(bandwidth * extent)
            if bandwidth is not None and isinstance(kernel, ScaledKernel)
            else kernel
        )
        case.compare(
            case.points(17, 1, extent),
            case.points(23, 0, extent),
            case.weights(23, 1, 2),
            f"an extent of {extent:g}",
            kernel=scaled,
        )


def check_weights_of_any_size(case: Case) -> None:
    """Check that weights times a power of two give sums times that power.

    Columns of different sizes must not disturb each other.
    """
    x, z, w = case.points(14, 0), case.points(9, 1), case.weights(14, 2, 2)
    power = POWERS[case.dtype]
    factors = torch.tensor([2.0**power, 2.0**-power], dtype=case.dtype)
    sized, plain = case.field(x, w * factors), case.field(x, w)
    want = exact_sums(case.kernel, z, x, w)
    for name, truth in (("value", want.value_scale), ("grad", want.grad_scale[..., None])):
        got, wanted = getattr(sized, name)(z), getattr(plain, name)(z).double().numpy()
        back = got / factors.reshape(2, *[1] * (got.ndim - 2))
        case.close(back, wanted, truth, f"{name} (weights times 2^{power} and 2^-{power})")


def check_lost_queries(case: Case) -> None:
    """Check that a query that is not finite gives NaN and leaves the other rows alone."""
    x, z, w = case.points(24, 0), case.points(11, 1), case.weights(24, 1, 2)[:, 0]
    field = case.field(x, w)
    lost = z.clone()
    lost[3, -1], lost[6, 0], lost[8] = math.nan, math.inf, -math.inf
    good = torch.ones(11, dtype=torch.bool)
    good[[3, 6, 8]] = False
    for name in SUMS:
        clean, got = getattr(field, name)(z), getattr(field, name)(lost)
        clause = f"{name} must be NaN at a query that is not finite"
        case.require(
            bool(got[~good].isnan().all()),
            clause,
            str(got[~good].flatten()[:4].tolist()),
            "fill these rows with NaN at the end",
        )
        scale = np.abs(clean.double().numpy()).max()
        case.close(
            got[good],
            clean[good].double().numpy(),
            scale,
            f"{name} beside queries that are not finite",
        )


def check_addition(case: Case) -> None:
    """Check that fields of one kernel add, whatever their sources and numbers of points.

    On one machine a field reduces to itself.
    """
    z, x, y = case.points(13, 2), case.points(19, 0), case.points(8, 1)
    w, v = case.weights(19, 1, 3), case.weights(8, 1, 4)
    total = case.field(x, w) + case.field(y, v)
    for field, what in (
        (total, "of a sum of fields"),
        (total.reduce(), "of a reduced sum of fields"),
    ):
        case.compare_field(field, z, torch.cat([x, y]), torch.cat([w, v]), what)


def check_log(case: Case) -> None:
    """Check logarithms against the sums, and against log-sum-exp where the sums underflow.

    The cases include zero weights, K weight vectors, and two parts.
    """
    if not has_log(case.kernel):
        return
    z, x, y = case.points(13, 2), case.points(19, 0), case.points(8, 1)
    w, v = case.weights(19, 2, 3).abs(), case.weights(8, 2, 4).abs()
    field = case.field(x, w) + case.field(y, v)
    value, grad = field.log(z)
    case.contract.tensor(grad, (13, 2, case.d), case.dtype, "the gradient of log")
    both = exact_sums(case.kernel, z, torch.cat([x, y]), torch.cat([w, v]))
    for k in range(2):
        want, want_grad = both.log(torch.cat([w, v])[:, k].double().numpy())
        scale = both.grad_scale[:, k] / both.value[:, k]
        case.close(value[:, k], want, 1 + np.abs(want), "log")
        case.close(grad[:, k], want_grad, scale[:, None], "the gradient of log")
    far = z + 60.0
    value, grad = case.field(x, w[:, 0]).log(far)
    want, want_grad = exact_logs(case.kernel, far, x, w[:, 0])
    case.close(value, want, 1 + np.abs(want), "log far away, where sums underflow")
    case.close(
        grad, want_grad, np.abs(want_grad).max(1, keepdims=True), "the gradient of log far away"
    )
    nothing, no_grad = case.field(x, torch.zeros_like(w[:, 0])).log(z)
    case.require(
        bool((nothing == -math.inf).all()),
        "the log of an empty sum must be -inf",
        str(nothing[:2].tolist()),
        "mask it",
    )
    case.require(
        bool((no_grad == 0).all()),
        "the log of an empty sum must have no force",
        str(no_grad[:1].tolist()),
        "mask it",
    )
    lost = z.clone()
    lost[5], lost[7] = math.nan, math.inf
    value, grad = field.log(lost)
    held = bool(value[[5, 7]].isnan().all() and grad[[5, 7]].isnan().all())
    case.require(
        held,
        "log must be NaN at a query that is not finite",
        str(value[[5, 7]].tolist()),
        "fill these rows with NaN at the end",
    )
    case.require(
        not bool(value[:5].isnan().any()),
        "a query that is not finite must leave the other rows alone",
        "NaN in log",
        "treat rows alone",
    )


def has_log(kernel: Kernel) -> TypeGuard[PositiveKernel]:
    return isinstance(kernel, PositiveKernel)
