"""The argument parser of the command line, and its help."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, NoReturn

from particleflow._refusals import RefusedValueError
from particleflow.cli.names import FLOWS, STARTS, TARGET_FILES, TARGETS
from particleflow.cli.option import WHAT
from particleflow.cli.options import OF_COMMAND, options_of
from particleflow.cli.parts import (
    CRITICS,
    FILMS,
    INTEGRATORS,
    KERNELS,
    METRICS,
    MOBILITIES,
    RATIOS,
    RECORDED,
    STRAGGLERS,
)
from particleflow.cli.records import Record

# The first line of the help.
ABOUT = "Interacting particles that flow from a start to a target distribution, and pictures of it."
# The commands, and a line about each.
COMMANDS = {
    "run": "run one flow",
    "compare": "run several flows on one target, side by side",
    "live": "steer a running flow from a page in the browser",
    "benchmark": "compare flows on the tasks of the benchmark suite, measure speed and accuracy",
    "list": (
        "what there is: flows, targets, starts, kernels, ratios, mobilities, critics, integrators,"
        " metrics"
    ),
}
# The commands that take no options, or have a parser of their own.
WITHOUT_OPTIONS = ("benchmark", "list")
# Examples to copy, by command, with an explanation where one is needed.
EXAMPLES = {
    "": {
        "compare --target rings": "five flows on three rings",
        "run --target points.csv --flow auto --out out/": (
            "your own points; everything else is chosen from both clouds"
        ),
        "run --config out/config.toml --out again/": "the same run again, bit for bit",
        "live --target rings": "a running flow, with sliders",
        "benchmark --quick": "all flows on some tasks; benchmark --help says more",
        "list": "",
    },
    "run": {
        "run --flow auto --target rings --out out/": "",
        "run --flow mmd-noise --target picture.png --m 500 --out out/": "",
        "run --flow mono --mobility vanilla --shift 3 --target digits --out out/": "",
        "run --flow mmd --target rings --dt 0.05 --out fixed/": (
            "one bandwidth, steps of one length"
        ),
        "run --config out/config.toml --steps 1000 --out longer/": "a run again, with more steps",
        "run --flow auto --target rings --checkpoint --out out/": "a run that survives a kill",
        "run --resume out/": "it goes on from its last checkpoint, bit for bit",
    },
    "compare": {
        "compare --target rings --flows auto,mmd,kale,mono --out out/": "",
        "compare --target rings --seeds 10 --tune 16 --out out/": (
            "who wins, each flow tuned alike"
        ),
        "compare --flows kale,mono --sweep lam=0.001,0.01,0.1,1": "kale for each lam, beside mono",
        "compare --target points.csv --steps 1000 --film none --out out/": "",
        "compare --config comparison.toml --seed 1 --out out/": (
            "a file, of which one thing is changed"
        ),
    },
    "live": {
        "live --target rings": "",
        "live --flow kale --target points.csv --n 500": "your own points",
        "live --port 8000 --no-browser": "the address is printed; open it on this machine",
    },
}
# The column, in characters, where the explanations begin: beyond the longest explained example.
COLUMN = 67
# The files that each command leaves.
LEAVES = {
    "run": (
        "The folder --out then holds player.html, flow.gif or flow.mp4, snapshots.png, metrics.png,"
        " metrics.csv, trajectory.npz, and config.toml, which repeats the run."
    ),
    "compare": (
        "The folder --out then holds player.html, flows.gif or flows.mp4, snapshots.png,"
        " metrics.png, metrics.csv, one FLOW.npz for each flow, and config.toml, which repeats the"
        " comparison. A flow that fails does not stop the others. With --seeds, --tune or --sweep"
        " it holds report.html, results.json, results.csv, results.md, curves.png, player.html of"
        " the first seed, config.toml, and study/ with the finished runs: the same command goes on"
        " from there."
    ),
    "live": (
        "The page changes flow, target, bandwidth, lam, noise, dt and the number of particles while"
        " the flow runs; a target may be painted. Only this machine is answered, and only the"
        " address that is printed."
    ),
    "benchmark": "Its arguments are those of python -m benchmarks.",
    "list": "The names are those that the options of run and compare take.",
}
# The end of the help of `live`.
ENDS = "Exit codes: 0 ended with Ctrl-C; 2 bad input; 143 stopped with SIGTERM, 129 with SIGHUP."
# The end of the help of the commands that write files: TOML files and exit codes.
FILES = (
    "A TOML file may hold every option under its name with _ for -: beta_half = 50."
    " Settings of one flow alone stand in its own table, [kale].\n"
    "Flags win over the file. Paths in a file are relative to its folder.\n"
    "Exit codes: 0 well; 1 a flow did not complete, or a result could not be written or the report"
    " not be printed; 2 bad input; 130 stopped with Ctrl-C,\n"
    "143 with SIGTERM, 129 with SIGHUP: what there is by then is written, and a second signal ends"
    " the program at once."
)


class Parser(argparse.ArgumentParser):
    """A parser that raises its errors instead of printing them."""

    def error(self, message: str) -> NoReturn:
        raise RefusedValueError("arguments", (message,))


def listing() -> str:
    """Every name that the options take, with one line each."""
    sections: dict[str, Mapping[str, Record]] = {
        "flows (--flow, --flows)": FLOWS,
        "targets (--target)": {**TARGETS, **TARGET_FILES},
        "starts (--start)": STARTS,
        "kernels (--kernel), r = distance": KERNELS,
        "ratios (--ratio, of the flow mono), target / particles": RATIOS,
        "mobilities (--mobility, of the flow mono)": MOBILITIES,
        "critics (--critic, of the flow w1)": CRITICS,
        "stragglers (--stragglers), particles beyond the kernel's reach": STRAGGLERS,
        "integrators (--integrator)": INTEGRATORS,
        "metrics (--metrics)": METRICS,
        "films (--film)": FILMS,
        "records beside the particles (--record)": RECORDED,
    }
    width = max(len(name) for names in sections.values() for name in names)
    return "\n\n".join(
        title
        + "\n"
        + "\n".join(f"  {name:<{width}}  {record.line}" for name, record in names.items())
        for title, names in sections.items()
    )


def parser() -> argparse.ArgumentParser:
    whole = Parser(
        prog="particleflow",
        usage="particleflow COMMAND [options]",
        description=ABOUT,
        epilog=_examples(""),
        formatter_class=_Wide,
        allow_abbrev=False,
    )
    whole.add_argument("--version", action=_Version, nargs=0, help="print the version")
    whole.add_argument(
        "--debug", action="store_true", help="show where in the code an error comes from"
    )
    commands = whole.add_subparsers(
        dest="command",
        metavar="COMMAND",
        title="commands (each has its own --help)",
        parser_class=Parser,
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
        if command not in WITHOUT_OPTIONS:
            _add_options(sub, command)
    return whole


def _add_options(parser: argparse.ArgumentParser, command: str) -> None:
    groups: dict[str, Any] = {}
    for option in options_of(command):
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
                option.flag,
                dest=option.name,
                action="append" if option.kind == "lines" else "store",
                metavar=option.metavar,
                help=option.help,
            )
    if command not in OF_COMMAND:
        return
    groups[WHAT].add_argument(
        "--config", metavar="FILE.toml", help="read the options from a file; flags win over it"
    )
    if command == "run":
        groups[WHAT].add_argument(
            "--resume",
            metavar="FOLDER",
            help="go on with the run in a folder, made with --checkpoint; no other option is taken",
        )


def _examples(command: str) -> str:
    if command in WITHOUT_OPTIONS:
        return ""
    lines = [
        f"  {f'particleflow {call}':<{COLUMN}}{about}".rstrip()
        for call, about in EXAMPLES[command].items()
    ]
    end = {"": [], "live": ["", ENDS]}.get(command, ["", FILES])
    return "\n".join(["examples:", *lines, *end])


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
