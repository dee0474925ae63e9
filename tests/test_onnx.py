"""ONNX files: a model from grey levels to probabilities, for other programs."""

import json

import numpy as np
import pytest
import torch
from conftest import small_adhoc, small_pretrained, small_texture
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch

from tbsclassify import (
    DeepTextureFeatures,
    LumbarCropper,
    TBSAdHocRegressor,
    TBSLabeler,
    export_onnx,
)
from tbsclassify.datasets import make_dxa_phantoms
from tbsclassify.estimators._onnx import _module_of
from tbsclassify.estimators._traced import Outputs, log_ndtr

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def scans():
    found = make_dxa_phantoms(40, random_state=0)
    X = LumbarCropper(size=64, scale="fit").fit_transform(found.frame)
    y = (found.tbs < 1.2).astype(int)
    three = TBSLabeler(scheme="three-class").fit_transform(found.tbs)
    return Bunch(X=X, y=y, three=three, tbs=found.tbs, frame=found.frame)


def calibrated(method):
    return CalibratedClassifierCV(small_adhoc(), method=method, cv=2)


# A model, the name of its target, and whether TBS teaches it.
CASES = {
    "ad hoc": (small_adhoc, "y", False),
    "ad hoc, TBS": (small_adhoc, "y", True),
    "three classes": (small_adhoc, "three", False),
    "three classes, TBS": (small_adhoc, "three", True),
    "ad hoc, statistics": (
        lambda: small_adhoc(pooling="statistics", fc=()),
        "y",
        True,
    ),
    "full": (lambda: small_pretrained(max_epochs=1), "y", False),
    "head": (lambda: small_pretrained(mode="head"), "three", False),
    "texture": (small_texture, "y", False),
    "texture, three classes": (small_texture, "three", False),
    "texture, TBS": (small_texture, "three", True),
    "texture of reused layers": (
        lambda: small_texture(backbone="resnet18", layers=("relu", "layer1.0.relu")),
        "y",
        True,
    ),
    "sigmoid": (lambda: calibrated("sigmoid"), "y", False),
    "isotonic": (lambda: calibrated("isotonic"), "three", False),
    "temperature": (lambda: calibrated("temperature"), "y", False),
    "temperature, three": (lambda: calibrated("temperature"), "three", False),
    "tuned threshold": (
        lambda: TunedThresholdClassifierCV(small_adhoc(), scoring="f1", cv=2),
        "y",
        False,
    ),
    "fixed threshold": (
        lambda: FixedThresholdClassifier(small_adhoc(), threshold=0.3),
        "y",
        False,
    ),
}


def fit(name, scans):
    make, target, learns_tbs = CASES[name]
    values = {"tbs": scans.tbs} if learns_tbs else {}
    return make().fit(scans.X, scans[target], **values)


def check(found, model, X):
    assert_allclose(found["probabilities"], model.predict_proba(X), atol=TOLERANCE)
    assert_array_equal(model.classes_[found["class_index"]], model.predict(X))
    if "tbs" in found:
        assert_allclose(found["tbs"], model.predict_tbs(X), atol=TOLERANCE)


def run(path, X):
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"images": X}), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_what_is_exported_computes_what_the_model_predicts(name, scans):
    model = fit(name, scans)
    module, network = _module_of(model)
    names = ["probabilities", "class_index", *(["tbs"] if module.has_tbs else [])]
    with torch.inference_mode():
        outputs = Outputs(module, names).eval()(torch.from_numpy(scans.X)[:, None])
    assert network.image_shape_ == (1, 64, 64)
    check(dict(zip(names, map(np.asarray, outputs), strict=True)), model, scans.X)


@pytest.mark.parametrize("name", ["three classes, TBS", "texture, TBS"])
def test_a_file_computes_what_the_model_predicts(name, scans, tmp_path):
    model = fit(name, scans)
    export_onnx(model, tmp_path / "model.onnx")
    check(run(tmp_path / "model.onnx", scans.X[:, None]), model, scans.X)


def test_a_regressor_behind_a_cropper_is_exported(scans, tmp_path):
    how = {"max_epochs": 2, "precision": "float32", "random_state": 0}
    regressor = TBSAdHocRegressor(1, (4,), (8,), **how)
    model = make_pipeline(LumbarCropper(size=64, scale="fit"), regressor)
    model.fit(scans.frame, scans.tbs)
    path = tmp_path / "model.onnx"
    export_onnx(model, path)
    (tbs,) = run(path, scans.X[:, None]).values()
    assert_allclose(tbs, model.predict(scans.frame), atol=TOLERANCE)
    # What it says of itself, and what it does not.
    about = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    assert json.loads(about["tbsclassify.use"]) == "research only"
    assert json.loads(about["tbsclassify.residual_std"]) == regressor.residual_std_
    assert b"site-packages" not in path.read_bytes()
    assert b"_traced.py" not in path.read_bytes()


def test_a_frozen_model_is_exported(scans):
    model = small_adhoc().fit(scans.X, scans.y)
    assert _module_of(FrozenEstimator(model))[1] is model


def test_the_logarithm_of_the_normal_distribution_is_accurate_in_its_tails():
    from scipy.special import log_ndtr as reference

    x = np.linspace(-30, 6, 500)
    found = log_ndtr(torch.from_numpy(x.astype(np.float32))).numpy()
    assert_allclose(found, reference(x), rtol=1e-5, atol=1e-6)


def test_the_model_that_is_exported_stays_as_it_was(scans):
    model = fit("texture, TBS", scans)
    before = model.predict_proba(scans.X)
    _module_of(model)
    assert_array_equal(model.predict_proba(scans.X), before)


def test_an_unfitted_model_is_refused(tmp_path):
    with pytest.raises(NotFittedError):
        export_onnx(small_adhoc(), tmp_path / "model.onnx")


def test_a_step_without_a_form_in_onnx_is_named(scans, tmp_path):
    model = make_pipeline(
        DeepTextureFeatures(weights=None), StandardScaler(), LogisticRegression()
    ).fit(scans.X, scans.y)
    with pytest.raises(TypeError, match="got deeptexturefeatures, standardscaler"):
        export_onnx(model, tmp_path / "model.onnx")


def test_a_model_without_a_network_is_refused(scans, tmp_path):
    model = LogisticRegression().fit([[0], [1]], [0, 1])
    with pytest.raises(TypeError, match="Expected a network of this library"):
        export_onnx(model, tmp_path / "model.onnx")


def test_a_threshold_of_scores_is_refused(scans, tmp_path):
    model = FixedThresholdClassifier(
        small_adhoc(), threshold=0.3, response_method="decision_function"
    ).fit(scans.X, scans.y)
    with pytest.raises(TypeError, match="Expected response_method"):
        export_onnx(model, tmp_path / "model.onnx")


def test_a_file_that_cannot_be_written_is_named(scans, tmp_path):
    model = small_adhoc(max_epochs=1).fit(scans.X, scans.y)
    path = tmp_path / "no such folder" / "model.onnx"
    with pytest.raises(OSError, match=r"Expected path .* got .*no such folder"):
        export_onnx(model, path)
