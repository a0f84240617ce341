"""The KALE benchmark at tiny sizes: every row runs and measures what its goals name. No time is
judged.
"""

from __future__ import annotations

import math

import pytest
import torch

import particleflow as pf
from benchmarks.kale import published as kale_published
from benchmarks.kale import suite as kale
from particleflow.estimators import KALE
from particleflow.kernels import Gaussian
from particleflow.pairwise.exact.dense import kernel_matrix

# A benchmark measures the code as users run it.
pytestmark = pytest.mark.usefixtures("unchecked")


TINY = {
    "small": {"n": 40, "lams": [1e-2, 1.0], "rounds": 1},
    "large": {"n": 70, "lams": [1e-2, 1.0], "rounds": 1},
    "million": {"n": 100, "tenth": 70, "reference": 30, "lam": 1e-2, "rounds": 1},
    "iterations": {"sizes": [50, 600], "lam": 1e-2},
    "rings": {"steps": 3, "lam": 1e-4, "dt": 1e-5},
}


@pytest.mark.parametrize("name", kale.ROWS)
def test_every_row_measures_what_its_goals_name(name: str) -> None:
    measured = kale.ROWS[name].run(**TINY[name])
    assert {goal.number for goal in kale.GOALS if goal.row == name} <= set(measured["numbers"])
    assert measured["note"]
    assert all(math.isfinite(value) for value in measured["numbers"].values())


def test_the_published_way_solves_the_same_problem() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, 2, generator=generator, dtype=torch.float64) for n in (30, 40))
    kernel = Gaussian(0.7)
    u, inverses = kale_published.newton(
        kernel_matrix(kernel, y, y), kernel_matrix(kernel, y, x).mean(1), 0.1, residual=1e-10
    )
    assert 0 < inverses < 20
    assert float((u - pf.fit(KALE(kernel, lam=0.1), x, y).memory["u"]).abs().max()) <= 1e-9
