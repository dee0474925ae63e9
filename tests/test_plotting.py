"""What displays compute and what they draw; how they look is for the eye."""

import builtins

import matplotlib
import numpy as np
import pandas as pd
import pytest
from conftest import small_adhoc
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut
from sklearn.pipeline import make_pipeline

from tbsclassify import LumbarCropper, make_dxa_phantoms
from tbsclassify.augmentation import RandomAugmentation
from tbsclassify.comparison import compare_models
from tbsclassify.metrics import classification_row, regression_row
from tbsclassify.plotting import (
    BlandAltmanDisplay,
    CalibrationIntervalDisplay,
    ConfusionRatesDisplay,
    ContactSheetDisplay,
    F1SensitivityDisplay,
    RocIntervalDisplay,
    TrainingHistoryDisplay,
)

matplotlib.use("Agg")

NAMES = ["normal", "partially degraded", "degraded"]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def phantoms():
    return make_dxa_phantoms(3, random_state=0)


def draw_scores(n=90, n_classes=2, seed=0):
    """True classes and probabilities that know something of them."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % n_classes)
    logits = rng.normal(size=(n, n_classes))
    logits[np.arange(n), y] += 1.2
    proba = np.exp(logits)
    return y, proba / proba.sum(axis=1, keepdims=True)


def draw_values(n=60, seed=0):
    """TBS values and predictions that know something of them."""
    rng = np.random.default_rng(seed)
    tbs = rng.normal(1.27, 0.1, n)
    return tbs, 0.6 * tbs + 0.52 + rng.normal(0, 0.05, n)


def make_table(n=6, seed=0, **columns):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "sensitivity": rng.uniform(0.4, 0.8, n),
            "f1": rng.uniform(0.5, 0.8, n),
            "seconds_per_10_epochs": rng.uniform(20, 400, n),
        },
        index=[f"model {i}" for i in range(n)],
    )
    return table.assign(**columns)


def make_history(losses):
    epoch = np.arange(1, len(losses) + 1)
    losses = np.asarray(losses, dtype=float)
    return {"epoch": epoch, "train_loss": losses / 2, "valid_loss": losses}


def texts_of(legend):
    return [text.get_text() for text in legend.get_texts()]


# F1 over sensitivity


def test_each_model_has_a_circle_whose_area_is_its_training_time():
    table = make_table()
    display = F1SensitivityDisplay.from_table(table)
    longest_first = table.sort_values("seconds_per_10_epochs", ascending=False)
    areas = [circle.get_sizes()[0] for circle in display.circles_]
    seconds = longest_first["seconds_per_10_epochs"]
    np.testing.assert_allclose(areas / areas[0], seconds / seconds.iloc[0])
    centres = [circle.get_offsets()[0] for circle in display.circles_]
    np.testing.assert_allclose(centres, longest_first[["sensitivity", "f1"]])


def test_circles_in_the_legend_have_the_size_that_they_stand_for():
    table = make_table()
    display = F1SensitivityDisplay.from_table(table)
    legend = display.ax_.get_legend()
    scale = display.circles_[0].get_sizes()[0] / table.seconds_per_10_epochs.max()
    shown = [float(text.removesuffix(" s")) for text in texts_of(legend)]
    areas = [handle.get_markersize() ** 2 for handle in legend.legend_handles]
    np.testing.assert_allclose(areas, scale * np.array(shown))
    assert len(shown) > 1


def extent_of(label):
    """Extent of the text alone, without the line that ties it to its point."""
    return Text.get_window_extent(label)


def overlaps(labels):
    boxes = [extent_of(label) for label in labels]
    return sum(
        first.overlaps(second)
        for i, first in enumerate(boxes)
        for second in boxes[i + 1 :]
    )


@settings(deadline=None, max_examples=15, derandomize=True)
@given(
    st.lists(
        st.tuples(st.floats(0.4, 0.8), st.floats(0.4, 0.8)), min_size=1, max_size=15
    )
)
def test_names_hide_neither_each_other_nor_lie_outside(points):
    sensitivity, f1 = np.transpose(points)
    table = make_table(len(points), sensitivity=sensitivity, f1=f1)
    display = F1SensitivityDisplay.from_table(table)
    display.figure_.canvas.draw()
    assert overlaps(display.labels_) == 0
    frame = display.ax_.get_window_extent().padded(1)
    for label in display.labels_:
        x0, y0, x1, y1 = extent_of(label).extents
        assert frame.contains(x0, y0)
        assert frame.contains(x1, y1)
    plt.close("all")


def test_a_name_far_from_its_point_is_tied_to_it_by_a_line():
    crowded = make_table(8, sensitivity=0.6, f1=0.6)
    labels = F1SensitivityDisplay.from_table(crowded).labels_
    assert any(label.arrow_patch is not None for label in labels)
    lonely = F1SensitivityDisplay.from_table(make_table(1)).labels_
    assert lonely[0].arrow_patch is None


def test_a_model_without_training_time_is_marked_but_has_no_circle():
    table = make_table(4)
    table.loc["texture"] = [0.6, 0.7, np.nan]
    display = F1SensitivityDisplay.from_table(table)
    assert len(display.circles_) == 4
    assert [label.get_text() for label in display.labels_] == [*table.index]
    assert [0.6, 0.7] in display.ax_.lines[0].get_xydata().tolist()


def test_models_without_any_training_time_are_drawn_without_a_legend_of_sizes():
    table = make_table(3, seconds_per_10_epochs=np.nan)
    display = F1SensitivityDisplay.from_table(table)
    assert display.circles_ == []
    assert display.ax_.get_legend() is None


def test_a_model_that_failed_is_left_out():
    table = make_table(4)
    table.loc["model 2", ["sensitivity", "f1"]] = np.nan
    display = F1SensitivityDisplay.from_table(table)
    assert [*display.table.index] == ["model 0", "model 1", "model 3"]


def test_intervals_reach_from_their_low_to_their_high_end():
    table = make_table(1, sensitivity=0.7, f1=0.6)
    table = table.assign(
        sensitivity_low=0.5, sensitivity_high=0.8, f1_low=0.45, f1_high=0.65
    )
    ax = F1SensitivityDisplay.from_table(table).ax_
    bars = [
        artist.get_segments()[0]
        for artist in ax.collections
        if isinstance(artist, LineCollection)
    ]
    np.testing.assert_allclose(
        sorted(np.ravel(bar).tolist() for bar in bars),
        [[0.5, 0.6, 0.8, 0.6], [0.7, 0.45, 0.7, 0.65]],
    )
    without = F1SensitivityDisplay.from_table(table, intervals=False).ax_
    assert len(without.collections) == 1


def test_approaches_differ_in_colour_and_in_marker():
    table = make_table(4, approach=["full", "head", "full", "ad hoc"])
    ax = F1SensitivityDisplay.from_table(table).ax_
    assert [line.get_label() for line in ax.lines] == ["full", "head", "ad hoc"]
    assert len({line.get_marker() for line in ax.lines}) == 3
    assert len({line.get_color() for line in ax.lines}) == 3
    assert len(ax.lines[0].get_xdata()) == 2


def test_neither_legend_is_cut_off():
    table = make_table(3, approach="an approach with a long name")
    display = F1SensitivityDisplay.from_table(table)
    display.figure_.canvas.draw()
    legends = [
        child
        for child in display.ax_.get_children()
        if isinstance(child, matplotlib.legend.Legend)
    ]
    assert len(legends) == 2
    width = display.figure_.bbox.width
    assert all(legend.get_window_extent().x1 <= width for legend in legends)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (make_table().drop(columns="f1"), r"lacks the column\(s\) \['f1'\]"),
        (make_table(2, f1=np.nan), "no model with a sensitivity and an F1 score"),
    ],
)
def test_a_table_that_cannot_be_drawn_is_refused(table, message):
    with pytest.raises(ValueError, match=message):
        F1SensitivityDisplay.from_table(table)


# Training


def test_the_best_epoch_is_marked_on_the_validation_loss():
    history = make_history([3, 2, 1, 4])
    display = TrainingHistoryDisplay([history], best_epochs=[3]).plot()
    assert display.best_.get_xydata().tolist() == [[3, 1]]
    (valid,) = display.lines_["valid_loss"]
    assert valid.get_xydata().tolist() == [[1, 3], [2, 2], [3, 1], [4, 4]]
    assert "Best epoch: 3" in texts_of(display.ax_.get_legend())


def test_the_mean_of_folds_ends_with_the_shortest():
    histories = [make_history([4, 2, 6]), make_history([2, 4, 2, 8])]
    display = TrainingHistoryDisplay(histories, best_epochs=[2, 1]).plot()
    *folds, mean = display.lines_["valid_loss"]
    assert [len(fold.get_xdata()) for fold in folds] == [3, 4]
    assert mean.get_xydata().tolist() == [[1, 3], [2, 3], [3, 4]]
    assert mean.get_linewidth() > folds[0].get_linewidth()
    assert display.best_.get_xydata().tolist() == [[2, 2], [1, 2]]


def test_without_a_validation_set_no_epoch_is_called_best():
    history = make_history([3, 2, 1])
    del history["valid_loss"]
    display = TrainingHistoryDisplay([history], best_epochs=[3]).plot()
    assert [*display.lines_] == ["train_loss"]
    assert display.best_ is None


def test_the_history_is_read_from_a_fitted_pipeline(spines):
    model = make_pipeline(small_adhoc(max_epochs=3, early_stopping=True))
    model.fit(spines.X, spines.y)
    display = TrainingHistoryDisplay.from_estimator(model)
    (train,) = display.lines_["train_loss"]
    np.testing.assert_array_equal(train.get_ydata(), model[-1].history_["train_loss"])
    assert display.best_epochs == [model[-1].best_epoch_]
    several = TrainingHistoryDisplay.from_estimator([model, model])
    assert len(several.lines_["train_loss"]) == 3


def test_an_estimator_without_history_is_refused():
    with pytest.raises(ValueError, match="LogisticRegression has no history_"):
        TrainingHistoryDisplay.from_estimator(LogisticRegression())


@pytest.mark.parametrize("form", [dict, pd.DataFrame])
@pytest.mark.parametrize("best", [0, 7])
def test_a_best_epoch_that_is_none_is_not_marked(form, best):
    histories = [form(make_history([3, 2, 1])), form(make_history([1, 2]))]
    display = TrainingHistoryDisplay(histories, best_epochs=[best, 1]).plot()
    assert display.best_.get_xydata().tolist() == [[1, 1]]
    alone = TrainingHistoryDisplay(histories[:1], best_epochs=[best]).plot()
    assert alone.best_ is None
    assert len(alone.lines_["valid_loss"]) == 1


def test_a_frame_with_rows_left_out_is_drawn_by_its_epochs():
    history = pd.DataFrame(make_history([4, 3, 2, 1]))[2:]
    display = TrainingHistoryDisplay([history], best_epochs=[4]).plot()
    assert display.best_.get_xydata().tolist() == [[4, 1]]


class Trained(LogisticRegression):
    """Has the training curves of a network."""

    def fit(self, X, y):
        self.history_, self.best_epoch_ = pd.DataFrame(make_history([2, 1])), 2
        return super().fit(X, y)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: make_pipeline(make_pipeline(model)),
        lambda model: GridSearchCV(model, {"C": [1]}, cv=2),
        lambda model: make_pipeline(GridSearchCV(make_pipeline(model), {}, cv=2)),
    ],
)
def test_the_history_is_found_however_models_are_nested(wrap):
    y, proba = draw_scores(30)
    model = wrap(Trained()).fit(proba, y)
    display = TrainingHistoryDisplay.from_estimator(model)
    assert display.best_.get_xydata().tolist() == [[2, 1]]


# Confusion


def test_cells_show_counts_and_shares_of_the_true_class():
    """The paper's best model: 33 TP, 12 FP, 127 TN, 9 FN."""
    y_true = np.repeat([1, 0, 0, 1], [33, 12, 127, 9])
    y_pred = np.repeat([1, 1, 0, 0], [33, 12, 127, 9])
    display = ConfusionRatesDisplay.from_predictions(
        y_true, y_pred, display_labels=["normal", "degraded"]
    )
    assert [text.get_text() for text in display.text_.flat] == [
        "127\n91.4 %",
        "12\n8.6 %",
        "9\n21.4 %",
        "33\n78.6 %",
    ]
    ticks = display.ax_.get_yticklabels()
    assert [tick.get_text() for tick in ticks] == ["normal", "degraded"]


