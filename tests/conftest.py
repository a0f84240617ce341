"""Shapes and types are checked at run time in the whole suite: jaxtyping's hook with beartype,
installed before particleflow is imported.

Every function of the package is checked, and every dataclass when it is made, in its first calls of
each test (run_time_checks.py). A subprocess (the command line, `import particleflow` alone) runs
without the hook, as users do.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path

import pytest
import run_time_checks
from jaxtyping import config as jaxtyping_config
from jaxtyping import install_import_hook

if any(name.startswith("particleflow.") for name in sys.modules):
    raise RuntimeError(
        "particleflow was imported before tests/conftest.py could install the run-time checks: look"
        " for a plugin that imports it"
    )


def _checked_modules() -> list[str]:
    """All but those whose functions write machine code: the checks would wrap them.

    A package's own name would stand for all that lies in it.
    """
    package = Path(__file__).parents[1] / "particleflow"
    paths = [path for path in package.rglob("*.py") if path.name != "__init__.py"]
    machine_code = re.compile(
        r"^(import|from) (particleflow\.pairwise\.codegen\.(staging|llvm))\b", re.MULTILINE
    )
    compiled = {path for path in paths if machine_code.search(path.read_text())}
    return [
        ".".join(path.relative_to(package.parent).with_suffix("").parts)
        for path in paths
        if path not in compiled
    ]


run_time_checks.spare_nested()
install_import_hook(_checked_modules(), "run_time_checks.checked")

# after the hook, which checks what is imported from here on
import browser  # noqa: E402
import cross_section  # noqa: E402
import torch  # noqa: E402
from forked import Python  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    # Same bits whatever the machine: the order of a threaded sum depends on the number of threads.
    # One, because the tensors are small: a second thread spins between operations, which costs
    # several times the work where cores are shared.
    torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)  # before -m looks at the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the cross-section. Leave out what this machine cannot run, and say why."""
    able = [
        item
        for item in items
        if not any(item.get_closest_marker(marker) for marker in cross_section.LEFT_OUT)
    ]
    for item, chosen in zip(
        able, cross_section.cross_section(item.nodeid for item in able), strict=True
    ):
        if chosen:
            item.add_marker("quick")
    missing = {
        "keops": _missing_keops(),
        "browser": browser.missing(),
        "gpu": "" if torch.cuda.is_available() else "no CUDA device",
    }
    for item in items:
        for marker, why in missing.items():
            if why and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(autouse=True)
def _no_global_state():
    """A test may not leave another default dtype, nor autograd switched off. Each begins with all
    run-time checks.
    """
    run_time_checks.begin_anew()
    yield
    assert torch.get_default_dtype() == torch.float32, "the test changed torch's default dtype"
    assert torch.is_grad_enabled(), "the test switched autograd off"


@pytest.fixture(scope="session")
def python():
    """Starts Python processes at once (`forked.Python`)."""
    made = Python()
    yield made
    made.close()


@pytest.fixture(scope="session")
def chromium():
    """One browser for all tests."""
    with browser.chromium() as running:
        yield running


@pytest.fixture
def pages(chromium):
    """Opens pages in a browser; at the end they must have made no error (`browser.Pages`)."""
    opened = browser.Pages(chromium)
    yield opened
    opened.close()
    assert not opened.faults, opened.faults


@pytest.fixture
def unchecked():
    """For tests that make thousands of calls. What they call is checked in the short runs of the
    other tests.
    """
    jaxtyping_config.update("jaxtyping_disable", True)
    yield
    jaxtyping_config.update("jaxtyping_disable", False)


def _missing_keops() -> str:
    if importlib.util.find_spec("pykeops") is None:
        return "pykeops is not installed: pip install 'particleflow-sim[keops]'"
    if not any(shutil.which(compiler) for compiler in ("g++", "c++", "clang++")):
        return "no C++ compiler for pykeops"
    return ""
