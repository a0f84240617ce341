"""Flows: what moves the particles.

`flow` joins an estimator's witness, a mobility, and noise, diffusion, reaction and renewals beside
them. `constructors` make the usual flows.
"""

from particleflow._words import suggesting
from particleflow.flows.constructors import kale_flow, langevin, mmd_flow, mono_flow, wgan_flow
from particleflow.flows.flow import EnergySlope, Flow

__all__ = [
    "EnergySlope",
    "Flow",
    "kale_flow",
    "langevin",
    "mmd_flow",
    "mono_flow",
    "wgan_flow",
]

__getattr__ = suggesting(__name__)
