"""Contenders: flows that are built for a problem, and the ranges of their hyper-parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from particleflow import _checks
from particleflow.flows import Flow
from particleflow.integrators import Euler, Integrator, suggested_dt
from particleflow.study.task import Problem


@dataclass(frozen=True)
class Range:
    """A hyper-parameter between two numbers, on a logarithmic scale unless `linear`.

    `default` is the value of the untuned contender.
    """

    low: float
    high: float
    default: float
    linear: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high", "default"):
            _checks.real(getattr(self, name), name)
        if not self.low < self.high:
            raise ValueError(
                f"`low` must be less than `high`, got {self.low:g} and {self.high:g}: swap them"
            )
        if not self.linear and self.low <= 0:
            raise ValueError(
                f"`low` must be positive on a logarithmic scale, got {self.low:g}: raise it, or"
                " pass linear=True"
            )

    def at(self, share: float) -> float:
        """The value at a share of the scale, from 0 to 1, to 4 digits."""
        if self.linear:
            value = self.low + share * (self.high - self.low)
        else:
            value = self.low * (self.high / self.low) ** share
        return float(f"{value:.4g}")

    def share(self, value: float) -> float:
        """The inverse of `at`."""
        if self.linear:
            return (value - self.low) / (self.high - self.low)
        return math.log(value / self.low) / math.log(self.high / self.low)


@dataclass(frozen=True)
class Choice:
    """A hyper-parameter that is one of a few values: numbers, words or truth values."""

    values: Sequence[str | float | bool]
    default: str | float | bool

    def __post_init__(self) -> None:
        _checks.several(self.values, "values", remedy="a list, e.g. [1, 2, 5]")
        if self.default not in self.values:
            raise ValueError(
                f"`default` must be one of {list(self.values)}, got {self.default!r}: add it to"
                " the values"
            )

    def at(self, share: float) -> str | float | bool:
        """The value at a share from 0 to 1; each value has an equal part."""
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]


Parameter = Range | Choice
Settings = Mapping[str, Any]

# The name of dt among the settings: a multiple of the dt that the flow suggests.
DT = "dt"
# Multiples of the suggested dt that tuning may try.
STEPPING = Range(0.125, 8.0, 1.0)


@dataclass(frozen=True)
class Setup:
    """A flow with a dt or an integrator of its own. Without dt the flow suggests one."""

    flow: Flow
    dt: float | None = None
    integrator: Integrator | None = None


@dataclass(frozen=True)
class Contender:
    """A flow that is built for a problem.

    Parameters
    ----------
    name : str
        Short, as in tables and legends.
    make : function
        `make(problem, **settings)` returns a `Flow`, or a `Setup`. `problem` has the clouds x0 and
        target, the task's kernel scale `bandwidth`, the target's `spread`, and `steps`. `settings`
        are the parameters, by name.
    parameters : mapping of name to Range or Choice
        The hyper-parameters. Those in units of length are best given in bandwidths of the task.
    title : str
        One line, as in reports.
    stepping : Range or None
        Multiples of the suggested dt, the parameter called "dt". None: tuning leaves dt alone.
    """

    name: str
    make: Callable[..., Flow | Setup]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    title: str = ""
    stepping: Range | None = STEPPING

    def __post_init__(self) -> None:
        _checks.text(self.name, "name", remedy="a short name, e.g. 'kale'")
        _checks.function(
            self.make,
            "make",
            remedy="a function of a problem that returns a flow, e.g. pf.mmd_flow",
        )
        if not isinstance(self.parameters, Mapping):
            raise TypeError(
                f"`parameters` must be a mapping, got {_checks.said(self.parameters)}: e.g."
                " {'lam': Range(1e-4, 1.0, default=1e-2)}"
            )
        for name, parameter in self.parameters.items():
            if not isinstance(parameter, Range | Choice):
                raise TypeError(
                    f"`parameters` must hold ranges and choices, got {_checks.said(parameter)} for"
                    f" {name!r}: e.g. Range(1e-4, 1.0, default=1e-2)"
                )
            if name == DT:
                raise ValueError(
                    "`parameters` cannot hold 'dt', which `stepping` is for: pass"
                    " stepping=Range(...), in multiples of the suggested dt"
                )

    @property
    def tunable(self) -> dict[str, Parameter]:
        """All parameters, dt among them."""
        stepping: dict[str, Parameter] = {} if self.stepping is None else {DT: self.stepping}
        return {**self.parameters, **stepping}

    @property
    def default(self) -> dict[str, Any]:
        """The settings of the untuned contender."""
        return {name: parameter.default for name, parameter in self.tunable.items()}

    def at(self, settings: Settings) -> Contender:
        """The same contender with other defaults, and a name that tells them: "kale lam=0.01".

        Raises
        ------
        ValueError
            The contender has no such parameter, or the value is no choice of it.
        """
        tunable = self.tunable
        if unknown := [name for name in settings if name not in tunable]:
            known = ", ".join(tunable) or "none"
            raise ValueError(
                f"`{unknown[0]}` must be a parameter of {self.name}, which are {known}: give it a"
                " range in `parameters`"
            )
        parts = {
            name: replace(part, default=settings.get(name, part.default))
            for name, part in tunable.items()
        }
        told = " ".join(f"{name}={_short(value)}" for name, value in settings.items())
        stepping = parts.pop(DT, None)
        assert stepping is None or isinstance(stepping, Range)
        return replace(self, name=f"{self.name} {told}", parameters=parts, stepping=stepping)

    def build(self, problem: Problem, settings: Settings) -> Setup:
        """The flow for a problem, with its dt.

        Raises
        ------
        TypeError
            `make` returned something else.
        """
        made = self.make(problem, **{name: settings[name] for name in self.parameters})
        setup = made if isinstance(made, Setup) else Setup(made)
        if not isinstance(setup.flow, Flow):
            raise TypeError(
                f"`make` must return a flow for {self.name}, got {_checks.said(setup.flow)}: e.g."
                " lambda problem: pf.mmd_flow(pf.kernels.Gaussian(problem.bandwidth))"
            )
        dt = setup.dt
        if dt is None:
            own = setup.integrator or Euler()
            dt = suggested_dt(own, setup.flow, problem.x0, problem.target)
        return replace(setup, dt=dt * settings.get(DT, 1.0))


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
