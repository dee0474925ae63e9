import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as sk

from tbsclassify import classification_row, format_table
from tbsclassify.metrics import (
    MEASURES,
    difference_row,
    multiclass_table,
    regression_row,
)


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


@pytest.mark.parametrize("found", [False, True])
def test_a_share_without_exception_has_the_exact_interval_of_its_patients(found):
    y = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0])
    patient = [0, 0, 1, 2, 3, 4, 5, 6, 7]  # three with degraded scans, five without
    row = classification_row(y, y * 0.9 * found, groups=patient, n_bootstrap=50)
    for name, k, n in [("sensitivity", 3 * found, 3), ("specificity", 5, 5)]:
        exact = binomtest(k, n).proportion_ci(0.95, method="exact")
        assert row[f"{name}_low"] == pytest.approx(exact.low)
        assert row[f"{name}_high"] == pytest.approx(exact.high)


def test_the_shares_of_each_class_have_exact_intervals_where_they_need_them():
    y = np.array([0, 0, 1, 1, 2, 2])
    table = multiclass_table(y, np.eye(3)[y], n_bootstrap=50, random_state=0)
    exact = binomtest(2, 2).proportion_ci(0.95, method="exact")
    assert table.loc[[0, 1, 2], "sensitivity_low"].tolist() == pytest.approx(
        [exact.low] * 3
    )
    assert table.loc["macro", "accuracy_low"] == pytest.approx(0.025 ** (1 / 6))


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
        (([0, 1], [0.1, 0.2, 0.3]), r"for 2 true labels .* got \(3,\)"),
        (([0, 1], [0.1, np.nan]), "y_score contains NaN"),
        (([3, 4], [0.1, 0.2]), r"pos_label to be one of the classes \[3, 4\], got 1"),
    ],
)
def test_bad_input_is_refused_with_what_came(arguments, message):
    with pytest.raises(ValueError, match=message):
        classification_row(*arguments)


def test_groups_of_another_length_are_refused():
    with pytest.raises(ValueError, match="each of 3 scans, got 2 entries"):
        classification_row([0, 1, 1], [0.1, 0.2, 0.3], groups=[1, 2])


def test_a_formatted_table_shows_every_measure_with_its_interval():
    y, score = draw_scores()
    row = classification_row(y, score, random_state=0)
    table = format_table({"model": row})
    assert set(MEASURES) <= set(table.columns)
    assert table.loc["model", "f1"] == (
        f"{row['f1']:.3f} [{row['f1_low']:.3f}, {row['f1_high']:.3f}]"
    )


# --- folds, thresholds of one's own, more classes, differences


def draw_three_classes(n=120, seed=0, strength=1.0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 3)
    logits = rng.normal(size=(n, 3)) + strength * np.eye(3)[y]
    return y, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_the_brier_score_is_that_of_scikit_learn(seed):
    y, score = draw_scores(60, seed)
    row = classification_row(y, score, n_bootstrap=0)
    assert row["brier_score"] == pytest.approx(sk.brier_score_loss(y, score))


def test_scores_that_are_no_probabilities_have_no_brier_score():
    row = classification_row([0, 1, 1], [-1.0, 0.2, 3.0], random_state=0)
    assert np.isnan([row["brier_score"], row["brier_score_low"]]).all()
    assert row["roc_auc"] == 1


def test_each_scan_may_have_a_threshold_of_its_own():
    row = classification_row(
        [0, 1, 0, 1], [0.3, 0.3, 0.6, 0.6], threshold=[0.4, 0.2, 0.7, 0.5]
    )
    assert row["accuracy"] == 1


def test_scores_of_different_folds_are_not_compared():
    y, score = draw_scores(90)
    fold = np.arange(90) % 3
    shifted = (score + fold) / 3
    row = classification_row(y, shifted, folds=fold, random_state=0)
    plain = classification_row(y, score, folds=fold, random_state=0)
    assert row[["roc_auc", "roc_auc_low"]].equals(plain[["roc_auc", "roc_auc_low"]])
    areas = [sk.roc_auc_score(y[fold == k], score[fold == k]) for k in range(3)]
    pairs = [(y[fold == k] == 1).sum() * (y[fold == k] == 0).sum() for k in range(3)]
    assert row["roc_auc"] == pytest.approx(np.average(areas, weights=pairs))


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_the_macro_row_is_scikit_learn_s(seed):
    y, proba = draw_three_classes(60, seed)
    table = multiclass_table(y, proba, n_bootstrap=0)
    winner = proba.argmax(axis=1)
    expected = {
        "accuracy": sk.accuracy_score(y, winner),
        "sensitivity": sk.recall_score(y, winner, average="macro"),
        "f1": sk.f1_score(y, winner, average="macro"),
        "roc_auc": sk.roc_auc_score(y, proba, multi_class="ovr"),
        "balanced_accuracy": sk.balanced_accuracy_score(y, winner),
        "brier_score": sk.brier_score_loss(y, proba),
    }
    for name, value in expected.items():
        assert table.loc["macro", name] == pytest.approx(value), name
    assert table.loc["macro", "tp"] == (y == winner).sum()


