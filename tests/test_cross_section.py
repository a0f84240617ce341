"""The cross-section of `make quick`: of each test the first case, but of no long one."""

from __future__ import annotations

from pathlib import Path

import cross_section

HERE = Path(__file__).parent


def test_the_first_case_of_each_test_that_is_not_long() -> None:
    long = sorted(cross_section.long_tests())[0]
    collected = [
        "test_a.py::test_x[1]",
        "test_a.py::test_x[2]",
        f"{long}[a::b/c]",
        "test_a.py::test_y",
        "test_b.py::test_x",
    ]
    assert cross_section.cross_section(f"tests/{name}" for name in collected) == [
        True,
        False,
        False,
        True,
        True,
    ]


def test_long_tests_exist() -> None:
    """A test that was renamed or removed leaves the list, tests/long_tests.txt, too."""
    for name in cross_section.long_tests():
        file, _, function = name.partition("::")
        assert f"def {function}(" in (HERE / file).read_text(encoding="utf-8"), (
            f"tests/long_tests.txt names {name}: correct or delete the line"
        )


def test_the_list_is_made_from_a_report(tmp_path: Path, monkeypatch) -> None:
    report = tmp_path / "tests.xml"
    cases = [
        ("tests.test_a", "test_x[1]", 0.1),
        ("tests.test_a", "test_x[2]", 9),
        ("tests.test_a", "test_y", 2),
        ("tests.test_b", "test_x", 0.7),
    ]
    lines = "".join(
        f'<testcase classname="{place}" name="{name}" time="{seconds}"/>'
        for place, name, seconds in cases
    )
    report.write_text(f"<testsuites><testsuite>{lines}</testsuite></testsuites>", encoding="utf-8")
    monkeypatch.setattr(cross_section, "LIST", tmp_path / "long_tests.txt")
    cross_section.main(str(report))
    assert cross_section.long_tests() == {"test_a.py::test_y", "test_b.py::test_x"}
