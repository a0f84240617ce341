"""`check_backend`: the contract of a sum over pairs (`particleflow.pairwise.base`), clause by
clause, against plain numpy in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor

from particleflow.kernels import Gaussian, Kernel
from particleflow.kernels.contract import PositiveKernel, ScaledKernel
from particleflow.kernels.declared import bandwidth_of
from particleflow.pairwise import Field, PairwiseSum, Promise, Queries, Sources
from particleflow.testing.contract import Contract, in_threads, same_bits
from particleflow.testing.sums import exact_logs, exact_sums

ROUNDING = {torch.float64: 1e-12, torch.float32: 1e-5}
# A bound is held against errors that also contain rounding: some units of the dtype, of the largest
# sum of absolute terms.
UNITS = 64
# Powers of two by which weights are multiplied: sums stay within the numbers of the dtype, their
# intermediate results need not.
POWERS = {torch.float64: 900, torch.float32: 90}
# Numbers of a tensor that a backend need not copy, and the columns of weights that hold so many.
LARGE, COLUMNS = 2**17, 64
SUMS = ("value", "grad", "laplacian")


def check_backend(
    backend: PairwiseSum,
    kernel: Kernel = Gaussian(0.7),
    dim: int = 2,
    dtype: torch.dtype = torch.float64,
    *,
    rtol: float | None = None,
) -> None:
    """Check every clause of a backend's contract. Nothing is returned; a broken clause raises
    AssertionError with its name and the remedy.

    - sources(kernel, points).field(w) has value, grad, value_and_grad, laplacian: right for N != Q,
      one point, one query, w (N,) and (N, K) of both signs, points that coincide (no NaN, no
      force), strided and expanded input, far from the origin, at small and large extents.
    - At a query that is not finite everything is NaN; the other rows are what they are without it.
    - Input is detached, never changed, and copied: what is written to it later changes nothing (or,
      above 131072 numbers, is refused).
    - Weights may have any size, columns of one w different ones.
    - Fields of one kernel add; reduce() is the same sum; prepared queries give what the points
      give, for fields of other sources too.
    - The same input gives the same bits: again, from a new field, in threads.
    - log(z), of a positive kernel, is the logarithm and its gradient, also where sums underflow:
      -inf of an empty sum.
    - Wrong shapes of w, and logarithms of negative weights, are a ValueError that names `w`; those
      of a kernel without one a TypeError.
    - explain(z) tells `backend` and `why`. promise(z) is None (exact up to rounding) or a `Promise`
      that is kept.

    Parameters
    ----------
    backend : PairwiseSum
    kernel, dim, dtype
        Run it for each that you mean to use. Points have deviations of 1.
    rtol : float, optional
        Errors allowed, relative to the largest sum of absolute values of a row's terms: for a
        backend that approximates. Left out, each row's own terms count, and rounding alone is
        allowed: 1e-12, or 1e-5 in float32.

    Raises
    ------
    AssertionError
        A clause is broken.

    >>> from particleflow.pairwise import Dense
    >>> check_backend(Dense())
    """
    contract = Contract("a sum over pairs", backend)
    what = f"the class {backend.__name__}" if isinstance(backend, type) else type(backend).__name__
    clause = "a backend must have sources(kernel, points)"
    contract.require(
        not isinstance(backend, type) and isinstance(backend, PairwiseSum),
        clause,
        what,
        "add it, or pass an instance",
    )
    case = Case(
        contract,
        backend,
        kernel,
        dim,
        dtype,
        ROUNDING[dtype] if rtol is None else rtol,
        approximates=rtol is not None,
    )
    for check in CHECKS:
        check(case)


@dataclass(frozen=True)
class Case:
    """One backend, kernel, dimension and dtype, with the errors that are allowed."""

    contract: Contract
    backend: PairwiseSum
    kernel: Kernel
    d: int
    dtype: torch.dtype
    rtol: float
    approximates: bool

    def points(self, n: int, seed: int, scale: float = 1.0) -> Tensor:
        return torch.from_numpy(
            scale * np.random.default_rng([seed, self.d]).standard_normal((n, self.d))
        ).to(self.dtype)

    def weights(self, n: int, k: int, seed: int) -> Tensor:
        """Of both signs, some zero."""
        w = np.random.default_rng([seed, k]).standard_normal((n, k))
        w[:: max(2, n // 5)] = 0.0
        return torch.from_numpy(w).to(self.dtype)

    def field(self, x: Tensor, w: Tensor, kernel: Kernel | None = None) -> Field:
        return self.backend.sources(kernel or self.kernel, x).field(w)

    def require(self, held: bool, clause: str, got: str, remedy: str) -> None:
        where = f"{self.kernel!r:.60}, d = {self.d}, {self.dtype}"
        self.contract.require(held, clause, f"{got} ({where})", remedy)

    def close(self, got: Any, want: np.ndarray, scale: np.ndarray | np.floating, what: str) -> None:
        self.contract.tensor(got, want.shape, self.dtype, what)
        allowed = self.rtol * (scale.max() if self.approximates else scale)
        error, allowed = np.broadcast_arrays(np.abs(got.double().cpu().numpy() - want), allowed)
        # what lies below the smallest normal number of the dtype cannot be resolved
        over = np.nan_to_num(error - allowed - 1e3 * torch.finfo(self.dtype).tiny, nan=math.inf)
        found = (
            f"an error of {np.nan_to_num(error, nan=math.inf).max():.3g} where {allowed.max():.3g}"
            " is allowed"
        )
        self.require(
            bool((over <= 0).all()),
            f"{what} must be the sum of numpy in float64",
            found,
            "mend the sum, or pass the rtol that it promises",
        )

    def compare(
        self,
        z: Tensor,
        x: Tensor,
        w: Tensor,
        what: str,
        *,
        laplacian: bool = True,
        kernel: Kernel | None = None,
    ) -> None:
        """Every sum against the truth; w (N, K)."""
        self.compare_field(
            self.field(x, w, kernel), z, x, w, what, laplacian=laplacian, kernel=kernel
        )

    def compare_field(
        self,
        field: Field,
        z: Tensor,
        x: Tensor,
        w: Tensor,
        what: str,
        *,
        laplacian: bool = True,
        kernel: Kernel | None = None,
    ) -> None:
        want = exact_sums(kernel or self.kernel, z, x, w)
        value, grad = field.value_and_grad(z)
        self.close(field.value(z), want.value, want.value_scale, f"value ({what})")
        self.close(field.grad(z), want.grad, want.grad_scale[..., None], f"grad ({what})")
        self.close(value, want.value, want.value_scale, f"the value of value_and_grad ({what})")
        self.close(
            grad, want.grad, want.grad_scale[..., None], f"the gradient of value_and_grad ({what})"
        )
        if laplacian:
            self.close(
                field.laplacian(z), want.laplacian, want.laplacian_scale, f"laplacian ({what})"
            )

    @property
    def kinked(self) -> bool:
        """Does the slope grow without bound at 0?"""
        unit = bandwidth_of(self.kernel) or 1.0
        near, nearer = (
            abs(float(self.kernel.slope(torch.tensor([s * unit**2], dtype=torch.float64))))
            for s in (1e-6, 1e-12)
        )
        return nearer > 10 * near


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


def check_sums(case: Case) -> None:
    case.compare(case.points(31, 1), case.points(47, 0), case.weights(47, 1, 2), "Q != N")
    case.compare(case.points(47, 1), case.points(31, 0), case.weights(31, 3, 2), "K = 3")
    case.compare(case.points(5, 1), case.points(1, 0), case.weights(1, 2, 3) + 1, "N = 1")
    case.compare(case.points(1, 1), case.points(6, 0), case.weights(6, 1, 3), "Q = 1")


def check_one_weight_vector(case: Case) -> None:
    """w (N,) gives (Q,) and (Q, d): the only column of w (N, 1)."""
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
    """Duplicate sources, and queries that lie on them: no NaN, no force between points that
    coincide.
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


