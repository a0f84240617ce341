"""Every flow with its default arguments, on targets of several parts and shapes: it comes nearer,
or says that it has not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import particleflow as pf
from particleflow import estimators as E
from particleflow.clouds import Cloud
from particleflow.estimators.base import FlowDefaults
from particleflow.flows import EnergySlope
from particleflow.kernels import (
    CrossValidated,
    Gaussian,
    Median,
    default_bandwidth,
    median_distance,
)
from particleflow.metrics import W2

Array = np.ndarray[Any, Any]
N, M, STEPS = 40, 50, 40


def pieces(centres: Array, spread: float, seed: int, share: Array | None = None) -> Array:
    """M points around the centres."""
    rng = np.random.default_rng(seed)
    return centres[rng.choice(len(centres), M, p=share)] + spread * rng.normal(
        size=(M, centres.shape[1])
    )


def task(name: str, seed: int = 0) -> tuple[Array, Array]:
    """Particles from one blob, and points of the target."""
    blob = np.random.default_rng(seed + 50).normal(size=(N, 2))
    if name == "ring":
        angle = np.arange(8) * np.pi / 4
        return 0.5 * blob, pieces(4 * np.stack([np.cos(angle), np.sin(angle)], 1), 0.2, seed)
    if name == "two far":
        return 0.5 * blob, pieces(np.array([[-5.0, 0], [5, 0]]), 0.5, seed)
    if name == "far":
        return 0.5 * blob + [5, 0], np.random.default_rng(seed).normal(size=(M, 2))
    if name == "line":
        return 0.5 * blob[:, :1], pieces(np.array([[-2.0], [3]]), 0.4, seed, np.array([0.6, 0.4]))
    law = {
        "rings": pf.samplers.Rings,
        "moons": pf.samplers.Moons,
        "spiral": pf.samplers.Spiral,
        "digits": pf.samplers.Digits,
    }[name]()
    y = law.sample(M, seed=seed).numpy()
    if name == "digits":
        y = (y - y.mean(0)) @ np.linalg.svd(y - y.mean(0))[2][:2].T
        y /= y.std()
    return y.mean(0) + 0.1 * y.std() * blob, y


TASKS = ("ring", "rings", "moons", "spiral", "two far", "far", "digits", "line")
# Those that every flow takes in the default tests.
QUICK = ("ring", "two far")


def kernel(y: Array) -> Gaussian:
    return Gaussian(default_bandwidth(y))


def law_of(y: Array) -> pf.samplers.Gaussian:
    return pf.samplers.Gaussian(dim=y.shape[1], mean=y.mean(0), std=float(y.std()))


FLOWS: dict[str, Callable[[Array], pf.Flow]] = {
    "mmd": lambda y: pf.mmd_flow(kernel(y)),
    "mmd noise": lambda y: pf.mmd_flow(
        kernel(y), noise=pf.schedules.Geometric(default_bandwidth(y), ratio=0.5, every=20)
    ),
    "kale": lambda y: pf.kale_flow(kernel(y), lam=0.1),
    "drmmd": lambda y: pf.Flow(E.DrMMD(kernel(y), lam=0.1), mobility=EnergySlope()),
    "moreau": lambda y: pf.Flow(
        E.Moreau(kernel(y), divergence=pf.divergences.ChiSquare(), lam=0.1), mobility=EnergySlope()
    ),
    "ctransform": lambda y: pf.wgan_flow(E.CTransformCritic()),
    "critic": lambda y: pf.wgan_flow(),
    "langevin": lambda y: pf.langevin(law_of(y)),
    "KDE": lambda y: pf.mono_flow(E.KDE()),
    "KALE": lambda y: pf.mono_flow(E.KALE()),
    "ULSIF": lambda y: pf.mono_flow(E.ULSIF()),
    "RuLSIF": lambda y: pf.mono_flow(E.RuLSIF()),
    "KLIEP": lambda y: pf.mono_flow(E.KLIEP()),
    "KernelLogistic": lambda y: pf.mono_flow(E.KernelLogistic()),
    "Classifier": lambda y: pf.mono_flow(E.Classifier()),
    "SklearnClassifier": lambda y: pf.mono_flow(E.SklearnClassifier()),
    "ClosedForm": lambda y: pf.mono_flow(E.ClosedForm(law_of(y), current=E.Moments())),
}
# Runs of these flows take as long as those of all others on the same task.
LONG = {"SklearnClassifier", "critic"}
# A step of a network takes long, and one of an inner solver.
NETWORKS = {"critic", "Classifier", "SklearnClassifier"}
SOLVERS = {"kale", "drmmd", "moreau", "KALE"}
RATIOS = ("KDE", "ULSIF", "RuLSIF", "KLIEP", "KernelLogistic")
RUNS = [
    (name, where)
    for name in FLOWS
    for where in TASKS
    if where in ("ring", "line")
    or (name not in NETWORKS and (where in ("far", "rings") or name not in SOLVERS))
]


@pytest.mark.parametrize(
    ("name", "where"),
    [
        run
        if run[1] in QUICK and run[0] not in LONG
        else pytest.param(*run, marks=pytest.mark.slow)
        for run in RUNS
    ],
)
def test_the_default_of_a_flow_comes_nearer_or_says_that_it_does_not(name: str, where: str) -> None:
    x, y = task(where)
    flow = FLOWS[name](y)
    path = pf.simulate(flow, x, y, steps=6 if name in NETWORKS else STEPS, seed=0)
    first, last = W2()(x, y), W2()(path.particles[-1], y)
    assert path.verdict in ("arrived", "on its way", "stalled", "farther")
    said = path.message.startswith(("stalled: ", "farther: "))
    assert said == (path.verdict != "arrived" and last >= (1 - 1e-3) * first)
    # on the line the nearer part takes all particles; a kernel of the target's bandwidth does not
    # reach the far blob
    local = where == "line" and name in RATIOS and name != "KernelLogistic"
    beyond = where == "far" and name in {"mmd", "mmd noise", "kale", "KALE", "drmmd", "moreau"}
    if not (local or beyond):
        assert path.verdict in ("arrived", "on its way", "stalled"), (first, last)
        assert last < first


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", RATIOS)
def test_a_ratio_with_its_defaults_reaches_all_parts_of_a_target(name: str, seed: int) -> None:
    """What cross-validation chooses at the first fit, where the clouds hardly overlap, made W2
    rise.
    """
    x, y = task("ring", seed)
    path = pf.simulate(FLOWS[name](y), x, y, steps=200 if name == "KLIEP" else 80)
    assert W2()(path.particles[-1], y) < 0.5 * W2()(x, y)


@pytest.mark.parametrize("name", RATIOS)
def test_a_single_ratio_keeps_its_choice_and_a_flow_takes_its_own(name: str) -> None:
    x, y = task("ring")
    estimator = getattr(E, name)()
    assert isinstance(estimator, FlowDefaults)
    alone = pf.fit(estimator, x, y).memory
    moving = pf.simulate(pf.mono_flow(estimator), x, y, steps=1, dt=1e-3).state.memory
    expected = (
        median_distance(np.concatenate([x, y]))
        if name == "KernelLogistic"
        else default_bandwidth(y)
    )
    assert float(moving["bandwidth"]) == pytest.approx(
        expected, rel=0.1 if name == "KernelLogistic" else 1e-12
    )
    assert float(alone["bandwidth"]) != float(moving["bandwidth"])
    given = {"lam": 0.3} if "lam" in moving or name == "KernelLogistic" else {}
    asked = getattr(E, name)(Gaussian(0.7), **given)
    assert pf.mono_flow(asked).estimator == asked


@pytest.mark.parametrize("make", [E.ULSIF, E.RuLSIF, E.KLIEP, E.KernelLogistic])
def test_a_rule_of_the_bandwidth_can_be_asked_for(make: Any) -> None:
    x, y = task("moons")
    read = Cloud(torch.from_numpy(y))
    if make is E.KernelLogistic:
        mass = np.repeat([0.5 / len(x), 0.5 / len(y)], [len(x), len(y)])
        read = Cloud(torch.from_numpy(np.concatenate([x, y])), mass=torch.from_numpy(mass))
    for rule in (Median(0.5), CrossValidated()):
        found = pf.fit(make(rule), x, y)
        assert float(found.memory["bandwidth"]) == pytest.approx(rule.of(read), rel=1e-12)
    with pytest.raises(TypeError, match="`kernel` must be"):
        make(Median)
