"""How a cloud is moved by one step."""

from typing import Any

from particleflow._words import unknown_name
from particleflow.integrators.base import Integrator, Refit, Snapshot, State
from particleflow.integrators.runge_kutta import RK4, Euler, Heun, RungeKutta
from particleflow.integrators.stochastic import EulerMaruyama

__all__ = ["RK4", "Euler", "EulerMaruyama", "Heun", "Integrator", "Refit", "RungeKutta", "Snapshot", "State"]


def __getattr__(name: str) -> Any:
    raise unknown_name(__name__, name, __all__)