def test_the_shade_of_a_cell_is_its_rate_and_its_text_can_be_read():
    display = ConfusionRatesDisplay(np.array([[96, 4], [1, 1]]), NAMES[::2]).plot()
    image = display.ax_.images[0]
    np.testing.assert_allclose(image.get_array(), [[0.96, 0.04], [0.5, 0.5]])
    assert image.get_clim() == (0, 1)
    for rate, text in zip(display.rates.flat, display.text_.flat, strict=True):
        behind = np.mean(image.to_rgba(rate)[:3])
        assert abs(np.mean(to_rgb(text.get_color())) - behind) > 0.4


def test_a_class_without_a_scan_has_no_rate():
    display = ConfusionRatesDisplay.from_predictions(
        [0, 0, 2], [0, 1, 2], classes=[0, 1, 2], display_labels=NAMES
    )
    assert np.isnan(display.rates[1]).all()
    assert display.text_[1, 0].get_text() == "0\nno scans"


def test_names_for_another_number_of_classes_are_refused():
    with pytest.raises(ValueError, match="each of the 2 classes, got 3"):
        ConfusionRatesDisplay.from_predictions([0, 1], [0, 1], display_labels=NAMES)


# ROC


def test_roc_points_are_those_of_scikit_learn_even_with_ties():
    y, proba = draw_scores()
    score = proba[:, 1].round(1)
    display = RocIntervalDisplay.from_predictions(y, score, n_bootstrap=0)
    curve = display.curves["1"]
    fpr, tpr, _ = roc_curve(y, score, drop_intermediate=False)
    np.testing.assert_allclose(curve.fpr, fpr)
    np.testing.assert_allclose(curve.tpr, tpr)
    np.testing.assert_allclose(display.lines_[0].get_xydata(), np.c_[fpr, tpr])
    assert curve.auc == pytest.approx(roc_auc_score(y, score))
    assert display.bands_ == []


