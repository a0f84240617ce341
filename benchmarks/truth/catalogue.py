"""All statements, by section and by name."""

from __future__ import annotations

from . import (
    adaptive,
    arrivals,
    batches,
    densities,
    envelopes,
    estimates,
    experiments,
    far,
    guide,
    kale,
    langevin,
    losses,
    mmd,
    mono,
    neurons,
    schemes,
    steps,
    transport,
    unbalanced,
    widths,
)
from .statement import Statement

# The statements of each section, in the order of the tables.
SECTIONS: dict[str, tuple[Statement, ...]] = {
    "MMD": mmd.STATEMENTS,
    "A far start": far.STATEMENTS,
    "No number given": arrivals.STATEMENTS,
    "Bandwidth and noise that choose themselves": (*adaptive.STATEMENTS, *widths.STATEMENTS),
    "Unbalanced flows": unbalanced.STATEMENTS,
    "Two-layer regression": neurons.STATEMENTS,
    "KALE": kale.STATEMENTS,
    "Smoothed divergences": envelopes.STATEMENTS,
    "Mobilities and their divergences": mono.STATEMENTS,
    "Which flows arrive, and which divergences see distances": experiments.STATEMENTS,
    "Losses of the ratio": losses.STATEMENTS,
    "Langevin dynamics and schemes": langevin.STATEMENTS,
    "Orders, step lengths and descent": schemes.STATEMENTS,
    "New points and densities": densities.STATEMENTS,
    "The perfect critic": transport.STATEMENTS,
    "W1 between batches": batches.STATEMENTS,
    "Estimates of W1": estimates.STATEMENTS,
    "Suggested steps": steps.STATEMENTS,
    "The guide for users": guide.STATEMENTS,
}
STATEMENTS: dict[str, Statement] = {
    statement.name: statement for section in SECTIONS.values() for statement in section
}
