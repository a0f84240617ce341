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
    r"""A hyper-parameter between two numbers, on a logarithmic scale unless it is linear.

    .. math::

        \text{at}(s) = \text{low} \left( \frac{\text{high}}{\text{low}} \right)^{s}
        \quad \text{or} \quad
        \text{low} + s\,(\text{high} - \text{low}), \qquad 0 \le s \le 1

    Tuning takes values at shares s of the scale that are spread evenly, to 4 digits.

    Parameters
    ----------
    low : float
        The least value, > 0 on a logarithmic scale.
    high : float
        The largest value.
    default : float
        The value of the untuned contender. It may lie outside of the range.
    linear : bool
        Take a linear scale, for parameters that may be 0 or negative.

    Raises
    ------
    TypeError
        `low`, `high` or `default` is no number.
    ValueError
        One of them is not finite, `low` is not less than `high`, or not > 0 on a logarithmic scale.

    >>> from particleflow.study import Range
    >>> Range(0.01, 1.0, default=0.1).at(0.5)  # the geometric mean
    0.1
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
        """The share of the scale at which a value lies: the inverse of `at`."""
        if self.linear:
            return (value - self.low) / (self.high - self.low)
        return math.log(value / self.low) / math.log(self.high / self.low)


@dataclass(frozen=True)
class Choice:
    r"""A hyper-parameter that is one of a few values: numbers, words or truth values.

    .. math::

        \text{at}(s) = \text{values}_{\lfloor s K \rfloor}, \qquad 0 \le s < 1

    K is the number of values: each has an equal part of the scale that tuning spreads its trials
    over.

    Parameters
    ----------
    values : sequence of str, float or bool
        The values that may be tried.
    default : str, float or bool
        The value of the untuned contender, one of them.

    Raises
    ------
    TypeError
        `values` is not several.
    ValueError
        `default` is none of `values`.

    >>> from particleflow.study import Choice
    >>> [Choice(["sgd", "adam"], default="adam").at(share) for share in (0.2, 0.7)]
    ['sgd', 'adam']
    """

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
    """A flow with a dt or an integrator of its own: what a contender's `make` may return.

    Parameters
    ----------
    flow : Flow
        The flow.
    dt : float, optional
        The step, in units of the flow's time. Left out, the flow suggests one for its problem, as
        `Flow.suggest_dt` does. In either case tuning multiplies it by the parameter "dt".
    integrator : Integrator, optional
        How steps are made; by default Euler's.

    >>> from particleflow.study import Setup
    >>> flow = pf.mmd_flow(pf.kernels.Gaussian(0.2))
    >>> Setup(flow, dt=0.1, integrator=pf.Heun()).dt
    0.1
    """

    flow: Flow
    dt: float | None = None
    integrator: Integrator | None = None


@dataclass(frozen=True)
class Contender:
    """A flow that is built for a problem, and the ranges of its hyper-parameters.

    A contender is a recipe: `make` is called anew for each seed and each setting, so that widths
    and noise may follow the problem's scale. Its time step is the one that the flow suggests, times
    the parameter "dt" between 1/8 and 8, which tuning tries with the others.

    Parameters
    ----------
    name : str
        Short, as in tables and legends.
    make : function
        `make(problem, **settings)` returns a `Flow`, or a `Setup`. `problem` has the clouds x0 and
        target, the task's kernel scale `bandwidth`, the target's `spread`, and `steps`. `settings`
        are the parameters, by name, without "dt".
    parameters : mapping of name to Range or Choice
        The hyper-parameters. Those in units of length are best given in bandwidths of the task.
    title : str
        One line, as in reports.
    stepping : Range, optional
        Multiples of the suggested dt, the parameter called "dt". None: tuning leaves dt alone.

    Raises
    ------
    TypeError
        `name` is no text, `make` no function, or `parameters` no mapping to ranges and choices.
    ValueError
        `parameters` holds "dt", which `stepping` is for.

    >>> from particleflow.study import Contender, Range
    >>> def kale(problem, lam):
    ...     return pf.kale_flow(pf.kernels.Gaussian(problem.bandwidth), lam=lam)
    >>> contender = Contender("kale", kale, {"lam": Range(1e-4, 1.0, default=1e-2)})
    >>> contender.default
    {'lam': 0.01, 'dt': 1.0}
    >>> contender.at({"lam": 0.1}).name
    'kale lam=0.1'
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

        Parameters
        ----------
        settings : mapping of name to value
            Parameters of this contender, "dt" among them.

        Returns
        -------
        Contender
            It is another one of a study, beside the first.

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

        Parameters
        ----------
        problem : Problem
            A draw of a task.
        settings : mapping of name to value
            A value for each of `parameters`, and for "dt" or 1.

        Returns
        -------
        Setup
            Its `dt` is a number: the one of `make`, or the suggested one, times settings["dt"].

        Raises
        ------
        TypeError
            `make` returned something else than a flow.
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
