"""The reference is complete: each public name tells its equation, parameters, results, errors, cost
and source, and shows lines that run.
"""

from __future__ import annotations

import builtins
import dataclasses
import doctest
import importlib
import inspect
import re
import typing
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import inventory
import links
import pytest
import reference
import torch

import particleflow as pf

DOCS = Path(__file__).parent.parent / "docs"
# The headings of a docstring, underlined.
HEADING = re.compile(r"^(\w[\w ]*)\n-{3,}$", re.M)
OBJECTS = reference.objects()


def each(paths: typing.Iterable[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "path", [pytest.param(path, id=path.removeprefix("particleflow.")) for path in paths]
    )


def with_examples() -> dict[int, tuple[str, Any]]:
    """The methods and properties of these classes that show lines, by their identity."""
    parts: dict[int, tuple[str, Any]] = {}
    for path, value in OBJECTS.items():
        for base in inspect.getmro(value) if inspect.isclass(value) else ():
            for name, member in vars(base).items():
                held = (getattr(member, kind, None) for kind in ("fget", "func", "__func__"))
                part = next(filter(None, held), member)
                shown = inspect.isfunction(part) and ">>>" in (part.__doc__ or "")
                if shown and not name.startswith("_") and part not in OBJECTS.values():
                    parts.setdefault(id(part), (f"{path}.{name}", part))
    return parts


def text(value: Any) -> str:
    """Its own docstring; "" where a dataclass wrote its signature there."""
    doc = inspect.cleandoc(
        value.__dict__.get("__doc__") or "" if inspect.isclass(value) else value.__doc__ or ""
    )
    return "" if re.fullmatch(rf"{value.__name__}\([^\n]*\)", doc) else doc


def sections(value: Any) -> dict[str, str]:
    """The parts of a docstring under their headings; "" is what comes before the first."""
    parts = HEADING.split(text(value))
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def entries(section: str) -> list[str]:
    """The names that a section explains: its lines without indent, "a, b : type" being two."""
    heads = []
    for line in section.splitlines():
        if not line or line.startswith(" "):
            continue
        if heads and re.match(r"(Cost|Source|Note|See|\.\.|>>>|\.\.\.)", line):
            break
        heads.append(line)
    return [name.strip().lstrip("*") for head in heads for name in head.split(" : ")[0].split(",")]


def is_error(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, BaseException)


def arguments(value: Any) -> list[str]:
    """What a caller may pass."""
    if dataclasses.is_dataclass(value) and value.__dataclass_params__.init:
        return [f.name for f in dataclasses.fields(value) if f.init and f.name[0] != "_"]
    taken = inspect.signature(value).parameters
    return [name for name in taken if not name.startswith("_")]


def is_free(value: Any) -> bool:
    """Whether its parts are of other kinds than those of what users call."""
    return is_error(value) or reference.is_contract(value) or reference.is_record(value)


def error(name: str) -> Any:
    return getattr(builtins, name, None) or (reference.found(name) if "." in name else None)


PARTS = {
    "equation": (r"\.\. math::|:math:`", inventory.WITHOUT_EQUATION),
    "cost": (r"^Cost: ", inventory.WITHOUT_COST),
    "source": (r"^Source: ", inventory.WITHOUT_SOURCE),
    "example": (r"^>>> ", inventory.WITHOUT_EXAMPLE),
}


# What shows lines: the objects of the reference, and their methods.
EXAMPLES = {
    **{path: value for path, value in OBJECTS.items() if ">>> " in text(value)},
    **dict(with_examples().values()),
}


# ---------------------------------------------------------------- the faults of a docstring


def faults_of_sentence(path: str, value: Any) -> Iterator[str]:
    if not re.match(r"[^\s].*[.:]", text(value).split("\n\n")[0], re.S):
        yield "has no docstring that begins with a sentence"


def faults_of_parameters(path: str, value: Any) -> Iterator[str]:
    if is_error(value) or reference.is_contract(value):
        return
    told = entries(
        sections(value).get("Attributes" if reference.is_record(value) else "Parameters", "")
    )
    missing = [name for name in arguments(value) if name not in told]
    if missing:
        yield f"does not explain {', '.join(missing)}"
    unknown = [name for name in told if name not in arguments(value)]
    if unknown and not reference.is_record(value) and "kwargs" not in str(inspect.signature(value)):
        yield f"explains {', '.join(unknown)}, which it does not take"


def faults_of_result(path: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value) or typing.get_type_hints(value).get("return") is type(None):
        return
    if not sections(value).keys() & {"Returns", "Yields"}:
        yield "has no Returns"


def faults_of_errors(path: str, value: Any) -> Iterator[str]:
    told = entries(sections(value).get("Raises", ""))
    if not (is_free(value) or told or path in inventory.NEVER_RAISES) and arguments(value):
        yield "has no Raises"
    for name in told:
        try:
            known = error(name)
        except (AttributeError, LookupError):
            known = None
        if not is_error(known):
            yield f"raises {name}, which is no exception"


def faults_of_parts(path: str, value: Any) -> Iterator[str]:
    for part, (pattern, without) in PARTS.items():
        has = bool(re.search(pattern, text(value), re.M))
        if not is_free(value) and not has and path not in without:
            yield f"has no {part}"
        if has and path in without:
            yield f"has its {part}: excuse it no more"
    if "doctest: +SKIP" in text(value):
        yield "shows lines that are not run"


CHECKS = (
    faults_of_sentence,
    faults_of_parameters,
    faults_of_result,
    faults_of_errors,
    faults_of_parts,
)


@each(OBJECTS)
def test_its_docstring_is_complete(path: str) -> None:
    faults = [fault for check in CHECKS for fault in check(path, OBJECTS[path])]
    assert not faults, "\n".join(f"{path} {fault}" for fault in faults)


@each(EXAMPLES)
def test_its_example_runs(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    example = doctest.DocTestParser().get_doctest(
        text(EXAMPLES[path]), {"pf": pf, "torch": torch}, path, None, 0
    )
    told: list[str] = []
    run.run(example, out=told.append)
    assert not run.failures, "".join(told)


def test_each_excuse_is_for_a_name_of_the_reference() -> None:
    for without in (*(names for _, names in PARTS.values()), inventory.NEVER_RAISES):
        assert without.keys() <= OBJECTS.keys()
        assert all(without.values())


def test_each_kind_of_fault_is_found() -> None:
    def poor(x: float, y: float) -> float:
        """Add

        Parameters
        ----------
        x, z : float

        Raises
        ------
        WrongError
        """
        return x + y

    faults = [fault for check in CHECKS for fault in check("poor", poor)]
    assert faults == [
        "has no docstring that begins with a sentence",
        "does not explain y",
        "explains z, which it does not take",
        "has no Returns",
        "raises WrongError, which is no exception",
        "has no equation",
        "has no cost",
        "has no source",
        "has no example",
    ]


# ---------------------------------------------------------------- errors that are provoked


def provoked(folder: Path) -> Iterator[tuple[str, Exception]]:
    """Each error that the refused values of `acts` bring about, with the path of what was called.

    What is refused later, when the result is used, is left out.
    """
    import test_arguments  # takes seconds to import
    from acts import ACTS, SWITCHED_OFF
    from seen import Elsewhere, Refused

    walked = test_arguments.walked_once()
    calls: list[tuple[Any, dict[str, Any]]] = [(make, given) for make, given, _ in SWITCHED_OFF]
    for name, acts in ACTS.items():
        for parameter, pair in acts.pairs.items():
            if isinstance(pair, Elsewhere):
                continue
            one, other, *more = pair
            calls += [
                (walked[name], {**acts.given, **(more[0] if more else {}), parameter: value.value})
                for value in (one, other)
                if isinstance(value, Refused)
            ]
    for called, given in calls:
        path = reference.path_of(called)
        if path is None:  # a method
            continue
        passed = {name: one for name, one in given.items() if name != "see"}
        try:
            called(**{name: test_arguments.made(one, folder) for name, one in passed.items()})
        except (ValueError, TypeError, RuntimeError) as caught:
            yield path, caught


@pytest.mark.usefixtures("unchecked")
def test_errors_that_are_provoked_are_told(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        errors = list(provoked(tmp_path))
    assert len(errors) > 10
    untold = {
        f"{path} raises {type(caught).__name__} and does not tell it: {caught}"
        for path, caught in errors
        if not any(
            isinstance(caught, error(name))
            for name in entries(sections(OBJECTS[path]).get("Raises", ""))
        )
    }
    assert not untold, "\n".join(sorted(untold))


# ---------------------------------------------------------------- the pages


@pytest.mark.parametrize("module", [name for name in pf.__all__ if name in pf._MODULES])
def test_every_public_name_of_a_module_is_in_the_reference(module: str) -> None:
    room = importlib.import_module(f"particleflow.{module}")
    missing = [name for name in room.__all__ if reference.path_of(getattr(room, name)) is None]
    assert missing == []


def test_every_public_name_is_in_the_reference() -> None:
    missing = [
        name
        for name in pf.__all__
        if not name.startswith("_")
        and not inspect.ismodule(getattr(pf, name))
        and reference.path_of(getattr(pf, name)) is None
    ]
    assert missing == []


def test_an_object_has_one_page() -> None:
    assert len({id(value) for value in OBJECTS.values()}) == len(OBJECTS)


def test_pages_differ_in_more_than_the_case_of_their_names() -> None:
    names = [reference.file_names().get(path, path).lower() for path in OBJECTS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("name", "module", "path"),
    [
        ("pf.Euler", "particleflow", "particleflow.integrators.Euler"),
        ("particleflow.integrators.runge_kutta.Euler", "", "particleflow.integrators.Euler"),
        ("KALE", "particleflow.flows", "particleflow.estimators.KALE"),
        ("Gaussian", "particleflow.kernels.contract", "particleflow.kernels.Gaussian"),
        ("Gaussian", "particleflow.samplers", "particleflow.samplers.Gaussian"),
        ("Gaussian", "particleflow.flows", None),
        ("Trajectory.kl", "particleflow", "particleflow.Trajectory.kl"),
        ("mmd_flow", "particleflow.kernels", "particleflow.mmd_flow"),
        ("fit", "particleflow.kernels", None),
        ("x_i", "particleflow", None),
        ("pf.kernels.Gausian", "particleflow", None),
    ],
)
def test_what_a_docstring_means_by_a_name(name: str, module: str, path: str | None) -> None:
    assert reference.meant(name, module) == path


def test_a_name_knows_the_examples_that_use_it() -> None:
    used = reference.examples()
    assert "kale_between" in used["particleflow.kale_flow"]
    assert "mobilities" in used["particleflow.mobilities.Vanilla"]
    assert "four_flows" in used["particleflow.Trajectory"]
    assert "particleflow.kernels.Kernel" not in used
    assert {name for names in used.values() for name in names} <= {
        file.stem for file in (DOCS / "examples").glob("*.py")
    }


def test_a_page_tells_the_methods_of_its_class() -> None:
    assert reference.members("particleflow.samplers.Rings") == [
        "log_density",
        "score",
        "draw",
        "sample",
    ]
    assert reference.elsewhere("particleflow.kernels.IMQ")["particleflow.kernels.Kernel"] == [
        "profile",
        "slope",
        "curvature",
    ]
    assert "kl" in reference.members("particleflow.Trajectory")


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "api").mkdir()
    (tmp_path / "a.html").write_text(
        '<h1 id="top">A</h1><a href="api/b.html#b">b</a> <a href="#top">'
    )
    (tmp_path / "api" / "b.html").write_text(
        '<p id="b"><a href="../a.html#end"></a><a href="../a.html#top"></a><img src="c.png">'
        '<a href="https://example.org/#x"></a><script>"<a href=nothing.html>"</script>'
    )
    assert list(links.broken(tmp_path)) == [
        ("api/b.html", "../a.html#end"),
        ("api/b.html", "c.png"),
    ]


def test_the_words_of_a_property_before_a_colon_are_no_type() -> None:
    import conf
    from sphinx.ext.napoleon import Config, NumpyDocstring

    said = "The floor in words: empty without one."
    lines = [said]
    conf.plain_formulas(None, "property", "floor", None, None, lines)
    lines = NumpyDocstring(lines, Config(), what="property", name="floor").lines()
    conf.with_colons(None, "property", "floor", None, None, lines)
    assert lines[0] == said
