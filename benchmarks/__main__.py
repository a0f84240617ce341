"""The program `python -m benchmarks [SUITE] [options]`."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from particleflow.stopping import Stop
from particleflow.streams import Printed, printed

# Exit code for results that were printed but could not be written.
UNWRITTEN = 1


def suites() -> dict[str, ModuleType]:
    """Return the suites by name: modules here with a `main`, and modules `suite` of folders."""
    found = {
        module.name: f"{__package__}.{module.name}" + ".suite" * module.ispkg
        for module in pkgutil.iter_modules([str(Path(__file__).parent)])
        if not module.name.startswith("_")
    }
    modules = {name: importlib.import_module(path) for name, path in sorted(found.items())}
    return {name: module for name, module in modules.items() if hasattr(module, "main")}


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
    name = arguments.pop(0) if arguments and not arguments[0].startswith("-") else "compare"
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
        for suite, module in known.items():
            print(f"suite {suite:9} {(module.__doc__ or '').splitlines()[0]}")
    code: int = known[name].main(arguments)
    return code


if __name__ == "__main__":
    sys.exit(main())
