"""The command line: particleflow run, compare, list."""

from __future__ import annotations

import argparse
import os
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from particleflow import catalogue, config, flags, synonyms
from particleflow._words import nearest, shown
from particleflow.config import Option, SettingError, Settings
from particleflow.stopping import Stop
from particleflow.streams import Printed, printed

if TYPE_CHECKING:
    from particleflow.build import Task

ABOUT = "Interacting particles that flow from a start to a target distribution, and pictures of it."
BAD_INPUT = 2
COMMANDS = {
    "run": "run one flow",
    "compare": "run several flows on one target, side by side",
    "list": (
        "what there is: flows, targets, starts, kernels, ratios, mobilities, critics, integrators,"
        " metrics"
    ),
}
EXAMPLES = {
    "": (
        """\
particleflow compare --target rings                                the four flows on three rings
particleflow run --target points.csv --flow kale --out out/        your own points; everything else is chosen from their scale
particleflow run --config out/config.toml --out again/             the same run again, bit for bit
particleflow list"""
    ),
    "run": (
        """\
particleflow run --flow kale --target rings --out out/
particleflow run --flow mmd-noise --target picture.png --m 500 --out out/
particleflow run --flow mono --mobility vanilla --shift 3 --target digits --out out/
particleflow run --config out/config.toml --dt 0.001 --out finer/  a run again, with another dt"""
    ),
    "compare": (
        """\
particleflow compare --target rings --flows mmd,mmd-noise,kale,mono --out out/
particleflow compare --target points.csv --steps 1000 --no-gif --out out/
particleflow compare --config comparison.toml --seed 1 --out out/  a file, of which one thing is changed"""
    ),
}
LEAVES = {
    "run": (
        "The folder --out then holds flow.gif, snapshots.png, metrics.png, metrics.csv,"
        " trajectory.npz, and config.toml, which repeats the run."
    ),
    "compare": (
        "The folder --out then holds flows.gif, snapshots.png, metrics.png, metrics.csv, one"
        " FLOW.npz for each flow, and config.toml, which repeats the comparison. A flow that fails"
        " does not stop the others."
    ),
    "list": "The names are those that the options of run and compare take.",
}
FILES = """\
A TOML file may hold every option under its name with _ for -: beta_half = 50. Settings of one flow alone stand in its own table, [kale].
Flags win over the file. Paths in a file are relative to its folder.
Exit codes: 0 well; 1 a flow did not complete, or a result could not be written or the report not be printed; 2 bad input; 130 stopped with Ctrl-C,
143 with SIGTERM, 129 with SIGHUP: what there is by then is written, and a second signal ends the program at once."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        valued = re.fullmatch(r"argument (?:\S+/)?(--\S+): ignored explicit argument (.+)", message)
        raise SettingError(
            f"{valued[1]} takes no value, got {valued[2]}: leave that out" if valued else message
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    with printed("particleflow") as streams:
        try:
            return streams.code(
                _stoppable(
                    [a for a in arguments if a != "--debug"], streams, debug="--debug" in arguments
                )
            )
        except SystemExit as done:  # of --help and --version
            sys.exit(streams.code(int(done.code or 0)))


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
        streams.tell(f"error: {error}")
        return BAD_INPUT


def _main(arguments: list[str], stop: Stop, streams: Printed) -> int:
    if not arguments:
        print(_parser().format_help(), end="")
        return 0
    if not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        word = arguments[0]
        hint = (
            f"; did you mean 'run --flow {word}'?"
            if word in catalogue.FLOWS
            else nearest(word, COMMANDS)
        )
        raise SettingError(f"the command must be one of {', '.join(COMMANDS)}, got '{word}'{hint}")
    known, unknown = _parser().parse_known_args(arguments)
    if unknown:
        raise SettingError(f"unknown argument '{unknown[0]}'{_meant(known.command, unknown[0])}")
    if known.command == "list":
        print(listing())
        return 0
    if known.command is None:
        raise SettingError(f"a command is missing: one of {', '.join(COMMANDS)}")
    return _run(known.command, vars(known), stop, streams)


def _meant(command: str | None, word: str) -> str:
    """What to try in place of an argument that nobody knows: the nearest flag, or the flag that
    such a value belongs to.
    """
    if command not in config.OF_COMMAND:
        return ""
    options = config.options_of(command)
    if word.startswith("-"):
        name = word.split("=")[0].strip("-")
        guess = config.meant(name, [option.name.replace("_", "-") for option in options]).replace(
            "mean '", "mean '--"
        )
        about = synonyms.NOT_HERE.get(name)
        return (
            guess
            if guess and about is None
            else f": {about or 'known are ' + ' '.join(option.flag for option in options)}"
        )
    suffix = Path(word).suffix.lower()
    if suffix == ".toml":
        return f"; did you mean '--config {word}'?"
    fits = [
        o.flag
        for o in options
        if (suffix and suffix in o.files) or (o.names and set(word.split(",")) <= set(o.names))
    ]
    return (
        f"; did you mean '{fits[0]} {word}'?"
        if fits
        else ": every value follows its option, as in --target rings"
    )


def _run(command: str, given: Mapping[str, Any], stop: Stop, streams: Printed) -> int:
    """Settle every setting, run, write, report."""
    options = config.options_of(command)
    asked: Settings = {
        o.name: _from_flag(o, given[o.name]) for o in options if given[o.name] is not None
    }
    file = {} if given["config"] is None else config.read(given["config"], command)
    settings = config.merged(asked, file)
    names: list[str]
    if command == "run":
        if settings.get("flow") is None:
            raise SettingError(f"--flow is missing: one of {', '.join(catalogue.FLOWS)}")
        names = [settings["flow"]]
    else:
        names = settings.setdefault("flows", list(config.DEFAULT_FLOWS))
    stray = flags.unused(asked, names)
    if stray is not None:
        raise SettingError(
            f"{stray.flag} is an option of {', '.join(stray.flows)}, got the flows"
            f" {', '.join(names)}: leave it out"
        )
    nothing = flags.idle(asked, settings, names)
    if nothing is not None:
        raise SettingError(nothing)

    from particleflow import build, runs  # not above: from here on torch is needed

    said = partial(flags.in_the_users_words, flags=asked, file=file, path=given["config"])
    with ExitStack() as held:
        try:
            out = runs.folder(settings.get("out") or "out")
            held.enter_context(runs.alone(out))
            with runs.threads(1), warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", RuntimeWarning)
                task = build.task(settings, names)
                runs.warm(task)
            runs.keep_apart(task, out, single=command == "run")
            runs.settle(task, out, _header(command))
        except (ValueError, TypeError, OSError, ImportError) as error:
            raise SettingError(said(str(error))) from error
        except MemoryError as error:
            raise SettingError(f"{error}: lower --n or --m") from error
        for told in dict.fromkeys(str(warning.message) for warning in caught):
            streams.tell(f"warning: {said(told)}")
        print(runs.heading(task) + "\n")
        return _finish(task, out, single=command == "run", stop=stop, streams=streams)


def _finish(task: Task, out: Path, *, single: bool, stop: Stop, streams: Printed) -> int:
    """Run, write, report."""
    from particleflow import runs

    with stop.held():
        with runs.threads(task.threads):
            outcome = runs.run(
                task, out, single=single, progress=sys.stderr.isatty(), say=_to_terminal, stop=stop
            )
        if outcome.paths:
            _to_terminal("drawing")
        runs.write(outcome, out, single=single, gif=task.settings["gif"], stop=stop)
        streams.results = shown(f"{out}{os.sep}")
        print(runs.summary(task, outcome))
        print(
            f"\nin {streams.results}: "
            f" {'  '.join(file.name for file in [out / runs.CONFIG, *outcome.files])}"
        )
    return stop.code if outcome.interrupted or stop.signal else outcome.code


def _to_terminal(text: str) -> None:
    """What goes on, for somebody who watches; silence otherwise."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


