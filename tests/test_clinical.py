"""The baseline that sees no image, and clinical columns beside image features."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import FeatureUnion, make_pipeline

from tbsclassify import (
    LumbarCropper,
    VariogramFeatures,
    compare_models,
    make_clinical_baseline,
    make_dxa_phantoms,
)
from tbsclassify.clinical import make_clinical_features


def draw_patients(n=80, seed=0):
    """A table of patients, and whether their bone is degraded, more often with age."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "age": rng.normal(65, 10, n),
            "sex": rng.choice(["F", "M"], n),
            "bmi": rng.normal(26, 4, n),
            "bmd": rng.normal(1.0, 0.15, n),
        }
    )
    return table, (table["age"] + rng.normal(0, 5, n) > 68).to_numpy().astype(int)


@pytest.fixture(scope="module")
def phantoms():
    return make_dxa_phantoms(24, random_state=0)


def names_of(features):
    return features.get_feature_names_out().tolist()


# Columns


def test_the_clinical_columns_of_a_frame_of_scans_are_used(phantoms):
    features = make_clinical_features().fit(phantoms.frame)
    assert names_of(features) == ["age", "bmi", "bmd", "sex_F", "sex_M"]


@pytest.mark.parametrize("name", ["age", "bmi", "bmd"])
def test_a_column_that_the_table_lacks_is_done_without(name):
    table, y = draw_patients()
    baseline = make_clinical_baseline().fit(table.drop(columns=name), y)
    left = [one for one in ("age", "bmi", "bmd") if one != name]
    assert names_of(baseline[0]) == [*left, "sex_F", "sex_M"]


@pytest.mark.parametrize("name", ["age", "sex"])
def test_one_column_is_enough(name):
    table, y = draw_patients()
    baseline = make_clinical_baseline().fit(table[[name]], y)
    assert baseline.predict_proba(table[[name]]).shape == (80, 2)


def test_case_and_punctuation_of_names_do_not_matter():
    table, _ = draw_patients()
    table = table.rename(columns={"age": "Age", "bmi": "B.M.I.", "sex": "SEX"})
    features = make_clinical_features().fit(table)
    assert names_of(features) == ["Age", "B.M.I.", "bmd", "SEX_F", "SEX_M"]


def test_other_columns_make_no_difference(phantoms):
    y = phantoms.tbs < np.median(phantoms.tbs)
    clinical = phantoms.frame[["bmd", "sex", "bmi", "age"]]
    probabilities = [
        make_clinical_baseline().fit(table, y).predict_proba(table)
        for table in (phantoms.frame, clinical)
    ]
    assert_allclose(*probabilities)


def test_only_the_columns_asked_for_are_used():
    table, _ = draw_patients()
    features = make_clinical_features(["bmd", "age"]).fit(table)
    assert names_of(features) == ["age", "bmd"]


def test_columns_of_other_names_are_numbers_or_categories_by_their_type():
    table = pd.DataFrame(
        {
            "height": [1.6, 1.7, 1.8],
            "fractures": pd.array([0, None, 2], dtype="Int64"),
            "smoker": [True, False, True],
            "diagnosis": pd.Categorical(["a", "b", "a"]),
            "site": ["x", "y", "y"],
        }
    )
    features = make_clinical_features([*table]).fit(table)
    assert names_of(features) == [
        *("height", "fractures", "smoker"),
        *("diagnosis_a", "diagnosis_b", "site_x", "site_y"),
    ]
    assert np.isfinite(features.transform(table)).all()


def test_sex_is_a_category_even_where_it_is_coded_by_numbers():
    table, _ = draw_patients()
    table["sex"] = (table["sex"] == "M") + 1
    features = make_clinical_features().fit(table)
    assert names_of(features)[-2:] == ["sex_1", "sex_2"]


@pytest.mark.parametrize("method", ["fit", "transform"])
def test_an_age_that_is_no_number_is_named_by_column_and_row_alone(method):
    table, _ = draw_patients()
    features = make_clinical_features().fit(table)
    table["age"] = table["age"].astype(object)
    table.loc[3, "age"] = "Garcia"
    message = r"column 'age' of X .* in 1 row\(s\), index \[3\]; the first is not a n"
    with pytest.raises(ValueError, match=message) as info:
        getattr(features, method)(table)
    assert "Garcia" not in str(info.value)


def test_numbers_that_are_written_as_text_are_numbers():
    table, _ = draw_patients()
    texts = table.assign(age=table["age"].astype(str))
    features = make_clinical_features().fit(table)
    assert_array_equal(features.transform(texts), features.transform(table))


@pytest.mark.parametrize(
    ("columns", "X", "message"),
    [
        (None, pd.DataFrame({"tbs": [1.2]}), "'age', 'bmi', 'bmd' .* columns 'tbs'"),
        (None, np.zeros((3, 4)), "'age', 'bmi', 'bmd' and 'sex', got ndarray"),
        (
            ["age", "weight"],
            pd.DataFrame({"age": [60]}),
            "'age', 'weight', got .*'age'",
        ),
        ([], pd.DataFrame({"age": [60]}), "got columns 'age'"),
    ],
)
def test_a_table_without_the_columns_is_refused_with_their_names(columns, X, message):
    with pytest.raises(ValueError, match=message):
        make_clinical_baseline(columns).fit(X, np.arange(len(X)) % 2)


