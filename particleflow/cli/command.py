"""The commands: from arguments to an exit code. Every refusal is one line."""

from __future__ import annotations

import os
import re
import shutil
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from particleflow._files import alone
from particleflow._refusals import Argument, Refusal, RefusedValueError
from particleflow._words import closest, did_you_mean, shown
from particleflow.cli import idle, sweeps, synonyms, toml
from particleflow.cli.names import COMPARED, FLOWS
from particleflow.cli.option import Option
from particleflow.cli.options import BY_NAME, in_flags, options_of
from particleflow.cli.parser import COMMANDS, listing, parser
from particleflow.cli.paths import CONFIG, is_kept
from particleflow.cli.toml import MARK, Settings
from particleflow.cli.values import from_text
from particleflow.stopping import Stop
from particleflow.streams import Printed, printed

if TYPE_CHECKING:
    from particleflow.cli.task import Task

# The flags of `compare` that make many runs.
MANY = ("seeds", "tune", "sweep")
# The exit code of input that cannot be used, by the custom of shells.
BAD_INPUT = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["benchmark"]:
        return _benchmark(arguments[1:])
    with printed("particleflow") as streams:
        try:
            return streams.code(
                _stoppable(
                    [a for a in arguments if a != "--debug"], streams, debug="--debug" in arguments
                )
            )
        except SystemExit as done:  # raised by --help and --version
            sys.exit(streams.code(int(done.code or 0)))


def _benchmark(arguments: list[str]) -> int:
    """Hand the arguments over to the benchmarks, a program of its own."""
    if find_spec("particleflow.benchmarks") is None:
        with printed("particleflow") as streams:
            streams.tell(
                "error: the benchmarks are not installed here: install particleflow again (in a"
                " checkout: pip install -e .), or run python -m benchmarks in a checkout"
            )
            return streams.code(BAD_INPUT)
    code: int = import_module("particleflow.benchmarks.__main__").main(arguments)
    return code


def _stoppable(arguments: list[str], streams: Printed, *, debug: bool) -> int:
    stop = Stop()
    try:
        with stop.listening():
            return _main(_joined(arguments), stop, streams)
    except KeyboardInterrupt:
        streams.tell(f"stopped by {stop.said}")
        return stop.code
    except (ValueError, TypeError, OSError, ImportError) as error:
        if debug:
            raise
        streams.tell(f"error: {in_flags(error)}")
        return BAD_INPUT


def _main(arguments: list[str], stop: Stop, streams: Printed) -> int:
    if not arguments:
        print(parser().format_help(), end="")
        return 0
    if not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        word = arguments[0]
        guess = f"run --flow {word}" if word in FLOWS else closest(word, COMMANDS)
        wanted = f"the command must be one of {', '.join(COMMANDS)}"
        raise RefusedValueError("command", (wanted,), f"'{word}'", did_you_mean(guess))
    _refuse_values_of_switches(arguments)
    known, unknown = parser().parse_known_args(arguments)
    if unknown:
        word = unknown[0]
        told = f"unknown argument '{word}'"
        raise RefusedValueError(word, (told,), remedy=_remedy(known.command, word))
    if known.command == "list":
        print(listing())
        return 0
    if known.command is None:
        told = "a command is missing"
        raise RefusedValueError("command", (told,), remedy=f"one of {', '.join(COMMANDS)}")
    if known.command == "live":
        return _live(vars(known), stop)
    return _run(known.command, vars(known), stop, streams)


def _live(given: Mapping[str, Any], stop: Stop) -> int:
    """Serve the page that steers a running flow."""
    asked = _asked("live", given)
    _say_loading()
    # imported here: these modules need torch, which is slow to import
    from particleflow.cli.live import live
    from particleflow.cli.threads import threads

    with threads(1):
        return live(asked, stop, print)


def _asked(command: str, given: Mapping[str, Any]) -> Settings:
    """The settings that the flags give."""
    return {
        option.name: _from_flag(option, given[option.name])
        for option in options_of(command)
        if given[option.name] is not None
    }


def _refuse_values_of_switches(arguments: Sequence[str]) -> None:
    switches = [option.flag for option in BY_NAME.values() if option.kind == "switch"]
    for word in arguments:
        flag, equals, value = word.partition("=")
        if equals and f"--{flag.removeprefix('--no-').removeprefix('--')}" in switches:
            told = f"{flag} takes no value"
            raise RefusedValueError(flag, (told,), f"'{value}'", "leave that out")


def _remedy(command: str | None, word: str) -> str:
    """The remedy for an unknown argument: the nearest flag, or the flag that takes such a value."""
    if command is None or command == "list":
        return ""
    options = options_of(command)
    if word.startswith("-"):
        name = word.split("=")[0].strip("-")
        if command == "run" and name in MANY:
            return f"use `particleflow compare`, which takes --{name}"
        if name in synonyms.NOT_HERE:
            return synonyms.NOT_HERE[name]
        guess = toml.meant(name, [option.flag.removeprefix("--") for option in options])
        known = f"known are {' '.join(option.flag for option in options)}"
        return did_you_mean(f"--{guess}") if guess else known
    suffix = Path(word).suffix.lower()
    if suffix == ".toml":
        return did_you_mean(f"--config {word}")
    for option in options:
        if suffix in option.files or (option.names and {*word.split(",")} <= {*option.names}):
            return did_you_mean(f"{option.flag} {word}")
    return "every value follows its option, as in --target rings"


