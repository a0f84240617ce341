"""Metrics that their repr tells: those with the settings that they have by default.

A trajectory holds the reprs of its metrics. A run that goes on measures these again unasked.
"""

from __future__ import annotations

from collections.abc import Mapping

from particleflow.metrics.base import Metric
from particleflow.metrics.discrepancies import EnergyDistance
from particleflow.metrics.sliced import SlicedW2
from particleflow.metrics.transport import W1, W2


def told(reprs: Mapping[str, str]) -> dict[str, Metric]:
    """Return the metrics of these names and reprs, without those that are not known.

    >>> told({"W2": repr(W2()), "mine": "<function>"}).keys()
    dict_keys(['W2'])
    """
    plain: tuple[Metric, ...] = (W2(), W1(), SlicedW2(), EnergyDistance())
    known = {repr(metric): metric for metric in plain}
    return {name: known[said] for name, said in reprs.items() if said in known}
