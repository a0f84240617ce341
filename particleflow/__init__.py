"""particleflow: a nonparametric simulator of Wasserstein gradient flows of particles.

Particles x0 move to a target, of which samples are known, and every number is chosen:

>>> import particleflow as pf
>>> target = pf.samplers.Rings().sample(150, seed=0)  # or your own points, (M, d)
>>> x0 = pf.samplers.Gaussian(dim=2, mean=(0, -0.3), std=0.1).sample(120, seed=1)
>>> flow = pf.auto_flow(x0, target)  # print(flow) tells what was chosen
>>> path = pf.simulate(flow, x0, target)
>>> path.summary().verdict
'arrived'
>>> figure = path.plot("rings.png")

`path.animate("rings.gif")` writes a film, `path.play("rings.html")` a page that plays it. A flow of
your own choice is `pf.mmd_flow`, `pf.kale_flow`, `pf.mono_flow`, `pf.wgan_flow` or `pf.langevin`.

The import is fast: each name is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from particleflow import (
        adaptive,
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
        plotting,
        reactions,
        renewals,
        samplers,
        schedules,
        scikit,
        study,
        testing,
        transport,
    )
    from particleflow.adaptive import Arbel, Continuation, TargetSignal
    from particleflow.arrival import Arrived
    from particleflow.automatic import AutoFlow, auto_flow
    from particleflow.clouds import Clock, Cloud, Draws, Replay
    from particleflow.engine import fit, iterate, simulate
    from particleflow.estimators import Fit
    from particleflow.flows import Flow, kale_flow, langevin, mmd_flow, mono_flow, wgan_flow
    from particleflow.folding import record
    from particleflow.integrators import RK4, Euler, EulerMaruyama, Heun, State
    from particleflow.many import simulate_many
    from particleflow.metrics import two_sample
    from particleflow.moves import ift_flow, labelled, stragglers, unbalanced
    from particleflow.resuming import resume
    from particleflow.run_folder import Checkpoint
    from particleflow.runs import Runs
    from particleflow.saving import SaveAt
    from particleflow.stops import AtRest, EnergyBelow, NoProgress
    from particleflow.summary import Summary
    from particleflow.trajectory import Trajectory

# The module of each public name that is not a module.
_HOME = {
    "adaptive": ("Arbel", "Continuation", "TargetSignal"),
    "arrival": ("Arrived",),
    "automatic": ("AutoFlow", "auto_flow"),
    "clouds": ("Clock", "Cloud", "Draws", "Replay"),
    "engine": ("fit", "iterate", "simulate"),
    "estimators": ("Fit",),
    "folding": ("record",),
    "flows": ("Flow", "kale_flow", "langevin", "mmd_flow", "mono_flow", "wgan_flow"),
    "integrators": ("RK4", "Euler", "EulerMaruyama", "Heun", "State"),
    "many": ("simulate_many",),
    "metrics": ("two_sample",),
    "moves": ("ift_flow", "labelled", "stragglers", "unbalanced"),
    "resuming": ("resume",),
    "run_folder": ("Checkpoint",),
    "runs": ("Runs",),
    "saving": ("SaveAt",),
    "stops": ("AtRest", "EnergyBelow", "NoProgress"),
    "summary": ("Summary",),
    "trajectory": ("Trajectory",),
}
# The public modules.
_MODULES = (
    "adaptive",
    "clouds",
    "divergences",
    "estimators",
    "flows",
    "integrators",
    "kernels",
    "losses",
    "metrics",
    "mobilities",
    "pairwise",
    "plotting",
    "reactions",
    "renewals",
    "samplers",
    "schedules",
    "scikit",
    "study",
    "testing",
    "transport",
)
# The same by name.
_OWNER = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "RK4",
    "Arbel",
    "Arrived",
    "AtRest",
    "AutoFlow",
    "Checkpoint",
    "Clock",
    "Cloud",
    "Continuation",
    "Draws",
    "EnergyBelow",
    "Euler",
    "EulerMaruyama",
    "Fit",
    "Flow",
    "Heun",
    "NoProgress",
    "Replay",
    "Runs",
    "SaveAt",
    "State",
    "Summary",
    "TargetSignal",
    "Trajectory",
    "__version__",
    "adaptive",
    "auto_flow",
    "clouds",
    "divergences",
    "estimators",
    "fit",
    "flows",
    "ift_flow",
    "integrators",
    "iterate",
    "kale_flow",
    "kernels",
    "labelled",
    "langevin",
    "losses",
    "metrics",
    "mmd_flow",
    "mobilities",
    "mono_flow",
    "pairwise",
    "plotting",
    "reactions",
    "record",
    "renewals",
    "resume",
    "samplers",
    "schedules",
    "scikit",
    "simulate",
    "simulate_many",
    "stragglers",
    "study",
    "testing",
    "transport",
    "two_sample",
    "unbalanced",
    "wgan_flow",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _OWNER:
        return getattr(importlib.import_module(f"{__name__}.{_OWNER[name]}"), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("particleflow-sim")
    from particleflow._words import unknown_name

    raise unknown_name(__name__, name)


def __dir__() -> list[str]:
    return __all__
