"""What is taken where nothing is said, and the limits of what may be said."""

from __future__ import annotations

import os

PARTICLES = 240
SAMPLES = 300
# Most rows that are drawn, unasked, from a file of points.
ROWS = 1000
STEPS = 400
# States that are recorded, about.
RECORDS = 50
# KALE's penalty.
LAM = 0.1
# Relative error of sums over pairs.
RTOL = 1e-5
# Steps of Adam before a network's first step, as `estimators` has them.
FIRST_STEPS = 1000
# Up to this many points a second thread gains nothing, and where the cores are busy it makes a step
# many times slower. Another number of threads gives sums other last bits, so a run is repeated with
# the same one.
ONE_THREAD = 1000
# Exact W2 is measured unasked up to this many points: it takes seconds a record there.
EXACT_UNASKED = 2000
# Directions of the sliced distance: at most, and at least.
MOST_DIRECTIONS = 200
DIRECTIONS = 32
# Numbers that the sliced distance sorts a record, about, where that leaves enough directions.
SORTED = 4e6
# More points than any machine holds: a slip.
LARGEST = 10**13
# More steps than anybody waits for (`engine.MOST_STEPS`).
LONGEST = 10**10
# Bytes that the recorded particles of all flows may take; more records than fit are not made.
RECORDED = 2**30
# Width of the start, in standard deviations of the target: small, so that the flow is seen.
WIDTH = 0.35
# Distance of the start from the target's mean, in deviations along the longest axis.
BESIDE = 0.7
# Share of the target's points whose distances from the median say what lies far away.
BULK = 0.9
# Points farther from the median than this many times that share's distance are outliers.
FAR = 6.0
# Kernel lengths between a small start and a part of the target that would never be felt.
BEYOND = 7.0
# How often the injected noise halves in a run.
HALVINGS = 8


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
