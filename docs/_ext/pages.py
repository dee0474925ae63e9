"""Directives of the documentation: figures for both themes, and Markdown files."""

import re
from pathlib import Path
from typing import ClassVar

import figures
from docutils import nodes
from docutils.parsers.rst import Directive, directives
from sphinx.util.parsing import nested_parse_to_nodes

FOLDER = "_figures"
GALLERY = [
    "plot_quickstart.py",
    "plot_compare_approaches.py",
    "plot_clinical.py",
    "plot_texture_score.py",
    "plot_robustness.py",
    "plot_rotation.py",
    "plot_resampling.py",
    "plot_tune_ad_hoc.py",
]


def reading_order(name):
    """Sort the examples of the gallery as they are best read."""
    return GALLERY.index(Path(name).name)


class ThemedFigure(Directive):
    """Show the light or the dark version of a figure of `figures`, as the page is."""

    required_arguments = 1
    option_spec: ClassVar = {
        "alt": directives.unchanged_required,
        "wide": directives.flag,  # its text is small: on a phone it scrolls
    }
    has_content = True

    def run(self):
        name, alt = self.arguments[0], self.options["alt"]
        if name not in {draw.__name__ for draw in figures.FIGURES}:
            raise self.error(f"figures.py draws no figure {name!r}.")
        figure = nodes.container(classes=["themed-figure"])
        classes = ["themed-figure-picture", *["wide"] * ("wide" in self.options)]
        picture = nodes.container(classes=classes)
        for theme in figures.INK:
            uri = f"/{FOLDER}/{name}-{theme}.png"
            picture += nodes.image(uri=uri, alt=alt, classes=[f"only-{theme}"])
        figure += picture
        self.state.nested_parse(self.content, self.content_offset, figure)
        return [figure]


class Markdown(Directive):
    """Include one of the repository's Markdown files."""

    required_arguments = 1

    def run(self):
        document = Path(self.state.document.current_source)
        path = (document.parent / self.arguments[0]).resolve()
        self.state.document.settings.env.note_dependency(str(path))
        text = to_rst(path.read_text(encoding="utf-8"))
        return nested_parse_to_nodes(self.state, text, source=str(path))


def to_rst(text):
    """Convert what the repository's Markdown files use: no tables, no images."""
    out, fenced = [], False
    for line in text.splitlines():
        if line.startswith("```"):
            out += [] if fenced else [f".. code-block:: {line[3:] or 'text'}", ""]
            fenced = not fenced
        elif fenced:
            out.append(f"   {line}" if line else "")
        elif heading := re.fullmatch(r"(#+) (.*)", line):
            title = _inline(heading[2])
            out += [title, "=-~^"[len(heading[1]) - 1] * len(title)]
        else:
            out.append(_inline(line))
    return "\n".join(out)


def _inline(line):
    line = re.sub(r"`([^`]+)`", r"``\1``", line)
    return re.sub(r"\[([^]]+)\]\((http[^)]+)\)", r"`\1 <\2>`__", line)


def find_public_name(app, env, node, contnode):
    """Let a reference use any of the paths by which a public name is imported."""
    if node.get("refdomain") != "py":
        return None
    domain = env.get_domain("py")
    name = node["reftarget"].rpartition(".")[2]
    found = [
        full
        for full, entry in domain.objects.items()
        if full.rpartition(".")[2] == name
        and entry.objtype in _TOP_LEVEL
        and not entry.aliased
    ]
    if len(found) != 1:
        return None
    kind, page = "obj", node["refdoc"]
    return domain.resolve_xref(env, page, app.builder, kind, found[0], node, contnode)


_TOP_LEVEL = ("class", "exception", "function")


def setup(app):
    """Add the directives, and draw the figures before pages are read."""
    app.connect("missing-reference", find_public_name)
    app.add_directive("themed-figure", ThemedFigure)
    app.add_directive("repository-markdown", Markdown)
    app.connect(
        "builder-inited", lambda app: figures.draw_all(Path(app.srcdir, FOLDER))
    )
    return {"parallel_read_safe": True}