@pytest.mark.parametrize("folds", [None, np.arange(90) % 4])
def test_area_and_interval_are_those_of_the_table(folds):
    y, proba = draw_scores()
    options = {"groups": np.arange(90) // 3, "folds": folds}
    options |= {"n_bootstrap": 300, "random_state": 0}
    display = RocIntervalDisplay.from_predictions(y, proba, **options)
    row = classification_row(y, proba, **options)
    curve = display.curves["1"]
    found = [curve.auc, curve.auc_low, curve.auc_high]
    names = ["roc_auc", "roc_auc_low", "roc_auc_high"]
    np.testing.assert_allclose(found, row[names].astype(float))
    legend = texts_of(display.ax_.get_legend())[0]
    assert f"[{curve.auc_low:.3f}, {curve.auc_high:.3f}]" in legend
    assert "45 of 90 scans, 30 patients" in legend


def test_folds_on_different_scales_do_not_spoil_the_curve():
    y, proba = draw_scores()
    fold = np.repeat([0, 1], 45)
    shifted = proba[:, 1] + fold
    one, two = (
        RocIntervalDisplay.from_predictions(y, score, folds=fold, n_bootstrap=0)
        for score in (proba[:, 1], shifted)
    )
    np.testing.assert_array_equal(one.curves["1"].tpr, two.curves["1"].tpr)
    curve = one.curves["1"]
    assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(curve.auc, abs=0.01)


def test_the_band_is_that_of_a_plain_bootstrap_over_patients():
    y, proba = draw_scores(60)
    patient = np.arange(60) // 2
    display = RocIntervalDisplay.from_predictions(
        y, proba, groups=patient, n_bootstrap=500, random_state=0
    )
    curve = display.curves["1"]
    rng = np.random.default_rng(1)
    sensitivities = []
    for _ in range(500):
        drawn = rng.integers(30, size=30)
        scans = np.concatenate([[2 * p, 2 * p + 1] for p in drawn])
        fpr, tpr, _ = roc_curve(y[scans], proba[scans, 1])
        sensitivities.append(np.interp(curve.grid, fpr, tpr))
    low, high = np.quantile(sensitivities, [0.025, 0.975], axis=0)
    assert np.abs(curve.tpr_low - low).mean() < 0.03
    assert np.abs(curve.tpr_high - high).mean() < 0.03


def test_the_band_holds_the_curve_and_is_the_same_for_the_same_seed():
    y, proba = draw_scores()
    one, two = (
        RocIntervalDisplay.from_predictions(y, proba, n_bootstrap=200, random_state=4)
        for _ in range(2)
    )
    curve = one.curves["1"]
    at_grid = np.interp(curve.grid, curve.fpr, curve.tpr)
    assert (curve.tpr_low <= at_grid + 1e-9).all()
    assert (curve.tpr_high >= at_grid - 1e-9).all()
    np.testing.assert_array_equal(curve.tpr_low, two.curves["1"].tpr_low)


def test_several_classes_have_a_curve_each_against_the_rest():
    y, proba = draw_scores(n_classes=3)
    display = RocIntervalDisplay.from_predictions(
        y, proba, display_labels=NAMES, n_bootstrap=20, random_state=0
    )
    assert [*display.curves] == NAMES
    assert len(display.bands_) == 3
    assert len({str(line.get_linestyle()) for line in display.lines_}) == 3
    for i, curve in enumerate(display.curves.values()):
        assert curve.auc == pytest.approx(roc_auc_score(y == i, proba[:, i]))


def test_the_positive_class_may_be_the_first_and_a_string():
    y, proba = draw_scores()
    labels = np.array(["degraded", "normal"])[y]
    display = RocIntervalDisplay.from_predictions(
        labels, proba, pos_label="degraded", n_bootstrap=0
    )
    expected = roc_auc_score(y == 0, proba[:, 0])
    assert display.curves["degraded"].auc == pytest.approx(expected)


@pytest.mark.parametrize("display", [RocIntervalDisplay, CalibrationIntervalDisplay])
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    "labels", [(False, True), (0.0, 1.0), ("degraded", "normal")], ids=str
)
def test_a_curve_takes_the_column_of_its_class(display, which, labels):
    y, proba = draw_scores()
    names = np.array(labels)[y]
    options = {"n_bootstrap": 0} if display is RocIntervalDisplay else {}
    curve = display.from_predictions(names, proba, pos_label=labels[which], **options)
    turned = display.from_predictions(
        names, proba[:, ::-1], pos_label=labels[which], classes=labels[::-1], **options
    )
    alone = display.from_predictions(
        names, proba[:, which], pos_label=labels[which], **options
    )
    for other in (turned, alone):
        for key, value in curve.curves[str(labels[which])].items():
            np.testing.assert_array_equal(value, other.curves[str(labels[which])][key])


