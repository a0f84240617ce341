"""The whole suite: statements, then the comparison of flows, and one report of both.

`python -m benchmarks` runs it. Its options are those of the comparison; --quick takes the cheap
statements only. Speeds, which `python -m benchmarks speed --rows lines` leaves in the same folder,
are a part of the report.
"""

from __future__ import annotations

from collections.abc import Sequence

from particleflow.study.environment import processors
from particleflow.study.progress import duration, say

from .compare import suite as comparison
from .truth import suite as truth

# The options of the comparison after which no statement is measured: they choose a part of it.
PART = ("--tasks", "--contenders", "--list", "--help", "-h")


def main(argv: Sequence[str]) -> int:
    args = comparison.parsed(argv)  # bad input is refused before anything is measured
    failed = 0
    if not any(word.partition("=")[0] in PART for word in argv):
        options = ["--jobs", str(args.jobs), "--out", str(args.out)]
        options += ["--quick"] * args.quick + ["--full"] * args.full
        statements = truth.expected(truth.jobs_of(truth.parsed(options)))
        runs, processes = comparison.expected(args), min(args.jobs, processors())
        parts = (
            f"statements {duration(statements / processes)},"
            f" comparison {duration(runs / processes)}"
        )
        whole = duration((statements + runs) / processes)
        say(f"about {whole} in {args.jobs} process(es) if nothing is done yet: {parts}")
        failed = truth.main(options)
    return comparison.run(args) or failed
