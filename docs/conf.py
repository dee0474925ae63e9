import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "tbsclassify"
author = "The tbsclassify developers"
copyright = f"2026, {author}"
version = release = installed_version("tbsclassify")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "pages",
]
exclude_patterns = ["_build", "auto_examples/*.ipynb"]

html_theme = "pydata_sphinx_theme"
html_title = "tbsclassify"
html_theme_options = {
    "logo": {"text": "tbsclassify"},
    "header_links_before_dropdown": 4,
    "navigation_with_keys": False,
    "show_nav_level": 2,
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": ["research-only"],
}
# Pages that stand alone have nothing to show on the left.
alone = ["index", "getting_started", "paper", "benchmarks", "glossary", "faq"]
alone += ["reporting", "disclaimer", "contributing", "versioning", "changes"]
html_sidebars = {page: [] for page in alone}
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["tbsclassify.css"]

templates_path = ["_templates"]
autosummary_generate = True
numpydoc_show_class_members = False
autodoc_typehints = "none"  # docstrings tell types
toc_object_entries_show_parents = "hide"

# Every link inside must lead somewhere. Names of other packages have no pages here, nor
# have the properties that searches inherit.
nitpicky = True
nitpick_ignore = [("py:obj", "classes_")]
nitpick_ignore_regex = [
    (r"py:.*", r"(joblib|matplotlib|numpy|pandas|ray|sklearn|torch)\..*"),
]

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "within_subsection_order": "pages.reading_order",
    "image_scrapers": ("matplotlib",),
    "min_reported_time": 1,
    "show_memory": False,
    "write_computation_times": False,  # its page loads scripts from the network
    "download_all_examples": False,
}


def skip_members_of_scikit_learn(app, what, name, obj, skip, options):
    """Leave out methods that scikit-learn defines and documents itself."""
    routing = name.startswith("set_") and name.endswith("_request")
    obj = getattr(obj, "fget", obj)  # of a property
    if routing or str(getattr(obj, "__module__", "")).startswith("sklearn."):
        return True
    return None


def setup(app):
    """Connect the hook to Sphinx."""
    app.connect("autodoc-skip-member", skip_members_of_scikit_learn)