def test_draws_without_a_scan_of_the_class_are_left_out():
    y = np.array([1, 0, 0, 0])
    display = RocIntervalDisplay.from_predictions(
        y, [0.9, 0.2, 0.1, 0.3], n_bootstrap=50, random_state=0
    )
    assert np.isfinite(display.curves["1"].tpr_low).all()


def test_a_second_model_on_the_same_axes_gets_another_colour():
    y, proba = draw_scores()
    ax = plt.figure().subplots()
    displays = [
        RocIntervalDisplay.from_predictions(
            y, score, n_bootstrap=5, random_state=0, name=name, ax=ax
        )
        for name, score in (("a", proba), ("b", proba**2))
    ]
    lines = [display.lines_[0] for display in displays]
    assert lines[0].get_color() != lines[1].get_color()
    assert lines[0].get_linestyle() != lines[1].get_linestyle()
    assert len(ax.lines) == 3  # and one diagonal
    assert [text.split(":")[0] for text in texts_of(ax.get_legend())] == [
        "a, 1",
        "b, 1",
    ]


@pytest.mark.parametrize("display", [RocIntervalDisplay, CalibrationIntervalDisplay])
def test_an_estimator_gives_its_probabilities_and_classes(display):
    y, proba = draw_scores(n_classes=3)
    names = np.array(NAMES)[y]
    model = LogisticRegression().fit(proba, names)
    one = display.from_estimator(model, proba, names, pos_label="degraded")
    assert [*one.curves] == ["degraded"]
    assert [*display.from_estimator(model, proba, names).curves] == sorted(NAMES)


