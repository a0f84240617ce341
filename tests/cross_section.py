"""What `make quick` runs: of each test its first case, unless that takes long (long_tests.txt).

The list of long ones is made from a run of the first cases, whose seconds pytest writes down:

    pytest -m "not slow and not keops" --junitxml=out/tests.xml && python tests/cross_section.py
    out/tests.xml

A new test belongs to the cross-section until the list is made anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

LIST = Path(__file__).parent / "long_tests.txt"
LEFT_OUT = ("slow", "keops", "gpu", "browser")
# Seconds: with it the cross-section takes less than a minute on two cores.
LONG = 0.4


def function_of(identifier: str) -> str:
    """tests/test_kale.py::test_the_dual[0.1] -> test_kale.py::test_the_dual"""
    return identifier.split("[")[0].rpartition("/")[2]


def long_tests() -> set[str]:
    return set(LIST.read_text(encoding="utf-8").split())


def cross_section(identifiers: Iterable[str]) -> list[bool]:
    """Does a test belong to it? In the order in which tests are collected."""
    seen = long_tests()
    chosen = []
    for function in map(function_of, identifiers):
        chosen.append(function not in seen)
        seen.add(function)
    return chosen


def main(report: str) -> None:
    """Write the list, from the times of a report in JUnit's format."""
    first: dict[str, float] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        path = case.attrib["classname"].replace(".", "/") + ".py"
        first.setdefault(function_of(f"{path}::{case.attrib['name']}"), float(case.attrib["time"]))
    names = sorted(name for name, seconds in first.items() if seconds > LONG)
    LIST.write_text("\n".join(names) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
