"""A study that tests start, kill and repeat. It prints the seeds of its rows."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import particleflow as pf
from particleflow.study import Contender, Problem, Study, Task

if __name__ == "__main__":
    folder, jobs = Path(sys.argv[1]), int(sys.argv[2])

    def make(problem: Problem) -> pf.Flow:
        time.sleep(0.1)
        return pf.mmd_flow(pf.kernels.Gaussian(problem.bandwidth))

    task = Task(
        "line",
        pf.samplers.Gaussian(dim=1, mean=(-1.0,)),
        pf.samplers.Gaussian(dim=1),
        particles=30,
        targets=40,
        steps=20,
    )
    study = Study([task], [Contender("mmd", make)], seeds=24)
    result = study.run(jobs=jobs, folder=folder, progress=False)
    print(json.dumps([row["seed"] for row in result.rows]))
