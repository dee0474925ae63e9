"""The package as a whole: what importing it costs, and what it offers."""

import subprocess
import sys

import pytest

import tbsclassify

HEAVY = ("torch", "torchvision", "skorch", "ray", "matplotlib", "pydicom")


def loaded_after(code):
    """Return which heavy packages a fresh interpreter holds after `code`."""
    report = f"import sys; print([m for m in {HEAVY} if m in sys.modules])"
    return subprocess.run(
        [sys.executable, "-c", f"{code}; {report}"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


@pytest.mark.parametrize(
    "code",
    [
        "import tbsclassify",
        "from tbsclassify import TBSLabeler, LumbarCropper, read_scan",
        "from tbsclassify import classification_row, load_scans, make_dxa_phantoms",
        "from tbsclassify import RayTuneSearchCV",
        "import tbsclassify; dir(tbsclassify); tbsclassify.__version__",
    ],
)
def test_reading_labelling_cropping_scoring_and_naming_a_search_load_nothing_heavy(
    code,
):
    assert loaded_after(code) == "[]"


def test_classifiers_load_torch_but_neither_ray_nor_matplotlib():
    loaded = loaded_after("from tbsclassify import TBSAdHocClassifier")
    assert "torch" in loaded
    assert "ray" not in loaded
    assert "matplotlib" not in loaded


@pytest.mark.parametrize("name", tbsclassify.__all__)
def test_every_public_name_can_be_had(name):
    assert getattr(tbsclassify, name) is not None
    assert name in dir(tbsclassify)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'TBSClassifier'"):
        _ = tbsclassify.TBSClassifier