def _header(command: str) -> str:
    from importlib.metadata import version

    return (
        f"{config.MARK}{version('particleflow-sim')}\nrepeat with: particleflow {command} --config"
        " config.toml --out FOLDER"
    )


def _from_flag(option: Option, text: Any) -> Any:
    return text if isinstance(text, bool) else config.from_text(option, text)


def _joined(arguments: list[str]) -> list[str]:
    """`--start-mean -1,0` as `--start-mean=-1,0`: argparse takes -1,0 for a flag."""
    joined: list[str] = []
    for word in arguments:
        if joined and re.fullmatch(r"--[a-z-]+", joined[-1]) and re.match(r"-[\d.]", word):
            joined[-1] += "=" + word
        else:
            joined.append(word)
    return joined


def listing() -> str:
    """Every name that the options take, with one line each."""
    sections: dict[str, Mapping[str, str]] = {
        "flows (--flow, --flows)": catalogue.FLOWS,
        "targets (--target)": {**catalogue.TARGETS, **catalogue.TARGET_FILES},
        "starts (--start)": catalogue.STARTS,
        "kernels (--kernel), r = distance": catalogue.KERNELS,
        "ratios (--ratio, of the flow mono), target / particles": catalogue.RATIOS,
        "mobilities (--mobility, of the flow mono)": catalogue.MOBILITIES,
        "critics (--critic, of the flow w1)": catalogue.CRITICS,
        "integrators (--integrator)": catalogue.INTEGRATORS,
        "metrics (--metrics)": catalogue.METRICS,
    }
    width = max(len(name) for names in sections.values() for name in names)
    return "\n\n".join(
        title + "\n" + "\n".join(f"  {name:<{width}}  {line}" for name, line in names.items())
        for title, names in sections.items()
    )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="particleflow",
        usage="particleflow COMMAND [options]",
        description=ABOUT,
        epilog=_examples(""),
        formatter_class=_Wide,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    parser.add_argument(
        "--debug", action="store_true", help="show where in the code an error comes from"
    )
    commands = parser.add_subparsers(
        dest="command",
        metavar="COMMAND",
        title="commands (each has its own --help)",
        parser_class=_Parser,
    )
    for command, line in COMMANDS.items():
        sub = commands.add_parser(
            command,
            prog=f"particleflow {command}",
            usage=f"particleflow {command} [options]",
            help=line,
            description=f"{line[0].upper()}{line[1:]}. {LEAVES[command]}",
            epilog=_examples(command),
            formatter_class=_Wide,
            allow_abbrev=False,
        )
        if command in config.OF_COMMAND:
            _add_options(sub, command)
    return parser


def _add_options(parser: argparse.ArgumentParser, command: str) -> None:
    groups: dict[str, Any] = {}
    for option in config.options_of(command):
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        group = groups[option.group]
        if option.kind == "switch":
            group.add_argument(
                option.flag,
                dest=option.name,
                default=None,
                action=argparse.BooleanOptionalAction,
                help=option.help,
            )
        else:
            group.add_argument(
                option.flag, dest=option.name, metavar=option.metavar, help=option.help
            )
    groups[config.WHAT].add_argument(
        "--config", metavar="FILE.toml", help="read the options from a file; flags win over it"
    )


def _examples(command: str) -> str:
    if command == "list":
        return ""
    return f"examples:\n  {EXAMPLES[command].replace(chr(10), chr(10) + '  ')}" + (
        "" if not command else f"\n\n{FILES}"
    )


class _Wide(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=120)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return (
            text if "\n" in text else argparse.HelpFormatter._fill_text(self, text, width, indent)
        )


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print("particleflow", version("particleflow-sim"))
        parser.exit()
