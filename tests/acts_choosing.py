"""How the parameters act of what chooses steps, bandwidths, noise and ends of runs: see `acts`."""

from __future__ import annotations

from typing import Any

import torch
from seen import SCHEDULES, WIDE, Acts, E, Elsewhere, G, K, P, X, Y, itself, of_schedule

import particleflow as pf
from particleflow import integrators
from particleflow.clouds import Clock, Cloud

MMD = E.MMD(G)
FIT = pf.fit(MMD, X, Y)
FAR = X + 4
FALL = pf.Continuation(4, start=3.0, end=0.3)
ANNEALED = pf.mmd_flow(G, bandwidth=FALL)


def of_rule(rule: Any) -> Any:
    """The bandwidths of a run, and where it ends."""
    path = pf.simulate(pf.mmd_flow(G, bandwidth=rule), FAR, Y, steps=6, dt=0.05)
    return path.particles


def of_noise(rule: Any) -> Any:
    return rule.at(Cloud(X), FIT, Clock(0.0, 1), MMD)


def of_steps(integrator: Any) -> Any:
    path = pf.simulate(pf.mmd_flow(G), X, Y, steps=6, dt=2.0, integrator=integrator)
    return path.particles, path.times


def of_stop(stop: Any) -> Any:
    flow = pf.mmd_flow(K.Gaussian(0.01))
    return int(pf.simulate(flow, FAR, Y, steps=30, dt=0.1, stop=stop).steps[-1])


def of_choice(flow: Any) -> Any:
    return repr(flow), flow.steps


def remembered() -> Any:
    """The memory of an annealed run of one step."""
    return pf.simulate(ANNEALED, X, Y, steps=1, dt=0.05).state.memory


CHOOSING: dict[str, Acts] = {
    "Continuation": Acts(
        of_rule,
        {"steps": 6},
        steps=(6, 9),
        share=(0.6, 0.9),
        start=(None, 9.0),
        end=(None, 0.2),
    ),
    "TargetSignal": Acts(
        of_rule, every=(20, 1), least=(None, 5.0), kernel=(K.Gaussian(1.0), K.IMQ(1.0))
    ),
    "Arbel": Acts(of_noise, most=(128, 4), draws=(4, 1)),
    "adaptive.SignalNoise": Acts(of_noise, {"target": Y}, target=(Y, Y - 6)),
    "estimators.Annealed": Acts(
        lambda e: (
            pf.simulate(
                pf.Flow(e, mobility=pf.flows.EnergySlope()), X, Y, steps=4, dt=0.05
            ).particles
        ),
        {"estimator": MMD, "bandwidth": FALL},
        estimator=(MMD, E.KALE(G, lam=0.1)),
        bandwidth=(FALL, pf.Continuation(4, start=5.0, end=0.3)),
    ),
    "Arrived": Acts(
        of_stop, {"every": 2, "patience": 3}, after=(0, 20), every=(2, 5), patience=(3, 5)
    ),
    "auto_flow": Acts(
        of_choice,
        {"x": FAR, "y": Y},
        x=(FAR, 2 * FAR),
        y=(Y, 2 * Y),
        kind=("auto", "mono"),
        kernel=(None, K.Matern52(1.0)),
        bandwidth=(None, 0.2),
        start=(None, 50.0),
        steps=(None, 77),
        lam=(0.1, 0.2, {"kind": "kale"}),
        mobility=(pf.mobilities.Unit(), pf.mobilities.Vanilla(), {"kind": "mono"}),
        pairwise=(None, P.Dense()),
    ),
    "integrators.Adam": Acts(of_steps, first=(0.9, 0.5), second=(0.999, 0.9), eps=(1e-8, 1e-1)),
    "integrators.Adaptive": Acts(
        of_steps,
        scheme=(integrators.DormandPrince(), integrators.BogackiShampine()),
        rtol=(1e-3, 1e-6),
        atol=(0.0, 1.0),
    ),
    "integrators.Descent": Acts(of_steps, scheme=(pf.Euler(), pf.Heun())),
    "integrators.Momentum": Acts(of_steps, decay=(0.9, 0.5), nesterov=(True, False)),
    "integrators.Paced": Acts(of_steps, change=(0.5, 0.1)),
    "integrators.suggested_dt": Acts(
        itself,
        {"integrator": pf.Euler(), "flow": pf.mmd_flow(G), "x": X, "y": Y},
        integrator=(pf.Euler(), integrators.Adam()),
        flow=(pf.mmd_flow(G), pf.mmd_flow(WIDE)),
        x=(X, X[:5]),
        y=(Y, 2 * Y),
    ),
    "schedules.GeometricBetween": Acts(
        of_schedule,
        {"initial": 2.0, "final": 0.5, "length": 4.0},
        initial=(2.0, 3.0),
        final=(0.5, 0.2),
        length=(4.0, 6.0),
        of=(SCHEDULES.by_step, SCHEDULES.by_time),
    ),
    "schedules.Cosine": Acts(
        of_schedule,
        {"initial": 2.0, "final": 0.5, "length": 4.0},
        initial=(2.0, 3.0),
        final=(0.5, 0.2),
        length=(4.0, 6.0),
        of=(SCHEDULES.by_step, SCHEDULES.by_time),
    ),
    "Flow.beta": Acts(
        itself,
        {
            "self": pf.mmd_flow(G, noise=pf.Arbel()),
            "x": Cloud(X),
            "fit": FIT,
            "clock": Clock(0.0, 1),
        },
        x=(Cloud(X), Cloud(X + 0.5)),
        fit=(FIT, pf.fit(MMD, X, Y + 1)),
        clock=(
            Clock(0.0, 1),
            Clock(0.0, 9),
            {"self": pf.mmd_flow(G, noise=SCHEDULES.Geometric(1.0))},
        ),
    ),
    "Flow.suggest_dt": Acts(
        itself,
        {"self": pf.mmd_flow(G), "x": X, "y": Y},
        x=(X, X[:5]),
        y=(Y, 2 * Y),
        clock=(None, Clock(1.0, 3), {"self": ANNEALED, "memory": remembered()}),
        memory=(
            {"rule/ends": torch.tensor([3.0, 0.2, 0.0], dtype=torch.float64)},
            {"rule/ends": torch.tensor([0.5, 0.2, 0.0], dtype=torch.float64)},
            {"self": pf.mmd_flow(G, bandwidth=pf.Continuation(5))},
        ),
    ),
    "Flow.unfinished": Acts(
        itself,
        {"self": ANNEALED, "clock": Clock(0.0, 1), "memory": remembered()},
        clock=(Clock(0.0, 1), Clock(0.0, 9)),
        memory=(remembered(), {}),
    ),
    "SaveAt.wanted": Acts(
        itself, total=Elsewhere("test_controllers"), span=Elsewhere("test_controllers")
    ),
}
