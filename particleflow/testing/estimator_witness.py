"""Clauses of `check_estimator` about a witness: shapes, bits, and its gradient."""

from __future__ import annotations

import torch

from particleflow.estimators.base import (
    GradWitness,
    Witness,
    smoothness_of,
)
from particleflow.testing.contract import (
    normals,
)
from particleflow.testing.estimator_case import DIFFERENCE, STEP, Case, Q


def check_witness(case: Case, witness: Witness) -> None:
    contract, estimator = case.contract, case.estimator
    clause = "the witness must have the log_ratio that the estimator declares"
    contract.require(
        witness.log_ratio == estimator.log_ratio,
        clause,
        repr(witness.log_ratio),
        "say the same in both",
    )
    for z in (case.z, case.z[:1], case.x.points):
        with contract.unchanged("value_and_grad", z=z):
            answer = contract.call(
                witness.value_and_grad,
                z,
                clause="value_and_grad(z) must work",
                remedy="z is (Q, d), Q any number",
            )
        pair = isinstance(answer, tuple) and len(answer) == 2
        contract.require(
            pair,
            "value_and_grad(z) must be a pair",
            type(answer).__name__,
            "return value (Q,), grad (Q, d)",
        )
        contract.tensor(answer[0], (len(z),), z.dtype, "the value of value_and_grad(z)")
        contract.tensor(answer[1], tuple(z.shape), z.dtype, "the gradient of value_and_grad(z)")
        contract.finite(
            answer[1],
            "the gradient of value_and_grad(z)",
            "return zeros where there is no gradient",
        )
    value, grad = witness.value_and_grad(case.z)
    unknown = bool(value.isnan().all()) and not estimator.log_ratio
    if not unknown:
        contract.finite(
            value,
            "the value of value_and_grad(z)",
            "NaN everywhere stands for a value that is not known",
        )
    one = witness.value_and_grad(case.z[4:5])[1]
    near = 1e-4 if case.z.dtype == torch.float32 else 1e-7
    alone = torch.allclose(one, grad[4:5], rtol=near, atol=near * float(grad.abs().max()))
    contract.require(
        alone,
        "the witness must treat each row of z by itself",
        "another gradient for one row alone",
        "do not sum over queries",
    )
    if isinstance(witness, GradWitness):
        same = torch.allclose(
            witness.grad(case.z), grad, rtol=near, atol=near * float(grad.abs().max())
        )
        contract.require(
            same,
            "grad(z) must be the gradient of value_and_grad(z)",
            "another one",
            "share the formula",
        )


def check_gradient(case: Case, witness: Witness) -> None:
    """Check the gradient along a random direction for each row of z."""
    if smoothness_of(case.estimator) is False or bool(
        witness.value_and_grad(case.z)[0].isnan().all()
    ):
        return
    along = torch.nn.functional.normalize(normals(Q, case.x.dim, 5), dim=1)
    above, below = (witness.value_and_grad(case.z + sign * STEP * along)[0] for sign in (1, -1))
    measured, told = (
        (above - below) / (2 * STEP),
        (witness.value_and_grad(case.z)[1] * along).sum(1),
    )
    size = torch.maximum(measured.abs(), told.abs()).clamp_min(1e-2 * float(measured.abs().max()))
    at = int(((measured - told).abs() / size.clamp_min(1e-300)).argmax())
    found = (
        f"{float(told[at]):.6g} along a direction where differences give {float(measured[at]):.6g}"
    )
    clause = "the witness's gradient must be that of its values"
    held = bool(((measured - told).abs() <= DIFFERENCE * size + 1e-9).all())
    case.contract.require(
        held, clause, found, "differentiate in z, or declare smooth_witness = False where it jumps"
    )
