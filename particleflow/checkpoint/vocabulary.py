"""The parts that checkpoints can name: what is not listed here is never built from a file.

Each is a frozen dataclass whose constructor takes its fields and checks them. A part that reads a
file, calls a function of the user or holds a fitted model is left out: a run with it is continued
by giving the part again.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from functools import cache
from types import ModuleType
from typing import Any

from particleflow import (
    adaptive,
    arrival,
    automatic,
    clouds,
    divergences,
    estimators,
    flows,
    integrators,
    kernels,
    losses,
    metrics,
    mobilities,
    pairwise,
    reactions,
    renewals,
    samplers,
    saving,
    schedules,
)

# The names of parts, by module. They are part of the file format: a name that was ever written must
# be found again.
PARTS: Mapping[ModuleType, tuple[str, ...]] = {
    adaptive: ("Arbel", "Continuation", "SignalNoise", "TargetSignal"),
    arrival: ("Arrived",),
    automatic: ("AutoFlow",),
    clouds: ("Clock", "Cloud", "Draws", "FixedCloud", "FixedTarget", "Replay"),
    divergences: (
        "ChiSquare",
        "JensenShannon",
        "Jeffreys",
        "KL",
        "ReverseKL",
        "TotalVariation",
        "Tsallis",
    ),
    estimators: (
        "Annealed",
        "CTransformCritic",
        "Classifier",
        "ClosedForm",
        "DrMMD",
        "GradientPenaltyCritic",
        "KALE",
        "KDE",
        "KLIEP",
        "KernelLogistic",
        "LipschitzCritic",
        "MMD",
        "Moments",
        "Moreau",
        "RuLSIF",
        "Stragglers",
        "ULSIF",
        "WeightClippingCritic",
    ),
    estimators.stragglers: ("KernelStragglers",),
    flows: ("EnergySlope", "Flow"),
    integrators: (
        "Adam",
        "Adaptive",
        "BogackiShampine",
        "Descent",
        "DormandPrince",
        "Euler",
        "EulerMaruyama",
        "Heun",
        "Momentum",
        "Paced",
        "RK4",
    ),
    kernels: (
        "Cauchy",
        "CrossValidated",
        "Energy",
        "Erf",
        "FeatureKernel",
        "Gaussian",
        "IMQ",
        "Landmarks",
        "Laplace",
        "Matern32",
        "Matern52",
        "Median",
        "Neurons",
        "RandomWaves",
        "ReLU",
        "Scott",
        "Tanh",
    ),
    losses: (
        "BCE",
        "DonskerVaradhan",
        "Exponential",
        "KLIEP",
        "LSGAN",
        "NWJ",
        "Pearson",
        "ReverseKL",
        "SquaredHellinger",
        "ULSIF",
    ),
    metrics: ("EnergyDistance", "LeftBehind", "MMD", "MMD2", "SlicedW2", "W1", "W2"),
    mobilities: (
        "Arcsinh",
        "Exponential",
        "Induced",
        "LSGAN",
        "Linear",
        "NonSaturating",
        "Unit",
        "Vanilla",
    ),
    pairwise: ("Auto", "Compiled", "Culled", "Dense", "Fourier", "KeOps", "Mesh", "Nystroem"),
    reactions: ("FisherRao", "ForceTransport"),
    renewals: ("Rebirth", "Resampling"),
    samplers: (
        "Checkerboard",
        "Digits",
        "FromArray",
        "Gaussian",
        "Iris",
        "Minibatch",
        "Mixture",
        "Moons",
        "Rings",
        "Sphere",
        "Spiral",
        "SwissRoll",
        "Wine",
    ),
    saving: ("SaveAt",),
    schedules: (
        "Constant",
        "Cosine",
        "Decreasing",
        "Geometric",
        "GeometricBetween",
        "Piecewise",
        "Power",
    ),
}
# Functions that parts may hold.
FUNCTIONS: Mapping[ModuleType, tuple[str, ...]] = {schedules: ("by_step", "by_time")}


def _named(table: Mapping[ModuleType, tuple[str, ...]]) -> dict[str, Any]:
    return {
        f"{module.__name__.partition('.')[2]}.{name}": getattr(module, name)
        for module, names in table.items()
        for name in names
    }


@cache
def parts() -> dict[str, type]:
    """The classes of parts by the names that files give them, such as "kernels.Gaussian"."""
    return _named(PARTS)


@cache
def functions() -> dict[str, Callable[..., Any]]:
    """The functions by the names that files give them."""
    return _named(FUNCTIONS)


def fields_of(cls: type) -> tuple[str, ...]:
    """The fields of a part that its constructor takes."""
    taken = inspect.signature(cls).parameters
    return tuple(field.name for field in dataclasses.fields(cls) if field.name in taken)
