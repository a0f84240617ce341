"""`check_estimator`: the built-in ones pass, and one with a broken clause is refused, with that
clause in the message.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from refusals import refused
from sklearn.linear_model import LogisticRegression
from torch import Tensor

import particleflow as pf
from particleflow.estimators.base import FlowDefaults, GradWitness
from particleflow.testing import check_estimator

E, D = pf.estimators, pf.divergences
pytestmark = pytest.mark.usefixtures("unchecked")
GAUSSIAN, NORMAL = pf.kernels.Gaussian(0.8), pf.samplers.Gaussian(dim=2)
SHORT = {"first_steps": 20, "steps": 2, "width": 8}
BUILT_IN: dict[str, Any] = {
    "MMD": E.MMD(GAUSSIAN),
    "MMD, energy": E.MMD(pf.kernels.Energy()),
    "KALE": E.KALE(GAUSSIAN, lam=0.1),
    "Moreau": E.Moreau(GAUSSIAN, divergence=D.KL(), lam=0.1),
    "Moreau, bounded": E.Moreau(GAUSSIAN, divergence=D.TotalVariation(), lam=0.1),
    "DrMMD": E.DrMMD(GAUSSIAN, lam=0.1),
    "KDE": E.KDE(),
    "KDE, in a flow": E.KDE().in_flow(),
    "a density": E.ClosedForm(NORMAL),
    "a density and the moments": E.ClosedForm(NORMAL, current=E.Moments()),
    "a score": E.ClosedForm(lambda z: -z),
    "transport": E.CTransformCritic(),
    "entropic transport": E.CTransformCritic(regularisation=0.1),
    "KLIEP": E.KLIEP(GAUSSIAN),
    "ULSIF": E.ULSIF(GAUSSIAN, lam=0.1),
    "RuLSIF": E.RuLSIF(GAUSSIAN, lam=0.1),
    "logistic": E.KernelLogistic(GAUSSIAN, lam=0.1),
    "scikit-learn": E.SklearnClassifier(LogisticRegression()),
    "a classifier": E.Classifier(**SHORT),
    "WGAN-GP": E.GradientPenaltyCritic(**SHORT),
    "WGAN": E.WeightClippingCritic(**SHORT),
    "trained c-transform": E.TrainedCTransformCritic(**SHORT),
    "trained c-transform, W2": E.TrainedCTransformCritic(order=2, smoothing=0.1, **SHORT),
    "Lipschitz": E.LipschitzCritic(**SHORT | {"first_steps": 60}),
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_estimators(name: str) -> None:
    check_estimator(BUILT_IN[name])


@pytest.mark.parametrize("name", ["MMD", "KALE", "KDE", "transport", "a classifier"])
def test_estimators_in_another_dimension_and_dtype(name: str) -> None:
    check_estimator(BUILT_IN[name], dim=3, dtype=torch.float32)


# ---------------------------------------------------------------- one broken clause each


@dataclass(frozen=True)
class LinearWitness:
    """w(z) = slope . z."""

    slope: Tensor
    log_ratio: Any = False

    def value_and_grad(self, z: Tensor) -> Any:
        return z @ self.slope, self.slope.expand_as(z).clone()


class MeanMatch:
    """A whole estimator, whose parts are changed below: w(z) = (mean y - mean x) . z, the value
    |mean y - mean x|^2 / 2, the number of fits.
    """

    deterministic: Any = True
    log_ratio: Any = False
    needs_target: Any = True
    energy_slope: Any = 1.0
    witness: ClassVar[Any] = LinearWitness

    def gap(self, x: pf.Cloud, y: Any, clock: pf.Clock, memory: Any) -> Tensor:
        return y.mean(y.points) - x.mean(x.points)

    def fit(self, x: pf.Cloud, y: Any, clock: pf.Clock, memory: Any) -> Any:
        gap = self.gap(x, y, clock, memory)
        return pf.Fit(
            self.witness(gap),
            {"fits": memory.get("fits", torch.zeros(())) + 1},
            objective=lambda: 0.5 * float(gap @ gap),
        )


def estimator(*declared: type, **changed: Any) -> Any:
    return type("Own", (MeanMatch, *declared), changed)()


def fitting(change: Callable[[pf.Fit], Any]) -> Any:
    """Fits that are changed before they are handed out."""
    return estimator(
        fit=lambda self, x, y, clock, memory: change(MeanMatch.fit(self, x, y, clock, memory))
    )


def witnessing(
    answer: Callable[[LinearWitness, Tensor], Any], *declared: type, **facts: Any
) -> Any:
    return estimator(
        witness=type("Witness", (LinearWitness, *declared), {"value_and_grad": answer, **facts})
    )


def _random(self: Any, x: pf.Cloud, y: Any, clock: pf.Clock, memory: Any) -> Tensor:
    return MeanMatch.gap(self, x, y, clock, memory) + 1e-3 * clock.draws.normal(
        "own", clock.step, x.points[0]
    )


def _global(self: Any, x: pf.Cloud, y: Any, clock: pf.Clock, memory: Any) -> Tensor:
    return MeanMatch.gap(self, x, y, clock, memory) + 1e-3 * torch.rand(2, dtype=x.points.dtype)


def _reads_global(self: Any, x: pf.Cloud, y: Any, clock: pf.Clock, memory: Any) -> Tensor:
    return MeanMatch.gap(self, x, y, clock, memory) * (
        1 + 1e-9 * float(torch.get_rng_state().sum())
    )


def _warm_in_object(self: Any, x: pf.Cloud, y: Any, clock: pf.Clock, memory: Any) -> Tensor:
    """A warm start that the object keeps: half way from the last gap."""
    gap = MeanMatch.gap(self, x, y, clock, memory)
    gap = 0.5 * (gap + vars(self).get("last", gap))
    self.last = gap
    return gap


def _copied(self: Any, memo: Any) -> Any:
    return estimator(gap=lambda self, *arguments: 0.999 * MeanMatch.gap(self, *arguments))


def _changed_memory(self: Any, x: pf.Cloud, y: Any, clock: pf.Clock, memory: Any) -> Any:
    kept = memory.get("fits", torch.zeros(()))
    kept.add_(1.0)
    return replace(MeanMatch.fit(self, x, y, clock, {}), memory={"fits": kept})


def _half_a_memory(self: Any, x: pf.Cloud, y: Any, clock: pf.Clock, memory: Any) -> Any:
    """Goes on from what the memory's tensor has as an attribute, which no file keeps."""
    fits = memory.get("fits", torch.zeros(()))
    vars(tensor := fits + 1)["warm"] = True
    gap = MeanMatch.gap(self, x, y, clock, memory) * (1.001 if vars(fits).get("warm") else 1.0)
    return pf.Fit(LinearWitness(gap), {"fits": tensor}, objective=lambda: 0.5 * float(gap @ gap))


