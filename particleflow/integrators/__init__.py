"""Integrators: each moves a cloud by one step.

- `base`: the contract, `Snapshot` and `State`, what an integrator may declare besides.
- `runge_kutta`: schemes of fixed steps, each a tableau.
- `stochastic`: schemes for flows with diffusion.
- `adaptive`, `descent`: schemes that choose the lengths of their steps.
- `optimisers`: momentum and Adam, which go to the end of a flow, not along it.
- `boxes`: walls and periodic sides for the steps of another integrator.
"""

from particleflow._words import suggesting
from particleflow.integrators.adaptive import Adaptive
from particleflow.integrators.base import (
    Controller,
    Corrected,
    Course,
    Integrator,
    Optimiser,
    Refit,
    Snapshot,
    State,
    UnconvergedError,
    suggested_dt,
)
from particleflow.integrators.boxes import Periodic, Reflecting
from particleflow.integrators.descent import Descent
from particleflow.integrators.optimisers import Adam, Momentum
from particleflow.integrators.paced import Paced
from particleflow.integrators.runge_kutta import (
    RK4,
    BogackiShampine,
    DormandPrince,
    Embedded,
    Euler,
    Heun,
    LengthsOf,
    RungeKutta,
)
from particleflow.integrators.stochastic import EulerMaruyama

__all__ = [
    "RK4",
    "Adam",
    "Adaptive",
    "BogackiShampine",
    "Controller",
    "Corrected",
    "Course",
    "Descent",
    "DormandPrince",
    "Embedded",
    "Euler",
    "EulerMaruyama",
    "Heun",
    "Integrator",
    "LengthsOf",
    "Momentum",
    "Optimiser",
    "Paced",
    "Periodic",
    "Refit",
    "Reflecting",
    "RungeKutta",
    "Snapshot",
    "State",
    "UnconvergedError",
    "suggested_dt",
]

__getattr__, __dir__ = suggesting(__name__)
