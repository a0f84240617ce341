"""The blocks of code of a page: which there are, how they are run, and what they print."""

from __future__ import annotations

import itertools
import re
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path

from forked import Python
from PIL import Image, ImageDraw

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
# Folders that hold no page of ours: the build writes three of them.
BUILT = {"gallery", "generated", "_build", "_templates"}
PAGES = sorted(
    page
    for page in DOCS.rglob("*.rst")
    if not BUILT & set(page.relative_to(DOCS).parts) and page.name != "sg_execution_times.rst"
)
# Pages of the repository that are no part of the documentation.
OTHERS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")]
# Written between the outputs of two blocks.
BETWEEN = "\x1e"

# Commands that no test runs as they stand, and why.
NOT_RUN = {
    r"make\b": "installs, or runs all tests; the test of the Makefile's targets looks at its name",
    r"python3 -m venv\b": "makes an environment",
    r"\. \.venv/": "enters an environment",
    r"(\.venv/bin/)?pip install\b": "installs; the test of the extras looks at their names",
    r"\.venv/bin/python -m pytest\b": "runs tests",
    r"pyftsubset\b": "cuts the fonts of these pages, once; they are in docs/_static",
    r"particleflow live\b": "runs until Ctrl-C; tests/test_live_server.py runs it",
    r"(particleflow benchmark|python -m benchmarks)(?! --list)": "takes minutes;"
    " tests/test_benchmarks.py runs short ones",
}


@dataclass(frozen=True)
class Block:
    """A block of code, the number of its first line in the page, and its language."""

    line: int
    language: str
    code: str

    @property
    def answers(self) -> bool:
        """Does a console show below its commands what they print?"""
        lines = self.code.replace("\\\n", " ").splitlines()
        prompts = [line.startswith("$ ") for line in lines]
        return any(prompts) and not all(prompts)

    def commands(self) -> list[str]:
        """The commands of a console, without prompts and comments."""
        lines = self.code.replace("\\\n", " ").splitlines()
        if self.answers:
            lines = [line for line in lines if line.startswith("$ ")]
        bare = (re.sub(r"(^|\s+)#.*", "", line).removeprefix("$ ").strip() for line in lines)
        return [part.strip() for line in bare for part in line.split(" && ") if part.strip()]


def blocks(page: Path, *languages: str) -> list[Block]:
    """The blocks of code of a page, in their order; of some languages, or all of them."""
    text = page.read_text(encoding="utf-8")
    found = _of_markdown(text) if page.suffix == ".md" else _of_restructured(text)
    return [block for block in found if not languages or block.language in languages]


def _of_markdown(text: str) -> list[Block]:
    return [
        Block(text[: match.start(2)].count("\n") + 1, match[1] or "text", match[2])
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    ]


def _of_restructured(text: str) -> list[Block]:
    found = []
    lines = text.splitlines()
    for k, line in enumerate(lines):
        if not (match := re.fullmatch(r"( *)\.\. code-block:: *(\w+)", line)):
            continue
        indent = len(match[1])
        end = next(
            (
                j
                for j in range(k + 1, len(lines))
                if lines[j].strip() and len(lines[j]) - len(lines[j].lstrip()) <= indent
            ),
            len(lines),
        )
        code = textwrap.dedent("\n".join(lines[k + 1 : end])).strip("\n") + "\n"
        found.append(Block(k + 3, match[2], code))
    return found


def printed(page: Path) -> list[tuple[Block, Block]]:
    """Each block of code whose output the page shows, with the block of text that shows it."""
    all_blocks = blocks(page)
    return [
        (block, text)
        for block, text in itertools.pairwise(all_blocks)
        if text.language == "text" and block.language in ("python", "console")
    ]


def timeless(said: str) -> str:
    """Words without seconds, which differ from run to run, and without the columns of tables, whose
    width depends on them.
    """
    said = re.sub(r" +[0-9.]+ s\b", " some time", said)
    return "\n".join(" ".join(line.split()) for line in said.strip().splitlines())


def why_not_run(command: str) -> str | None:
    """The reason why no test runs a command; None of one that is run."""
    return next((why for start, why in NOT_RUN.items() if re.match(start, command)), None)


def run_python(python: Python, page: Path, folder: Path) -> tuple[int, str, dict[int, str]]:
    """Run the Python of a page from top to bottom as one script, in a process of its own, as a
    reader would: its exit status, what it wrote to the standard error, and what each block printed,
    by the line of the block.
    """
    script: list[str] = []
    pieces = blocks(page, "python")
    for block in pieces:
        # a traceback names the line of the page
        script += [""] * (block.line - 1 - len(script)) + block.code.splitlines()
        script.append(f"print({BETWEEN!r})")
    (folder / "page.py").write_text("\n".join(script), encoding="utf-8")
    done = python.run("page.py", cwd=folder)
    outputs = done.stdout.split(f"{BETWEEN}\n")
    lines = [block.line for block in pieces]
    return done.returncode, done.stderr, dict(zip(lines, outputs))


def prepare(folder: Path, page: Path) -> None:
    """Write the files that the commands of a page speak of."""
    table = "\n".join(f"{0.1 * (k % 7)},{0.07 * (k % 11)}" for k in range(60))
    (folder / "points.csv").write_text(f"{table}\n", encoding="utf-8")
    (folder / "cells.csv").write_text(f"x,y\n{table}\n", encoding="utf-8")
    (folder / "my_flow.py").write_text("", encoding="utf-8")
    picture = Image.new("L", (40, 40), "white")
    ImageDraw.Draw(picture).ellipse((8, 8, 32, 28), fill="black")
    for name in ("cat.png", "picture.png"):
        picture.save(folder / name)
    for block in blocks(page, "toml"):
        (folder / "comparison.toml").write_text(block.code, encoding="utf-8")


def short(command: str) -> list[str]:
    """The words of a command of particleflow, with numbers that make it short."""
    words = shlex.split(command)
    if words[1] not in ("run", "compare") or {"--help", "--resume"} & set(words):
        return words
    asked = {word for word in words if word.startswith("--")}
    words += ["--steps", "2", "--n", "20", "--m", "30"]
    if not asked & {"--seeds", "--tune", "--sweep"}:  # a study has no film
        words += ["--film", "none"]
    for flag, few in (("--seeds", "2"), ("--tune", "1")):
        words += [flag, few] if flag in asked else []
    return words
