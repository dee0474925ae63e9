import io

import numpy as np
import pandas as pd
import pytest
from imblearn.combine import SMOTEENN
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.pipeline import make_pipeline
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from scipy.sparse import csr_array
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.naive_bayes import GaussianNB

from tbsclassify import make_dxa_phantoms
from tbsclassify.comparison import compare_models
from tbsclassify.comparison._duplicates import (
    describe_rows,
    nearest_patients,
    p_values,
    place_rows,
    thumbnail,
)
from tbsclassify.comparison._fits import Split

PAIR = ["scan", "train_scan"]


def check(X, y=None, groups=None, *, checks="duplicates", **options):
    y = np.arange(len(X)) % 2 if y is None else y
    options = {"n_bootstrap": 0, "random_state": 0} | options
    models = {"prior": DummyClassifier()}
    return compare_models(models, X, y, groups, check=checks, **options)


def found_in(X, y=None, groups=None, **options):
    """Return the near repeats of which the comparison warns."""
    with pytest.warns(UserWarning, match="test rows have a near repeat among the tr"):
        return check(X, y, groups, **options).duplicates


def normal_table(n_rows=120, n_columns=12, seed=0):
    return np.random.default_rng(seed).normal(size=(n_rows, n_columns))


def with_copies(X):
    """Return rows with the first six once more, and splits that part each pair."""
    n_rows = len(X)
    train, test = np.arange(n_rows), n_rows + np.arange(6)
    X = np.concatenate([X, X[:6]])
    # Some rows without a copy are tested, too.
    return X, [(train[:-40], np.concatenate([test, train[-40:]]))]


def pairs_of(duplicates):
    return {tuple(sorted(pair)) for pair in duplicates[PAIR].to_numpy().tolist()}


@pytest.fixture(scope="module")
def phantoms():
    return make_dxa_phantoms(60, size=(112, 120), random_state=0)


# --- false alarms


@pytest.mark.parametrize("kind", ["clusters", "heavy tails", "ages", "yes and no"])
def test_independent_rows_have_p_values_that_are_uniform_or_larger(kind):
    rng = np.random.default_rng(0)
    X = {
        "clusters": lambda: make_classification(1000, 5, random_state=0)[0],
        "heavy tails": lambda: rng.standard_t(2, size=(1000, 5)),
        "ages": lambda: rng.integers(40, 90, (1000, 3)),
        "yes and no": lambda: rng.integers(0, 2, (1000, 8)),
    }[kind]()
    split = Split(0, 0, np.arange(500), np.arange(500, 1000))
    p = nearest_patients(place_rows(X, 0), split, np.arange(1000))["p_value"]
    # Four standard errors of 500 uniform draws.
    assert (p < 0.05).mean() < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 500)
    assert (p < 0.3).mean() < 0.3 + 4 * np.sqrt(0.3 * 0.7 / 500)


@pytest.mark.parametrize("dimension", [1, 3, 30])
def test_p_values_are_uniform_where_neighbours_grow_like_a_power_of_the_distance(
    dimension,
):
    rng = np.random.default_rng(dimension)
    share = np.sort(rng.random((4000, 200)), axis=1)[:, :40]
    p = p_values(share ** (1 / dimension), 10)
    for level in (0.01, 0.1, 0.5):
        assert abs((p < level).mean() - level) < 4 * np.sqrt(level / 4000)


def test_a_clinical_table_with_equal_ages_raises_no_alarm():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "id": [f"P{i:03}" for i in range(300)],
            "age": rng.integers(40, 90, 300),
            "sex": rng.choice(["F", "M"], 300),
            "bmi": rng.normal(27, 4, 300).round(1),
        }
    )
    assert check(table).duplicates.empty


def test_scans_of_different_patients_raise_no_alarm(phantoms):
    assert check(phantoms.images).duplicates.empty
    assert check(phantoms.frame).duplicates.empty


# --- what is found


@pytest.mark.parametrize(
    ("sampler", "share"), [(SMOTE, 0.2), (SMOTEENN, 0.2), (RandomOverSampler, 0.35)]
)
def test_rows_resampled_before_the_split_are_found(sampler, share):
    X, y = make_classification(
        400, 30, n_informative=6, n_redundant=14, weights=[0.8], random_state=0
    )
    X, y = sampler(random_state=0).fit_resample(X, y)
    duplicates = found_in(X, y)
    assert duplicates["scan"].nunique() > share * len(y)
    # What is new are rows of the smaller class.
    assert (y[duplicates["scan"]] == 1).mean() > 0.9


def test_resampling_inside_the_folds_raises_no_alarm():
    X, y = make_classification(300, 20, weights=[0.8], random_state=0)
    models = {"m": make_pipeline(SMOTE(random_state=0), GaussianNB())}
    result = compare_models(
        models, X, y, check="duplicates", n_bootstrap=0, random_state=0
    )
    assert result.table["error"].tolist() == [""]
    assert result.duplicates.empty


