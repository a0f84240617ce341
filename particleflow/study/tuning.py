"""The choice of hyper-parameters: the same number of trials for every contender."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from particleflow.study.cell import held_out
from particleflow.study.contender import Contender

# Number of the trial that has the default's settings.
DEFAULT_TRIAL = -1
# The first seed of trials. Seeds of the comparison start at 0 and stay below it.
FIRST_SEED = 1_000_000
# The seed of the Sobol sequence's scrambling.
SCRAMBLING = 0


def trials(contender: Contender, count: int) -> list[dict[str, Any]]:
    """`count` settings that are spread evenly over the ranges: points of a Sobol sequence.

    The first trials do not depend on `count`: more trials continue a search.
    """
    from scipy.stats import qmc

    tunable = contender.tunable
    if not tunable:
        return []
    sequence = qmc.Sobol(len(tunable), scramble=True, seed=SCRAMBLING)
    # Whole powers of two are drawn: Sobol points are balanced there.
    points = sequence.random_base2((max(count, 1) - 1).bit_length())[:count]
    return [
        {
            name: part.at(float(share))
            for (name, part), share in zip(tunable.items(), point, strict=True)
        }
        for point in points
    ]


def best(rows: Sequence[dict[str, Any]], metric: str) -> int | None:
    """The number of the trial that ended nearest to the held-out samples; None if all failed.

    Trials with an unsound run (unstable, diverged, failed) do not count. Of several seeds the
    median counts. The default is among the trials, as number -1.
    """
    values: dict[int, list[float]] = {}
    unsound = set()
    for row in rows:
        value = row["curve"][held_out(metric)][-1] if row["status"] == "completed" else None
        if value is None:
            unsound.add(row["trial"])
        else:
            values.setdefault(row["trial"], []).append(value)
    sound = {trial: statistics.median(v) for trial, v in values.items() if trial not in unsound}
    return min(sound, key=lambda trial: (sound[trial], trial)) if sound else None
