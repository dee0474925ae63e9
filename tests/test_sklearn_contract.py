"""Scikit-learn's own checks, and its tools at work on images."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from conftest import small_adhoc, small_pretrained
from numpy.testing import assert_array_equal
from sklearn.base import is_classifier
from sklearn.exceptions import SkipTestWarning
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedGroupKFold,
    cross_validate,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from tbsclassify import (
    DeepTextureFeatures,
    LumbarCropper,
    LumbarLocalizer,
    TBSAdHocClassifier,
    TBSAdHocRegressor,
    TBSLabeler,
    TBSPretrainedClassifier,
    TBSPretrainedRegressor,
)
from tbsclassify.estimators._networks import PAPER_TRAINING

_BATCHES = (
    "mini-batches are drawn by index: a repeated or removed row moves all that "
    "follow to other batches, as in MLPClassifier"
)
_ANY_SIZE = "scans may have any size, so there is no number of features"

_FOLDS = (
    "copies of a row, each a patient of its own, fall on both sides of the "
    "cross-validation that chooses the strength, as in RidgeCV"
)
_MIRRORED = (
    "statistics are those of a row and its mirror image, and the check has classes "
    "that are each other's mirror images"
)
_WEIGHTS = "check_sample_weight_equivalence_on_dense_data"


def expected_failures(estimator):
    if getattr(estimator, "mode", None) == "texture":
        mirrored = {"check_classifiers_train": _MIRRORED}
        return {_WEIGHTS: _FOLDS} | (mirrored if is_classifier(estimator) else {})
    if isinstance(estimator, LumbarCropper | LumbarLocalizer):
        checks = ("check_n_features_in", "check_n_features_in_after_fitting")
        return dict.fromkeys(checks, _ANY_SIZE)
    return {_WEIGHTS: _BATCHES} if hasattr(estimator, "max_epochs") else {}


# Of the networks that take images one row high, this one is built fastest.
TEXTURE = {"backbone": "shufflenet_v2_x0_5", "weights": None, "layers": ["conv1"]}
TEXTURE |= {"scales": [1.0], "random_state": 0}


# Rows of a table are read as images one row high, with which ResNet-18 copes.
# Parameters make training short, not the checks lenient.
@parametrize_with_checks(
    [
        TBSAdHocClassifier(
            filters=(8, 28, 36),
            lr=0.02,
            max_epochs=15,
            batch_size=16,
            fc=(32,),
            pooling="flatten",
            early_stopping=True,
            **PAPER_TRAINING,
        ),
        TBSPretrainedClassifier(
            "resnet18",
            "head",
            weights=None,
            dropout=0.0,
            lr=0.1,
            max_epochs=5,
            batch_size=16,
            **PAPER_TRAINING,
        ),
        TBSPretrainedClassifier(
            "resnet18",
            "full",
            weights=None,
            lr=0.006,
            max_epochs=4,
            batch_size=64,
            **PAPER_TRAINING,
        ),
        TBSPretrainedClassifier(**TEXTURE, batch_size=64),
        # It needs more filters to learn a value.
        TBSPretrainedRegressor(
            **TEXTURE | {"backbone": "resnet18", "layers": ["relu"]}, batch_size=64
        ),
        TBSAdHocRegressor(
            1, (8,), (16,), pooling="flatten", lr=0.01, max_epochs=15, batch_size=32
        ),
        DeepTextureFeatures(**TEXTURE, batch_size=64),
        LumbarCropper(size=4),
        LumbarLocalizer(),
    ],
    expected_failed_checks=expected_failures,
)
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)


def test_the_labeler_passes_what_applies_to_a_transformer_of_y():
    """Scikit-learn's checks need a table X; they pass LabelEncoder over alike."""
    with pytest.warns(SkipTestWarning, match="one_d_array=True"):
        results = check_estimator(TBSLabeler(), on_fail=None)
    assert results
    assert {result["status"] for result in results} == {"passed"}