def _one_buffer(self: Any, x: pf.Cloud, y: Any, clock: pf.Clock, memory: Any) -> Tensor:
    """Every fit's gap lies in the same tensor."""
    vars(self).setdefault("buffer", torch.zeros(2, dtype=x.points.dtype)).copy_(
        MeanMatch.gap(self, x, y, clock, memory)
    )
    return self.buffer


def _in_place(self: Any, x: pf.Cloud, y: Any, clock: pf.Clock, memory: Any) -> Tensor:
    x.points.sub_(1e-3)
    return MeanMatch.gap(self, x, y, clock, memory)


def _fail() -> Any:
    raise ValueError("one query alone")


value = lambda w, z: z @ w.slope
grad = lambda w, z: w.slope.expand_as(z).clone()
BROKEN: dict[str, tuple[str, Callable[[], Any]]] = {
    "a class": ("an estimator must have fit, deterministic", lambda: MeanMatch),
    "nothing declared": (
        "an estimator must have fit, deterministic",
        lambda: type("Own", (), {"fit": MeanMatch.fit})(),
    ),
    "deterministic None": (
        "deterministic must be True or False",
        lambda: estimator(deterministic=None),
    ),
    "log_ratio 1": ("log_ratio must be True or False", lambda: estimator(log_ratio=1)),
    "smooth_witness None": (
        "smooth_witness must be True or False",
        lambda: estimator(smooth_witness=None),
    ),
    "a slope of 0": (
        "energy_slope must be a number > 0 or None",
        lambda: estimator(energy_slope=0.0),
    ),
    "in_flow is none": (
        r"in_flow\(\) must return an estimator",
        lambda: estimator(FlowDefaults, in_flow=lambda self: None),
    ),
    "in_flow another": (
        r"in_flow\(\) must estimate the same",
        lambda: estimator(FlowDefaults, in_flow=lambda self: estimator(log_ratio=True)),
    ),
    "an exception": (
        "fit must work, got ZeroDivisionError",
        lambda: estimator(gap=lambda self, *arguments: 1 / 0),
    ),
    "N = M": (
        "fit must work, got RuntimeError",
        lambda: estimator(gap=lambda self, x, y, clock, memory: (y.points - x.points).mean(0)),
    ),
    "no Fit": (
        "fit must return a pf.Fit",
        lambda: estimator(fit=lambda self, *arguments: LinearWitness(torch.ones(2))),
    ),
    "particles in place": (
        "fit must not change its input, got another `x`",
        lambda: estimator(gap=_in_place),
    ),
    "a global state": ("fit must leave global random states alone", lambda: estimator(gap=_global)),
    "reads a global state": (
        r"a fit must be a function of \(x, y, clock, memory\)",
        lambda: estimator(gap=_reads_global),
    ),
    "a memory of numbers": (
        "Fit.memory must be a flat mapping",
        lambda: fitting(lambda fit: replace(fit, memory={"fits": 1.0})),
    ),
    "a memory of pairs": (
        "Fit.memory must be a flat mapping of names to tensors, got list",
        lambda: fitting(lambda fit: replace(fit, memory=[("fits", torch.ones(1))])),
    ),
    "a memory by number": (
        "Fit.memory must be a flat mapping of names to tensors, got the name 1",
        lambda: fitting(lambda fit: replace(fit, memory={1: torch.ones(1)})),
    ),
    "a nested memory": (
        "Fit.memory must be a flat mapping",
        lambda: fitting(lambda fit: replace(fit, memory={"a": {"b": torch.ones(1)}})),
    ),
    "a memory with a graph": (
        "Fit.memory must be outside of autograd's graph",
        lambda: fitting(lambda fit: replace(fit, memory={"a": torch.ones(1, requires_grad=True)})),
    ),
    "a memory in place": (
        "fit must not change the memory that it starts from",
        lambda: estimator(fit=_changed_memory),
    ),
    "a report of None": (
        "Fit.report must be a mapping",
        lambda: fitting(lambda fit: replace(fit, report=None)),
    ),
    "a bare function": (
        "Fit.witness must have log_ratio and value_and_grad",
        lambda: fitting(lambda fit: replace(fit, witness=lambda z: z)),
    ),
    "another log_ratio": (
        "the witness must have the log_ratio that the estimator declares",
        lambda: estimator(log_ratio=True),
    ),
    "a witness that fails": (
        r"value_and_grad\(z\) must work, got ZeroDivisionError",
        lambda: witnessing(lambda w, z: 1 / 0),
    ),
    "a witness of many queries": (
        r"value_and_grad\(z\) must work, got ValueError",
        lambda: witnessing(lambda w, z: (value(w, z), grad(w, z)) if len(z) > 1 else _fail()),
    ),
    "a value that fails": (
        "Fit.value and Fit.promise must be found, got ZeroDivisionError",
        lambda: fitting(lambda fit: replace(fit, objective=lambda: 1 / 0)),
    ),
    "a value alone": (r"value_and_grad\(z\) must be a pair", lambda: witnessing(value)),
    "values (Q, 1)": (
        r"the value of value_and_grad\(z\) must have the shape",
        lambda: witnessing(lambda w, z: (value(w, z)[:, None], grad(w, z))),
    ),
    "a gradient (d,)": (
        r"the gradient of value_and_grad\(z\) must have the shape",
        lambda: witnessing(lambda w, z: (value(w, z), w.slope)),
    ),
    "float32 always": (
        "must have the dtype torch.float64",
        lambda: witnessing(lambda w, z: (value(w, z).float(), grad(w, z))),
    ),
    "a graph": (
        "must be outside of autograd's graph",
        lambda: witnessing(lambda w, z: (value(w, z), grad(w, z).requires_grad_(True))),
    ),
    "queries in place": (
        "value_and_grad must not change its input",
        lambda: witnessing(lambda w, z: (value(w, z.add_(1.0)), grad(w, z))),
    ),
    "a gradient of NaN": (
        r"the gradient of value_and_grad\(z\) must be finite",
        lambda: witnessing(lambda w, z: (value(w, z), grad(w, z) / 0)),
    ),
    "a value of NaN": (
        r"the value of value_and_grad\(z\) must be finite",
        lambda: witnessing(
            lambda w, z: (value(w, z).masked_fill(z[:, 0] > 0, torch.nan), grad(w, z))
        ),
    ),
    "rows together": (
        "the witness must treat each row of z by itself",
        lambda: witnessing(lambda w, z: (value(w, z), grad(w, z) / len(z))),
    ),
    "another grad": (
        r"grad\(z\) must be the gradient of value_and_grad\(z\)",
        lambda: witnessing(
            lambda w, z: (value(w, z), grad(w, z)), GradWitness, grad=lambda w, z: 2 * grad(w, z)
        ),
    ),
    "a gradient of another function": (
        "the witness's gradient must be that of its values",
        lambda: witnessing(lambda w, z: (value(w, z), 1.01 * grad(w, z))),
    ),
    "a tensor for a value": (
        "Fit.value must be a finite float or None",
        lambda: fitting(lambda fit: replace(fit, objective=lambda: torch.ones(()))),
    ),
    "a value of NaN, in a fit": (
        "Fit.value must be a finite float or None",
        lambda: fitting(lambda fit: replace(fit, objective=float("nan"))),
    ),
    "a pair for a promise": (
        "Fit.promise must be a Promise or None",
        lambda: fitting(lambda fit: replace(fit, bound=lambda: (1e-3, 1e-3))),
    ),
    "not converged": (
        "a fit must converge on a small problem",
        lambda: fitting(lambda fit: replace(fit, report={"converged": False})),
    ),
    "two slopes": (
        "Fit.energy_slope must be None where the estimator declares its own",
        lambda: fitting(lambda fit: replace(fit, energy_slope=2.0)),
    ),
    "random, not declared": (
        "a deterministic fit must not depend on random draws",
        lambda: estimator(gap=_random),
    ),
    "a warm start in the object": (
        r"a fit must be a function of \(x, y, clock, memory\), got other bits from the same input",
        lambda: estimator(gap=_warm_in_object),
    ),
    "another copy": (
        "got other bits from a copy of the estimator",
        lambda: estimator(__deepcopy__=_copied),
    ),
    "a memory that no file keeps": (
        "a fit must go on from its memory, read from a file, with the same bits",
        lambda: estimator(fit=_half_a_memory),
    ),
    "one buffer": (
        "a fit must not change when another one is made",
        lambda: estimator(gap=_one_buffer),
    ),
    "needs a target": (
        "an estimator that needs no target must fit without one",
        lambda: estimator(needs_target=False),
    ),
    "current / target": (
        "the witness must be larger at the target's samples than at the particles",
        lambda: estimator(
            gap=lambda self, x, y, clock, memory: x.mean(x.points) - y.mean(y.points)
        ),
    ),
    "masses ignored": (
        "masses of the particles must count",
        lambda: estimator(
            energy_slope=None,
            gap=lambda self, x, y, clock, memory: y.points.mean(0) - x.points.mean(0),
        ),
    ),
    "masses summed": (
        "masses of 1/N must be what no masses are",
        lambda: estimator(
            energy_slope=None,
            gap=lambda self, x, y, clock, memory: (
                MeanMatch.gap(self, x, y, clock, memory) * (1.0 if x.log_mass is None else 26.0)
            ),
        ),
    ),
    "another constant": (
        "moving particles must change Fit.value by",
        lambda: estimator(energy_slope=2.0),
    ),
    "another value": (
        "moving particles must change Fit.value by",
        lambda: fitting(lambda fit: replace(fit, objective=1.0)),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_estimators_are_refused(name: str) -> None:
    clause, made = BROKEN[name]
    refused(check_estimator, made(), clause)


def test_fits_in_threads_are_compared() -> None:
    """An estimator that keeps a fit's gap in itself, and waits before it reads it: alone it is
    right.
    """
    import time

    def kept(self: Any, x: pf.Cloud, y: Any, clock: pf.Clock, memory: Any) -> Tensor:
        self.last = MeanMatch.gap(self, x, y, clock, memory)
        time.sleep(0.005)
        return self.last

    refused(
        check_estimator,
        estimator(gap=kept),
        "fits in several threads must have the bits of a fit alone",
    )


def test_a_fit_that_changes_its_mind_is_refused() -> None:
    class Tiring(LinearWitness):
        def value_and_grad(self, z: Tensor) -> Any:
            object.__setattr__(self, "slope", self.slope * (1 + 1e-9))
            return super().value_and_grad(z)

    refused(
        check_estimator, estimator(witness=Tiring), "a fit must say the same whenever it is asked"
    )


def test_the_estimator_that_is_broken_above_is_whole() -> None:
    check_estimator(MeanMatch())
    check_estimator(estimator(deterministic=False, gap=_random, energy_slope=None))


def test_a_witness_that_says_so_may_jump() -> None:
    """Its gradient is not compared with differences, as it is where nothing is declared."""
    jumping = {"value_and_grad": lambda w, z: (value(w, z), 1.01 * grad(w, z))}
    witness = type("Witness", (LinearWitness,), jumping)
    check_estimator(estimator(witness=witness, smooth_witness=False))


def test_masses_may_be_refused() -> None:
    def equal(self: Any, x: pf.Cloud, y: Any, clock: pf.Clock, memory: Any) -> Tensor:
        if float(x.mass.max()) > 1.01 * float(x.mass.min()):
            raise ValueError("`x` must have equal masses for Own")
        return y.points.mean(0) - x.points.mean(0)

    check_estimator(estimator(energy_slope=None, gap=equal))