def test_the_confusion_of_an_estimator_has_all_its_classes():
    y, proba = draw_scores(n_classes=3)
    model = LogisticRegression().fit(proba, y)
    display = ConfusionRatesDisplay.from_estimator(model, proba[y < 2], y[y < 2])
    assert display.counts.shape == (3, 3)
    assert display.counts.sum() == (y < 2).sum()


@pytest.mark.parametrize("display", [RocIntervalDisplay, CalibrationIntervalDisplay])
@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([0, 1, 1], [0.1, 0.2]), {}, r"for 3 true labels .* got \(2,\)"),
        (([0, 1, 2], [0.1, 0.2, 0.3]), {}, "cannot tell 3 classes apart"),
        (([0, 1], [[0.1, 0.2, 0.7]] * 2), {}, r"the classes \[0, 1\], got \(2, 3\)"),
        (([0, 1], [0.1, 0.2]), {"pos_label": 3}, "pos_label to be one of the classes"),
        (([1, 1], [0.1, 0.2]), {}, "class 1 and of another, got 2 of 2"),
        (([0, 1], [0.1, np.nan]), {}, "contains NaN"),
        (([0, 1], [0.1, 0.2]), {"groups": [1]}, "each of 2 scans, got 1"),
        (
            ([0, 1], [0.1, 0.2]),
            {"confidence_level": 1},
            "confidence_level to be .* got 1",
        ),
    ],
)
def test_scores_that_make_no_curve_are_refused(display, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        display.from_predictions(*arguments, **options)


# Calibration


@pytest.mark.parametrize(
    ("folds", "message"),
    [([0, 1], "fold of each of 4 scans, got 2"), ([0, 0, 1, 1], "no fold with scans")],
)
def test_folds_that_make_no_curve_are_refused(folds, message):
    with pytest.raises(ValueError, match=message):
        RocIntervalDisplay.from_predictions(
            [0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4], folds=folds
        )


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 3))
def test_bins_are_those_of_scikit_learn_and_hold_every_scan(seed, n_bins, decimals):
    y, proba = draw_scores(50, seed=seed)
    score = proba[:, 1].round(decimals)  # with ties
    display = CalibrationIntervalDisplay.from_predictions(y, score, n_bins=n_bins)
    plt.close("all")
    curve = display.curves["1"]
    observed, predicted = calibration_curve(
        y, score, n_bins=n_bins, strategy="quantile"
    )
    np.testing.assert_allclose(curve.observed, observed)
    np.testing.assert_allclose(curve.predicted, predicted)
    assert curve.n_scans.sum() == 50


def test_intervals_are_wilsons():
    y, proba = draw_scores(40)
    curve = CalibrationIntervalDisplay.from_predictions(
        y, proba, n_bins=3, confidence_level=0.9
    ).curves["1"]
    for i, n in enumerate(curve.n_scans):
        k = round(curve.observed[i] * n)
        expected = binomtest(k, n).proportion_ci(0.9, method="wilson")
        assert curve.low[i] == pytest.approx(expected.low, abs=1e-12)
        assert curve.high[i] == pytest.approx(expected.high)


def test_a_bin_of_scans_that_all_agree_does_not_look_certain():
    display = CalibrationIntervalDisplay.from_predictions(
        [0, 0, 0, 1, 1, 1], [0.1, 0.1, 0.2, 0.8, 0.9, 0.9], n_bins=2
    )
    curve = display.curves["1"]
    assert curve.observed.tolist() == [0, 1]
    assert (curve.high - curve.low > 0.5).all()


def test_scans_of_the_same_patients_do_not_narrow_the_intervals():
    y, proba = draw_scores(40)
    once = CalibrationIntervalDisplay.from_predictions(y, proba).curves["1"]
    repeated = CalibrationIntervalDisplay.from_predictions(
        np.repeat(y, 4), np.repeat(proba, 4, axis=0), groups=np.repeat(np.arange(40), 4)
    )
    curve = repeated.curves["1"]
    np.testing.assert_allclose(curve.high, once.high)
    assert [label.get_text() for label in repeated.labels_] == ["8"] * 5
    assert curve.n_scans.tolist() == [32] * 5


