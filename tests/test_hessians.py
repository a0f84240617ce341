"""Hessians of witnesses, and the derivative of a velocity, against differences of gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Clock, Cloud
from particleflow.estimators import (
    KALE,
    KDE,
    KLIEP,
    MMD,
    ULSIF,
    Annealed,
    ClosedForm,
    Estimator,
    KernelLogistic,
    Moments,
    RuLSIF,
)
from particleflow.estimators.base import CurvedWitness
from particleflow.flows import EnergySlope
from particleflow.kernels import (
    IMQ,
    Cauchy,
    Gaussian,
    Kernel,
    Landmarks,
    Laplace,
    Matern32,
    Matern52,
    Radial,
    RandomWaves,
)
from particleflow.mobilities import Exponential, Unit, Vanilla
from particleflow.pairwise.hessian import hessian, log_hessian

pytestmark = pytest.mark.usefixtures("unchecked")

LAW = pf.samplers.Gaussian(mean=(0, 0, 1), std=(1, 0.5, 0.7))
X, Y, Z = (LAW.sample(n, seed=n) for n in (6, 9, 5))
SMOOTH = [Gaussian(0.9), Matern32(0.9), Matern52(0.9), IMQ(0.9), Cauchy(0.9)]
# The step of central differences: their error is about 1e-10 of the Hessian.
H = 1e-5


def differences(grad: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    units = torch.eye(z.shape[1], dtype=z.dtype)
    return torch.stack([(grad(z + H * u) - grad(z - H * u)) / (2 * H) for u in units], dim=2)


def apart(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("kernel", SMOOTH, ids=lambda kernel: type(kernel).__name__)
def test_sums_and_their_logarithms(kernel: Kernel) -> None:
    sources = pf.pairwise.Dense().sources(kernel, X)
    field = sources.field(torch.linspace(0.5, 1, 6).double())
    signed = field + pf.pairwise.Dense().sources(kernel, Y).field(-torch.ones(9).double())
    assert apart(hessian(signed, Z), differences(signed.grad, Z)) < 1e-8
    assert apart(log_hessian(field, Z), differences(lambda z: field.log(z)[1], Z)) < 1e-8
    laplacian = hessian(signed, X).diagonal(dim1=1, dim2=2).sum(1)  # at the points themselves
    assert apart(laplacian, signed.laplacian(X)) < 1e-12
    far = log_hessian(field, Z + 300)
    assert apart(far, differences(lambda z: field.log(z)[1], Z + 300)) < 1e-3


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    field = pf.pairwise.Dense().sources(Gaussian(0.9), X).field(torch.ones(6).double())
    whole = hessian(field, Z), log_hessian(field, Z)
    monkeypatch.setattr("particleflow.pairwise.hessian.NUMBERS", 40)
    assert apart(hessian(field, Z), whole[0]) < 1e-14
    assert apart(log_hessian(field, Z), whole[1]) < 1e-12


ESTIMATORS = [
    MMD(Gaussian(0.9)),
    MMD(Radial(lambda s: 1 / (1 + s) ** 2)),
    Annealed(MMD(Gaussian(1.0)), lambda clock: 0.8),
    KALE(Matern52(0.9), lam=0.1),
    KALE(Gaussian(0.9), lam=0.1, reverse=True),
    KDE(IMQ(0.9)),
    KDE(pf.kernels.Scott()),
    ULSIF(Gaussian(1.5), lam=0.1),
    RuLSIF(Gaussian(1.5), lam=0.1, alpha=0.3, ceiling=0.7),
    RuLSIF(Gaussian(1.5), lam=0.1, alpha=0.0),
    KLIEP(Gaussian(1.5)),
    KernelLogistic(Gaussian(1.5), lam=0.1, features=Landmarks(6)),
    KernelLogistic(Matern32(1.5), lam=0.1, features=RandomWaves(8)),
    ClosedForm(LAW, current=Moments()),
    ClosedForm(pf.samplers.Mixture([LAW, pf.samplers.Gaussian(dim=3)])),
    ClosedForm(lambda z: -(z**4).sum(1)),
    ClosedForm(lambda z: z.roll(1, dims=1).sin()),
]


@pytest.mark.parametrize("k", range(len(ESTIMATORS)))
def test_witnesses(k: int) -> None:
    witness = pf.fit(ESTIMATORS[k], X, Y).witness
    assert isinstance(witness, CurvedWitness)
    expected = differences(lambda z: witness.value_and_grad(z)[1], Z)
    assert apart(witness.hessian(Z), expected) < 1e-7


@pytest.mark.parametrize(
    ("estimator", "mobility"),
    [
        (KDE(Gaussian(0.9)), Unit()),
        (KDE(Gaussian(0.9)), Vanilla()),
        (KALE(Gaussian(0.9), lam=0.1), Exponential()),
        (KALE(Gaussian(0.9), lam=pf.schedules.Constant(0.1)), EnergySlope()),
    ],
    ids=["Unit", "Vanilla", "Exponential", "EnergySlope"],
)
def test_velocities(estimator: Estimator, mobility: pf.mobilities.Mobility) -> None:
    flow = pf.Flow(estimator, mobility)
    fit = pf.fit(flow.estimator, X, Y)
    expected = differences(lambda z: flow.velocity(Cloud(z), fit, Clock())[0], Z)
    assert apart(flow.jacobian(Z, fit), expected) < 1e-7


def test_what_has_no_hessian() -> None:
    fit = pf.fit(MMD(Laplace(0.9)), X, Y)
    assert isinstance(fit.witness, CurvedWitness)
    with pytest.raises(TypeError, match="`kernel` must be smooth for a Hessian, got Laplace"):
        fit.witness.hessian(Z)
    blind = pf.fit(ClosedForm(lambda z: torch.from_numpy(-z.detach().numpy())), X)
    with pytest.raises(TypeError, match="must be made of differentiable operations"):
        blind.witness.hessian(Z)
    constant = pf.fit(ClosedForm(lambda z: torch.ones_like(z)), X)
    assert not bool(constant.witness.hessian(Z).any())
    model = pf.Flow(pf.estimators.CTransformCritic())
    with pytest.raises(TypeError, match="must have a witness with a Hessian, got that of CTrans"):
        model.jacobian(Z, pf.fit(model.estimator, X, Y))