def test_copied_rows_are_found_with_their_partners_and_nothing_else():
    X, splits = with_copies(normal_table())
    duplicates = found_in(X, cv=splits)
    assert pairs_of(duplicates) == {(i, 120 + i) for i in range(6)}


@pytest.mark.parametrize("factor", [1e-9, 1, 1e9])
def test_the_unit_of_a_column_does_not_matter(factor):
    X, splits = with_copies(normal_table())
    scaled = np.exp(X) * factor
    assert_array_equal(found_in(X, cv=splits), found_in(scaled, cv=splits))


def test_a_patient_under_two_names_is_found_and_goes_with_the_right_groups():
    scans = make_dxa_phantoms(60, scans_per_patient=2, size=(112, 120), random_state=0)
    table = scans.frame.drop(columns="patient")
    duplicates = found_in(table, scans.patient % 2)
    pairs = scans.patient[duplicates[PAIR].to_numpy()]
    assert_array_equal(pairs[:, 0], pairs[:, 1])
    assert check(table, scans.patient % 2, scans.patient).duplicates.empty


def as_jpeg(scan):
    file = io.BytesIO()
    Image.fromarray(scan).save(file, "JPEG", quality=60)
    return np.asarray(Image.open(file))


EXPORTS = {
    "16 bits": lambda scan: scan.astype(np.uint16) * 257,
    "less contrast": lambda scan: (0.7 * scan + 20).astype(np.uint8),
    "JPEG": as_jpeg,
    "enlarged": lambda scan: np.asarray(Image.fromarray(scan).resize((180, 168))),
    "Pillow": Image.fromarray,
    "channels": lambda scan: np.stack([scan] * 3),
}


@pytest.mark.parametrize("export", EXPORTS)
def test_a_scan_exported_twice_is_found(phantoms, export):
    again = [EXPORTS[export](scan) for scan in phantoms.images[:4]]
    splits = [(np.arange(60), 60 + np.arange(4))]
    duplicates = found_in([*phantoms.images, *again], cv=splits)
    assert pairs_of(duplicates) == {(i, 60 + i) for i in range(4)}


def test_scans_may_be_files_in_a_table(phantoms, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(64)]
    for path, scan in zip(paths, [*phantoms.images, *phantoms.images[:4]], strict=True):
        Image.fromarray(scan).save(path)
    table = pd.DataFrame({"image": paths, "age": np.arange(64)})
    splits = [(np.arange(60), 60 + np.arange(4))]
    assert pairs_of(found_in(table, cv=splits)) == {(i, 60 + i) for i in range(4)}


def test_where_all_boxes_are_known_the_spines_are_compared(phantoms):
    known = phantoms.frame
    unknown = known.copy()
    unknown.iloc[0, unknown.columns.str.startswith("L")] = np.nan
    assert_array_equal(describe_rows(unknown), describe_rows(phantoms.images))
    assert not np.allclose(describe_rows(known), describe_rows(phantoms.images))


def test_a_vertebra_that_is_left_out_does_not_bring_back_the_whole_scan(phantoms):
    some = phantoms.frame.copy()
    some.iloc[0, some.columns.str.startswith("L4")] = np.nan
    all_known, found = describe_rows(phantoms.frame), describe_rows(some)
    assert_array_equal(found[1:], all_known[1:])
    assert not np.allclose(found[0], all_known[0])


def test_a_box_beyond_the_scan_leaves_the_whole_scan(phantoms):
    scan = phantoms.images[0]
    outside = np.array([500.0, 500, 600, 600])
    assert_array_equal(thumbnail(scan, outside), thumbnail(scan))


def test_a_thumbnail_does_not_depend_on_brightness_and_contrast():
    scan = normal_table(40, 30)
    assert_allclose(thumbnail(scan), thumbnail(3 * scan + 7), atol=1e-5)
    assert_array_equal(thumbnail(np.full((40, 30), 7)), np.zeros(256))


# --- tables of all kinds


