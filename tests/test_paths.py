"""A path that begins with ~ is one in the home folder, wherever it comes in."""

import numpy as np
import pandas as pd
import pytest
from conftest import small_adhoc
from PIL import Image
from sklearn.naive_bayes import GaussianNB

from tbsclassify import (
    LumbarCropper,
    compare_models,
    load_model,
    load_scans,
    predict_archive,
    read_scan,
    save_model,
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Return a home folder, from which the working directory differs."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    yield tmp_path / "home"
    assert not list((tmp_path / "work").iterdir())


def test_scans_and_their_table_are_read_from_home(home):
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(image).save(home / "0.png")
    table = pd.DataFrame({"file": ["0.png"], "patient": ["a"], "tbs": [1.3]})
    table.to_csv(home / "scans.csv", index=False)
    np.testing.assert_array_equal(read_scan("~/0.png"), image)
    np.testing.assert_array_equal(load_scans("~/scans.csv", "~").images, [image])


def test_models_are_written_to_home_and_read_there(home):
    save_model(LumbarCropper().fit([np.zeros((300, 300), np.uint8)]), "~/a.tbsmodel")
    assert (home / "a.tbsmodel").exists()
    load_model("~/a.tbsmodel")


def test_archives_are_scored_from_home_to_home(home, spines):
    for i in range(2):
        Image.fromarray(spines.X[i]).save(home / f"{i}.png")
    pd.DataFrame({"file": ["0.png", "1.png"]}).to_csv(home / "s.csv", index=False)
    model = small_adhoc(max_epochs=1).fit(spines.X, spines.y)
    for files in ("~/0.png", ["~/*.png"], "~/s.csv"):
        predict_archive(model, files, "~/scores.csv", resume=False)
        assert pd.read_csv(home / "scores.csv")["error"].isna().all()


def test_checkpoints_are_in_home(home, spines):
    small_adhoc(max_epochs=1, checkpoint="~/one").fit(spines.X, spines.y)
    assert (home / "one").exists()
    X = spines.X.reshape(len(spines.X), -1)[:, :3]
    options = {"cv": 2, "n_bootstrap": 0, "random_state": 0}
    compare_models({"m": GaussianNB()}, X, spines.y, checkpoint_dir="~/all", **options)
    assert list((home / "all").glob("*.npz"))