def check_input(case: Case) -> None:
    """Transposed, strided and expanded input gives what its copy gives; input is left alone, and
    copied.
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
    """Above 131072 numbers input need not be copied: then a sum of what was changed is refused."""
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


def check_places_and_scales(case: Case) -> None:
    """A cloud at 1e6 from the origin, and extents of 1e-3 and 1e3, the bandwidth following where
    there is one.
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
    """Weights times a power of two give sums times that power, and columns of different sizes do
    not disturb each other.
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
    """A query that is not finite gives NaN and leaves the other rows alone."""
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
    """Fields of one kernel add, whatever their sources and numbers of points; a field reduces to
    itself on one machine.
    """
    z, x, y = case.points(13, 2), case.points(19, 0), case.points(8, 1)
    w, v = case.weights(19, 1, 3), case.weights(8, 1, 4)
    total = case.field(x, w) + case.field(y, v)
    for field, what in (
        (total, "of a sum of fields"),
        (total.reduce(), "of a reduced sum of fields"),
    ):
        case.compare_field(field, z, torch.cat([x, y]), torch.cat([w, v]), what)


def check_prepared(case: Case) -> None:
    """Prepared queries give what the points give, for a field of the same sources, another's, and
    their sum.
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
    """The same input gives the same bits, from the same field, from a new one, and in threads."""
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


def check_log(case: Case) -> None:
    """Against the sums nearby, against log-sum-exp where the sums underflow, with zero weights, K
    vectors, two parts.
    """
    if not _has_log(case.kernel):
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


def _has_log(kernel: Kernel) -> TypeGuard[PositiveKernel]:
    return isinstance(kernel, PositiveKernel)


def check_refusals(case: Case) -> None:
    """Weights of a wrong shape, the logarithm of negative ones, and of a kernel that has none."""
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
    if _has_log(case.kernel):
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
    """What a field tells of itself, and that its promise is kept."""
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


CHECKS = (
    check_protocols,
    check_sums,
    check_one_weight_vector,
    check_coincident,
    check_input,
    check_large_input,
    check_places_and_scales,
    check_weights_of_any_size,
    check_lost_queries,
    check_addition,
    check_prepared,
    check_repeatable,
    check_log,
    check_refusals,
    check_report,
)
