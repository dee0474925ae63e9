"""The library is typed for its users: mypy finds their mistakes and no others."""

import inspect
import os
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tbsclassify

pytest.importorskip("mypy", reason="mypy is not installed")

API = Path(__file__).parents[1] / "docs" / "api.rst"

# What a user writes in a notebook, scikit-learn's untyped names left out.
SCRIPT = '''\
"""Compare two models on a folder of scans."""

from pathlib import Path

import numpy as np

from tbsclassify import (
    LumbarCropper,
    RandomAugmentation,
    TBSAdHocClassifier,
    TBSLabeler,
    TBSPretrainedClassifier,
    classification_row,
    compare_models,
    format_table,
    load_scans,
    make_dxa_phantoms,
    make_texture_classifier,
    read_scan,
)
from tbsclassify.plotting import RocIntervalDisplay
from tbsclassify.splitting import paper_split


def main(folder: Path) -> str:
    scans = load_scans(folder / "scans.csv", folder)
    labeler = TBSLabeler(scheme="binary")
    y = labeler.fit_transform(scans.tbs)
    train, validation, test = paper_split(y, scans.patient, random_state=0)
    crops = LumbarCropper(size=224).fit_transform(scans.frame)
    network = TBSAdHocClassifier(
        3,
        (8, 16, 32),
        (100,),
        lr=0.001,
        augmentation=RandomAugmentation(rotation=5),
        random_state=0,
    )
    network.fit(crops[train], y[train], groups=scans.patient[train])
    score: np.ndarray = network.predict_proba(crops[test])[:, 1]
    row = classification_row(y[test], score, groups=scans.patient[test])
    RocIntervalDisplay.from_predictions(y[test], score).plot()
    models = {
        "texture": make_texture_classifier(),
        "squeezenet": TBSPretrainedClassifier("squeezenet1_0", mode="head"),
    }
    phantoms = make_dxa_phantoms(20, random_state=0)
    result = compare_models(models, phantoms.frame, y, phantoms.patient, cv=3)
    print(result.differences("roc_auc"), read_scan(folder / "0.png").shape)
    return str(format_table({"network": row}))
'''


# What is right, what a user mistypes, and the word that must be complained of.
MISTAKES = {
    "a misspelt name": (
        "    read_scan,\n",
        "    read_scan,\n    ReadScan,\n",
        "ReadScan",
    ),
    "a parameter": ("lr=0.001", "nonsense=3", "nonsense"),
    "an argument": ("scans.patient, random_state=0", "scans.patient, seed=0", "seed"),
}


def _where_mypy_looks():
    """Lead mypy to the source; where the library is installed, it finds it itself."""
    place = Path(tbsclassify.__file__).parents[1]
    return {} if place.name == "site-packages" else {"MYPYPATH": str(place)}


@pytest.fixture(scope="module")
def complaints(tmp_path_factory):
    """Return what mypy --strict says of the script and of each with a mistake."""
    folder = tmp_path_factory.mktemp("scripts")
    scripts = {"right": SCRIPT}
    for number, (right, wrong, _) in enumerate(MISTAKES.values()):
        assert SCRIPT.count(right) == 1
        scripts[f"wrong_{number}"] = SCRIPT.replace(right, wrong)
    for name, text in scripts.items():
        (folder / f"{name}.py").write_text(text)
    done = subprocess.run(
        # Of the library itself nothing is told, as where it is installed.
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file="),
            *("--follow-imports=silent", *(f"{name}.py" for name in scripts)),
        ],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | _where_mypy_looks(),
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    return {
        name: [line for line in lines if re.match(rf"{name}\.py:\d+: error", line)]
        for name in scripts
    }


def test_mypy_passes_a_users_script(complaints):
    assert complaints["right"] == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mypy_finds_a_users_mistake(mistake, complaints):
    number = [*MISTAKES].index(mistake)
    (complaint,) = complaints[f"wrong_{number}"]
    assert MISTAKES[mistake][2] in complaint


def public_objects():
    """Return what the reference documents, by its name there."""
    names = re.findall(r"^   ([\w.]+)$", API.read_text(), re.MULTILINE)
    return {name: pydoc.locate(f"tbsclassify.{name}") for name in names}


def functions_of(public):
    """Yield the functions of the library that a public object is or has."""
    if not inspect.isclass(public):
        yield public
        return
    for name, member in inspect.getmembers(public):
        member = getattr(member, "fget", getattr(member, "__func__", member))
        is_ours = str(getattr(member, "__module__", "")).startswith("tbsclassify")
        is_public = name == "__init__" or not name.startswith("_")
        if inspect.isfunction(member) and is_ours and is_public:
            yield member


@pytest.mark.parametrize("name", public_objects())
def test_public_signatures_are_annotated(name):
    for function in functions_of(public_objects()[name]):
        signature = inspect.signature(function)
        bare = [
            parameter.name
            for parameter in signature.parameters.values()
            if parameter.annotation is parameter.empty
            and parameter.name not in ("self", "cls")
        ]
        assert not bare, f"{function.__qualname__}: {bare}"
        if function.__name__ != "__init__":
            assert signature.return_annotation is not signature.empty, function