def test_numbers_of_patients_do_not_hide_each_other():
    y, proba = draw_scores(200, n_classes=3)
    display = CalibrationIntervalDisplay.from_predictions(y, proba)
    display.figure_.canvas.draw()
    assert len(display.labels_) == 15
    assert overlaps(display.labels_) == 0


def test_scores_that_are_no_probabilities_are_refused():
    with pytest.raises(ValueError, match="got values from -1 to 2"):
        CalibrationIntervalDisplay.from_predictions([0, 1], [-1.0, 2.0])


# Agreement


def test_each_scan_lies_at_its_mean_and_difference():
    tbs, predicted = draw_values()
    display = BlandAltmanDisplay.from_predictions(tbs, predicted, n_bootstrap=0)
    x, y = display.points_.get_offsets().T
    np.testing.assert_allclose(x, (tbs + predicted) / 2)
    np.testing.assert_allclose(y, predicted - tbs)
    assert display.bands_ == []


def test_lines_and_bands_are_the_numbers_of_the_row():
    tbs, predicted = draw_values()
    patient = np.arange(60) // 3
    options = {"groups": patient, "confidence_level": 0.9, "random_state": 0}
    display = BlandAltmanDisplay.from_predictions(tbs, predicted, **options)
    row = regression_row(tbs, predicted, **options)
    legend = texts_of(display.ax_.get_legend())
    assert legend[0] == "60 scans, 20 patients"
    assert len(display.lines_) == len(display.bands_) == len(legend) - 1 == 3
    for i, name in enumerate(["upper_limit", "bias", "lower_limit"]):
        assert display.lines_[i].get_ydata() == [row[name]] * 2
        low, high = row[f"{name}_low"], row[f"{name}_high"]
        band = (
            display.bands_[i]
            .get_extents()
            .transformed(display.ax_.transData.inverted())
        )
        assert (band.y0, band.y1) == pytest.approx((low, high))
        shown = f": {row[name]:.3f} [{low:.3f}, {high:.3f}]"
        assert legend[1 + i].endswith(shown)


def test_the_values_of_a_regressor_are_drawn():
    tbs, predicted = draw_values()
    X = predicted[:, np.newaxis]
    regressor = LinearRegression().fit(X, tbs)
    display = BlandAltmanDisplay.from_estimator(regressor, X, tbs, n_bootstrap=0)
    np.testing.assert_allclose(display.difference, regressor.predict(X) - tbs)


def test_a_single_scan_is_drawn_without_limits():
    display = BlandAltmanDisplay.from_predictions([1.2], [1.3], n_bootstrap=5)
    display.figure_.canvas.draw()
    assert display.lines_[1].get_ydata() == pytest.approx([0.1, 0.1])


def test_values_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="each of 2 scans, got 1 values"):
        BlandAltmanDisplay.from_predictions([1.2, 1.3], [1.2])


# Comparisons


@pytest.fixture(scope="module", params=[2, 3])
def comparison(request):
    y, proba = draw_scores(60, n_classes=request.param)
    names = np.array(["degraded", "normal", "partially degraded"])[y]
    return compare_models(
        {"logistic": LogisticRegression(), "prior": DummyClassifier()},
        proba,
        names,
        groups=np.arange(60) // 2,
        cv=3,
        n_repeats=2,
        pos_label="degraded",
        n_bootstrap=50,
        random_state=0,
    )


def test_curves_and_cells_of_a_comparison_are_those_of_its_table(comparison):
    row = comparison.table.loc["logistic"]
    roc = RocIntervalDisplay.from_comparison(comparison, "logistic")
    confusion = ConfusionRatesDisplay.from_comparison(comparison, "logistic")
    calibration = CalibrationIntervalDisplay.from_comparison(comparison, "logistic")
    assert confusion.counts.sum() == 120
    if len(comparison.classes) == 2:
        (curve,) = roc.curves.values()
        found = curve.auc, curve.auc_low, curve.auc_high
        expected = row["roc_auc"], row["roc_auc_low"], row["roc_auc_high"]
        assert found == pytest.approx(expected)
        cells = row[["tp", "fn", "fp", "tn"]].astype(int).tolist()
        assert confusion.counts.ravel().tolist() == cells
        assert [*calibration.curves] == ["degraded"]
    else:
        aucs = [curve.auc for curve in roc.curves.values()]
        assert np.mean(aucs) == pytest.approx(row["roc_auc"])
        assert confusion.counts.trace() == row["tp"]
        assert len(calibration.curves) == 3


def test_the_table_of_a_comparison_can_be_drawn(comparison):
    display = F1SensitivityDisplay.from_table(comparison.table)
    assert [*display.table.index] == ["logistic", "prior"]


