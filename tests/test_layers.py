"""The architecture, read off the imports: layers, heavy libraries, length of files."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "particleflow"

# A module imports only what stands before it here (and its own layer's files).
LAYERS = [
    "_typing",
    "_words",
    "_refusals",
    "advice",
    "memo",
    "_files",
    "stopping",
    "_checks",
    "_supplied",
    "_fork",
    "_threads",
    "_libraries",
    "_progress",
    "_autograd",
    "clouds",
    "kept",
    "subsets",
    "strays",
    "schedules",
    "divergences",
    "mobilities",
    "losses",
    "samplers",
    "kernels",
    "pairwise",
    "estimators",
    "adaptive",
    "stiffness",
    "reactions",
    "renewals",
    "flows",
    "moves",
    "integrators",
    "memories",
    "metrics",
    "spaces",
    "nearness",
    "stops",
    "arrival",
    "automatic",
    "remedies",
    "summary",
    "saving",
    "checkpoint",
    "archive",
    "folder_trajectory",
    "recipe",
    "trajectory",
    "runs",
    "recording",
    "disk_recording",
    "_inputs",
    "watch",
    "verdicts",
    "fit_statistics",
    "running",
    "run_folder",
    "checkpointed_run",
    "stepping",
    "transport",
    "engine",
    "folding",
    "resuming",
    "many",
    "testing",
    "scikit",
    "plotting",
    "study",
    "live",
    "streams",
    "cli",
    "__main__",
]

# Trajectory.plot() and .animate() import plotting when they are called, and .transport() and
# .log_density() import transport: the exceptions.
ALLOWED_DOWN = {
    ("trajectory", "plotting"),
    ("recipe", "trajectory"),
    ("recipe", "transport"),
}

# Slow or optional libraries, and where they may be imported when a module is.
HEAVY = {
    "matplotlib": {"plotting"},
    "tqdm": set(),
    "ot": set(),
    "sklearn": {"scikit"},
    "PIL": {"plotting"},
    "pykeops": set(),
    "finufft": set(),
    "cufinufft": set(),
    "tomli_w": set(),
    "joblib": set(),
    "threadpoolctl": set(),
    "imageio_ffmpeg": set(),
    "jinja2": set(),
}
NEVER = {"geomloss": "it makes `import ot` import pykeops"}

FILES = sorted(PACKAGE.rglob("*.py"))
BENCHMARKS = sorted((PACKAGE.parent / "benchmarks").rglob("*.py"))
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in FILES
}


def is_type_checking(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


@cache
def imports(path: Path) -> list[tuple[str, bool, bool]]:
    """(absolute name, made when the module is imported, made at run time) of every import in a
    file.
    """

    def walk(node: ast.AST, top: bool, run: bool) -> Iterator[tuple[str, bool, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, top and run, run) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, (
                    f"{path}:{child.lineno} imports relatively: name the package"
                )
                for alias in child.names:
                    whole = f"{child.module}.{alias.name}"
                    yield (whole if whole in MODULES else str(child.module)), top and run, run
            else:
                inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, top and not inside, run and not is_type_checking(child))

    return list(walk(ast.parse(path.read_text()), True, True))


def layer(module: str) -> str:
    return module.partition(".")[2].partition(".")[0]


def name(path: Path) -> str:
    return str(path.relative_to(PACKAGE.parent))


def test_every_file_has_a_layer() -> None:
    unknown = {layer(module) for module in MODULES} - {"", *LAYERS}
    assert not unknown, f"say where {sorted(unknown)} belong in LAYERS"


def test_every_layer_has_a_file() -> None:
    gone = set(LAYERS) - {layer(module) for module in MODULES}
    assert not gone, f"LAYERS names {sorted(gone)}, of which there is no file"


def none(wrong: Iterable[str]) -> None:
    """Fail with all lines at once."""
    lines = list(wrong)
    assert not lines, "\n".join(lines)


def downward() -> Iterator[str]:
    """What imports something below; the package's own names are imported when first used."""
    for module, path in MODULES.items():
        for target, _, run in imports(path):
            if not target.startswith("particleflow") or module == "particleflow":
                continue
            if target == "particleflow":
                yield f"{module} imports the package itself: name the module"
                continue
            here, there = layer(module), layer(target)
            if here == there or (here, there) in ALLOWED_DOWN:
                continue
            if LAYERS.index(there) > LAYERS.index(here):
                yield f"{module} imports {target}, which stands below it" + (
                    " (for types)" * (not run)
                )


