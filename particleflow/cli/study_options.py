"""The options of `compare` for many runs: seeds, tuning, sweeps, processes."""

from __future__ import annotations

from particleflow.cli.defaults import MOST_JOBS, MOST_SEEDS, MOST_TRIALS
from particleflow.cli.option import STUDY, Option

# The options of a study, which `options` lists among the others.
STUDY_OPTIONS = (
    Option(
        "seeds",
        "whole",
        STUDY,
        "number of seeds: --seed and those after it; each draws start and target anew (default: 1)",
        "COUNT",
        least=1,
        most=MOST_SEEDS,
        remedy="10 tell most flows apart",
    ),
    Option(
        "tune",
        "whole",
        STUDY,
        "trials of each flow that choose lam, bandwidth, beta, dt ... for it, on other seeds;"
        " powers of 2 are spread best (default: 0)",
        "TRIALS",
        least=0,
        most=MOST_TRIALS,
        remedy="16 are a start",
    ),
    Option(
        "sweep",
        "lines",
        STUDY,
        "a run for each value, as in lam=0.01,0.1,1 or ratio=kde,kale; several --sweep make a grid"
        " (default: none)",
        "NAME=V1,V2,...",
    ),
    Option(
        "jobs",
        "whole",
        STUDY,
        f"processes at a time, of one thread each (default: the processors, at most {MOST_JOBS})",
        "COUNT",
        least=1,
        most=1024,
        remedy="leave it out for the default",
    ),
)
