"""The reference lists every public name, and See Also leads both ways."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import tbsclassify

DOCS = Path(__file__).parents[1] / "docs"


def public_names():
    """Import every name that the reference lists, by its last part."""
    listed = re.findall(r"^   ((?:\w+\.)?)(\w+)$", (DOCS / "api.rst").read_text(), re.M)
    return {
        name: getattr(importlib.import_module(f"tbsclassify.{module}".strip(".")), name)
        for module, name in listed
    }


def siblings(obj):
    """Read the library's own names in the See Also of a docstring."""
    doc = inspect.getdoc(obj) or ""
    section = re.search(r"See Also\n-+\n(.*?)(?:\n\n\S|\Z)", doc, re.DOTALL)
    if section is None:
        return set()
    entries = re.findall(r"^([\w.]+(?:, [\w.]+)*)(?: :|$)", section[1], re.MULTILINE)
    names = {name for entry in entries for name in entry.split(", ")}
    return {name.rpartition(".")[2] for name in names if "sklearn" not in name}


def test_the_reference_lists_every_public_name():
    public = {name for name in tbsclassify.__all__ if name[0] != "_"}
    for module in pkgutil.iter_modules(tbsclassify.__path__):
        of_module = importlib.import_module(f"tbsclassify.{module.name}")
        if module.name[0] != "_" and module.name != "cli":
            public.discard(module.name)
            public |= {
                name
                for name in getattr(of_module, "__all__", ())
                if callable(getattr(of_module, name))
            }
    assert public == set(public_names()) & public


def test_names_of_see_also_are_public():
    names = public_names()
    assert {
        f"{name}: {other}"
        for name, obj in names.items()
        for other in siblings(obj) - set(names)
    } == set()


def test_see_also_leads_both_ways():
    names = public_names()
    assert {
        f"{other} does not name {name}"
        for name, obj in names.items()
        for other in siblings(obj) & set(names)
        if name not in siblings(names[other])
    } == set()
