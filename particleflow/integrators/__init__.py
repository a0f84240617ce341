"""Integrators: each moves a cloud by one step."""

from particleflow._words import suggesting
from particleflow.integrators.base import Integrator, Refit, Snapshot, State
from particleflow.integrators.runge_kutta import RK4, Euler, Heun, RungeKutta
from particleflow.integrators.stochastic import EulerMaruyama

__all__ = [
    "RK4",
    "Euler",
    "EulerMaruyama",
    "Heun",
    "Integrator",
    "Refit",
    "RungeKutta",
    "Snapshot",
    "State",
]

__getattr__ = suggesting(__name__)