def test_the_row_of_a_class_is_that_class_against_the_rest():
    y, proba = draw_three_classes()
    table = multiclass_table(y, proba, random_state=0)
    row = classification_row(y == 1, proba[:, 1], random_state=0)
    for name in ("roc_auc", "roc_auc_low", "roc_auc_high", "brier_score_low"):
        assert table.loc[1, name] == pytest.approx(row[name]), name
    assert table.loc[1, "sensitivity"] == sk.recall_score(
        y, proba.argmax(axis=1), labels=[1], average="macro"
    )


def test_intervals_of_three_classes_hold_their_values_and_draw_patients():
    y, proba = draw_three_classes()
    table = multiclass_table(y, proba, random_state=0)
    repeated = multiclass_table(
        np.repeat(y, 3),
        np.repeat(proba, 3, axis=0),
        groups=np.repeat(np.arange(len(y)), 3),
        random_state=0,
    )
    for name in MEASURES:
        assert (table[f"{name}_low"] <= table[name]).all()
        assert (table[name] <= table[f"{name}_high"]).all()
        np.testing.assert_allclose(repeated[f"{name}_low"], table[f"{name}_low"])


def test_a_class_that_no_scan_has_makes_its_measures_nan_and_warns_of_nothing():
    table = multiclass_table(
        ["a", "b"], [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]], classes=["a", "b", "c"]
    )
    assert np.isnan(table.loc["c", "sensitivity"])
    assert table.loc["macro", "accuracy"] == 1


def test_a_table_of_three_classes_can_be_formatted():
    table = multiclass_table(*draw_three_classes(), random_state=0)
    shown = format_table(dict(table.iterrows()))
    assert shown.loc["macro", "tp"] == str(table.loc["macro", "tp"])
    assert shown.loc[2, "f1"].startswith(f"{table.loc[2, 'f1']:.3f} [")


@pytest.mark.parametrize(
    ("y", "classes", "message"),
    [
        ([0, 1], None, r"for 2 true labels and the classes \[0, 1\], got \(2, 3\)"),
        ([0, 5], [0, 1, 2], "y_true holds classes that are not in"),
    ],
)
def test_probabilities_that_fit_no_classes_are_refused(y, classes, message):
    with pytest.raises(ValueError, match=message):
        multiclass_table(y, [[0.2, 0.3, 0.5]] * 2, classes=classes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": [0.5, 0.5]}, r"of shape \(3,\), got shape \(2,\)"),
        ({"folds": [0, 1]}, "fold of each of 3 scans, got 2"),
        ({"folds": [0, 1]}, "fold of each of 3 scans, got 2 entries"),
    ],
)
def test_options_a_scan_of_another_length_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        classification_row([0, 1, 1], [0.1, 0.2, 0.3], **options)


def test_a_difference_is_that_of_the_rows():
    y, score = draw_scores()
    other = draw_scores(seed=1)[1]
    row = difference_row(y, score, other, thresholds=(0.5, 0.4), n_bootstrap=0)
    ours = classification_row(y, score, n_bootstrap=0)
    theirs = classification_row(y, other, threshold=0.4, n_bootstrap=0)
    for name in MEASURES:
        assert row[name] == pytest.approx(ours[name] - theirs[name])


def test_a_difference_is_on_the_same_draws_for_both():
    y, score = draw_scores()
    row = difference_row(y, score, score**2, random_state=0)
    assert row["roc_auc_low"] == row["roc_auc_high"] == 0
    nearly = difference_row(y, score, score + 0.02 * y, random_state=0)
    alone = classification_row(y, score, random_state=0)
    width = nearly["roc_auc_high"] - nearly["roc_auc_low"]
    assert width < 0.3 * (alone["roc_auc_high"] - alone["roc_auc_low"])


def test_an_interval_of_a_difference_covers_the_truth_about_as_often_as_it_says():
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        y = np.arange(100) % 2
        common = rng.normal(size=100)
        scores = [common + rng.normal(size=100) + y for _ in range(2)]
        row = difference_row(y, *scores, n_bootstrap=200, random_state=seed)
        covered += row["roc_auc_low"] <= 0 <= row["roc_auc_high"]
    assert covered >= 88


