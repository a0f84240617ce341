"""Sphinx configuration. `make docs` builds without a warning, and without the network."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

project = "particleflow"
author = "The particleflow authors"
copyright = author
release = version = installed_version("particleflow-sim")

sys.path.insert(0, str(Path(__file__).parent))  # for the modules beside this file

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "reference_pages",
    "formulas",
    "grounds",
]
exclude_patterns = ["_build", "examples", "_templates"]

# The examples of docs/examples are run at the build; what has not changed is not run again.
sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "gallery_pictures.InOrder",
    "image_scrapers": ("gallery_pictures.pictures",),
    "capture_repr": ("_repr_html_",),
    "reset_modules": (),
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 1e9,
    "download_all_examples": False,
    "doc_module": ("particleflow",),
    "backreferences_dir": "gallery/used",
    "inspect_global_variables": False,
}
default_role = "py:obj"  # `KALE` in a docstring is a link where there is something to link to

html_theme = "furo"
html_title = f"particleflow {release}"
html_static_path = ["_static"]
html_css_files = ["particleflow.css"]
html_js_files = [("sidebar.js", {"defer": "defer"})]
html_copy_source = False
html_extra_path = ["benchmarks"]  # the recorded suite: benchmarks.rst links to its files
html_math_renderer = "mathml"  # of formulas.py: no script, nothing to fetch

autodoc_member_order = "bysource"
autodoc_typehints = (
    "none"  # docstrings give shapes and meaning; `shapes` below puts back what is short
)
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_use_param = False  # "flow, x0, target" stays one entry
add_module_names = False
strip_signature_backslash = True  # napoleon escapes the last letter of `classes_` then


def plain_warning(message: Warning | str, category: type[Warning], *place: Any) -> str:
    """A warning of an example, as its page shows it: without the path on this machine."""
    return f"{category.__name__}: {message}\n"


def make_player(app: Sphinx) -> None:
    """Write the player of the page "Player": a copy in the repository would go stale."""
    subprocess.run([sys.executable, str(Path(app.srcdir) / "film.py"), "player"], check=True)


# ---------------------------------------------------------------- docstrings are plain text with
# formulas: |x| and * mean what they say


COLON = "\ue000"  # stands for a colon that napoleon must not see


def plain_formulas(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Escape what reStructuredText would take for markup outside of backticks, and set indented
    formulas as blocks.
    """
    out: list[str] = []
    numpy_section = any(re.fullmatch(r"-{3,}", line) for line in lines)
    body, block = True, False
    directive = -1  # the indent of the directive that the line belongs to; -1: of none
    for k, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if line.strip() and indent <= directive:
            directive = -1
        if directive < 0 and re.match(r"\s*\.\. [\w-]+::", line):
            directive = indent
        if directive >= 0:
            out.append(line)
            continue
        if numpy_section and re.fullmatch(r"-{3,}", lines[k + 1] if k + 1 < len(lines) else ""):
            body = False
        if not body and re.match(r"(Cost|Source): ", line):
            out += ["", ""]  # two empty lines end napoleon's section, such as that of the errors
        elif body and directive < 0 and line.startswith("Source: "):
            out.append("")  # a paragraph of its own
        elif not body and line.startswith(">>> ") and not lines[k - 1].strip():
            out.append("")
        starts = body and line.startswith("    ") and (k == 0 or not lines[k - 1].strip())
        if starts and not block:
            out += [".. code-block:: text", ""]
        block = starts or (block and (line.startswith("    ") or not line.strip()))
        example = line.lstrip().startswith((">>>", "..."))
        out.append(
            line
            if block or example
            else re.sub(r"(`[^`]*`)|([|*])", lambda m: m[1] or "\\" + m[2], line)
        )
    if what == "property" and out:  # napoleon would take the words before a colon for its type
        out[0] = out[0].replace(":", COLON)
    lines[:] = out


def with_colons(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Undo what `plain_formulas` has hidden from napoleon."""
    lines[:] = [line.replace(COLON, ":") for line in lines]


def no_signature(app: Sphinx, what: str, name: str, obj: Any, *rest: Any) -> tuple[str, str] | None:
    """Of a protocol and of what users only read: nobody calls it."""
    from reference import is_record

    hidden = what == "class" and (getattr(obj, "_is_protocol", False) or is_record(obj))
    return ("", "") if hidden else None


def setup(app: Sphinx) -> None:
    from gallery_pictures import thumbnails

    warnings.formatwarning = plain_warning

    app.connect("builder-inited", make_player)
    app.connect("builder-inited", thumbnails, priority=900)  # after the gallery was run
    app.connect("autodoc-process-docstring", plain_formulas, priority=400)  # before napoleon
    app.connect("autodoc-process-docstring", with_colons, priority=600)  # after it
    app.connect("autodoc-process-signature", no_signature)
