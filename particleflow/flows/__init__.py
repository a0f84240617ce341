"""Flows: what moves the particles.

`slopes` has velocities that are a constant times grad w. `flow` joins an estimator's witness, a
mobility, and noise, diffusion, reaction and renewals beside them. `constructors` make the usual
flows.
"""

from particleflow._words import suggesting
from particleflow.flows.constructors import kale_flow, langevin, mmd_flow, mono_flow, wgan_flow
from particleflow.flows.flow import Flow
from particleflow.flows.slopes import EnergySlope

__all__ = [
    "EnergySlope",
    "Flow",
    "kale_flow",
    "langevin",
    "mmd_flow",
    "mono_flow",
    "wgan_flow",
]

__getattr__, __dir__ = suggesting(__name__)