def test_three_classes_have_differences_too():
    y, proba = draw_three_classes(strength=2)
    weak = draw_three_classes(strength=0, seed=0)[1]
    row = difference_row(y, proba, weak, random_state=0)
    tables = [multiclass_table(y, p, n_bootstrap=0).loc["macro"] for p in (proba, weak)]
    assert row["f1"] == pytest.approx(tables[0]["f1"] - tables[1]["f1"])
    assert row["roc_auc_low"] > 0


def test_rows_hold_numbers_that_can_be_rounded():
    y, score = [0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9]
    rows = [
        classification_row(y, score, n_bootstrap=20, random_state=0),
        difference_row(y, score, score, n_bootstrap=20, random_state=0),
    ]
    for row in rows:
        assert all(isinstance(value, int | float) for value in row)


# Columns of scores belong to classes, not to positions


def separable(labels):
    """Labels of two classes, and the two columns that `predict_proba` gives."""
    first, second = labels
    y = np.array([first, second] * 6)
    in_order = np.where(y == max(labels), 0.8, 0.2)
    return y, np.stack([1 - in_order, in_order], axis=1)


@pytest.mark.parametrize(
    "labels",
    [("normal", "degraded"), (False, True), (0.0, 1.0), (7, 3)],
    ids=["text", "bool", "float", "int"],
)
@pytest.mark.parametrize("which", [0, 1])
def test_the_column_of_the_positive_class_is_taken_whichever_it_is(labels, which):
    y, proba = separable(labels)
    row = classification_row(y, proba, pos_label=labels[which], n_bootstrap=0)
    assert row["roc_auc"] == row["accuracy"] == 1
    assert row["tp"] == 6


@pytest.mark.parametrize("which", ["normal", "degraded"])
def test_a_difference_takes_the_column_of_the_positive_class(which):
    y, proba = separable(("normal", "degraded"))
    row = difference_row(y, proba, proba[:, ::-1], pos_label=which, n_bootstrap=0)
    assert row["roc_auc"] == row["accuracy"] == 1


def test_columns_in_another_order_are_named_by_classes():
    y, proba = separable(("normal", "degraded"))
    options = {"pos_label": "degraded", "n_bootstrap": 0}
    sorted_ = classification_row(y, proba, **options)
    turned = classification_row(
        y, proba[:, ::-1], classes=["normal", "degraded"], **options
    )
    assert turned.equals(sorted_)
    table = multiclass_table(
        y, proba[:, ::-1], classes=["normal", "degraded"], n_bootstrap=0
    )
    assert table["roc_auc"].tolist() == [1, 1, 1]


def test_a_test_set_of_one_class_needs_the_classes_of_the_columns():
    proba = [[0.9, 0.1], [0.4, 0.6]]
    with pytest.raises(ValueError, match=r"class 'degraded' only.*classes_"):
        classification_row(["degraded"] * 2, proba, pos_label="degraded")
    row = classification_row(
        ["degraded"] * 2,
        proba,
        pos_label="degraded",
        classes=["degraded", "normal"],
        n_bootstrap=0,
    )
    assert row[["tp", "fn"]].tolist() == [1, 1]
    assert np.isnan(row["roc_auc"])


def test_a_difference_on_one_class_needs_the_classes_of_the_columns():
    proba = np.array([[0.9, 0.1], [0.4, 0.6]])
    with pytest.raises(ValueError, match="class 1 only"):
        difference_row([1, 1], proba, proba)
    row = difference_row([1, 1], proba, proba[:, ::-1], classes=[0, 1], n_bootstrap=0)
    assert row["sensitivity"] == 0
    assert row["brier_score"] == pytest.approx((0.81 + 0.16 - 0.01 - 0.36) / 2)