# Values


def test_numbers_are_standardised():
    table, _ = draw_patients()
    values = make_clinical_features(["age", "bmi", "bmd"]).fit_transform(table)
    assert_allclose(values.mean(axis=0), 0, atol=1e-12)
    assert_allclose(values.std(axis=0), 1)


def test_a_missing_number_is_the_median_of_the_training_scans():
    table, _ = draw_patients(81)
    features = make_clinical_features().fit(table)
    one = table[:1].assign(age=np.nan)
    expected = features.transform(one.assign(age=table["age"].median()))
    assert_allclose(features.transform(one), expected)


@pytest.mark.parametrize(
    ("types", "missing"),
    [
        ({"age": object, "sex": object}, None),
        ({"age": float, "sex": "str"}, np.nan),
        ({"age": "Float64", "sex": "category"}, pd.NA),
    ],
    ids=["object", "plain", "nullable"],
)
def test_missing_entries_are_no_obstacle(types, missing):
    table, y = draw_patients()
    table = table.astype(types)
    table.loc[[0, 5], ["age", "sex"]] = missing
    proba = make_clinical_baseline().fit(table, y).predict_proba(table)
    assert np.isfinite(proba).all()


def test_a_column_without_any_value_says_nothing():
    table, y = draw_patients()
    empty = make_clinical_baseline().fit(table.assign(bmd=np.nan), y)
    without = make_clinical_baseline(["age", "sex", "bmi"]).fit(table, y)
    assert_allclose(
        empty.predict_proba(table.assign(bmd=np.nan)), without.predict_proba(table)
    )


def test_a_sex_that_is_new_is_neither():
    table, _ = draw_patients()
    features = make_clinical_features().fit(table)
    assert features.transform(table[:1].assign(sex="X"))[0, -2:].tolist() == [0, 0]


def test_a_column_that_is_gone_when_predicting_is_named():
    table, y = draw_patients()
    baseline = make_clinical_baseline().fit(table, y)
    with pytest.raises(ValueError, match="bmi"):
        baseline.predict(table.drop(columns="bmi"))


# Scikit-learn's tools, and ours


def test_the_baseline_learns_what_the_columns_tell():
    table, y = draw_patients(300)
    train, test = slice(0, 200), slice(200, None)
    baseline = make_clinical_baseline().fit(table[train], y[train])
    assert baseline.score(table[test], y[test]) > 0.75


@pytest.mark.parametrize("columns", [None, ["age", "sex"]])
def test_a_clone_and_a_pickle_predict_the_same(columns):
    table, y = draw_patients()
    baseline = make_clinical_baseline(columns, C=0.1, class_weight="balanced")
    fitted = clone(pickle.loads(pickle.dumps(baseline))).fit(table, y)
    expected = baseline.fit(table, y).predict_proba(table)
    assert_array_equal(fitted.predict_proba(table), expected)
    assert_array_equal(
        pickle.loads(pickle.dumps(fitted)).predict_proba(table), expected
    )


def test_parameters_reach_the_logistic_regression():
    baseline = make_clinical_baseline(C=0.1, class_weight="balanced")
    assert baseline[-1].get_params()["C"] == 0.1
    assert baseline[-1].get_params()["class_weight"] == "balanced"


def test_its_strength_can_be_searched():
    table, y = draw_patients()
    search = GridSearchCV(
        make_clinical_baseline(),
        {"logisticregression__C": [1e-4, 1.0]},
        scoring="neg_log_loss",
        cv=GroupKFold(3),
    )
    search.fit(table, y, groups=np.arange(80) // 2)
    assert search.best_params_ == {"logisticregression__C": 1.0}


def test_features_are_a_table_where_that_is_set():
    table, _ = draw_patients()
    features = make_clinical_features().set_output(transform="pandas")
    values = features.fit_transform(table)
    assert [*values] == names_of(features)


def test_it_is_compared_and_known_again_when_it_is_made_anew(phantoms, tmp_path):
    def compare():
        result = compare_models(
            {"clinical": make_clinical_baseline()},
            phantoms.frame,
            phantoms.tbs < np.median(phantoms.tbs),
            phantoms.patient,
            cv=3,
            n_bootstrap=0,
            checkpoint_dir=tmp_path,
            random_state=0,
        )
        return result.fits["fit_seconds"].tolist()

    assert compare() == compare()


def test_clinical_columns_stand_beside_features_of_the_image(phantoms):
    image = make_pipeline(LumbarCropper(), VariogramFeatures())
    both = FeatureUnion([("image", image), ("clinical", make_clinical_features())])
    values = both.fit_transform(phantoms.frame)
    assert_array_equal(
        values,
        np.hstack(
            [
                image.fit_transform(phantoms.frame),
                make_clinical_features().fit_transform(phantoms.frame),
            ]
        ),
    )
    predicted = cross_val_predict(
        make_pipeline(both, RidgeCV()), phantoms.frame, phantoms.tbs, cv=3
    )
    assert np.isfinite(predicted).all()
