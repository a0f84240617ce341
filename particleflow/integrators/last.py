"""The velocity at the end of a step, kept for the step from there."""

from __future__ import annotations

import weakref

from particleflow.estimators import Fit
from particleflow.integrators.runge_kutta import Slope


class LastSlope:
    """The slope under the last fit that was made ahead. Dropping it costs time alone."""

    def __init__(self) -> None:
        self._entry: tuple[weakref.ref[Fit], Slope] | None = None

    def of(self, fit: Fit) -> Slope | None:
        entry = self._entry
        return entry[1] if entry is not None and entry[0]() is fit else None

    def keep(self, fit: Fit, slope: Slope) -> None:
        self._entry = weakref.ref(fit), slope

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return LastSlope, ()  # a fit cannot be pickled