def test_a_model_that_was_not_compared_is_refused(comparison):
    with pytest.raises(ValueError, match="model to be one of 'logistic'"):
        RocIntervalDisplay.from_comparison(comparison, "forest")
    with pytest.raises(ValueError, match="with training curves"):
        TrainingHistoryDisplay.from_comparison(comparison, "logistic")


@pytest.fixture(scope="module")
def one_patient_left_out():
    y, proba = draw_scores(24)
    return compare_models(
        {"logistic": LogisticRegression()},
        proba,
        y == 1,
        np.arange(24),
        cv=LeaveOneGroupOut(),
        n_bootstrap=0,
        random_state=0,
    )


def test_test_sets_of_one_patient_have_no_roc_curve(one_patient_left_out):
    with pytest.raises(ValueError, match=r"no fold with scans of both.*such as cv=5"):
        RocIntervalDisplay.from_comparison(one_patient_left_out, "logistic")


def test_test_sets_of_one_patient_have_counts_and_calibration(one_patient_left_out):
    display = ConfusionRatesDisplay.from_comparison(one_patient_left_out, "logistic")
    row = one_patient_left_out.table.loc["logistic"]
    assert display.counts[1].tolist() == row[["fn", "tp"]].tolist()
    assert display.display_labels == ["False", "True"]
    CalibrationIntervalDisplay.from_comparison(one_patient_left_out, "logistic")


def test_training_curves_of_a_comparison_are_those_of_its_fits(spines):
    result = compare_models(
        {"ad hoc": small_adhoc(max_epochs=2, early_stopping=True)},
        spines.X,
        spines.y,
        spines.patient,
        cv=2,
        n_bootstrap=0,
        random_state=0,
    )
    display = TrainingHistoryDisplay.from_comparison(result, "ad hoc")
    assert len(display.lines_["valid_loss"]) == 3
    assert display.best_epochs == result.fits["best_epoch"].astype(int).tolist()


# Contact sheets


@pytest.mark.parametrize(
    "cropper",
    [None, LumbarCropper(size=225), LumbarCropper(size=400)],
)
def test_the_square_drawn_is_what_the_cropper_copies(phantoms, cropper):
    display = ContactSheetDisplay.from_scans(phantoms.frame, cropper=cropper)
    crops = (cropper or LumbarCropper()).transform(phantoms.frame)
    for scan, square, crop in zip(phantoms.images, display.squares, crops, strict=True):
        top, left, bottom, right = square.astype(int)
        assert (bottom - top, right - left) == crop.shape
        padded = np.pad(scan, 400)
        window = padded[400 + top : 400 + bottom, 400 + left : 400 + right]
        np.testing.assert_array_equal(window, crop)


def test_the_square_of_a_fitted_crop_holds_the_boxes_and_a_margin(phantoms):
    display = ContactSheetDisplay.from_scans(
        phantoms.frame, cropper=LumbarCropper(scale="fit", margin=0.25)
    )
    height = phantoms.boxes[:, 3, 2] - phantoms.boxes[:, 0, 0]
    sides = display.squares[:, 2] - display.squares[:, 0]
    np.testing.assert_allclose(sides, 1.5 * height)
    np.testing.assert_allclose(
        phantoms.boxes[:, 0, 0] - display.squares[:, 0], 0.25 * height
    )


def test_boxes_lie_on_the_pixels_that_they_hold():
    scan = np.zeros((20, 30), np.uint8)
    box = np.array([[4, 6, 12, 22]])
    display = ContactSheetDisplay.from_scans(
        [scan], boxes=box, cropper=LumbarCropper(size=16)
    )
    (ax,) = display.axes_
    rectangles = [patch.get_bbox().extents.tolist() for patch in ax.patches]
    assert rectangles == [[6, 4, 22, 12], [6, 0, 22, 16]]
    assert ax.images[0].get_extent() == [0, 30, 20, 0]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the head is up


def test_vertebrae_are_named_even_where_one_is_unknown(phantoms):
    boxes = phantoms.boxes.astype(float)
    boxes[0, 0] = np.nan
    display = ContactSheetDisplay.from_scans(phantoms.images, boxes=boxes)
    assert [text.get_text() for text in display.axes_[0].texts] == ["L2", "L3", "L4"]
    assert len(display.axes_[0].patches) == 4


def test_scans_without_boxes_show_the_central_square(phantoms):
    display = ContactSheetDisplay.from_scans(phantoms.images)
    assert display.squares[0].tolist() == [28, 38, 252, 262]
    assert [len(ax.patches) for ax in display.axes_] == [1, 1, 1]
    assert texts_of(display.figure_.legends[0]) == ["Crop"]


def test_a_square_beyond_the_scan_is_shown_whole(phantoms):
    display = ContactSheetDisplay.from_scans(
        phantoms.frame, cropper=LumbarCropper(size=400)
    )
    for ax, (top, left, bottom, right) in zip(
        display.axes_, display.squares, strict=True
    ):
        assert ax.get_xlim()[0] < left < right < ax.get_xlim()[1]
        assert ax.get_ylim()[1] < top < bottom < ax.get_ylim()[0]


