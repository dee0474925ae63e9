"""What is promised of a CUDA GPU, on one."""

import pickle

import numpy as np
import pytest
import torch
from conftest import SINGLE, small_adhoc, small_pretrained, small_texture
from numpy.testing import assert_allclose
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from tbsclassify import (
    DeepTextureFeatures,
    TBSAdHocRegressor,
    export_onnx,
    load_model,
    predict_archive,
    saliency,
    save_model,
)

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA GPU"
)

KINDS = {
    "ad hoc": small_adhoc,
    "full": small_pretrained,
    "head": lambda **parameters: small_pretrained(mode="head", **parameters),
    "texture": small_texture,
}
kinds = pytest.mark.parametrize("kind", KINDS)
# A GPU sums in another order, and training makes small differences larger.
CLOSE = {"atol": 5e-3}


@pytest.fixture(autouse=True)
def _all_memory():
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@kinds
@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_a_gpu_is_used_where_there_is_one(kind, precision, spines):
    model = KINDS[kind](precision=precision).fit(spines.X, spines.y)
    assert model.device_.startswith("cuda")
    assert_allclose(model.predict_proba(spines.X).sum(axis=1), 1, atol=1e-6)


@kinds
def test_scans_that_stay_off_the_gpu_train_the_same(kind, spines, monkeypatch):
    resident = KINDS[kind]().fit(spines.X, spines.y).predict_proba(spines.X)
    monkeypatch.setattr("tbsclassify.estimators._batches._RESIDENT_BYTES", 0)
    brought = KINDS[kind]().fit(spines.X, spines.y).predict_proba(spines.X)
    assert_allclose(brought, resident, **CLOSE)


@kinds
def test_the_cpu_predicts_what_the_gpu_does(kind, spines, tmp_path):
    model = KINDS[kind]().fit(spines.X, spines.y)
    here = model.predict_proba(spines.X)
    again = pickle.loads(pickle.dumps(model))
    assert again.device_ == model.device_
    assert_allclose(again.predict_proba(spines.X), here, **CLOSE)
    save_model(model, tmp_path / "file")
    there = load_model(tmp_path / "file", "cpu")
    assert there.device_ == "cpu"
    assert_allclose(there.predict_proba(spines.X), here, **CLOSE)
    back = load_model(tmp_path / "file", "cuda")
    assert_allclose(back.predict_proba(spines.X), here, **CLOSE)


@kinds
def test_the_same_seed_gives_the_same_model(kind, spines):
    one, other = (
        KINDS[kind]().fit(spines.X, spines.y).predict_proba(spines.X) for _ in range(2)
    )
    assert_allclose(one, other, **CLOSE)


@kinds
def test_values_of_tbs_teach(kind, graded):
    model = KINDS[kind]().fit(graded.X, graded.y, tbs=graded.tbs)
    assert model.predict_tbs(graded.X).shape == (60,)


def test_a_regressor_is_fitted(graded):
    model = TBSAdHocRegressor(blocks=1, filters=(4,), fc=(8,), max_epochs=2)
    assert np.isfinite(model.fit(graded.X, graded.tbs).predict(graded.X)).all()


def test_texture_is_described_as_on_the_cpu(spines):
    settings = {"weights": None, "random_state": 0, **SINGLE}
    there, here = (
        DeepTextureFeatures(device=device, **settings).fit_transform(spines.X)
        for device in ("cpu", "cuda")
    )
    assert_allclose(here, there, rtol=0.02, atol=0.02)


def test_a_training_goes_on_where_it_was_stopped(spines, tmp_path):
    whole = small_adhoc().fit(spines.X, spines.y)
    model = small_adhoc(checkpoint=tmp_path / "fit")

    def stop(epoch, _):
        if epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), model.monitored(stop):
        model.fit(spines.X, spines.y)
    model = clone(model).fit(spines.X, spines.y)
    assert model.n_epochs_ == whole.n_epochs_
    found, expected = (one.predict_proba(spines.X) for one in (model, whole))
    assert_allclose(found, expected, **CLOSE)


def test_folds_are_fitted_in_processes_of_their_own(spines):
    scores = cross_val_score(small_adhoc(), spines.X, spines.y, cv=2, n_jobs=2)
    assert np.isfinite(scores).all()


def test_an_archive_is_scored(spines, tmp_path):
    for i, image in enumerate(spines.X):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    model = small_adhoc().fit(spines.X, spines.y)
    assert predict_archive(model, tmp_path, tmp_path / "out.csv").n_scored == 32


def test_a_model_is_exported_to_onnx(spines, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = small_adhoc().fit(spines.X, spines.y)
    export_onnx(model, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(
        tmp_path / "model.onnx", providers=["CPUExecutionProvider"]
    )
    assert session.get_inputs()


def test_saliency_is_computed(spines):
    pytest.importorskip("captum")
    model = small_adhoc().fit(spines.X, spines.y)
    assert saliency(model, spines.X[:2]).shape == (2, 24, 24)


@kinds
def test_a_lack_of_memory_names_the_remedy(kind):
    rng = np.random.default_rng(0)
    scans = rng.integers(0, 256, (64, 224, 224)).astype(np.uint8)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-4)
    model = KINDS[kind](batch_size=64) if kind != "texture" else KINDS[kind]()
    with pytest.raises(torch.OutOfMemoryError, match="GPU has too little memory"):
        model.fit(scans, np.arange(64) % 2)
