"""Three classes of TBS: every model, kappa, the ordinal loss, tables and displays."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import small_adhoc, small_pretrained, small_texture
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import cohen_kappa_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score

from tbsclassify import (
    PatientAggregator,
    TBSLabeler,
    TBSPretrainedRegressor,
    VertebraSplitter,
    classification_row,
    compare_models,
    make_clinical_baseline,
    make_dxa_phantoms,
    make_radiomics_classifier,
    make_texture_classifier,
)
from tbsclassify._pipelines import decline_metadata, fit_metadata
from tbsclassify.estimators._losses import (
    DISTANCE_POWER,
    class_losses,
    ordinal_losses,
)
from tbsclassify.metrics import difference_row, multiclass_table
from tbsclassify.plotting import (
    CalibrationIntervalDisplay,
    ConfusionRatesDisplay,
    F1SensitivityDisplay,
    RocIntervalDisplay,
    TrainingHistoryDisplay,
)

THREE = TBSLabeler(scheme="three-class")
NETWORKS = [small_adhoc, small_pretrained, small_texture]
networks = pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
random_proba = np.random.default_rng(1).dirichlet(np.ones(3), 60)


@pytest.fixture(scope="module")
def scans():
    scans = make_dxa_phantoms(24, class_shares=(1, 1, 1), random_state=0)
    scans.y = THREE.fit_transform(scans.tbs)
    return scans


@pytest.fixture(scope="module")
def three(graded):
    return THREE.fit_transform(graded.tbs)


# --- Every model -------------------------------------------------------------


@networks
@pytest.mark.parametrize("teacher", ["tbs", "classes"])
def test_networks_tell_three_classes_apart(make, teacher, graded, three):
    options = {"tbs": graded.tbs} if teacher == "tbs" else {}
    model = make().fit(graded.X, three, groups=graded.patient, **options)
    proba = model.predict_proba(graded.X)
    assert proba.shape == (60, 3)
    assert_allclose(proba.sum(axis=1), 1)
    assert_allclose(np.exp(model.predict_log_proba(graded.X)), proba, atol=1e-12)
    assert model.decision_function(graded.X).shape == (60, 3)
    assert_array_equal(model.predict(graded.X), proba.argmax(axis=1))


@networks
def test_names_of_classes_are_predicted(make, graded, three):
    names = np.array(["a normal", "b partial", "c degraded"])
    model = make().fit(graded.X, names[three])
    assert_array_equal(model.classes_, names)
    assert set(model.predict(graded.X)) <= {*names}


@pytest.mark.parametrize(
    "model",
    [
        make_texture_classifier(),
        make_radiomics_classifier("svm"),
        make_radiomics_classifier("logistic"),
        make_clinical_baseline(),
        PatientAggregator(make_texture_classifier()),
        PatientAggregator(small_texture(), VertebraSplitter(110)),
    ],
    ids=["texture", "svm", "logistic", "clinical", "vertebrae", "vertebrae-network"],
)
def test_other_models_tell_three_classes_apart(model, scans):
    model = clone(model)
    model.fit(scans.frame, scans.y, **fit_metadata(model, tbs=scans.tbs))
    proba = model.predict_proba(scans.frame)
    assert proba.shape == (24, 3)
    assert_allclose(proba.sum(axis=1), 1)


def test_predicted_values_become_three_classes_by_the_labeler(graded, three):
    model = TBSPretrainedRegressor(weights=None, random_state=0)
    model.fit(graded.X, graded.tbs, groups=graded.patient)
    found = THREE.transform(model.predict(graded.X))
    assert cohen_kappa_score(three, found, weights="quadratic") > 0.5


def test_scikit_learn_scores_three_classes(scans):
    scores = cross_val_score(
        PatientAggregator(make_texture_classifier()),
        scans.frame,
        scans.y,
        groups=scans.patient,
        cv=StratifiedGroupKFold(2),
        scoring="roc_auc_ovr",
        error_score="raise",
    )
    assert (scores > 0.6).all()


# --- The ordinal loss --------------------------------------------------------

logits = st.lists(st.floats(-20, 20), min_size=3, max_size=5)


@given(logits, st.integers(0, 2))
def test_the_ordinal_loss_is_its_formula(values, code):
    outputs = torch.tensor([values], dtype=torch.float64)
    log_proba = outputs.log_softmax(dim=1)[0].numpy()
    log_not = [np.logaddexp.reduce(np.delete(log_proba, i)) for i in range(len(values))]
    distance = np.abs(np.arange(len(values)) - code) ** DISTANCE_POWER
    found = ordinal_losses(outputs, torch.tensor([code]))
    assert_allclose(found, -np.dot(log_not, distance), rtol=1e-9, atol=1e-12)


def test_a_class_further_away_costs_more():
    near, far = torch.eye(3)[1:] * 3
    code = torch.tensor([0])
    assert ordinal_losses(far[None], code) > 2 * ordinal_losses(near[None], code)


def test_a_certain_mistake_has_a_finite_gradient():
    outputs = torch.tensor([[-300.0, 0.0, 300.0]], requires_grad=True)
    loss = ordinal_losses(outputs, torch.tensor([0])).sum()
    loss.backward()
    assert loss.isfinite()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_of_two_classes_the_ordinal_loss_is_cross_entropy(n_outputs):
    outputs = torch.randn(6, n_outputs, generator=torch.Generator().manual_seed(0))
    codes = torch.tensor([0, 1, 1, 0, 1, 0])
    assert torch.equal(ordinal_losses(outputs, codes), class_losses(outputs, codes))


@pytest.mark.parametrize("make", [small_adhoc, small_pretrained])
def test_networks_train_by_the_ordinal_loss(make, graded, three):
    model, plain = (
        make(loss=loss).fit(graded.X, three) for loss in ("ordinal", "cross-entropy")
    )
    assert model.history_["train_loss"][0] > plain.history_["train_loss"][0]
    assert_allclose(model.predict_proba(graded.X).sum(axis=1), 1)


def test_with_values_the_loss_of_classes_has_no_say(graded, three):
    models = [
        small_adhoc(loss=loss).fit(graded.X, three, tbs=graded.tbs)
        for loss in ("ordinal", "cross-entropy")
    ]
    assert_array_equal(*(model.predict_proba(graded.X) for model in models))


def test_an_unknown_loss_is_refused(graded, three):
    with pytest.raises(ValueError, match=r"loss to be one of .*'ordinal', got 'cdw'"):
        small_adhoc(loss="cdw").fit(graded.X, three)


# --- Quadratic-weighted kappa ------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(3, 5))
def test_kappa_is_that_of_scikit_learn(seed, n_classes):
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet(np.ones(n_classes), 40)
    y = np.append(np.arange(n_classes), rng.integers(0, n_classes, 40 - n_classes))
    table = multiclass_table(y, proba, n_bootstrap=0)
    called = proba.argmax(axis=1)
    kappa = cohen_kappa_score(y, called, weights="quadratic")
    assert table.loc["macro", "quadratic_kappa"] == pytest.approx(kappa)
    for k in range(n_classes):
        kappa = cohen_kappa_score(y == k, called == k)
        assert table["quadratic_kappa"].iloc[1 + k] == pytest.approx(kappa)


def test_names_have_kappa_in_the_order_that_is_given():
    names = np.array(["normal", "partial", "degraded"])
    y, proba = np.tile(np.arange(3), 10), np.random.default_rng(0).random((30, 3))
    expected = cohen_kappa_score(y, proba.argmax(axis=1), weights="quadratic")
    table = multiclass_table(names[y], proba, classes=names, n_bootstrap=0)
    assert table.loc["macro", "quadratic_kappa"] == pytest.approx(expected)


def test_names_in_the_order_of_the_alphabet_have_no_kappa():
    y, proba = ["a", "b", "c"] * 5, np.random.default_rng(0).random((15, 3))
    table = multiclass_table(y, proba, n_bootstrap=0)
    assert np.isnan(table.loc["macro", "quadratic_kappa"])
    assert table.loc["a":, "quadratic_kappa"].notna().all()


def test_of_two_classes_kappa_is_cohens():
    y, score = np.array([0, 0, 0, 1, 1]), np.array([0.1, 0.6, 0.2, 0.9, 0.3])
    row = classification_row(y, score, n_bootstrap=0)
    assert row["quadratic_kappa"] == pytest.approx(cohen_kappa_score(y, score > 0.5))


def test_kappa_is_not_defined_where_all_is_of_one_class():
    row = classification_row([1, 1], [0.8, 0.9], classes=[0, 1], n_bootstrap=0)
    assert np.isnan(row["quadratic_kappa"])


def test_kappa_has_an_interval_by_patient():
    y, patient = np.arange(60) % 3, np.repeat(np.arange(20), 3)
    table = multiclass_table(y, random_proba, groups=patient, random_state=0)
    low, value, high = (
        table.loc["macro", f"quadratic_kappa{end}"] for end in ("_low", "", "_high")
    )
    assert low < value < high


def test_replicates_of_kappa_are_those_of_drawn_scans():
    y = np.arange(60) % 3
    twice = np.concatenate([np.arange(60), np.arange(30)])
    expected = cohen_kappa_score(
        y[twice], random_proba[twice].argmax(axis=1), weights="quadratic"
    )
    table = multiclass_table(y[twice], random_proba[twice], n_bootstrap=0)
    assert table.loc["macro", "quadratic_kappa"] == pytest.approx(expected)


def test_models_are_compared_by_kappa():
    y = np.arange(60) % 3
    right = np.eye(3)[y] * 0.8 + 0.2 / 3
    row = difference_row(y, right, random_proba, random_state=0)
    assert row["quadratic_kappa_low"] > 0.5


# --- Tables and displays -----------------------------------------------------


@pytest.fixture(scope="module")
def result(graded, three):
    classes = small_adhoc(loss="ordinal")
    decline_metadata(classes, "tbs")
    return compare_models(
        {"TBS": small_texture(), "ordinal": classes},
        graded.X,
        three,
        graded.patient,
        tbs=graded.tbs,
        cv=3,
        n_bootstrap=200,
        random_state=0,
    )


def test_a_comparison_has_kappa_and_says_so(result):
    assert (result.table["error"] == "").all()
    row = result.table.loc["TBS"]
    tested = result.predictions[result.predictions["model"] == "TBS"]
    proba = tested[["proba_0", "proba_1", "proba_2"]].to_numpy()
    kappa = cohen_kappa_score(
        tested["y_true"], proba.argmax(axis=1), weights="quadratic"
    )
    assert row["quadratic_kappa"] == pytest.approx(kappa)
    assert row["quadratic_kappa_low"] < kappa < row["quadratic_kappa_high"]
    assert "quadratic_kappa" in result.to_text()
    assert "quadratic_kappa" in repr(result)
    differences = result.differences("quadratic_kappa", reference="TBS")
    assert [*differences.index] == ["ordinal"]
    assert "Best quadratic_kappa" in result.to_text("quadratic_kappa")


def test_a_class_against_the_rest_has_kappa(result):
    table = result.by_class("TBS")
    assert [*table.index] == ["macro", 0, 1, 2]
    assert table["quadratic_kappa"].notna().all()


@pytest.mark.parametrize(
    "display",
    [RocIntervalDisplay, CalibrationIntervalDisplay, ConfusionRatesDisplay],
)
def test_displays_show_three_classes(display, result):
    pytest.importorskip("matplotlib").use("Agg")
    import matplotlib.pyplot as plt

    shown = display.from_comparison(result, "TBS")
    labels = [text.get_text() for text in shown.figure_.findobj(plt.Text)]
    assert all(any(str(k) in label for label in labels) for k in range(3))
    plt.close("all")


def test_displays_of_comparisons_show_three_classes(result):
    pytest.importorskip("matplotlib").use("Agg")
    import matplotlib.pyplot as plt

    F1SensitivityDisplay.from_comparison(result)
    TrainingHistoryDisplay.from_comparison(result, "ordinal")
    plt.close("all")


def test_vertebrae_are_compared_with_the_whole(scans):
    models = {
        "whole": make_texture_classifier(),
        "vertebrae": PatientAggregator(make_texture_classifier()),
    }
    found = compare_models(
        models, scans.frame, scans.y, scans.patient, cv=2, n_bootstrap=0, random_state=0
    )
    assert (found.table["error"] == "").all()
    assert isinstance(found.table, pd.DataFrame)
    assert found.table["quadratic_kappa"].notna().all()
