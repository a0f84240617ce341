"""How the parameters act of what ends, records, keeps and goes along with runs: see `acts`."""

from __future__ import annotations

from typing import Any

import torch
from seen import WIDE, Acts, E, Elsewhere, G, X, Y, of_flow, of_path

import particleflow as pf

FLOW = pf.mmd_flow(G)
ONE = torch.arange(len(X)) % 2
TWO = torch.arange(len(Y)) % 2


def states(flow: pf.Flow = FLOW) -> Any:
    """The states of four steps."""
    return [state for state, _ in zip(pf.iterate(flow, X, Y, dt=0.1), range(5), strict=False)]


def of_stop(stop: Any) -> Any:
    path = pf.simulate(FLOW, X, Y, steps=400, dt=0.3, stop=stop, save=pf.SaveAt(every=400))
    return int(path.steps[-1])


def of_box(integrator: Any) -> Any:
    noise = pf.langevin(lambda z: -0.5 * (z**2).sum(1))
    return pf.simulate(noise, 0.1 * X, steps=9, dt=0.5, integrator=integrator).particles


def of_labels(estimator: Any) -> Any:
    return pf.fit(estimator, X, Y).witness.value_and_grad(X)


GOING_ON: dict[str, Acts] = {
    "AtRest": Acts(of_stop, {"rtol": 0.05}, rtol=(0.05, 0.3), atol=(0.0, 0.3), every=(10, 7)),
    "EnergyBelow": Acts(of_stop, {"rtol": 0.1}, rtol=(0.1, 0.3), atol=(0.0, 1.0), every=(10, 7)),
    "NoProgress": Acts(of_stop, {"rtol": 0.05}, rtol=(0.05, 0.2), every=(20, 7), patience=(10, 4)),
    "labelled": Acts(
        of_flow,
        {"flow": FLOW, "x_labels": ONE, "y_labels": TWO},
        flow=(FLOW, pf.mmd_flow(WIDE)),
        x_labels=(ONE, 1 - ONE),
        y_labels=(TWO, 1 - TWO),
        between=(0.0, 0.5),
    ),
    "estimators.Labelled": Acts(
        of_labels,
        {"estimator": E.MMD(G), "x_labels": ONE, "y_labels": TWO},
        estimator=(E.MMD(G), E.MMD(WIDE)),
        x_labels=(ONE, 1 - ONE),
        y_labels=(TWO, 1 - TWO),
        between=(0.0, 0.5),
    ),
    **{
        f"integrators.{kind}": Acts(
            of_box,
            {"integrator": pf.EulerMaruyama(), "low": -1.0, "high": 1.0},
            integrator=Elsewhere("test_boxes"),
            low=(-1.0, -0.8),
            high=(1.0, 0.8),
        )
        for kind in ("Periodic", "Reflecting")
    },
    "kernels.Periodic": Acts(
        lambda kernel: of_flow(pf.mmd_flow(kernel)),
        {"kernel": G, "low": -9.0, "high": 9.0},
        kernel=(G, WIDE),
        low=(-9.0, -8.0),
        high=(9.0, 8.0),
    ),
    "record": Acts(
        of_path,
        {"states": states()},
        states=(states(), states(pf.mmd_flow(WIDE))),
        save=(None, pf.SaveAt(every=2)),
        metrics=(None, {"W2": pf.metrics.W2()}),
        stop=(None, lambda state: state.clock.step == 2),
    ),
}
