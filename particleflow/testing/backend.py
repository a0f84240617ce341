"""`check_backend`: the contract of a sum over pairs, clause by clause.

The contract is in `particleflow.pairwise.base`. `backend_case` compares sums with plain numpy,
`backend_sums` has the clauses about numbers, `backend_rules` the others.
"""

from __future__ import annotations

import torch

from particleflow.kernels import Gaussian, Kernel
from particleflow.pairwise import PairwiseSum
from particleflow.testing import backend_rules as rules
from particleflow.testing import backend_sums as sums
from particleflow.testing.backend_case import ROUNDING, Case
from particleflow.testing.contract import Contract

CHECKS = (
    rules.check_protocols,
    sums.check_sums,
    sums.check_one_weight_vector,
    sums.check_coincident,
    rules.check_input,
    rules.check_large_input,
    sums.check_places_and_scales,
    sums.check_weights_of_any_size,
    sums.check_lost_queries,
    sums.check_addition,
    rules.check_prepared,
    rules.check_repeatable,
    sums.check_log,
    rules.check_refusals,
    rules.check_report,
)


def check_backend(
    backend: PairwiseSum,
    kernel: Kernel = Gaussian(0.7),
    dim: int = 2,
    dtype: torch.dtype = torch.float64,
    *,
    rtol: float | None = None,
) -> None:
    """Check every clause of a backend's contract.

    Nothing is returned. A broken clause raises AssertionError with its name and the remedy.

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