@pytest.mark.parametrize(
    "spoil",
    [
        lambda table: table.assign(constant=1.0),
        lambda table: table.assign(empty=np.nan),
        lambda table: table.assign(number=np.arange(len(table))),
        lambda table: table.assign(name=[f"P{i:03}" for i in range(len(table))]),
        lambda table: table.assign(centre=["a", "b"] * (len(table) // 2)),
        lambda table: table.where(table < 2),
        lambda table: table.replace(table.iloc[3, 3], np.inf),
        lambda table: table.astype(object),
        lambda table: table.astype("Float64"),
        lambda table: csr_array(table.to_numpy()),
        lambda table: table.to_numpy().tolist(),
    ],
)
def test_copies_are_found_in_a_table_with(spoil):
    X, splits = with_copies(normal_table())
    table = pd.DataFrame(X, columns=[f"c{i}" for i in range(X.shape[1])])
    y = np.arange(len(table)) % 2
    assert pairs_of(found_in(spoil(table), y, cv=splits)) == {
        (i, 120 + i) for i in range(6)
    }


class OtherTable:
    """Stands in for a table of polars."""

    def __init__(self, table):
        self.table, self.columns = table, list(table.columns)

    def __getitem__(self, name):
        return self.table[name]


def test_tables_of_other_libraries_are_read_alike():
    table = pd.DataFrame(normal_table(), columns=list("abcdefghijkl"))
    assert_array_equal(describe_rows(OtherTable(table)), table)


def test_a_table_of_constants_and_ids_alone_has_no_repeats():
    table = pd.DataFrame({"constant": 1, "id": np.arange(60)})
    assert check(table).duplicates.empty
    assert check(table[["constant"]]).duplicates.empty


def test_of_many_columns_some_are_compared():
    X, splits = with_copies(normal_table(n_columns=3000))
    assert place_rows(X, 0).shape[1] == 1024
    assert pairs_of(found_in(X, cv=splits)) == {(i, 120 + i) for i in range(6)}


# --- the result


def test_the_order_of_rows_does_not_matter():
    X, [(train, test)] = with_copies(normal_table().round(1))
    X[test[:6], 0] += 0.1  # which of two equal rows is which would not be known
    order = np.random.default_rng(1).permutation(len(X))
    place = np.argsort(order)
    first = found_in(X, cv=[(train, test)])
    moved = found_in(X[order], cv=[(place[train], place[test])])
    for column in PAIR:
        moved[column] = order[moved[column]]
    assert pairs_of(first) == pairs_of(moved)
    assert_allclose(first["p_value"], moved["p_value"], rtol=1e-9)


def test_pairs_carry_the_patients_as_they_were_given():
    X, splits = with_copies(normal_table())
    groups = np.array([f"P{i:03}" for i in range(len(X))])
    duplicates = found_in(X, groups=groups, cv=splits)
    assert list(duplicates.columns) == [
        *("repeat", "fold", "scan", "patient", "train_scan", "train_patient"),
        *("distance", "ratio", "p_value"),
    ]
    assert_array_equal(duplicates["patient"], groups[duplicates["scan"]])
    assert_array_equal(duplicates["train_patient"], groups[duplicates["train_scan"]])
    assert duplicates["p_value"].is_monotonic_increasing


def test_the_neighbours_are_those_of_the_training_rows_patient_by_patient():
    X = normal_table(100, 4)
    patient = np.arange(100) // 2
    places = place_rows(X, 0)
    train, test = np.arange(80)[::-1], np.arange(80, 100)
    found = nearest_patients(places, Split(2, 3, train, test), patient)
    distance = np.linalg.norm(places[test][:, None] - places[:80], axis=2)
    assert_array_equal(found["train_scan"], distance.argmin(axis=1))
    assert_allclose(found["distance"], distance.min(axis=1))
    by_patient = np.sort(distance.reshape(20, 40, 2).min(axis=2))
    # Of 40 patients half are looked at, and a third of these count as near.
    assert_allclose(found["ratio"], by_patient[:, 0] / by_patient[:, 5])
    assert set(found["repeat"]) == {2}
    assert set(found["fold"]) == {3}


def test_rows_tested_in_several_repeats_are_counted_once():
    X, _ = with_copies(normal_table())
    with pytest.warns(UserWarning, match=r"^1[0-2] of 126 test rows .* fewer than 0.1"):
        check(X, n_repeats=3)


def test_both_checks_run_together_and_none_unasked():
    X, splits = with_copies(normal_table())
    with pytest.warns(UserWarning, match="near repeat"):
        both = check(X, checks=("permuted", "duplicates"), cv=splits)
    assert len(both.duplicates) == 6
    assert list(both.control.index) == ["prior"]
    neither = check(X, checks=None)
    assert neither.duplicates is None
    assert neither.control is None


def test_the_check_changes_no_fit_and_may_be_added_to_a_run_later(tmp_path):
    X = normal_table()
    plain = check(X, checks=None, checkpoint_dir=tmp_path)
    checked = check(X, checkpoint_dir=tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 5
    pd.testing.assert_frame_equal(plain.table, checked.table)


def test_the_warning_points_at_the_call():
    X, splits = with_copies(normal_table())
    with pytest.warns(UserWarning, match="near repeat") as caught:
        check(X, cv=splits)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("checks", ["twins", ["permuted", "twins"], 7])
def test_a_check_that_is_not_there_is_refused(checks):
    with pytest.raises(ValueError, match="check to be one of 'permuted', 'duplicates'"):
        check(normal_table(), checks=checks)


def test_too_few_patients_to_judge_are_refused():
    X = normal_table(40)
    with pytest.raises(ValueError, match=r"needs 12 patients or more .* got 10"):
        check(X, groups=np.arange(40) // 2, cv=2)
