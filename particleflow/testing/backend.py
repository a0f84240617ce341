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
    r"""Check every clause of a backend's contract; a broken one raises AssertionError.

    The sums are those of :math:`v(z) = \sum_j w_j k(z, x_j)`, compared with plain numpy.

    - sources(kernel, points).field(w) has `value`, `grad`, `value_and_grad` and `laplacian`. They
      are right for N != Q, for one point, for one query, and for w (N,) and (N, K) of both signs.
      They are right far from the origin, at small and large extents, and for strided and expanded
      input. Points that coincide give no NaN and no force.
    - A query that is not finite gives NaN in its own row, and changes no other row.
    - Input is detached, copied, and never changed. So a later change of it changes no sum. Input of
      more than 131072 numbers need not be copied: its change may be refused.
    - Weights may have any size, and the columns of one w may differ in size.
    - Fields of one kernel can be added. reduce() gives the same sum.
    - Prepared queries give the same sums as their points, also in fields of other sources.
    - The same input gives the same bits: in a second call, from a new field, and in threads.
    - log(z) of a positive kernel is the logarithm of the sum, with its gradient, also where the sum
      underflows. It is -inf for an empty sum.
    - A wrong shape of w raises a ValueError that names `w`. So does the logarithm with a negative
      weight. The logarithm of a kernel that has no log_profile raises a TypeError.
    - explain(z) tells `backend` and `why`.
    - promise(z) is a `Promise` that is kept, or None where sums are exact up to rounding.

    Parameters
    ----------
    backend : PairwiseSum
        The part to be checked, an instance.
    kernel : Kernel
        The kernel of the sums. Run the check for each that you mean to use.
    dim : int
        The dimension of the points, whose deviations are 1.
    dtype : torch.dtype
        The dtype of the points.
    rtol : float, optional
        The error allowed of a backend that approximates, relative to the largest sum of absolute
        terms of any row. Left out, only rounding is allowed, relative to each row's own terms:
        1e-12, or 1e-5 in float32.

    Raises
    ------
    AssertionError
        A clause is broken. The message names it, what came, and the remedy.

    Cost: 0.1 s for `Dense`; more where a backend compiles.

    >>> backend = pf.pairwise.Dense()
    >>> pf.testing.check_backend(backend, pf.kernels.Gaussian(0.5), dim=3)
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