@pytest.mark.parametrize(
    "labels",
    [
        pd.Series([1, 0, 1, 0], dtype="Int64"),
        pd.Series([True, False, True, False], dtype="boolean"),
        pd.Series([1, 0, 1, 0], dtype="category"),
        np.array([1, 0, 1, 0], dtype=object),
    ],
    ids=lambda labels: str(labels.dtype),
)
def test_labels_of_pandas_score_as_plain_ones(labels):
    score = [0.9, 0.2, 0.4, 0.3]
    expected = classification_row([1, 0, 1, 0], score, random_state=0)
    assert classification_row(labels, score, random_state=0).equals(expected)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (pd.Series([1, None, 0], dtype="Int64"), r"lacks the class of 1 .* \[1\]"),
        ([1.0, 0.0, np.nan], r"lacks the class of 1 .* \[2\]"),
        (np.array([1, "1", 0], dtype=object), "labels of one kind, got number, str"),
        ([1, "1", 0], "labels of one kind, got number, str"),
        (["1", np.nan, "0"], r"lacks the class of 1 .* \[1\]"),
    ],
)
@pytest.mark.parametrize("score", [classification_row, multiclass_table])
def test_labels_that_are_missing_or_mixed_are_refused(labels, message, score):
    with pytest.raises(ValueError, match=message):
        score(labels, np.full((3, 2), 0.5))


def test_a_class_named_twice_is_refused():
    with pytest.raises(ValueError, match="name each class once"):
        multiclass_table([0, 1], [[0.5, 0.5]] * 2, classes=[0, 0])


def test_one_score_a_scan_is_no_table_of_several_classes():
    with pytest.raises(ValueError, match="column for each class"):
        multiclass_table([0, 1], [0.5, 0.5])


@pytest.mark.parametrize("dtype", [int, bool])
def test_hard_decisions_in_place_of_scores_are_warned_of(dtype):
    decisions = np.array([0, 1, 0, 1], dtype=dtype)
    with pytest.warns(UserWarning, match="hard decisions"):
        classification_row([0, 0, 1, 1], decisions, n_bootstrap=0)
    with pytest.warns(UserWarning, match="hard decisions"):
        difference_row([0, 0, 1, 1], decisions, decisions, n_bootstrap=0)
    classification_row([0, 0, 1, 1], decisions.astype(float), n_bootstrap=0)


@pytest.mark.parametrize("prefix", ["", "proba_"])
def test_columns_of_a_table_are_taken_by_their_names(prefix):
    y = np.array(["normal", "degraded"] * 6)
    score = np.where(y == "degraded", 0.8, 0.2)
    table = pd.DataFrame({f"{prefix}normal": 1 - score, f"{prefix}degraded": score})
    options = {"pos_label": "degraded", "n_bootstrap": 0}
    assert classification_row(y, table, **options)["roc_auc"] == 1
    other = table.iloc[:, ::-1]
    assert difference_row(y, table, other, **options)["roc_auc"] == 0
    one_class = classification_row(y[::2], table[::2], **options)
    assert one_class["specificity"] == 1


def test_columns_that_are_only_numbered_stand_for_the_sorted_classes():
    y = np.array([1, 2] * 6)
    proba = pd.DataFrame(np.eye(2)[y - 1])
    row = classification_row(y, proba, pos_label=2, n_bootstrap=0)
    assert row["roc_auc"] == 1


# Predicted TBS values


def draw_values(n=90, seed=0):
    """TBS values, and predictions that know something of them."""
    rng = np.random.default_rng(seed)
    tbs = rng.normal(1.27, 0.1, n)
    return tbs, 0.6 * tbs + 0.52 + rng.normal(0, 0.05, n)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 60))
def test_measures_of_values_are_those_of_their_definitions(seed, n):
    tbs, predicted = draw_values(n, seed)
    row = regression_row(tbs, predicted, n_bootstrap=0)
    difference = predicted - tbs
    reach = 1.96 * difference.std(ddof=1)
    expected = {
        "n_scans": n,
        "n_patients": n,
        "r": np.corrcoef(tbs, predicted)[0, 1],
        "mae": sk.mean_absolute_error(tbs, predicted),
        "rmse": sk.root_mean_squared_error(tbs, predicted),
        "bias": difference.mean(),
        "lower_limit": difference.mean() - reach,
        "upper_limit": difference.mean() + reach,
    }
    assert dict(row) == pytest.approx(expected, abs=1e-5)


def test_intervals_of_values_agree_with_a_plain_bootstrap_over_patients():
    tbs, predicted = draw_values()
    patient = np.repeat(np.arange(30), 3)
    tbs = tbs + np.repeat(np.random.default_rng(1).normal(0, 0.1, 30), 3)
    row = regression_row(tbs, predicted, groups=patient, random_state=0)
    rng = np.random.default_rng(1)
    rows = []
    for _ in range(1000):
        drawn = rng.integers(30, size=30)
        scans = (3 * drawn[:, np.newaxis] + np.arange(3)).ravel()
        rows.append(regression_row(tbs[scans], predicted[scans], n_bootstrap=0))
    low, high = pd.DataFrame(rows).quantile([0.025, 0.975]).to_numpy()
    for i, name in enumerate(rows[0].index[2:], start=2):
        assert row[f"{name}_low"] == pytest.approx(low[i], abs=0.02), name
        assert row[f"{name}_high"] == pytest.approx(high[i], abs=0.02), name


