"""The commands of docs/cli.rst: python -m docs.printed runs them and writes what they print.

A console block of the page with lines below a command shows what this command prints. These
commands run in order, in one folder that holds points.csv. A line ... stands for lines left out.
Times differ from run to run: `timeless` makes them equal, for the test that compares the page.
"""

import contextlib
import io
import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).parent / "cli.rst"
PROMPT = "$ "
LEFT_OUT = "..."
# The width of the terminal that the page shows, in columns.
COLUMNS = "120"


def blocks(page: str) -> list[list[str]]:
    """Return the lines of each console block that shows what a command prints, without indent."""
    found = re.findall(r"^\.\. code-block:: console\n\n((?:   .*\n|\n(?=   ))+)", page, re.M)
    cut = [[line.removeprefix("   ") for line in block.rstrip("\n").split("\n")] for block in found]
    return [lines for lines in cut if not all(line.startswith(PROMPT) for line in lines)]


def commands(block: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of a block with the lines that the page shows below it."""
    starts = [k for k, line in enumerate(block) if line.startswith(PROMPT)]
    for start, end in zip(starts, [*starts[1:], len(block)], strict=True):
        yield block[start].removeprefix(PROMPT), block[start + 1 : end]


def points(folder: Path) -> None:
    """Write the user's file of the page: two half circles, with a line of names."""
    import particleflow as pf

    rows = pf.samplers.Moons().sample(200, seed=0)
    lines = ["x,y", *(f"{x:.4f},{y:.4f}" for x, y in rows.tolist())]
    (folder / "points.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


class Shell:
    """Runs commands of the page in one folder, and remembers the last exit code."""

    def __init__(self) -> None:
        self.code = 0

    def printed(self, command: str) -> list[str]:
        if command == "echo $?":
            return [str(self.code)]
        from particleflow.cli import main

        program, *words = shlex.split(command)
        assert program == "particleflow", command
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            self.code = main(words)
        text = out.getvalue().replace(f"{Path.cwd()}/", "").rstrip("\n")
        return [line.rstrip() for line in text.split("\n")]

    def answered(self, block: list[str]) -> list[str]:
        """Return a block with what its commands print now."""
        new: list[str] = []
        for command, shown in commands(block):
            lines = self.printed(command) if shown else []
            new += [PROMPT + command, *shortened(lines, shown)]
        return new


def shortened(lines: list[str], shown: list[str]) -> list[str]:
    """Leave out of the lines what the page leaves out."""
    if LEFT_OUT not in shown:
        return lines
    head = shown.index(LEFT_OUT)
    tail = len(shown) - head - 1
    return [*lines[:head], LEFT_OUT, *lines[len(lines) - tail :]]


def timeless(text: str) -> str:
    """Make equal what depends on the machine's speed: times, what was reached by then, columns."""
    text = re.sub(r"\b[0-9.]+ s\b", "T s", text)
    result = r"(\S+ \(\S+ to \S+\))"
    text = re.sub(rf"{result}(\s+){result}(\s+){result}", r"\1\2\3\4R", text)
    text = re.sub(r"(\s[\d.]+\s+)[\d.]+(\s+)(?=bandwidth)", r"\1R\2", text)  # of one seed
    return re.sub(r" +", " ", text)


def rewritten(page: str) -> str:
    """Return the page with what its commands print now. Runs in the current folder."""
    points(Path())
    shell = Shell()
    for block in blocks(page):
        new = shell.answered(block)
        old, now = ("".join(f"   {line}".rstrip() + "\n" for line in b) for b in (block, new))
        page = page.replace(old, now)
    return page


if __name__ == "__main__":
    os.environ["COLUMNS"] = COLUMNS
    text = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        text = rewritten(text)
    PAGE.write_text(text, encoding="utf-8")