def test_a_cropper_that_cannot_crop_is_refused(phantoms):
    with pytest.raises(ValueError, match="size"):
        ContactSheetDisplay.from_scans(phantoms.frame, cropper=LumbarCropper(size=0))


def test_titles_name_tbs_and_class_and_no_patient(phantoms):
    frame = phantoms.frame.assign(patient="Jane Doe")
    frame.loc[1, "tbs"] = np.nan
    display = ContactSheetDisplay.from_scans(frame, ["normal", "degraded", "normal"])
    titles = [ax.get_title() for ax in display.axes_]
    assert titles == [
        f"TBS {phantoms.tbs[0]:.3f}, normal",
        "degraded",
        f"TBS {phantoms.tbs[2]:.3f}, normal",
    ]


@pytest.mark.parametrize(
    ("image", "white"),
    [
        (np.array([[0, 7]], np.uint8), 255),
        (np.array([[0, 4000]], np.uint16), 4095),
        (np.array([[0, 60_000]], np.uint16), 65_535),
        (np.array([[0, 0.5]], np.float32), 0.5),
    ],
)
def test_white_is_the_brightest_level_of_the_depth(image, white):
    display = ContactSheetDisplay([image, image // 2], ["", ""]).plot()
    assert [ax.images[0].get_clim() for ax in display.axes_] == [(0, white)] * 2


def test_a_sheet_is_drawn_on_part_of_a_figure_too(phantoms):
    left, _ = plt.figure(layout="constrained").subfigures(1, 2)
    display = ContactSheetDisplay.from_scans(phantoms.frame, n_columns=2, figure=left)
    assert display.figure_ is left
    assert len(left.axes) == 4
    assert not any(ax.axison for ax in left.axes)
    left.figure.canvas.draw()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_augmented_versions_follow_the_original(phantoms, dtype):
    image = phantoms.images[0].astype(dtype)
    one, two = (
        ContactSheetDisplay.from_augmentation(
            RandomAugmentation(), image, n_versions=5, random_state=3
        )
        for _ in range(2)
    )
    assert len(one.axes_) == 6
    np.testing.assert_array_equal(one.axes_[0].images[0].get_array(), image)
    assert all((version != image).any() for version in one.images[1:])
    np.testing.assert_array_equal(one.images, two.images)


def test_titles_of_augmented_versions_say_what_was_done(phantoms):
    image = phantoms.images[0]
    display = ContactSheetDisplay.from_augmentation(
        RandomAugmentation(horizontal_flip=1, rotation=0, brightness=None),
        image,
        n_versions=1,
        random_state=0,
    )
    assert display.titles == [
        "Original",
        "flipped, +0.0°, \N{MULTIPLICATION SIGN} 1.00",
    ]
    np.testing.assert_array_equal(display.images[1], image[:, ::-1])


# All of them


def make_displays():
    y, proba = draw_scores()
    return [
        F1SensitivityDisplay(make_table()),
        TrainingHistoryDisplay([make_history([2, 1])], [2]),
        ConfusionRatesDisplay([[3, 1], [1, 3]], ["normal", "degraded"]),
        RocIntervalDisplay.from_predictions(y, proba, n_bootstrap=5, random_state=0),
        CalibrationIntervalDisplay.from_predictions(y, proba),
        BlandAltmanDisplay.from_predictions(*draw_values(), n_bootstrap=5),
    ]


def name_of(display):
    return type(display).__name__


@pytest.mark.parametrize("display", make_displays(), ids=name_of)
def test_plot_draws_on_the_given_axes_and_returns_the_display(display):
    figure, (left, right) = plt.subplots(1, 2, figsize=(14, 6))
    assert display.plot(right) is display
    assert display.ax_ is right
    assert display.figure_ is figure
    assert not left.has_data()
    assert right.has_data()
    assert right.get_xlabel()
    assert right.get_ylabel()


@pytest.mark.parametrize("display", make_displays(), ids=name_of)
def test_plot_without_axes_makes_a_figure(display):
    before = len(plt.get_fignums())
    display.plot()
    assert len(plt.get_fignums()) == before + 1


def test_without_matplotlib_the_error_says_how_to_get_it(monkeypatch):
    real_import = builtins.__import__

    def no_matplotlib(name, *arguments, **options):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real_import(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    with pytest.raises(ImportError, match=r'pip install "tbsclassify\[plot\]"'):
        F1SensitivityDisplay.from_table(make_table())


def test_models_are_drawn_from_a_comparison(comparison):
    display = F1SensitivityDisplay.from_comparison(comparison)
    shown = [label.get_text() for label in display.labels_]
    assert set(shown) <= set(comparison.table.index)
    assert shown


def test_no_training_at_all_is_refused():
    with pytest.raises(ValueError, match="Expected histories of one training"):
        TrainingHistoryDisplay([]).plot()
