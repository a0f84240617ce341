"""The clauses of integrators that choose their step lengths, and of those that are optimisers."""

from __future__ import annotations

import torch

from particleflow.clouds import Cloud
from particleflow.flows import Flow
from particleflow.integrators.base import Integrator
from particleflow.testing.contract import Contract
from particleflow.testing.integrator_problems import Bowl
from particleflow.testing.integrator_steps import advanced, started, stepped

# Time at which the lengths are checked, in units of the flow's time.
T = 1.0
# Number of steps that an integrator of chosen lengths may need up to that time.
MOST_STEPS = 5000
# Length of an optimiser's steps: its particles cross a unit in some 50 of them.
SHORT_STEP = 0.02
# Number of an optimiser's steps, after which its particles are near the end of the flow.
GOAL_STEPS = 600


def check_lengths(contract: Contract, integrator: Integrator, flow: Flow, start: Cloud) -> None:
    """Check that steps of the lengths asked for come to a time, and ask on when one was cut."""
    state, steps = started(flow, start), 0
    while state.clock.t < T and steps < MOST_STEPS:
        wish = float(state.stepper.get("dt", 0.05))
        given = min(wish, T - state.clock.t)
        (state, _), steps = advanced(contract, integrator, flow, state, given), steps + 1
        if "dt" not in state.stepper:
            return
    contract.require(
        state.clock.t >= T,
        f"steps of the lengths asked for must come to the time {T:g}",
        f"t = {state.clock.t:g} after {steps} steps",
        "ask for longer steps where all goes well",
    )
    wish = float(state.stepper["dt"])
    cut = float(stepped(contract, integrator, flow, state, wish / 100)[2]["dt"])
    contract.require(
        cut >= wish / 2,
        "a step that the engine has shortened must not halve the length asked for",
        f"{cut:.2g} after {wish:.2g}",
        "keep the larger of the two where the given dt was below the one asked for",
    )


def check_goal(contract: Contract, integrator: Integrator, start: Cloud) -> None:
    """Check that an optimiser's particles come to the end of a flow, and rest there."""
    flow, nothing = Flow(Bowl()), Cloud(torch.zeros_like(start.points), log_mass=start.log_mass)
    for cloud, most, clause in (
        (start, 0.1, "the particles of an optimiser must come to the end of v = -x"),
        (nothing, 1e-12, "the particles of an optimiser must rest where v = 0"),
    ):
        state = started(flow, cloud)
        for _ in range(GOAL_STEPS):
            state, _ = advanced(contract, integrator, flow, state, SHORT_STEP)
        far = float(state.x.points.abs().max())
        found = f"a particle at {far:.2g} after {GOAL_STEPS} steps of {SHORT_STEP:g}"
        contract.require(far <= most, clause, found, "move along the velocity")
