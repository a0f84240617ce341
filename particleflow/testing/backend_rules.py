"""Clauses of `check_backend` other than right sums: input, bits, refusals, and a field's report."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from particleflow.pairwise import Field, Promise, Queries, Sources
from particleflow.testing.backend_case import SUMS, Case
from particleflow.testing.backend_sums import has_log
from particleflow.testing.contract import in_threads, same_bits
from particleflow.testing.sums import exact_sums

# Rounding allowed on top of a promised bound, in units of the dtype times the largest sum of
# absolute terms.
UNITS = 64
# Most numbers of a tensor that a backend has to copy: larger copies take too much memory.
LARGE = 2**17
# Columns of the weights whose total exceeds LARGE: with many columns few points are enough.
COLUMNS = 64


def check_protocols(case: Case) -> None:
    x, z = case.points(9, 0), case.points(4, 1)
    sources = case.contract.call(
        case.backend.sources,
        case.kernel,
        x,
        clause="sources(kernel, points) must work",
        remedy="points are (N, d), N any number",
    )
    results: tuple[tuple[Callable[[], object], type, str], ...] = (
        (lambda: sources, Sources, "sources(kernel, points) must have points, field and prepare"),
        (lambda: sources.prepare(z), Queries, "prepare(z) must have points"),
        (
            lambda: sources.field(x.new_ones(9)),
            Field,
            f"field(w) must have {', '.join(('log', 'reduce', 'explain', 'promise', '+', *SUMS))}",
        ),
    )
    for make, protocol, what in results:
        made = make()
        case.require(isinstance(made, protocol), what, type(made).__name__, "add what is missing")
    case.require(
        same_bits(sources.points.cpu(), x),
        "sources must tell their points",
        "others",
        "keep a copy of them, in their order",
    )


def check_input(case: Case) -> None:
    """Check that transposed, strided and expanded input gives the sums of its copy.

    Input must be left alone, and copied.
    """
    x, z, w = case.points(24, 0), case.points(11, 1), case.weights(24, 3, 2)
    strided = torch.empty(48, case.d, dtype=case.dtype)[::2].copy_(x)
    transposed, columns = z.T.contiguous().T, w.T.contiguous().T
    with case.contract.unchanged("a sum", points=strided, z=transposed, w=columns):
        case.compare(transposed, strided, columns, "strided input")
        case.compare(z[:1].expand(6, -1), x, w[:, :1].expand(-1, 2), "expanded input")
    leaves = [t.clone().requires_grad_(True) for t in (x, w, z)]
    field = case.field(leaves[0], leaves[1])
    with torch.enable_grad():
        case.compare_field(
            field, leaves[2], x, w, "input that requires grad", laplacian=not case.kinked
        )
    given, weights = x.clone(), w.clone()
    field, queries = case.field(given, weights), z.clone()
    before = field.value(queries)
    prepared = case.backend.sources(case.kernel, x).prepare(queries)
    for changed in (given, weights, queries):
        changed.add_(1.0)
    clause = "a field must not see what is written to its input later"
    case.require(
        same_bits(field.value(z), before),
        clause,
        "another sum",
        "clone points and weights in sources and field",
    )
    clause = "prepared queries must tell the points that they were made of"
    case.require(
        same_bits(prepared.points.cpu(), z),
        clause,
        "others, now that z was written to",
        "keep a copy of them",
    )


def check_large_input(case: Case) -> None:
    """Check that a sum of changed input is refused where large input is not copied.

    Input above 131072 numbers need not be copied.
    """
    x, z = case.points(LARGE // COLUMNS + 7, 0), case.points(3, 1)
    w = torch.full((len(x), COLUMNS), 1 / len(x), dtype=case.dtype)
    field = case.field(x, w)
    before = field.value(z)
    w.mul_(0.5)
    try:
        after = field.value(z)
    except RuntimeError:
        return
    clause = "a field must not sum large weights that were changed in place since"
    case.require(
        same_bits(before, after),
        clause,
        "another sum, and no RuntimeError",
        "copy them, or compare their _version with the one at first",
    )


def check_prepared(case: Case) -> None:
    """Check that prepared queries give the same sums as the points.

    The fields are of the same sources, of others, and of both together.
    """
    z, x, y = case.points(13, 2), case.points(19, 0), case.points(8, 1)
    sources = case.backend.sources(case.kernel, x)
    queries = sources.prepare(z)
    own, others = sources.field(case.weights(19, 2, 3)), case.field(y, case.weights(8, 2, 4))
    for field, what in ((own, "own"), (others, "another's"), (own + others, "added")):
        for name in SUMS:
            plain = getattr(field, name)(z).double().numpy()
            case.close(
                getattr(field, name)(queries),
                plain,
                np.abs(plain).max(),
                f"{name} (prepared queries, {what} field)",
            )


def check_repeatable(case: Case) -> None:
    """Check that the same input gives the same bits: again, from a new field, and in threads."""
    z, x, w = case.points(31, 1), case.points(47, 0), case.weights(47, 2, 2)
    field, again = (case.field(x, w) for _ in range(2))
    for name in SUMS:
        first = getattr(field, name)(z)
        clause, remedy = (
            f"the same input must give the same bits of {name}",
            "add in a fixed order, and keep no state in the backend",
        )
        case.require(
            same_bits(first, getattr(field, name)(z)), clause, "others when asked again", remedy
        )
        case.require(
            same_bits(first, getattr(again, name)(z)), clause, "others from a new field", remedy
        )

        def again_or_anew(k: int, name: str = name) -> Any:
            return getattr(field if k % 2 else case.field(x, w), name)(z)

        alike = in_threads(again_or_anew, 6)
        case.require(
            all(same_bits(first, other) for other in alike), clause, "others in threads", remedy
        )


def check_refusals(case: Case) -> None:
    """Check the refusals: weights of a wrong shape, and logarithms that do not exist.

    The logarithm exists neither for negative weights nor for a kernel without one.
    """
    x, z = case.points(9, 0), case.points(4, 1)
    sources, refuses = case.backend.sources(case.kernel, x), case.contract.refuses
    for shape in ((8,), (9, 2, 1)):
        clause = (
            f"w of the shape {shape} for 9 points must be refused by a ValueError that names `w`"
        )
        refuses(
            partial(sources.field, x.new_ones(shape)),
            (ValueError,),
            clause,
            "check shapes in field(w)",
            "`w`",
        )
    if has_log(case.kernel):
        negative = x.new_ones(9)
        negative[4] = -1e-3
        clause = (
            "the logarithm with a negative weight must be refused by a ValueError that names `w`"
        )
        refuses(
            partial(sources.field(negative).log, z),
            (ValueError,),
            clause,
            "check w >= 0 in log(z)",
            "`w`",
        )
    else:
        clause = (
            "the logarithm of a kernel without log_profile must be refused by a TypeError that"
            " names `kernel`"
        )
        refuses(
            partial(sources.field(x.new_ones(9)).log, z),
            (TypeError,),
            clause,
            "look for log_profile in log(z)",
            "`kernel`",
        )


def check_report(case: Case) -> None:
    """Check the report of a field, and that its promise is kept."""
    x, z, w = case.points(190, 0), case.points(130, 1), case.weights(190, 1, 2)
    field = case.field(x, w)
    told = field.explain(z)
    held = all(isinstance(told.get(name), str) for name in ("backend", "why"))
    case.require(
        held,
        "explain(z) must tell `backend` and `why`",
        repr(dict(told)),
        "return {'backend': ..., 'why': ...}",
    )
    value, grad = field.value_and_grad(z)
    promise = field.promise(z)
    clause = "promise(z) must be a Promise or None"
    case.require(
        promise is None or isinstance(promise, Promise),
        clause,
        type(promise).__name__,
        "None where the sum is exact up to rounding",
    )
    if promise is None:
        return
    want = exact_sums(case.kernel, z, x, w)
    unit = UNITS * torch.finfo(case.dtype).eps
    errors = (
        float(np.abs(value.double().numpy() - want.value).max()),
        float(np.linalg.norm(grad.double().numpy() - want.grad, axis=-1).max()),
    )
    bounds = (
        promise.value + unit * want.value_scale.max(),
        promise.grad + unit * want.grad_scale.max(),
    )
    for name, error, bound in zip(("value", "grad"), errors, bounds, strict=True):
        found = f"an error of {error:.3g} over {bound:.3g}"
        case.require(
            bool(error <= bound),
            f"the promise of {name} must be kept",
            found,
            "raise the bound, or the accuracy",
        )
