"""The documentation is true: its code runs as printed, its equation numbers are those that
docstrings cite, its reference is complete.
"""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from forked import Python

import particleflow as pf
from particleflow.cli import main

DOCS = Path(__file__).parent.parent / "docs"
PACKAGE = Path(pf.__file__).parent
# Pages whose code takes five seconds or more: several processes, and films.
LONG = {"films", "parallel"}
# The build of the pages writes the gallery and _build beside them.
BUILT = {"gallery", "_build"}
PAGES = sorted(
    page
    for page in DOCS.rglob("*.rst")
    if page.relative_to(DOCS).parts[0] not in BUILT and page.name != "sg_execution_times.rst"
)


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """(line, code) of each code block of a page."""
    found = []
    lines = page.read_text(encoding="utf-8").splitlines()
    for k, line in enumerate(lines):
        if line.strip() != f".. code-block:: {language}":
            continue
        indent = len(line) - len(line.lstrip())
        end = next(
            (
                j
                for j in range(k + 1, len(lines))
                if lines[j].strip() and len(lines[j]) - len(lines[j].lstrip()) <= indent
            ),
            len(lines),
        )
        found.append((k + 3, textwrap.dedent("\n".join(lines[k + 1 : end])).strip("\n") + "\n"))
    return found


def run_page(python: Python, page: Path, folder: Path) -> tuple[int, str]:
    """Run the Python of a page from top to bottom as one script, in a process of its own, as a
    reader would: its exit status, and what it wrote to the standard error.
    """
    script: list[str] = []
    for line, code in blocks(page, "python"):
        script += [""] * (
            line - 1 - len(script)
        ) + code.splitlines()  # a traceback names the line of the page
    (folder / "page.py").write_text("\n".join(script), encoding="utf-8")
    done = python.run("page.py", cwd=folder)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.stem, marks=pytest.mark.slow if page.stem in LONG else ())
        for page in PAGES
        if blocks(page, "python")
    ],
)
def test_code_runs_as_printed(python: Python, page: Path, tmp_path: Path) -> None:
    status, told = run_page(python, page, tmp_path)
    assert status == 0, told


def test_a_false_line_in_a_page_is_noticed(python: Python, tmp_path: Path) -> None:
    page = tmp_path / "page.rst"
    page.write_text(
        "Page\n====\n\n.. code-block:: python\n\n   a = 1\n\ntext\n\n.. code-block:: python\n\n  "
        " assert a == 2\n",
        encoding="utf-8",
    )
    status, told = run_page(python, page, tmp_path)
    assert status != 0
    assert "line 12" in told


def test_examples_of_extensions_are_short() -> None:
    classes = re.compile(r"^@dataclass.*?(?=^\S(?!class)|\Z)", re.M | re.S)
    for line, code in blocks(DOCS / "extending.rst", "python"):
        length = sum(len(match.group().strip().splitlines()) for match in classes.finditer(code))
        assert 0 < length <= 30, f"extending.rst, line {line}: {length} lines"


LABELS = re.findall(r":label: (\S+)", (DOCS / "theory.rst").read_text(encoding="utf-8"))
CITED = {
    "mmd-witness": 3,
    "smoothed": 5,
    "kale-primal": 6,
    "kale-dual": 7,
    "kale-optimality": 8,
    "kale-newton": 9,
    "kale-velocity": 10,
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


INTERNAL = {
    "FixedCloud",
    "Kept",
    "as_cloud",
    "as_clouds",
    "as_schedule",
    "check_increasing",
    "constant_slope",
    "corners",
    "extent",
}


def test_every_public_name_is_in_the_reference() -> None:
    documented: set[str] = set()
    for page in (DOCS / "api").glob("*.rst"):
        module = ""
        for directive, argument in re.findall(
            r"^\.\. (currentmodule|auto\w+)::[ ]+(\S+)", page.read_text(encoding="utf-8"), re.M
        ):
            if directive == "currentmodule":
                module = argument
            else:
                documented.add(f"{module}.{argument}")
    public = set()
    for name in pf.__all__:
        value = getattr(pf, name)
        if not inspect.ismodule(value):
            public |= set() if name.startswith("_") else {name}
            continue
        mine = [
            n
            for n, v in vars(value).items()
            if getattr(v, "__module__", None) == value.__name__
            and (inspect.isclass(v) or callable(v))
        ]
        public |= {
            f"{name}.{n}"
            for n in getattr(value, "__all__", mine)
            if not n.startswith("_") and n not in INTERNAL
        }
    # pf.Cloud and pf.clouds.Cloud are one: documented under either name.
    short = {name.removeprefix("particleflow.") for name in documented}
    tops = {n for n in short if "." not in n} | {
        n.split(".", 1)[1] for n in short if n.count(".") == 1 and n.split(".", 1)[1] in pf.__all__
    }
    missing = {name for name in public - short if name.split(".")[-1] not in tops}
    assert not missing, f"not in docs/api: {sorted(missing)}"


COMMANDS = [
    (page.stem, command)
    for page in PAGES
    for _, code in blocks(page, "console")
    # but for commands that the page shows to be refused
    for command in re.findall(
        r"^\$ particleflow (.*)$(?!\nparticleflow: error)", code.replace("\\\n", " "), re.M
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
    ((_, text),) = blocks(DOCS / "cli.rst", "toml")
    (tmp_path / "comparison.toml").write_text(text, encoding="utf-8")
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
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    code, shown = (
        readme.split(f"```{language}\n")[1].split("```")[0] for language in ("python", "text")
    )
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    timeless = [
        re.sub(r"in [0-9.]+ s", "in some time", said) for said in (capsys.readouterr().out, shown)
    ]
    assert timeless[0] == timeless[1]
    assert {file.name for file in tmp_path.iterdir()} == {"rings.gif", "rings.html"}
