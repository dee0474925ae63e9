"""The package as a whole: what importing it costs, and what it offers."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tbsclassify

HEAVY = ("torch", "torchvision", "skorch", "ray", "matplotlib", "pydicom")


def loaded_after(*codes):
    """Return which heavy packages a fresh interpreter holds after each code."""
    report = f"print([m for m in {HEAVY} if m in sys.modules])"
    lines = ["import sys", *(line for code in codes for line in (code, report))]
    return subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()


def test_reading_labelling_cropping_scoring_and_naming_a_search_load_nothing_heavy():
    codes = (
        "import tbsclassify",
        "import tbsclassify; dir(tbsclassify); tbsclassify.__version__",
        "from tbsclassify import TBSLabeler, LumbarCropper, read_scan",
        "from tbsclassify import classification_row, load_scans, make_dxa_phantoms",
        "import tbsclassify.texture",
        "import tbsclassify.plotting",
        "from tbsclassify import RayTuneSearchCV, make_clinical_baseline",
    )
    assert dict(zip(codes, loaded_after(*codes), strict=True)) == dict.fromkeys(
        codes, "[]"
    )


def test_classifiers_load_torch_but_neither_ray_nor_matplotlib():
    (loaded,) = loaded_after("from tbsclassify import TBSAdHocClassifier")
    assert "torch" in loaded
    assert "ray" not in loaded
    assert "matplotlib" not in loaded


@pytest.mark.parametrize("name", tbsclassify.__all__)
def test_every_public_name_can_be_had(name):
    assert getattr(tbsclassify, name) is not None
    assert name in dir(tbsclassify)


def test_type_checkers_see_the_names_that_are_there_at_run_time():
    """The imports under TYPE_CHECKING are those that `__getattr__` makes."""
    tree = ast.parse(Path(tbsclassify.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert set(seen) | {"__version__"} == set(tbsclassify.__all__)
    for name, module in seen.items():
        value = getattr(tbsclassify, name)
        assert value is getattr(sys.modules[module], name)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'TBSClassifier'"):
        _ = tbsclassify.TBSClassifier
