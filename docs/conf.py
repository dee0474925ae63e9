from importlib.metadata import version as installed_version

project = "tbsclassify"
author = "The tbsclassify developers"
copyright = f"2026, {author}"
version = release = installed_version("tbsclassify")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "auto_examples/*.ipynb"]

html_theme = "pydata_sphinx_theme"
html_theme_options = {"show_nav_level": 2, "navigation_with_keys": False}
html_sidebars = {"index": []}

templates_path = ["_templates"]
autosummary_generate = True
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "image_scrapers": ("matplotlib",),
    "min_reported_time": 1,
    "show_memory": False,
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
