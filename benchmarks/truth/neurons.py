"""Statements about two-layer regression as an MMD flow with a feature kernel."""

from __future__ import annotations

import torch
from torch import Tensor

import particleflow as pf

from .. import regression
from .laws import draw, gap, normals
from .statement import Statement


def _network(neurons: Tensor, data: Tensor) -> Tensor:
    """mean_i a_i tanh(w_i . s + b_i) at the inputs s (n, d); a neuron is (w, b, a)."""
    dim = data.shape[1]
    return (neurons[:, dim + 1 :].T * torch.tanh(data @ neurons[:, :dim].T + neurons[:, dim])).mean(
        1
    )


def regression_risk(seed: int) -> float:
    """Error of MMD^2 with the feature kernel, beside the mean square of student minus teacher."""
    data = draw(pf.samplers.Sphere(dim=3), 60, seed, "data")
    student, teacher = normals(12, 5, seed, "student"), normals(3, 5, seed, "teacher")
    kernel = pf.kernels.FeatureKernel(pf.kernels.Neurons(data, activation=pf.kernels.Tanh()))
    risk = float((_network(student, data) - _network(teacher, data)).square().mean())
    return abs(pf.metrics.MMD2(kernel)(student, teacher) / risk - 1)


def regression_descent(seed: int) -> float:
    """Error of v = -N times the gradient of half of the risk, by autograd of the network."""
    data = draw(pf.samplers.Sphere(dim=3), 60, seed, "data")
    student, teacher = normals(12, 5, seed, "student"), normals(3, 5, seed, "teacher")
    leaf = student.clone().requires_grad_(True)
    half = 0.5 * (_network(leaf, data) - _network(teacher, data)).square().mean()
    (gradient,) = torch.autograd.grad(half, leaf)
    kernel = pf.kernels.FeatureKernel(pf.kernels.Neurons(data, activation=pf.kernels.Tanh()))
    fit = pf.fit(pf.mmd_flow(kernel).estimator, student, teacher)
    return gap(fit.witness.value_and_grad(student)[1], -len(student) * gradient)


def regression_noise(seed: int) -> float:
    plain, noisy = (regression.risks("one neuron", seed, beta, 1000)[2] for beta in (0.0, 1.0))
    return noisy / plain


STATEMENTS = (
    Statement(
        name="regression-risk",
        words="The least-squares risk of a two-layer network is the MMD^2 between its neurons and"
        " the teacher's.",
        source="theory page, training a network of two layers is an MMD flow",
        number="relative error",
        low=0.0,
        high=1e-12,
        measure=regression_risk,
        seconds=0.01,
    ),
    Statement(
        name="regression-descent",
        words="Gradient descent on half of the risk is MMD flow of the neurons, N times slower.",
        source="theory page, training a network of two layers is an MMD flow",
        number="largest relative error of v + N grad",
        low=0.0,
        high=1e-11,
        measure=regression_descent,
        seconds=0.01,
    ),
    Statement(
        name="regression-noise",
        words="Where neurons are bounded, students stall, and noise injection lowers the risk on"
        " fresh data.",
        source="Arbel, Korba, Salim and Gretton 2019, section 5; theory page, MMD flow",
        number="validation risk with noise / without, one teacher neuron, 1000 steps",
        high=1.0,
        measure=regression_noise,
        seconds=0.7,
    ),
)
