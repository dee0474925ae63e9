"""Warnings name the line of the user, whatever stands between."""

import os
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from conftest import small_pretrained
from imblearn.pipeline import make_pipeline as make_imblearn_pipeline
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import tbsclassify
from tbsclassify import (
    LumbarCropper,
    TextureMatrixFeatures,
    VariogramFeatures,
    classification_row,
    compare_models,
    load_scans,
    make_texture_classifier,
    predict_archive,
    read_scan,
    save_model,
)
from tbsclassify._warn import held_back, warn
from tbsclassify.plotting import RocIntervalDisplay

SIZE = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of eight scans with a coloured line, and their table."""
    folder = tmp_path_factory.mktemp("coloured")
    rng = np.random.default_rng(0)
    for i in range(8):
        pixels = np.repeat(rng.integers(60, 200, (SIZE, SIZE, 1), np.uint8), 3, axis=2)
        pixels[5, :20] = [255, 0, 0]
        Image.fromarray(pixels).save(folder / f"{i}.png")
    table = pd.DataFrame({"file": [f"{i}.png" for i in range(8)]})
    table["patient"], table["tbs"] = range(8), [1.1, 1.4] * 4
    table.to_csv(folder / "scans.csv", index=False)
    return folder


@pytest.fixture
def paths(folder):
    return sorted(map(str, folder.glob("*.png")))


def warned_here(match, act, *args, **options):
    """Check that a call warns, and each time of its own line in this file."""
    with pytest.warns(UserWarning, match=match) as record:
        act(*args, **options)
    assert {one.filename for one in record} == {__file__}
    return record


def test_a_warning_with_nothing_between_names_its_line():
    with pytest.warns(UserWarning, match="anything") as record:
        warn("anything")
    assert record[0].filename == __file__


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_loading_scans_by_threads_or_without_warns_of_this_file(folder, n_jobs):
    told = warned_here(
        "coloured", load_scans, folder / "scans.csv", folder, n_jobs=n_jobs
    )
    assert len(told) == 8


def test_reading_files_in_a_pipeline_warns_of_this_file(paths):
    steps = make_pipeline(LumbarCropper(40), VariogramFeatures(lags=2))
    assert len(warned_here("coloured", steps.fit_transform, paths)) == 8
    assert len(warned_here("coloured", steps.transform, paths)) == 8


def test_a_function_of_the_user_is_nearer_than_the_pipeline_that_calls_it(paths):
    steps = make_pipeline(FunctionTransformer(lambda paths: [*map(read_scan, paths)]))
    warned_here("coloured", steps.fit_transform, paths)


@pytest.mark.parametrize("pipeline", [make_pipeline, make_imblearn_pipeline])
def test_cropping_in_a_pipeline_warns_of_this_file(pipeline, spines):
    frame = pd.DataFrame({"image": list(spines.X), "top": 1, "left": 1})
    frame["bottom"] = frame["right"] = 23
    steps = pipeline(LumbarCropper(16), VariogramFeatures(lags=2), LogisticRegression())
    warned_here("cut off", steps.fit, frame, spines.y)
    warned_here("cut off", steps.predict, frame)
    warned_here("cut off", cross_val_score, steps, frame, spines.y, cv=2)


def test_training_from_a_file_of_weights_warns_of_this_file(spines, tmp_path):
    state = torchvision.models.squeezenet1_1(weights=None).state_dict()
    del state["features.0.weight"]
    torch.save(state, tmp_path / "partial.pth")
    model = small_pretrained(weights=tmp_path / "partial.pth", max_epochs=1)
    warned_here("holds no weights .* name a file", model.fit, spines.X, spines.y)


def test_radiomics_warn_of_this_file(spines):
    boxes = np.tile([2.0, 2.0, 6.0, 6.0], (32, 4, 1))
    radiomics = TextureMatrixFeatures(["glcm"])
    warned_here("margin=4", radiomics.fit_transform, spines.X, boxes=boxes)


def test_measures_and_displays_warn_of_this_file():
    y = [0, 0, 1, 1]
    warned_here("hard decisions", classification_row, y, [0, 1, 0, 1], n_bootstrap=0)
    warned_here("hard decisions", RocIntervalDisplay.from_predictions, y, [0, 1, 0, 1])
    plt.close("all")


def test_a_comparison_warns_of_this_file(spines):
    frame = pd.DataFrame({"patient": spines.patient, "x": spines.X[:, 0, 0]})
    models = {"model": LogisticRegression()}
    options = {"cv": 2, "n_bootstrap": 0, "random_state": 0}
    warned_here("16 patients", compare_models, models, frame, spines.y, **options)


def test_an_archive_warns_of_this_file(folder, tmp_path, spines):
    model = make_pipeline(LumbarCropper(40), make_texture_classifier())
    model.fit(spines.X, spines.y)
    out = tmp_path / "out.csv"
    told = warned_here("^(0.png|7 more).*coloured", predict_archive, model, folder, out)
    assert len(told) == 2


def test_saving_a_model_warns_of_this_file(tmp_path):
    model = FunctionTransformer(partial(os.system, "true")).fit([[0.0]])
    warned_here("trusted=", save_model, model, tmp_path / "model.tbs")


def test_what_is_held_back_is_told_by_who_holds_it():
    with held_back() as outer:
        warn("first")
        with held_back() as inner:
            warn("second")
        warn("third")
    assert (outer, inner) == (["first", "third"], ["second"])


def test_all_warnings_of_the_library_find_the_line_of_the_user():
    package = Path(tbsclassify.__file__).parent
    direct = {
        path.name
        for path in package.rglob("*.py")
        if "warnings.warn(" in path.read_text(encoding="utf-8")
    }
    assert direct == {"_warn.py"}
