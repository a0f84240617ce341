"""What a live flow is made of: a scene, its controls, and a maker of scenes from settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

from particleflow._typing import Points
from particleflow.flows import Flow
from particleflow.integrators import Integrator


@dataclass(frozen=True)
class Control:
    """What the page shows for one setting.

    Parameters
    ----------
    name, label : str
        The setting, and its words on the page.
    kind : str
        "choice" of `names`, or a slider: "linear", "log" or "whole" (a log scale of whole numbers).
    names : tuple of (name, line)
        The choices, with a line about each.
    low, high : float
        The ends of a slider.
    automatic : bool
        May the choice be left to the program?
    """

    name: str
    label: str
    kind: Literal["choice", "linear", "log", "whole"]
    names: tuple[tuple[str, str], ...] = ()
    low: float = 0.0
    high: float = 1.0
    automatic: bool = False


@dataclass(frozen=True, eq=False)
class Scene:
    """Clouds, a flow between them, and how to step.

    Parameters
    ----------
    x0, y : (N, 2), (M, 2)
        The start and the target.
    settings : mapping of str to str or number
        All settings that act, those that the program has chosen included.
    chosen : tuple of str
        The settings among them that the program has chosen.
    controls : tuple of Control
        The settings that may be changed now.
    """

    x0: Points
    y: Tensor
    flow: Flow
    integrator: Integrator
    dt: float
    settings: Mapping[str, Any]
    chosen: tuple[str, ...]
    controls: tuple[Control, ...]


@runtime_checkable
class Maker(Protocol):
    """Turns settings into a scene."""

    def make(self, settings: Mapping[str, Any]) -> Scene:
        """The scene of these settings; those that are left out, or None, are chosen.

        The same settings give the same scene. The clouds of two scenes are the same objects where
        no setting has changed them.

        Raises
        ------
        ValueError, TypeError
            A setting cannot be used; the message says what to do.
        """
        ...
