"""The rows of the speed suite, with their full and quick sizes, and their goals."""

from __future__ import annotations

from ..goals import Goal, Row
from . import films, grid, lines, process, promise_problems
from . import rows as backend_rows

ROWS = {
    "lines": Row(
        lines.lines,
        {"largest": 10**6, "longest": 10.0, "rounds": 3},
        {"largest": 10_000, "longest": 1.0, "rounds": 1},
    ),
    "exact": Row(backend_rows.exact, {"n": 10_000, "rounds": 5}, {"n": 2000, "rounds": 3}),
    "mesh": Row(
        backend_rows.mesh,
        {"n": 10**6, "reference": 10_000, "rounds": 7},
        {"n": 10**5, "reference": 3000, "rounds": 3},
    ),
    "tenfold": Row(backend_rows.mesh_tenfold, {"n": 10**6, "rounds": 5}, {"n": 10**5, "rounds": 3}),
    "space": Row(
        backend_rows.mesh_in_space,
        {"n": 10**6, "reference": 10_000, "rounds": 5},
        {"n": 10**5, "reference": 3000, "rounds": 3},
    ),
    "mono": Row(backend_rows.mono, {"n": 10**6, "rounds": 7}, {"n": 10**5, "rounds": 3}),
    "small": Row(
        backend_rows.small_bandwidth, {"n": 10**5, "rounds": 5}, {"n": 20_000, "rounds": 3}
    ),
    "nystroem": Row(
        backend_rows.nystroem,
        {"n": 10**5, "queries": 5000, "rounds": 5},
        {"n": 20_000, "queries": 1000, "rounds": 3},
    ),
    "auto": Row(
        grid.grid,
        {
            "sizes": [10**k for k in range(2, 7)],
            "dims": [1, 2, 3, 10],
            "bandwidths": [0.005, 0.1, 2.0],
            "cap": 5.0,
            "rounds": 3,
        },
        {"sizes": [100, 3000], "dims": [2, 5], "bandwidths": [0.02, 0.5], "cap": 2.0, "rounds": 3},
    ),
    "threads": Row(
        backend_rows.threads,
        {"n_exact": 10_000, "n_mesh": 10**6, "rounds": 7},
        {"n_exact": 3000, "n_mesh": 10**5, "rounds": 3},
        2,
    ),
    "memory": Row(process.memory, {"n": 10**6}, {"n": 10**5}),
    "promise": Row(promise_problems.measure, {"count": 100}, {"count": 9, "most": 1000}),
    "flow": Row(process.flow, {"n": 10**6, "steps": 100}, {"n": 10**5, "steps": 20}),
    "first": Row(process.first_use, {"n": 3000}, {"n": 3000}),
    "films": Row(films.films, {"n": 1000, "frames": 200}, {"n": 200, "frames": 20}),
    "gpu": Row(backend_rows.gpu, {"n": 10**5, "rounds": 5}, {"n": 10**4, "rounds": 3}),
}

GOALS = (
    Goal(
        "exact",
        "over_broadcast",
        "exact gradient, d = 2, N = M = 1e4, against broadcast autograd as in the published codes",
        "{:.3g}x",
        least=150,
    ),
    Goal(
        "exact",
        "over_keops",
        "the same against KeOps, one fused formula with its default CPU flags",
        "{:.3g}x",
        least=18,
    ),
    Goal("exact", "error", "its relative error against float64", "{:.2g}", most=2e-6),
    Goal(
        "exact",
        "over_keops64",
        "the same in float64 against KeOps in float64",
        "{:.3g}x",
        least=4.5,
    ),
    Goal("exact", "error64", "its relative error (against 80 bits)", "{:.2g}", most=1e-13),
    Goal(
        "exact",
        "log",
        "log-sum-exp and its gradient against the plain gradient",
        "{:.3g}x",
        most=1.6,
    ),
    Goal(
        "mesh",
        "kept",
        "1e6 particles and targets, bandwidth .2, rtol 1e-5, target kept, against that KeOps step"
        " at 1e4",
        "1/{:.3g}",
        least=35,
    ),
    Goal("mesh", "fresh", "the same, both clouds spread", "1/{:.3g}", least=25),
    Goal("tenfold", "growth", "1e7 against 1e6", "{:.3g}x", most=13),
    Goal(
        "space",
        "kept",
        "1e6 in d = 3, bandwidth .2, rtol 1e-4, target kept, against that KeOps step",
        "1/{:.3g}",
        least=10,
    ),
    Goal(
        "mono",
        "over_mmd",
        "MonoFlow with KDE against MMD flow, a step at 1e6 particles and targets, d = 2,"
        " bandwidth .2",
        "{:.3g}x",
        most=3,
    ),
    Goal("mono", "default", "the same of KDE(), with its default bandwidth in a flow", "{:.3g}x"),
    Goal(
        "mono",
        "error",
        "the error of its log ratio, against exact sums in float64, tails first",
        "{:.2g}",
        most=1e-5,
    ),
    Goal(
        "small",
        "over_fourier",
        "d = 2, 1e5, bandwidth .01: Auto against Fourier",
        "1/{:.3g}",
        least=4,
    ),
    Goal("nystroem", "over_exact", "d = 10, 1e5: Nystroem against exact", "1/{:.3g}", least=20),
    Goal("nystroem", "error", "its relative error", "{:.2g}", most=1e-2),
    Goal(
        "auto",
        "worst",
        "Auto against the best fixed choice, the worst of a grid (N to 1e6, d 1 to 10, bandwidth"
        " .005 to 2)",
        "{:.3g}x",
        most=1.5,
    ),
    Goal(
        "threads",
        "exact",
        "both cores against one, exact (on the clock; an idle machine)",
        "{:.3g}x",
        least=1.6,
    ),
    Goal(
        "threads",
        "mesh",
        "both cores against one, mesh (on the clock; an idle machine)",
        "{:.3g}x",
        least=1.6,
    ),
    Goal(
        "memory",
        "gigabytes",
        "peak memory of a step at 1e6 over the process at rest",
        "{:.3g} GB",
        most=1,
    ),
    Goal(
        "promise",
        "kept",
        "promise >= true error, random problems: the least share kept by a backend",
        "{:.0%}",
        least=1,
    ),
    Goal(
        "promise", "slack", "median of promise / truth, the largest of a backend", "{:.3g}", most=30
    ),
    Goal(
        "promise",
        "fallbacks",
        "share of exact fallbacks, of all backends on all problems that they take",
        "{:.0%}",
        most=0.1,
    ),
    Goal(
        "flow",
        "share",
        "simulate, MMD flow, 1e6 particles, 100 steps: everything but the sums",
        "{:.1%}",
        most=0.15,
    ),
    Goal(
        "first",
        "empty",
        "first use of a backend in a new process, nothing compiled yet",
        "{:.2g} s",
        most=2,
    ),
    Goal("first", "cached", "the same once compiled code is on the disk", "{:.2g} s", most=2),
    Goal(
        "films",
        "gif",
        "a GIF of 1000 particles, 200 frames of 1.5 megapixels, processor time",
        "{:.2g} s",
        most=5,
    ),
    Goal("films", "mp4", "an MP4 of the same, ffmpeg's time included", "{:.2g} s", most=8),
    Goal("films", "share", "the MP4's bytes over the GIF's", "{:.0%}", most=0.5),
    Goal("gpu", "milliseconds", "exact step at 1e5 on a CUDA device", "{:.3g} ms"),
)