def make_model(**parameters):
    return Pipeline(
        [("crop", LumbarCropper(20)), ("classify", small_adhoc(**parameters))]
    )


def test_a_pipeline_is_cross_validated_by_patient(spines):
    result = cross_validate(
        make_model(),
        spines.X,
        spines.y,
        groups=spines.patient,
        cv=StratifiedGroupKFold(3),
        scoring=["f1", "roc_auc"],
        error_score="raise",
    )
    assert result["test_roc_auc"].shape == (3,)
    assert np.isfinite(result["test_f1"]).all()


def test_a_grid_is_searched_over_steps_of_a_pipeline(spines):
    search = GridSearchCV(
        make_model(max_epochs=2),
        {"crop__size": [16, 20], "classify__filters": [(2,), (4,)]},
        cv=2,
        error_score="raise",
    ).fit(spines.X, spines.y)
    assert set(search.best_params_) == {"crop__size", "classify__filters"}
    assert search.predict(spines.X).shape == (32,)


def test_a_search_in_processes_finds_the_same(spines):
    grid = {"lr": [0.001, 0.01]}
    scores = [
        GridSearchCV(small_pretrained(), grid, cv=2, n_jobs=n_jobs)
        .fit(spines.X, spines.y)
        .cv_results_["mean_test_score"]
        for n_jobs in (None, 2)
    ]
    assert_array_equal(*scores)


def test_paths_and_tables_go_through_cross_validation(spines, tmp_path):
    from PIL import Image

    paths = [str(tmp_path / f"{i}.png") for i in range(32)]
    for path, image in zip(paths, spines.X, strict=True):
        Image.fromarray(image).save(path)
    table = pd.DataFrame({"image": paths, "tbs": 1.0})
    scores = [
        cross_validate(make_model(), X, spines.y, cv=2)["test_score"]
        for X in (spines.X, np.array(paths), table)
    ]
    assert_array_equal(scores[1], scores[0])
    assert_array_equal(scores[2], scores[0])


def test_groups_reach_the_classifier_by_its_steps_name(spines):
    model = make_model()
    model.fit(spines.X, spines.y, classify__groups=spines.patient)
    direct = small_adhoc().fit(
        LumbarCropper(20).transform(spines.X), spines.y, groups=spines.patient
    )
    assert_array_equal(
        model["classify"].history_["valid_loss"], direct.history_["valid_loss"]
    )


def test_groups_and_boxes_are_routed_as_metadata(spines):
    boxes = np.tile([2.0, 3.0, 20.0, 23.0], (32, 1))
    with sklearn.config_context(enable_metadata_routing=True):
        model = make_pipeline(
            LumbarCropper(20)
            .set_fit_request(boxes=True)
            .set_transform_request(boxes=True),
            small_adhoc().set_fit_request(groups=True, sample_weight=False),
        )
        model.fit(spines.X, spines.y, groups=spines.patient, boxes=boxes)
        proba = model.predict_proba(spines.X, boxes=boxes)
        search = cross_validate(
            small_adhoc().set_fit_request(groups=True),
            spines.X,
            spines.y,
            params={"groups": spines.patient},
            cv=StratifiedGroupKFold(2),
            error_score="raise",
        )
    crops = LumbarCropper(20).transform(spines.X, boxes=boxes)
    direct = small_adhoc().fit(crops, spines.y, groups=spines.patient)
    assert_array_equal(proba, direct.predict_proba(crops))
    assert search["test_score"].shape == (2,)


@pytest.mark.parametrize("scoring", ["f1", "roc_auc", "neg_brier_score"])
def test_scikit_learns_scorers_take_the_labels_of_the_labeler(scoring, spines):
    tbs = np.where(spines.y == 1, 1.1, 1.4)
    y = TBSLabeler().fit_transform(tbs)
    model = small_adhoc().fit(spines.X, y)
    assert np.isfinite(sklearn.metrics.get_scorer(scoring)(model, spines.X, y))
