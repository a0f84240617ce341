"""The errors of log r that the benchmark measures, against closed forms, and the benchmark at tiny
sizes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from problems import Normal, chi2, normal, power_integral

from benchmarks import ratios

# A benchmark measures the code as users run it.
pytestmark = pytest.mark.usefixtures("unchecked")


def laws(problem: str) -> tuple[Normal, Normal]:
    p, q = (normal(law.mean, law.cov) for law in ratios.PROBLEMS[problem])
    return p, q


def test_the_problems_are_what_the_page_says() -> None:
    """chi^2(p || q) .79, 1.10 and 7818; the fourth moment of r under q, the noise of least squares,
    is 11 and 55, and infinite in the last.
    """
    assert [chi2(*laws(problem)) for problem in ratios.PROBLEMS] == pytest.approx(
        [0.787686, 1.100300, 7817.715], rel=1e-5
    )
    assert [power_integral(*laws(problem), 4) for problem in ratios.PROBLEMS] == pytest.approx(
        [10.9746, 55.3441, math.inf], rel=1e-5
    )


@pytest.mark.parametrize(
    ("problem", "share"), [("line", 0.9915), ("mild", 0.9865), ("plane", 0.821)]
)
def test_the_share_of_points_that_both_samples_reach(problem: str, share: float) -> None:
    p, q = laws(problem)
    rng = np.random.default_rng(0)
    z = np.concatenate([rng.multivariate_normal(law.mean, law.cov, 100_000) for law in (p, q)])
    expected = (np.abs(p.log_density(z) - q.log_density(z)) <= ratios.NEAR).mean()
    assert expected == pytest.approx(share, abs=2e-3)
    found = ratios.error(problem, "known p and fitted q", 100, 0)
    assert found["share"] == pytest.approx(
        share, abs=4 * math.sqrt(share * (1 - share) / (2 * ratios.QUERIES))
    )


def test_the_parts_add_up_and_the_closed_form_falls_like_the_root_of_n() -> None:
    """Maximum likelihood of a Gaussian, 12 seeds each."""
    errors = {
        n: [ratios.error("mild", "known p and fitted q", n, seed) for seed in range(12)]
        for n in (100, 1000, 10_000)
    }
    for found in errors[100]:
        assert found["all"] ** 2 == pytest.approx(
            (found["q"] ** 2 + found["p"] ** 2) / 2, rel=1e-12
        )
    means = [
        math.sqrt(sum(found["near"] ** 2 for found in each) / len(each)) for each in errors.values()
    ]
    assert ratios.rate(list(errors), means) == pytest.approx(0.5, abs=0.1)


def test_a_rate_is_an_exponent() -> None:
    assert ratios.rate(
        [100, 1000, 10_000], [3 * n**-0.4 for n in (100, 1000, 10_000)]
    ) == pytest.approx(0.4, rel=1e-12)


@pytest.mark.slow
def test_the_benchmark_writes_both_tables(tmp_path: Path) -> None:
    assert (
        ratios.main(
            ["--quick", "--estimators", "known p and fitted q,KDE(Scott())", "--out", str(tmp_path)]
        )
        == 0
    )
    text = (tmp_path / "ratios-quick.md").read_text()
    assert "(line), " in text
    assert text.count("| plane   | KDE(Scott())") == 2
    rows = json.loads((tmp_path / "ratios-quick.json").read_text())["rows"]
    assert [(row["problem"], row["estimator"]) for row in rows][:2] == [
        ("line", "known p and fitted q"),
        ("line", "KDE(Scott())"),
    ]
    assert all(len(row["runs"]) == 2 for row in rows)