def _run(command: str, given: Mapping[str, Any], stop: Stop, streams: Printed) -> int:
    """Choose every setting, run, write, report."""
    asked, config = _asked(command, given), given["config"]
    if given.get("resume") is not None:
        config = _resumed(given["resume"], asked, config)
    file = {} if config is None else toml.read(config, command)
    settings = toml.merged(asked, file)
    if given.get("resume") is not None:
        settings |= {"out": given["resume"]}
    if command == "run":
        if settings.get("flow") is None:
            told = "--flow is missing"
            raise RefusedValueError("flow", (told,), remedy=f"one of {', '.join(FLOWS)}")
        names = [settings["flow"]]
    else:
        names = settings.setdefault("flows", list(COMPARED))
    idle.refuse_unused(asked, settings, names)
    sweeps.refuse(asked, settings, names)
    study = sweeps.many(settings)

    _say_loading()
    # imported here: these modules need torch, which is slow to import
    from particleflow.cli import folder, outputs, report, studies
    from particleflow.cli.task import task as built
    from particleflow.cli.threads import threads

    places = toml.places(asked, file, config)
    with ExitStack() as held:
        try:
            out = folder.folder(settings.get("out") or "out")
            held.enter_context(alone(out, "out"))
            with threads(1), warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", RuntimeWarning)
                planned = studies.comparison(settings, names) if study else None
                task = built(settings, names) if planned is None else planned.task
                outputs.warm(task)
            folder.keep_apart(task, out, single=command == "run")
            folder.keep_checkpoint(task, out)
            if planned is not None:
                planned.claim(out)
            folder.settle(task, out, _header(command))
        except Refusal as error:
            raise error.renamed(places) from error
        except MemoryError as error:
            smaller = "lower ", Argument("n"), " or ", Argument("m")
            raise RefusedValueError("n", (str(error),), remedy=smaller) from error
        for told in dict.fromkeys(in_flags(warning.message, places) for warning in caught):
            streams.tell(f"warning: {told}")
        if planned is not None:
            print(studies.heading(planned) + "\n")
            return studies.run(planned, out, repeat=_repeat(command), stop=stop, streams=streams)
        print(report.heading(task) + "\n")
        return _finish(task, out, command, stop=stop, streams=streams)


def _resumed(folder: str, asked: Settings, config: str | None) -> str:
    """The settings of the run in a folder, which goes on as it was."""
    more = [f"--{name.replace('_', '-')}" for name in asked] + ["--config"] * (config is not None)
    if more:
        told = "--resume goes on with a run as it was"
        raise RefusedValueError("resume", (told,), " ".join(more), "leave that out")
    if not is_kept(Path(folder).expanduser()):
        told = f"--resume must be the folder of a run with --checkpoint, and {folder} is none"
        raise RefusedValueError("resume", (told,), remedy="begin one with --checkpoint")
    return os.path.join(folder, CONFIG)


def _finish(task: Task, out: Path, command: str, *, stop: Stop, streams: Printed) -> int:
    """Run, write, report."""
    from particleflow.cli import outputs
    from particleflow.cli.table import table
    from particleflow.cli.threads import threads

    single = command == "run"
    with stop.held():
        with threads(task.threads):
            outcome = outputs.run(
                task, out, single=single, progress=sys.stderr.isatty(), say=_to_terminal, stop=stop
            )
        if outcome.paths:
            _to_terminal("drawing")
        outputs.write(task, outcome, out, single=single, repeat=_repeat(command), stop=stop)
        streams.results = shown(f"{out}{os.sep}")
        columns = shutil.get_terminal_size().columns if streams.out.isatty() else None
        streams.out.styled(table(task, outcome, columns))
        print(
            f"\nin {streams.results}: "
            f" {'  '.join(file.name for file in [out / CONFIG, *outcome.files])}"
        )
    return stop.code if outcome.interrupted or stop.signal else outcome.code


def _to_terminal(text: str) -> None:
    """Print progress on a terminal; print nothing elsewhere."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


def _say_loading() -> None:
    """Say on a terminal why nothing happens for some seconds."""
    if "torch" not in sys.modules:
        _to_terminal("loading PyTorch")


def _header(command: str) -> str:
    from importlib.metadata import version

    return f"{MARK}{version('particleflow-sim')}\nrepeat with: {_repeat(command)}"


def _repeat(command: str) -> str:
    return f"particleflow {command} --config config.toml --out FOLDER"


def _from_flag(option: Option, text: Any) -> Any:
    return text if isinstance(text, bool) else from_text(option, text)


def _joined(arguments: list[str]) -> list[str]:
    """`--start-mean -1,0` as `--start-mean=-1,0`: argparse takes -1,0 for a flag."""
    joined: list[str] = []
    for word in arguments:
        if joined and re.fullmatch(r"--[a-z-]+", joined[-1]) and re.match(r"-[\d.]", word):
            joined[-1] += "=" + word
        else:
            joined.append(word)
    return joined
