"""The Sphinx extension of the API reference: a page an object, links, and no broken ones."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import reference
from docutils import nodes
from links import broken
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

log = logging.getLogger(__name__)
# The folder of the pages that the build writes, below the sources.
GENERATED = "api/generated"


@dataclass(frozen=True)
class Asked:
    """What the templates ask of `reference`: equal at each build, so that nothing is made anew."""

    also_called = staticmethod(reference.also_called)
    called = staticmethod(reference.called)
    elsewhere = staticmethod(reference.elsewhere)
    examples = staticmethod(reference.examples)
    members = staticmethod(reference.members)
    pages = staticmethod(reference.pages)


def forget_old_pages(app: Sphinx) -> None:
    """Remove the pages of names that the reference lists no more."""
    wanted = {reference.file_names().get(path, path) for path in reference.pages()}
    for page in (Path(app.srcdir) / GENERATED).glob("*.rst"):
        if page.stem not in wanted:
            page.unlink()


def link(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, contnode: nodes.Element
) -> nodes.reference | None:
    """A link for a name that Sphinx does not know: `pf.Euler`, `KALE` in another module.

    A name of ours that is nothing is a warning.
    """
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    known = env.domains.python_domain.objects
    path = reference.meant(target, node.get("py:module") or "particleflow")
    while path and path not in known and path not in reference.pages():
        path = path.rpartition(".")[0]  # a field is told on the page of its class
    if path in known:
        place = known[path]
        return make_refnode(
            app.builder,
            node.get("refdoc", env.docname),
            place.docname,
            place.node_id,
            contnode,
            path,
        )
    written = "refwarn" in node and node["reftype"] != "obj"  # :class:`...`, not a field's type
    ours = re.fullmatch(r"(pf|particleflow)(\.\w+)+(\(\))?", target)
    if ours or written:
        try:
            reference.found(target.replace("pf.", "particleflow.", 1).removesuffix("()"))
        except (AttributeError, LookupError, ImportError):
            log.warning("`%s` is no name of the package", target, location=node)
    return None


def one_branch(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Show in the sidebar the branch that the reader is in, not the 250 names of the others."""
    whole = context.get("toctree")
    if whole is None:
        return

    def branch(**options: Any) -> str:
        tree = str(whole(**options | {"collapse": True}))
        return re.sub(r">pf\.(?:\w+\.)*(\w+)<", r">\1<", tree)  # `Euler` below "Integrators"

    context["toctree"] = branch


def lead_back(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Mend the links "docs" in the pages of source code.

    Sphinx takes all objects of a file for members of one module: `integrators.base` has `State`,
    which is particleflow.State, and `Course`, which is particleflow.integrators.Course.
    """
    if page.startswith("_modules/"):
        places = rf"({GENERATED}/([\w.]+?)(?:-function)?\.html#)([\w.]+)"
        context["body"] = re.sub(places, _mended, context["body"])


def _mended(link: re.Match[str]) -> str:
    """The link to an object's page: its anchor begins with the name of the page."""
    to, path, anchor = link.groups()
    name = path.rpartition(".")[2]
    return link[0] if anchor.startswith(path) else f"{to}{path}{anchor.partition(f'.{name}')[2]}"


def name_attributes(app: Sphinx, doctree: nodes.document) -> None:
    """Call attributes what docstrings call them: Sphinx says "Variables"."""
    for name in doctree.findall(nodes.field_name):
        if name.astext() == "Variables":
            name[:] = [nodes.Text("Attributes")]


def check_links(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        for page, target in broken(Path(app.outdir)):
            log.warning("%s: the link to %s leads nowhere", page, target)


def setup(app: Sphinx) -> dict[str, Any]:
    app.config.templates_path.append("_templates")
    app.config.autosummary_filename_map = reference.file_names()
    app.config.autosummary_context = {"reference": Asked()}
    app.connect("builder-inited", forget_old_pages, priority=100)
    app.connect("missing-reference", link)
    app.connect("html-page-context", one_branch, priority=400)  # before the theme asks for it
    app.connect("html-page-context", lead_back)
    app.connect("doctree-read", name_attributes)
    app.connect("build-finished", check_links, priority=900)  # after the gallery made its links
    return {"parallel_read_safe": True, "parallel_write_safe": True}
