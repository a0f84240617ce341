"""The program `python -m benchmarks [SUITE] [options]`."""

from __future__ import annotations

import ast
import difflib
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

from particleflow.stopping import Stop
from particleflow.streams import Printed, printed

# The folder of the suites.
HERE = Path(__file__).parent
# The suite that runs where none is named.
WHOLE = "whole"
# Exit code for results that were printed but could not be written.
UNWRITTEN = 1


def suites() -> dict[str, tuple[str, str]]:
    """Return the suites by name: the module's name and the first line of its docstring.

    A suite is a module here with a function `main`, or the module `suite` of a folder. None is
    imported.
    """
    found = {}
    for module in pkgutil.iter_modules([str(HERE)]):
        file = HERE / module.name / "suite.py" if module.ispkg else HERE / f"{module.name}.py"
        if module.name.startswith("_") or not file.exists():
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
            path = f"{__package__}.{module.name}" + ".suite" * module.ispkg
            found[module.name] = path, (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run a suite and return the exit code.

    On Ctrl-C, SIGTERM and SIGHUP the finished results are written.
    """
    with printed("benchmarks") as streams:
        try:
            return streams.code(_stoppable(list(sys.argv[1:] if argv is None else argv), streams))
        except SystemExit as done:  # --help and bad input raise SystemExit
            sys.exit(streams.code(int(done.code or 0)))


def _stoppable(arguments: list[str], streams: Printed) -> int:
    stop = Stop()
    try:
        with stop.listening():
            code = _main(arguments)
    except KeyboardInterrupt:
        streams.tell(f"stopped by {stop.said}")
        return stop.code
    except OSError as error:  # what was measured is printed before it is written
        streams.tell(f"error: {error}")
        return UNWRITTEN
    return stop.code if stop.signal else code


def _main(arguments: list[str]) -> int:
    name = arguments.pop(0) if arguments and not arguments[0].startswith("-") else WHOLE
    known = suites()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        print(
            f"there is no suite '{name}'{f', did you mean {near[0]!r}' if near else ''}? Known:"
            f" {', '.join(known)}",
            file=sys.stderr,
        )
        return 2
    if arguments == ["--list"]:
        for suite, (_, line) in known.items():
            print(f"suite {suite:9} {line}")
    code: int = importlib.import_module(known[name][0]).main(arguments)
    return code


if __name__ == "__main__":
    sys.exit(main())
