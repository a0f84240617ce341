"""The defaults of the options, and the limits of their values."""

from __future__ import annotations

import os

# Particles; as in the example at the head of the package.
PARTICLES = 240
# Samples of the target; as in the example at the head of the package.
SAMPLES = 300
# Particles, and samples of the target, of the live window: a step takes about a millisecond.
SHOWN = 1000
# The most particles of the live window: a frame of more takes long to send and to draw.
MOST_SHOWN = 20_000
# The most rows that are drawn from a file of points by default, so that a large file is fast.
ROWS = 1000
# Steps of a run; more where a bandwidth has far to fall.
STEPS = 400
# The share of the steps in which a bandwidth falls, as in `auto_flow`.
ANNEAL = 0.6
# Recorded states, about: the frames of the film.
RECORDS = 50
# KALE's penalty lam; between MMD (large) and KL (small, stiff).
LAM = 0.1
# The relative error of sums over pairs; far below the sampling error of such clouds.
RTOL = 1e-5
# The share of N below which the effective number of particles calls for a resampling; the default
# of `renewals`.
RESAMPLE = 0.5
# Steps of Adam before a network's first step; the default of `estimators`.
FIRST_STEPS = 1000
# The most points for which one thread is used. A second thread gains nothing for them, and on busy
# cores makes a step many times slower. Another number of threads changes the last bits of sums, so
# a run is repeated with the same number.
ONE_THREAD = 1000
# The most points for which exact W2 is a default metric; beyond it takes seconds per record.
EXACT_UNASKED = 2000
# The most directions of the sliced distance; the default of `SlicedW2`.
MOST_DIRECTIONS = 200
# The least directions of the sliced distance; fewer are noisier.
DIRECTIONS = 32
# Numbers that the sliced distance sorts per record, about, where that leaves enough directions.
SORTED = 4e6
# The most points; more fit no machine and are a slip.
LARGEST = 10**13
# The most steps; nobody waits for more (`engine.MOST_STEPS`).
LONGEST = 10**10
# The most bytes of the recorded particles of all flows, 1 GiB; fewer states are recorded beyond.
RECORDED = 2**30
# The width of the start, in standard deviations of the target: small, so that the flow is seen.
WIDTH = 0.35
# The distance of the start from the target's mean, in deviations along the longest axis.
BESIDE = 0.7
# The share of the target's points, nearest to the median, that outliers are measured by.
BULK = 0.9
# The distance from the median, in units of that share's radius, beyond which points are outliers.
FAR = 6.0
# The kernel lengths from a small start beyond which a part of the target would never be felt.
BEYOND = 7.0
# How often the injected noise halves in a run; 8 times leave 0.4 % of it.
HALVINGS = 8
# The most processes of a study by default: each holds some 300 MB of libraries.
MOST_JOBS = 4
# The most seeds of a study; seeds of trials begin there.
MOST_SEEDS = 1_000_000
# The most trials of a flow; nobody waits for more.
MOST_TRIALS = 65_536


def processors() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
