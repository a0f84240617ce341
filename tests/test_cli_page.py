"""The page on the command line shows what its commands print (docs/printed.py)."""

from __future__ import annotations

from pathlib import Path

import printed
import pytest


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", printed.COLUMNS)


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_the_page_shows_what_its_commands_print() -> None:
    page = printed.PAGE.read_text(encoding="utf-8")
    assert printed.timeless(printed.rewritten(page)) == printed.timeless(page)


def test_the_page_shows_refusals_as_they_are() -> None:
    """What takes no run: lists and refusals, among the tests of every day."""
    page, shell = printed.PAGE.read_text(encoding="utf-8"), printed.Shell()
    quick = [
        block
        for block in printed.blocks(page)
        if " list" in block[0] or "--list" in block[0] or " error: " in block[1]
    ]
    assert len(quick) >= 3
    for block in quick:
        assert shell.answered(block) == block


def test_a_false_line_below_a_command_is_noticed() -> None:
    page = ".. code-block:: console\n\n   $ particleflow run --target ring\n   fine\n\nText.\n"
    ((command, shown),) = printed.commands(printed.blocks(page)[0])
    assert (command, shown) == ("particleflow run --target ring", ["fine"])
    assert "did you mean 'rings'?" in printed.rewritten(page)


def test_only_times_are_made_equal() -> None:
    one = " v mono best 1 (1 to 2) 3 (3 to 4) 5 (5 to 6) dt 2, 1.4 s"
    assert printed.timeless(one) == " v mono best 1 (1 to 2) 3 (3 to 4) R dt 2, T s"
    one = " v kale best 1.03  0.303   1.04  bandwidth 0.18, dt 2"
    assert printed.timeless(one) == " v kale best 1.03 0.303 R bandwidth 0.18, dt 2"
