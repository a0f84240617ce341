"""`check_estimator`: the contract of an estimator, its fits and their witnesses, clause by clause.

The contract is in `particleflow.estimators.base`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from particleflow.clouds import Clock, Cloud, Draws
from particleflow.estimators.base import (
    Estimator,
    Fit,
    FlowDefaults,
    KnownSmoothness,
    Witness,
    Wrapping,
    smoothness_of,
)
from particleflow.pairwise import Promise
from particleflow.testing.contract import (
    Contract,
    fresh,
    in_threads,
    normals,
    other_global_seed,
    reloaded,
    same_bits,
)
from particleflow.testing.estimator_case import STEP, Case, M, N, Q
from particleflow.testing.estimator_witness import check_gradient, check_witness

PURE = (
    "let it depend on (x, y, clock, memory) alone: draw from clock.draws, and return in `memory`"
    " what the next fit starts from"
)


def check_estimator(
    estimator: Estimator, *, dim: int = 2, dtype: torch.dtype = torch.float64
) -> None:
    r"""Check every clause of an estimator's contract; a broken one raises AssertionError.

    - `deterministic`, `log_ratio` and `needs_target` are True or False, and so is `smooth_witness`
      where it is declared. `energy_slope` is a number or None. `in_flow()`, where there is one,
      returns an estimator of the same quantity.
    - fit(x, y, clock, memory) returns a `Fit`, also for N != M. It leaves clouds and memory as they
      are, and reads no global random state.
    - The witness maps z (Q, d) to values (Q,) and gradients (Q, d) in the dtype of the particles.
      The gradients are those of the values; where smooth_witness is False this is not checked.
    - The witness is larger at the target's samples than at the particles, which climb it. So a log
      ratio is log(target / current).
    - Equal (x, y, clock, memory) give equal bits: from a copy of the estimator, in threads, and
      after other fits. A deterministic fit does not depend on the random numbers of the clock.
    - `memory` is a flat mapping of tensors. Written to a file and read again, it is all that a run
      needs to go on with the same bits.
    - The masses of the particles count. Equal masses that are written out change nothing. Unequal
      masses change the fit, or are refused.
    - `Fit.value` is a number or None. With an `energy_slope` c, its gradient in :math:`x_i` is
      :math:`-m_i\, c\, \nabla w(x_i)`, what a `Wrapping` chooses from the clouds being held.
    - `Fit.promise` is a `Promise` or None.
    - The fit converges on a problem as small as this one.

    Parameters
    ----------
    estimator : Estimator
        The check fits it to 26 particles and 37 target samples with deviations of about 1: pass an
        estimator whose bandwidths and steps suit these.
    dim : int
        The dimension of the clouds. Run the check for each that you mean to use.
    dtype : torch.dtype
        The dtype of the clouds. In float32 gradients are not compared with differences.

    Raises
    ------
    AssertionError
        A clause is broken. The message names it, what came, and the remedy.

    Cost: some thirty fits of 26 particles: 0.05 s for MMD, 0.15 s for KALE, seconds where networks
    are trained.

    >>> kernel = pf.kernels.Gaussian(1.0)
    >>> pf.testing.check_estimator(pf.estimators.MMD(kernel), dim=3)
    """
    contract = Contract("an estimator", estimator)
    _declarations(contract, estimator)
    x, y = Cloud(normals(N, dim, 1, dtype) - 0.7), Cloud(0.8 * normals(M, dim, 2, dtype) + 0.5)
    later, z = Cloud(x.points + 0.05 * normals(N, dim, 3, dtype)), 0.9 * normals(Q, dim, 4, dtype)
    case = Case(contract, estimator, x, y, later, z)
    first = _fit(case)
    check_witness(case, first.witness)
    _report(case, first)
    _bits(case, first)
    if not estimator.needs_target:
        clause = "an estimator that needs no target must fit without one"
        contract.call(
            estimator.fit,
            x,
            None,
            Clock(),
            {},
            clause=clause,
            remedy="let y be None, or declare needs_target = True",
        )
    else:
        at_target, at_particles = (
            float(first.witness.value_and_grad(cloud.points)[0].mean()) for cloud in (y, x)
        )
        clause = (
            "the witness must be larger at the target's samples than at the particles, which"
            " climb it"
        )
        found = f"means of {at_target:.3g} and {at_particles:.3g}"
        contract.require(
            at_target > at_particles,
            clause,
            found,
            "the ratio is target / current: change the sign, or do not swap x and y",
        )
    _masses(case, first)
    if dtype == torch.float64:
        check_gradient(case, first.witness)
        _descent(case, first)


def _declarations(contract: Contract, estimator: Any) -> None:
    what = (
        f"the class {estimator.__name__}"
        if isinstance(estimator, type)
        else f"{type(estimator).__name__} without one of them"
    )
    clause = "an estimator must have fit, deterministic, log_ratio, needs_target and energy_slope"
    remedy = (
        "add what is missing; facts are class attributes, e.g. deterministic: ClassVar[bool] = True"
    )
    contract.require(
        not isinstance(estimator, type) and isinstance(estimator, Estimator), clause, what, remedy
    )
    for name in (
        "deterministic",
        "log_ratio",
        "needs_target",
        *(("smooth_witness",) if isinstance(estimator, KnownSmoothness) else ()),
    ):
        value = getattr(estimator, name)
        contract.require(
            isinstance(value, bool),
            f"{name} must be True or False",
            repr(value),
            "declare it, or make it a property",
        )
    slope = estimator.energy_slope
    number = isinstance(slope, float | int) and not isinstance(slope, bool) and 0 < slope < math.inf
    contract.require(
        slope is None or number,
        "energy_slope must be a number > 0 or None",
        repr(slope),
        "None where there is no such constant",
    )
    facts = estimator.log_ratio, estimator.needs_target
    if isinstance(estimator, FlowDefaults):
        made: Any = estimator.in_flow()
        contract.require(
            isinstance(made, Estimator),
            "in_flow() must return an estimator",
            type(made).__name__,
            "return a copy with other defaults",
        )
        alike = (made.log_ratio, made.needs_target) == facts
        contract.require(
            alike,
            "in_flow() must estimate the same",
            "another log_ratio or needs_target",
            "change defaults alone",
        )


def _fit(case: Case) -> Fit:
    """Return the first fit, after checking that it leaves its input alone."""
    contract, x, y = case.contract, case.x, case.y
    assert y is not None
    with contract.unchanged("fit", x=x.points, y=y.points), contract.own_randomness("fit"):
        fit: Any = case.fit()
        contract.require(
            isinstance(fit, Fit),
            "fit must return a pf.Fit",
            type(fit).__name__,
            "return pf.Fit(witness, memory, report)",
        )
        contract.memory(fit.memory, "Fit.memory")
        contract.require(
            isinstance(fit.report, Mapping),
            "Fit.report must be a mapping",
            type(fit.report).__name__,
            "pass a dict",
        )
        clause = "Fit.witness must have log_ratio and value_and_grad"
        contract.require(
            isinstance(fit.witness, Witness),
            clause,
            type(fit.witness).__name__,
            "add what is missing",
        )
        contract.call(
            fit.witness.value_and_grad,
            case.z,
            clause="value_and_grad(z) must work",
            remedy="z is (Q, d), Q any number",
        )
        contract.call(
            lambda: (fit.value, fit.promise),
            clause="Fit.value and Fit.promise must be found",
            remedy="mend objective or bound",
        )
    kept = reloaded(fit.memory)
    case.fit(x=case.later, memory=fit.memory)
    remedy = (
        "clone the tensors first: a trial stage of a step starts from the same memory and is then"
        " discarded"
    )
    contract.require(
        same_bits(dict(fit.memory), kept),
        "fit must not change the memory that it starts from",
        "another one afterwards",
        remedy,
    )
    made: Fit = fit
    return made


def _report(case: Case, fit: Fit) -> None:
    contract, value, promise = case.contract, fit.value, fit.promise
    number = isinstance(value, float) and math.isfinite(value)
    contract.require(
        value is None or number,
        "Fit.value must be a finite float or None",
        repr(value),
        "pass objective=lambda: float(...)",
    )
    clause = "Fit.promise must be a Promise or None"
    contract.require(
        promise is None or isinstance(promise, Promise),
        clause,
        type(promise).__name__,
        "pass bound=partial(field.promise, x.points)",
    )
    told = fit.report.get("converged", True)
    found = f"converged = {told!r} for {N} and {M} points"
    contract.require(
        bool(told),
        "a fit must converge on a small problem",
        found,
        "raise the number of iterations, or loosen the tolerance",
    )
    both = case.estimator.energy_slope is not None and fit.energy_slope not in (
        None,
        case.estimator.energy_slope,
    )
    clause = "Fit.energy_slope must be None where the estimator declares its own"
    found = f"{fit.energy_slope} and {case.estimator.energy_slope}"
    contract.require(
        not both, clause, found, "declare None where the constant changes from fit to fit"
    )


def _bits(case: Case, first: Fit) -> None:
    """Check that equal input gives the same bits.

    The fit is repeated, made by a copy, from a memory read from a file, and in threads.
    """
    contract, estimator = case.contract, case.estimator
    late = case.fit()
    told = case.told(late)
    contract.require(
        same_bits(case.told(late), told),
        "a fit must say the same whenever it is asked",
        "other numbers",
        PURE,
    )
    case.fit(x=case.later)
    contract.require(
        same_bits(case.told(late), told),
        "a fit must not change when another one is made",
        "other numbers afterwards",
        PURE,
    )
    clause = "a fit must be a function of (x, y, clock, memory)"
    with other_global_seed(29):
        contract.require(
            same_bits(case.told(case.fit()), told), clause, "other bits from the same input", PURE
        )
    contract.require(
        same_bits(case.told(case.fit(fresh(estimator))), told),
        clause,
        "other bits from a copy of the estimator",
        PURE,
    )
    if estimator.deterministic:
        other = case.fit(clock=Clock(draws=Draws(8)))
        remedy = "declare deterministic = False: integrators of several stages are refused then"
        clause = "a deterministic fit must not depend on random draws"
        contract.require(
            same_bits(case.told(other), told), clause, "other bits for another seed", remedy
        )
    clock = Clock(t=0.1, step=1)
    second = case.told(case.fit(x=case.later, memory=first.memory, clock=clock))
    resumed = case.told(
        case.fit(fresh(estimator), x=case.later, memory=reloaded(first.memory), clock=clock)
    )
    clause = "a fit must go on from its memory, read from a file, with the same bits"
    contract.require(
        same_bits(second, resumed),
        clause,
        "other bits than in the run that was not interrupted",
        PURE,
    )
    wanted = [told, case.told(case.fit(x=case.later))]
    alike = in_threads(lambda k: case.told(case.fit(x=(case.x, case.later)[k % 2])), 6)
    held = all(same_bits(a, wanted[k % 2]) for k, a in enumerate(alike))
    contract.require(
        held,
        "fits in several threads must have the bits of a fit alone",
        "other bits",
        "keep nothing of a fit in the estimator",
    )


def _masses(case: Case, first: Fit) -> None:
    contract, x = case.contract, case.x
    told = case.told(first)
    if case.estimator.deterministic:
        equal = case.told(case.fit(x=Cloud(x.points, mass=torch.full((N,), 1 / N))))
        off = float((equal[1] - told[1]).abs().max()) / (float(told[1].abs().max()) or 1.0)
        near = 1e-3 if x.points.dtype == torch.float32 else 1e-5
        found = f"gradients that differ by {off:.2g}"
        contract.require(
            off <= near,
            "masses of 1/N must be what no masses are",
            found,
            "use x.mass, or x.mean(values)",
        )
    half = torch.arange(N) < N // 2
    moved = case.told(case.fit(x=Cloud(x.points + 0.5 * half[:, None])))
    if same_bits(moved, told):
        return
    try:
        uneven = case.told(
            case.estimator.fit(Cloud(x.points, mass=half * 1.8 / N + 0.1 / N), case.y, Clock(), {})
        )
    except (ValueError, TypeError):
        return
    remedy = (
        "use x.mass, or x.mean(values), in the place of means over rows; or raise a ValueError"
        " where x.log_mass is not None"
    )
    contract.require(
        not same_bits(uneven, told),
        "masses of the particles must count",
        "the same fit whatever they are",
        remedy,
    )


def _descent(case: Case, fit: Fit) -> None:
    """Check d value / d x_i = -m_i c grad w(x_i) along a random direction of the whole cloud.

    The masses are unequal. What a `Wrapping` chooses from the clouds is held.
    """
    held = case.estimator
    if isinstance(held, Wrapping):
        held = held.held(case.x, case.y, Clock(), {})
    declared = case.estimator.energy_slope
    slope = fit.energy_slope if declared is None else declared
    if slope is None or fit.value is None or smoothness_of(case.estimator) is False:
        return
    share = torch.linspace(0.5, 1.5, N, dtype=torch.float64) / N
    along = normals(N, case.x.dim, 6)
    above, below = (
        case.fit(held, x=Cloud(case.x.points + sign * STEP * along, mass=share)).value
        for sign in (1, -1)
    )
    grad = case.fit(held, x=Cloud(case.x.points, mass=share)).witness.value_and_grad(case.x.points)[
        1
    ]
    told = -slope * float((share[:, None] * grad * along).sum())
    measured = math.nan if above is None or below is None else (above - below) / (2 * STEP)
    found = f"a change of the value by {measured:.6g} where the slope tells {told:.6g}"
    clause = (
        "moving particles must change Fit.value by -m_i c grad w(x_i), c = energy_slope ="
        f" {slope:g}"
    )
    remedy = "mend the value, the witness or the constant, or declare energy_slope = None"
    case.contract.require(
        abs(measured - told) <= 1e-3 * max(abs(measured), abs(told)) + 1e-8, clause, found, remedy
    )