def test_imports_go_only_upward() -> None:
    none(downward())


def test_no_module_imports_itself_in_a_circle() -> None:
    """Not inside functions or for types either, but for what `ALLOWED_DOWN` names; the package's
    own names are left out.
    """
    allowed = lambda here, there: (
        layer(here) != layer(there) and (layer(here), layer(there)) in ALLOWED_DOWN
    )
    graph = {
        module: {
            target
            for target, _, _ in imports(path)
            if target in MODULES and not allowed(module, target)
        }
        - {module, "particleflow"}
        for module, path in MODULES.items()
        if module != "particleflow"
    }
    list(TopologicalSorter(graph).static_order())


# The modules that make, watch and record runs. They know an estimator by its contract alone.
ENGINE = ["engine", "running", "watch", "verdicts", "recording", "trajectory", "_inputs"]


@pytest.mark.parametrize("module", ENGINE)
def test_the_engine_names_no_estimator(module: str) -> None:
    contract = {"Estimator", "Fit", "Witness", "FieldWitness"}
    for node in ast.walk(ast.parse(MODULES[f"particleflow.{module}"].read_text())):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(
            "particleflow.estimators"
        ):
            names = {alias.name for alias in node.names}
            assert node.module == "particleflow.estimators.base" or names <= contract, (
                f"{module} imports {sorted(names)} from {node.module}: ask the contract in"
                " estimators/base.py"
            )


def misplaced() -> Iterator[str]:
    """What imports a heavy library elsewhere than where it is used."""
    keops = {"particleflow.pairwise.exact.keops", "particleflow.pairwise.exact.keops_probe"}
    for module, path in MODULES.items():
        for target, top, run in imports(path):
            root = target.split(".")[0]
            if root in NEVER:
                yield f"{module} imports {root}: {NEVER.get(root)}"
            if root == "pykeops" and module not in keops:
                yield f"{module} imports pykeops: only pairwise/exact/keops.py may, and its probe"
            if root in HEAVY and top and layer(module) not in HEAVY[root]:
                yield f"{module} imports {root} at its top: import it in the function that needs it"
            if root == "matplotlib" and run and layer(module) != "plotting":
                yield f"{module} imports matplotlib: only plotting may"


def test_heavy_libraries_are_imported_where_they_are_used() -> None:
    none(misplaced())


def test_the_command_line_starts_without_torch() -> None:
    """What --help and `list` need is told by tables, without the libraries of numerics."""
    quick = ("command", "parser", "idle", "toml", "values", "options", "names", "synonyms")
    for module in (
        "particleflow",
        "particleflow.cli",
        *(f"particleflow.cli.{name}" for name in quick),
        "particleflow.__main__",
    ):
        roots = {target.split(".")[0] for target, top, _ in imports(MODULES[module]) if top}
        assert not roots & {"torch", "numpy", "scipy", "jaxtyping"}, f"{module} imports {roots}"


def length(path: Path) -> int:
    """The lines of a file outside of the docstrings of its classes and functions."""
    text = path.read_text()
    told = 0
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            told += node.body[0].end_lineno - node.body[0].lineno + 1
    return len(text.splitlines()) - told


def test_no_file_is_long() -> None:
    lines = {path: length(path) for path in FILES + BENCHMARKS}
    none(f"{name(path)} has {count} lines" for path, count in lines.items() if count > 400)


def test_every_file_says_what_it_is() -> None:
    none(
        f"{name(path)} has no docstring"
        for path in FILES + BENCHMARKS
        if not ast.get_docstring(ast.parse(path.read_text()))
    )


def test_no_vague_names() -> None:
    vague = {"utils", "util", "core", "helpers", "common", "misc"}
    assert (
        not {part for path in FILES for part in path.relative_to(PACKAGE).with_suffix("").parts}
        & vague
    )
    classes = [
        node.name
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    assert not [c for c in classes if c.startswith("Base") or c.endswith("Manager")]
