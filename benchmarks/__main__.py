"""python -m benchmarks [SUITE] [options]"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from types import ModuleType

import benchmarks
from particleflow.stopping import Stop


def suites() -> dict[str, ModuleType]:
    """The modules of this package that have a `main`."""
    names = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_"))
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "main")}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a suite; returns the exit code. On Ctrl-C, SIGTERM and SIGHUP what is finished is written."""
    stop = Stop()
    try:
        with stop.listening():
            code = _main(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        print("benchmarks: stopped", file=sys.stderr)
        return stop.code
    return stop.code if stop.signal else code


def _main(arguments: list[str]) -> int:
    name = arguments.pop(0) if arguments and not arguments[0].startswith("-") else "compare"
    known = suites()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        print(f"there is no suite '{name}'{f', did you mean {near[0]!r}' if near else ''}? Known: {', '.join(known)}", file=sys.stderr)
        return 2
    if arguments == ["--list"]:
        for suite, module in known.items():
            print(f"suite {suite:9} {(module.__doc__ or '').splitlines()[0]}")
    code: int = known[name].main(arguments)
    return code


if __name__ == "__main__":
    sys.exit(main())
