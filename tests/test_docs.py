"""The documentation is true: its code runs as printed, its equation numbers are those that
docstrings cite, its reference is complete.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from forked import Python
from pages import (
    DOCS,
    NOT_RUN,
    OTHERS,
    PAGES,
    ROOT,
    Block,
    blocks,
    prepare,
    printed,
    run_python,
    short,
    timeless,
    why_not_run,
)

import particleflow as pf
from particleflow.cli import main

PACKAGE = Path(pf.__file__).parent
# Pages whose blocks take five seconds or more.
LONG = {
    "README",
    "cli",
    "films",
    "first_hour_engineer",
    "first_hour_student",
    "first_hour_teacher",
    "parallel",
    "player",
    "pictures",
}
# Pages for a beginner, which show all that their code prints.
START = {
    "README",
    "arriving",
    "films",
    "first_hour_engineer",
    "first_hour_student",
    "first_hour_teacher",
    "pictures",
    "player",
    "questions",
    "quickstart",
}
# Words shown without the command that printed them, and why.
SHOWN_ONCE = {
    "rings         W2 / floor": "a column at equal seconds, which differ from run to run",
}


def runs(page: Path) -> bool:
    """Does a page have a block that a test runs?"""
    commands = [command for block in blocks(page, "console") for command in block.commands()]
    return bool(blocks(page, "python")) or any(not why_not_run(command) for command in commands)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.stem, marks=pytest.mark.slow if page.stem in LONG else ())
        for page in [*PAGES, *OTHERS]
        if runs(page)
    ],
)
def test_code_runs_as_printed(python: Python, page: Path, tmp_path: Path) -> None:
    """The Python of a page from top to bottom, then its commands; and what they print, where the
    page shows it. Commands whose output is not shown take fewer steps and points.
    """
    prepare(tmp_path, page)
    status, told, outputs = run_python(python, page, tmp_path)
    assert status == 0, told
    shown = {block: timeless(text.code) for block, text in printed(page) if not once(text)}
    for block, words in shown.items():
        if block.language == "python":
            assert timeless(outputs[block.line]) == words, f"{page.name}, line {block.line}"
    if page.stem in START:
        silent = {line for line, said in outputs.items() if not said.strip()}
        assert set(outputs) - silent <= {block.line for block in shown}, "show what this prints"
    for block in blocks(page, "console"):
        if block.answers:  # tests/test_cli_page.py runs it
            continue
        for command in filter(lambda command: why_not_run(command) is None, block.commands()):
            as_printed = block in shown and command == block.commands()[-1]
            program, *words = shlex.split(command) if as_printed else short(command)
            module = ["-m", "particleflow"] if program == "particleflow" else []
            done = python.run(*module, *words, cwd=tmp_path)
            assert done.returncode == 0, f"{page.name}: {command}\n{done.stderr}"
            if as_printed:
                assert shown[block] in timeless(done.stdout), f"{page.name}: {command}"


def once(text: Block) -> bool:
    return any(text.code.strip().startswith(start) for start in SHOWN_ONCE)


def test_every_block_is_run_or_has_a_reason() -> None:
    pages = [*PAGES, *OTHERS]
    commands = set()
    for page in pages:
        after_code = {text for _, text in printed(page)}
        for block in blocks(page):
            where = f"{page.name}, line {block.line}"
            assert block.language in {"python", "console", "text", "toml"}, where
            assert block.language != "text" or block in after_code, f"{where}: what prints this?"
            if block.language == "console":
                assert page.stem == "cli" or not block.answers, (
                    f"{where}: show it in a block of text"
                )
                commands |= set() if block.answers else set(block.commands())
    run = {command for command in commands if not why_not_run(command)}
    assert len(run) > 30
    assert not {c for c in run if not re.match(r"particleflow |python -m benchmarks", c)}
    stale = {start for start in NOT_RUN if not any(re.match(start, c) for c in commands)}
    assert not stale, "no page has such a command: delete the reason"


def test_targets_and_extras_that_commands_name_exist() -> None:
    commands = [
        c for page in [*PAGES, *OTHERS] for b in blocks(page, "console") for c in b.commands()
    ]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    targets = {match[1] for c in commands if (match := re.match(r"make (\S+)", c))}
    extras = {name for c in commands for name in re.findall(r"particleflow-sim\[(\w+)\]", c)}
    assert targets >= {"demo", "test"}
    assert not {name for name in targets if f"\n{name}:" not in makefile}
    assert extras >= {"film"}
    assert not {name for name in extras if f"\n{name} = [" not in project}


def test_a_false_line_in_a_page_is_noticed(python: Python, tmp_path: Path) -> None:
    page = tmp_path / "page.rst"
    page.write_text(
        "Page\n====\n\n.. code-block:: python\n\n   print(1)\n\n.. code-block:: text\n\n   2\n\n"
        ".. code-block:: python\n\n   assert 1 == 2\n",
        encoding="utf-8",
    )
    status, told, outputs = run_python(python, page, tmp_path)
    assert status != 0
    assert "line 14" in told
    ((block, text),) = printed(page)
    assert (outputs[block.line], text.code) == ("1\n", "2\n")


def test_examples_of_extensions_are_short() -> None:
    classes = re.compile(r"^@dataclass.*?(?=^\S(?!class)|\Z)", re.M | re.S)
    for block in blocks(DOCS / "extending.rst", "python"):
        found = classes.finditer(block.code)
        length = sum(len(match.group().strip().splitlines()) for match in found)
        assert 0 < length <= 30, f"extending.rst, line {block.line}: {length} lines"


LABELS = re.findall(r":label: (\S+)", (DOCS / "theory.rst").read_text(encoding="utf-8"))
CITED = {
    "gradient-flow": 2,
    "mmd-witness": 3,
    "noise": 4,
    "smoothed": 5,
    "kale-primal": 6,
    "kale-dual": 7,
    "kale-optimality": 8,
    "kale-newton": 9,
    "kale-velocity": 10,
    "kale-gap": 11,
    "kale-large": 12,
    "kale-small": 13,
    "kale-diverges": 14,
    "monoflow": 15,
    "f-divergence": 16,
    "mobility": 17,
    "kde": 18,
    "langevin": 19,
    "gaussian-flow": 20,
}


def test_equations_have_the_numbers_that_docstrings_cite() -> None:
    assert len(set(LABELS)) == len(LABELS)
    for label, number in CITED.items():
        assert LABELS[number - 1] == label
    cited = set()
    for source in PACKAGE.rglob("*.py"):
        for first, last in re.findall(
            r"theory\s+page,\s+equations?\s+(\d+)(?:\s*-\s*(\d+))?",
            source.read_text(encoding="utf-8"),
        ):
            cited |= set(range(int(first), int(last or first) + 1))
    assert cited == set(CITED.values()), (
        "a docstring cites an equation that this test does not know: check that it is that equation"
    )


def test_only_the_pages_of_theory_number_equations() -> None:
    assert [page.stem for page in PAGES if ":label:" in page.read_text(encoding="utf-8")] == [
        "kale",
        "theory",
    ]


def test_files_that_are_named_exist() -> None:
    """In the pages for developers and in CONTRIBUTING.md: a file that was moved or renamed is named
    there too.
    """
    root = DOCS.parent
    pages = [*sorted((DOCS / "developers").rglob("*.rst")), root / "CONTRIBUTING.md"]
    places = (
        r"`((?:particleflow|tests|benchmarks|docs|\.ci|\.github)/[\w./-]*"
        r"|[\w.-]+\.(?:toml|cfg|txt|md)|Makefile)`"
    )
    named = {
        (page.name, name)
        for page in pages
        for name in re.findall(places, page.read_text(encoding="utf-8"))
    }
    assert len(named) > 40
    assert not {(page, name) for page, name in named if not (root / name).exists()}
    tests = {
        (page.name, name)
        for page in pages
        for name in re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8"))
    }
    sources = "".join(
        path.read_text(encoding="utf-8") for path in (root / "tests").glob("test_*.py")
    )
    assert not {(page, name) for page, name in tests if f"def {name}(" not in sources}


COMMANDS = [
    (page.stem, command)
    for page in PAGES
    for block in blocks(page, "console")
    # but for commands that the page shows to be refused
    for command in re.findall(
        r"^\$ particleflow (.*)$(?!\nparticleflow: error)",
        block.code.replace("\\\n", " "),
        re.M,
    )
]


@pytest.mark.parametrize("command", sorted({shlex.split(command)[0] for _, command in COMMANDS}))
def test_commands_and_flags_exist(command: str) -> None:
    """`particleflow COMMAND --help` knows every flag that the documentation gives it."""
    flags = {
        word
        for _, line in COMMANDS
        for word in shlex.split(line, comments=True)
        if line.startswith(command) and word.startswith("--")
    }
    call = [
        sys.executable,
        "-m",
        "particleflow",
        *([] if command == "--help" else [command]),
        "--help",
    ]
    answer = subprocess.run(call, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stderr
    unknown = {flag for flag in flags if not re.search(rf"{flag}\b", answer.stdout)}
    assert not unknown


def test_the_configuration_file_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = blocks(DOCS / "cli.rst", "toml")
    (tmp_path / "comparison.toml").write_text(block.code, encoding="utf-8")
    small = ["--steps", "2", "--n", "20", "--m", "30", "--film", "none", "--out", "out"]
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "--config", "comparison.toml", *small]) == 0
    assert {file.name for file in (tmp_path / "out").iterdir()} >= {
        "snapshots.png",
        "metrics.csv",
        "config.toml",
        "kale.npz",
        "mmd-noise.npz",
    }


@pytest.mark.usefixtures("unchecked")
def test_the_first_lines_of_the_readme_print_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block, text), *_ = printed(ROOT / "README.md")
    monkeypatch.chdir(tmp_path)
    exec(block.code, {})
    assert timeless(capsys.readouterr().out) == timeless(text.code)
    assert {file.name for file in tmp_path.iterdir()} == {"rings.gif", "rings.html"}