def test_values_repeated_within_patients_do_not_narrow_the_interval():
    tbs, predicted = draw_values()
    once = regression_row(tbs, predicted, random_state=0)
    repeated = regression_row(
        np.repeat(tbs, 5),
        np.repeat(predicted, 5),
        groups=np.repeat(np.arange(90), 5),
        random_state=0,
    )
    for name in ("r", "mae", "bias"):
        for end in ("low", "high"):
            assert repeated[f"{name}_{end}"] == pytest.approx(once[f"{name}_{end}"])
    assert repeated[["n_scans", "n_patients"]].tolist() == [450, 90]


@pytest.mark.parametrize("value", [0.1, 1.1, 1.2345])
def test_a_constant_prediction_has_no_correlation_and_warns_of_nothing(value):
    tbs, _ = draw_values(30)
    row = regression_row(tbs, np.full(30, value), random_state=0)
    assert np.isnan([row["r"], row["r_low"], row["r_high"]]).all()
    assert row["bias"] == pytest.approx(value - tbs.mean())
    assert row["mae_low"] < row["mae"] < row["mae_high"]


def test_draws_of_a_single_patient_have_no_correlation():
    """Not even one of what rounding leaves, which would be any number."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n_scans = rng.integers(3, 30)
        tbs, predicted = np.repeat(rng.normal(1.27, 0.1, (2, 2)), n_scans, axis=1)
        row = regression_row(
            tbs,
            predicted,
            groups=np.repeat([0, 1], n_scans),
            n_bootstrap=10,
            random_state=seed,
        )
        # Two patients lie on a line, where both are drawn.
        assert row["r_low"] == pytest.approx(row["r"])
        assert row["r_high"] == pytest.approx(row["r"])
        assert abs(row["r"]) == pytest.approx(1)


def test_a_shift_of_all_values_is_bias_and_nothing_else():
    tbs, _ = draw_values()
    row = regression_row(tbs, tbs + 0.05, random_state=0)
    assert row[["lower_limit", "upper_limit"]].tolist() == pytest.approx([0.05, 0.05])
    assert row["r"] == pytest.approx(1)


def test_a_single_scan_has_a_difference_but_no_limits():
    row = regression_row([1.2], [1.3], n_bootstrap=5, random_state=0)
    assert row["bias"] == pytest.approx(0.1)
    assert np.isnan(row[["r", "lower_limit", "upper_limit_high"]].tolist()).all()


def test_the_mean_of_the_training_patients_correlates_below_zero():
    """What the notes say of pooled folds."""
    tbs, _ = draw_values(60)
    fold = np.arange(60) % 5
    mean = np.array([tbs[fold != k].mean() for k in fold])
    assert -0.5 < regression_row(tbs, mean, n_bootstrap=0)["r"] < 0


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([1.2, np.nan], [1.2, 1.3]), {}, "tbs contains NaN"),
        (([1.2, 1.3], [1.2, np.inf]), {}, "predicted contains infinity"),
        (([1.2, 1.3], [1.2, 1.3, 1.4]), {}, "each of 2 scans, got 3 values"),
        (([1.2, 1.3], ([1.2, 1.3], [0.1, 0.1])), {}, r"got shape \(2, 2\)"),
        (([1.2, 1.3], [1.2, 1.3]), {"groups": [1]}, "each of 2 scans, got 1 entries"),
        (
            ([1.2, 1.3], [1.2, 1.3]),
            {"confidence_level": 95},
            "confidence_level to be .* got 95",
        ),
    ],
)
def test_values_that_cannot_be_compared_are_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        regression_row(*arguments, **options)


def test_rows_of_values_can_be_formatted():
    row = regression_row(*draw_values(), random_state=0)
    table = format_table({"model": row})
    assert [*table] == ["r", "mae", "rmse", "bias", "lower_limit", "upper_limit"]
    assert table.loc["model", "lower_limit"] == (
        f"{row['lower_limit']:.3f} [{row['lower_limit_low']:.3f}, "
        f"{row['lower_limit_high']:.3f}]"
    )


def test_rows_of_differences_can_be_formatted():
    y, score = draw_scores()
    row = difference_row(y, score, score**2, n_bootstrap=0)
    table = format_table({"score - its square": row})
    assert [*table] == [*MEASURES]
    assert table.loc["score - its square", "roc_auc"] == "0.000"
