"""Integrators: each moves a cloud by one step."""

from particleflow._words import suggesting
from particleflow.integrators.base import (
    Controller,
    Integrator,
    Optimiser,
    Refit,
    Snapshot,
    State,
    UnconvergedError,
)
from particleflow.integrators.paced import Paced
from particleflow.integrators.runge_kutta import RK4, Euler, Heun, RungeKutta
from particleflow.integrators.stochastic import EulerMaruyama

__all__ = [
    "RK4",
    "Controller",
    "Euler",
    "EulerMaruyama",
    "Heun",
    "Integrator",
    "Optimiser",
    "Paced",
    "Refit",
    "RungeKutta",
    "Snapshot",
    "State",
    "UnconvergedError",
]

__getattr__ = suggesting(__name__)
