import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from tbsclassify import classification_row, format_table
from tbsclassify.metrics import MEASURES


def draw_scores(n=120, seed=0, shift=1.0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 3 == 0).astype(int)
    return y, 1 / (1 + np.exp(-rng.normal(size=n) - shift * (y - 0.5)))


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_values_are_those_of_scikit_learn(seed, decimals):
    y, score = draw_scores(60, seed)
    score = score.round(decimals)  # with ties
    row = classification_row(y, score, n_bootstrap=0)
    called = score > 0.5
    assert row[["tn", "fp", "fn", "tp"]].tolist() == list(
        sk.confusion_matrix(y, called).ravel()
    )
    expected = {
        "accuracy": sk.accuracy_score(y, called),
        "sensitivity": sk.recall_score(y, called),
        "specificity": sk.recall_score(y, called, pos_label=0),
        "f1": sk.f1_score(y, called),
        "roc_auc": sk.roc_auc_score(y, score),
        "balanced_accuracy": sk.balanced_accuracy_score(y, called),
    }
    for name, value in expected.items():
        assert row[name] == pytest.approx(value), name


def test_table_iii_squeezenet_row_comes_out_of_its_counts():
    """The paper's best model: 33 TP, 12 FP, 127 TN, 9 FN give F1 0.759."""
    y = np.repeat([1, 0, 0, 1], [33, 12, 127, 9])
    called = np.repeat([1.0, 1.0, 0.0, 0.0], [33, 12, 127, 9])
    row = classification_row(y, called, n_bootstrap=0)
    assert row[["accuracy", "sensitivity", "specificity", "f1"]].tolist() == (
        pytest.approx([0.884, 0.786, 0.914, 0.759], abs=5e-4)
    )


def test_intervals_agree_with_a_plain_bootstrap_over_patients():
    y, score = draw_scores(90)
    patient = np.repeat(np.arange(30), 3)
    row = classification_row(y, score, groups=patient, random_state=0)
    rng = np.random.default_rng(1)
    aucs = []
    for _ in range(2000):
        drawn = rng.integers(30, size=30)
        scans = np.concatenate([np.flatnonzero(patient == p) for p in drawn])
        aucs.append(sk.roc_auc_score(y[scans], score[scans]))
    low, high = np.quantile(aucs, [0.025, 0.975])
    assert row["roc_auc_low"] == pytest.approx(low, abs=0.02)
    assert row["roc_auc_high"] == pytest.approx(high, abs=0.02)


def test_scans_repeated_within_patients_do_not_narrow_the_interval():
    y, score = draw_scores(60)
    once = classification_row(y, score, random_state=0)
    repeated = classification_row(
        np.repeat(y, 5),
        np.repeat(score, 5),
        groups=np.repeat(np.arange(60), 5),
        random_state=0,
    )
    assert repeated["f1_low"] == pytest.approx(once["f1_low"])
    assert repeated["n_patients"] == 60


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    covered = 0
    for seed in range(200):
        y, score = draw_scores(150, seed, shift=1.5)
        row = classification_row(y, score, n_bootstrap=300, random_state=seed)
        # Two unit normals 1.5 apart have an area of Phi(1.5 / sqrt 2) = 0.8556.
        covered += row["roc_auc_low"] <= 0.8556 <= row["roc_auc_high"]
    assert 180 <= covered <= 200


def test_the_same_seed_gives_the_same_interval():
    y, score = draw_scores()
    rows = [classification_row(y, score, random_state=3) for _ in range(2)]
    assert rows[0].equals(rows[1])


def test_both_columns_of_predict_proba_are_accepted():
    y, score = draw_scores()
    both = classification_row(y, np.stack([1 - score, score], 1), n_bootstrap=0)
    assert both.equals(classification_row(y, score, n_bootstrap=0))


def test_the_positive_class_may_be_a_string():
    y, score = draw_scores()
    names = np.array(["normal", "degraded"])[y]
    row = classification_row(names, score, pos_label="degraded", n_bootstrap=0)
    assert row.equals(classification_row(y, score, n_bootstrap=0))


def test_measures_without_a_positive_scan_are_nan_and_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = classification_row([0, 0, 0], [0.1, 0.2, 0.7], random_state=0)
    assert np.isnan([row["sensitivity"], row["roc_auc"], row["roc_auc_low"]]).all()
    assert row["specificity"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1, 2], [0.1, 0.2, 0.3]), "3 different values"),
        (([0, 1], [0.1, 0.2, 0.3]), r"\(3,\) for 2 true labels"),
        (([0, 1], [0.1, np.nan]), "y_score contains NaN"),
        (([3, 4], [0.1, 0.2]), "pos_label=1 is not a class"),
    ],
)
def test_bad_input_is_refused_with_what_came(arguments, message):
    with pytest.raises(ValueError, match=message):
        classification_row(*arguments)


def test_groups_of_another_length_are_refused():
    with pytest.raises(ValueError, match="groups has 2 entries for 3 scans"):
        classification_row([0, 1, 1], [0.1, 0.2, 0.3], groups=[1, 2])


def test_a_formatted_table_shows_every_measure_with_its_interval():
    y, score = draw_scores()
    row = classification_row(y, score, random_state=0)
    table = format_table({"model": row})
    assert set(MEASURES) <= set(table.columns)
    assert table.loc["model", "f1"] == (
        f"{row['f1']:.3f} [{row['f1_low']:.3f}, {row['f1_high']:.3f}]"
    )
