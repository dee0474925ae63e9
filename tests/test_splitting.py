import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    StratifiedGroupKFold,
)

from tbsclassify.splitting import (
    PAPER_SIZES,
    list_folds,
    paper_split,
    train_validation_test_split,
)


@st.composite
def sized_parts(draw, n_classes):
    """Draw three sizes that can hold every class, and their sum."""
    sizes = draw(st.tuples(*[st.integers(n_classes, 60)] * 3))
    return sizes, sum(sizes)


@st.composite
def single_scans(draw, n_classes):
    """Draw classes and sizes for patients with one scan each."""
    sizes, n_scans = draw(sized_parts(n_classes))
    rest = draw(
        st.lists(
            st.integers(0, n_classes - 1),
            min_size=n_scans - 3 * n_classes,
            max_size=n_scans - 3 * n_classes,
        )
    )
    y = np.array([*np.repeat(np.arange(n_classes), 3), *rest])
    return np.random.default_rng(draw(st.integers(0, 99))).permutation(y), sizes


@st.composite
def patients(draw):
    """Draw scans of patients who have one to five each, some of two classes."""
    n_scans = draw(st.lists(st.integers(1, 5), min_size=12, max_size=60))
    patient = np.repeat(np.arange(len(n_scans)), n_scans)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    by_patient = rng.permutation(np.arange(len(n_scans)) % 2)
    y = by_patient[patient]
    return np.where(rng.random(len(y)) < 0.1, 1 - y, y), patient


@settings(deadline=None)
@given(patients(), st.integers(0, 99))
def test_no_patient_is_on_two_sides_and_every_scan_on_one(scans, seed):
    y, patient = scans
    parts = train_validation_test_split(
        y, patient, sizes=(0.6, 0.2, 0.2), random_state=seed
    )
    assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(y)))
    sides = [set(patient[part]) for part in parts]
    assert sum(map(len, sides)) == len(set().union(*sides))


@settings(deadline=None)
@given(patients(), st.integers(0, 99))
def test_sizes_are_missed_by_less_than_the_scans_of_one_patient(scans, seed):
    y, patient = scans
    train, validation = len(y) // 2, len(y) // 4
    sizes = (train, validation, len(y) - train - validation)
    parts = train_validation_test_split(y, patient, sizes=sizes, random_state=seed)
    missed = [abs(len(part) - n) for part, n in zip(parts, sizes, strict=True)]
    assert max(missed) < np.bincount(patient).max()


@settings(deadline=None)
@given(st.integers(2, 4).flatmap(single_scans), st.integers(0, 99))
def test_sizes_are_met_exactly_with_one_scan_a_patient(scans, seed):
    y, sizes = scans
    parts = train_validation_test_split(y, sizes=sizes, random_state=seed)
    assert [len(part) for part in parts] == list(sizes)
    assert all(len(np.unique(y[part])) == len(np.unique(y)) for part in parts)


@settings(deadline=None)
@given(single_scans(2))
def test_each_part_has_its_share_of_both_classes_to_within_one_scan(scans):
    y, sizes = scans
    shares = np.outer(sizes, np.bincount(y)) / len(y)
    assume(shares.min() >= 1)
    parts = train_validation_test_split(y, sizes=sizes, random_state=0)
    held = np.array([np.bincount(y[part]) for part in parts])
    assert np.abs(held - shares).max() < 1


def test_single_scans_fill_up_what_larger_patients_leave():
    n_scans = np.tile([4, 3, 1, 1], 12)
    patient = np.repeat(np.arange(48), n_scans)
    y = (np.arange(48) % 8 < 4).astype(int)[patient]
    parts = train_validation_test_split(y, patient, sizes=(71, 14, 23), random_state=0)
    assert [len(part) for part in parts] == [71, 14, 23]


def test_the_paper_trains_on_1127_validates_on_161_and_tests_on_181():
    y = np.repeat([0, 1], [1258, 211])
    parts = paper_split(y, random_state=0)
    assert tuple(len(part) for part in parts) == PAPER_SIZES
    assert [y[part].sum() for part in parts] == [162, 23, 26]


def test_the_paper_s_shares_are_kept_for_other_numbers_of_scans():
    parts = paper_split(np.tile([0, 1], 100), random_state=0)
    assert [len(part) for part in parts] == [153, 22, 25]


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    y = np.tile([0, 1], 30)
    first, again, other = (paper_split(y, random_state=seed) for seed in (1, 1, 2))
    for one, two in zip(first, again, strict=True):
        assert_array_equal(one, two)
    assert not np.array_equal(first[2], other[2])


def test_classes_and_patients_may_be_strings():
    y = np.array(["normal", "degraded"])[np.arange(40) % 2]
    patient = np.char.add("P", (np.arange(40) // 4).astype(str))
    train, _, test = paper_split(y, patient, random_state=0)
    assert not set(patient[train]) & set(patient[test])


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((10, 5, 4), "add up to the 20 scans of y, got .* add up to 19"),
        ((0.5, 0.2, 0.2), "shares that add up to 1, or integers, got .* 0.9"),
        ((0.9, 0.05, 0.05), "validation part 1 of 20 scans, too few for the 2"),
        ((0.8, 0.2), "three numbers of scans or three shares"),
        ((1.2, -0.1, -0.1), "sizes to be a finite number above 0, got -0.1"),
        ((18, 2, 0), "sizes to be an integer above 0, got 0"),
    ],
)
def test_sizes_that_cannot_be_met_are_refused_with_what_can(sizes, message):
    with pytest.raises(ValueError, match=message):
        train_validation_test_split(np.tile([0, 1], 10), sizes=sizes)


def test_a_class_of_two_patients_cannot_be_in_three_parts():
    y = np.array([0] * 10 + [1] * 6)
    patient = np.array([*range(10), *[10, 10, 10, 11, 11, 11]])
    with pytest.raises(ValueError, match=r"three patients or more .* got 2 of class 1"):
        paper_split(y, patient)


def test_a_part_that_one_large_patient_fills_is_refused():
    # A patient of class 1 is larger than the test part.
    y = np.array([1] * 12 + [0] * 8)
    patient = np.array([*np.repeat([0, 1, 2], 4), *range(3, 11)])
    with pytest.raises(ValueError, match="came out without a scan of class 1"):
        train_validation_test_split(y, patient, sizes=(14, 3, 3), random_state=0)


def test_labels_that_are_missing_are_refused():
    y = pd.Series([0, 1, None] * 6, dtype="Int64")
    with pytest.raises(ValueError, match=r"y lacks the class of 6 scan\(s\)"):
        paper_split(y)


# Lists of folds

Y = np.tile([0, 1], 12)
PATIENT = np.repeat(np.arange(12), 2)
X = np.zeros((24, 3))


@pytest.mark.parametrize("cv", [None, 4, np.int64(3)])
def test_a_number_of_folds_keeps_patients_whole_and_tests_each_scan_once(cv):
    folds = list_folds(cv, X, Y, PATIENT)
    assert len(folds) == (5 if cv is None else cv)
    assert_array_equal(np.sort(np.concatenate([test for _, test in folds])), range(24))
    for train, test in folds:
        assert not set(PATIENT[train]) & set(PATIENT[test])


def test_folds_of_a_classifier_are_stratified_and_of_values_are_not():
    y = np.repeat([0, 1], [16, 8])
    of_classes = list_folds(4, X, y, seed=0)
    assert {y[test].sum() for _, test in of_classes} == {2}
    values = list_folds(4, X, y, classifier=False)
    assert_array_equal(values[0][1], range(6))


def test_folds_are_shuffled_by_the_seed_alone():
    first, again, other = (list_folds(4, X, Y, PATIENT, seed=k) for k in (1, 1, 2))
    assert_array_equal(first[0][1], again[0][1])
    assert not np.array_equal(first[0][1], other[0][1])


@pytest.mark.parametrize("make", [iter, list, lambda splits: (one for one in splits)])
def test_splits_may_come_as_a_list_or_an_iterator(make):
    splits = list(GroupKFold(3).split(X, Y, PATIENT))
    for got, expected in zip(
        list_folds(make(splits), X, Y, PATIENT), splits, strict=True
    ):
        assert_array_equal(got[1], expected[1])


def test_an_exhausted_iterator_is_refused():
    splits = GroupKFold(3).split(X, Y, PATIENT)
    list(splits)
    with pytest.raises(ValueError, match=r"cv holds no split\. An iterator that was"):
        list_folds(splits, X, Y, PATIENT)


def test_masks_become_row_numbers():
    mask = np.arange(24) < 6
    ((train, test),) = list_folds([(~mask, mask)], X, Y, PATIENT)
    assert_array_equal(train, range(6, 24))
    assert_array_equal(test, range(6))


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ((range(24), []), r"split 0 .* non-empty .* got one of shape \(0,\)"),
        ((range(20), [24]), "names row 24, expected rows from 0 to 23"),
        ((range(20), [-1]), "names row -1, expected rows from 0 to 23"),
        ((np.arange(4) < 2, [20]), r"shape \(4,\) and dtype bool"),
        (([0.5], [20]), "dtype float64"),
        (([[0, 1]], [20]), r"shape \(1, 2\)"),
    ],
)
def test_sides_that_are_no_rows_are_refused(pair, message):
    with pytest.raises(ValueError, match=message):
        list_folds([pair], X, Y, PATIENT)


@pytest.mark.filterwarnings("ignore:The groups parameter is ignored")
@pytest.mark.parametrize("cv", [KFold(5), [(np.arange(0, 24, 2), np.arange(1, 24, 2))]])
def test_a_patient_on_both_sides_is_refused(cv):
    with pytest.raises(ValueError, match=r"patient\(s\) on both sides of split 0"):
        list_folds(cv, X, Y, PATIENT)


def test_patients_whose_ids_differ_in_blanks_are_one():
    text = np.char.add("P", PATIENT.astype(str)).astype(object)
    text[::2] += " "
    with pytest.raises(ValueError, match=r"12 patient\(s\) on both sides"):
        list_folds([(np.arange(0, 24, 2), np.arange(1, 24, 2))], X, Y, text)
    for train, test in list_folds(3, X, Y, text):
        assert not set(PATIENT[train]) & set(PATIENT[test])


def test_without_patients_a_scan_on_both_sides_is_refused():
    with pytest.raises(ValueError, match=r"1 scan\(s\) on both sides of split 0"):
        list_folds([(range(12), range(11, 24))], X, Y)


@pytest.mark.parametrize("splitter", [StratifiedGroupKFold(3), LeaveOneGroupOut()])
def test_a_splitter_gets_the_patients(splitter):
    folds = list_folds(splitter, X, Y, PATIENT)
    assert len(folds) == splitter.get_n_splits(X, Y, PATIENT)


def test_a_splitter_may_get_metadata_in_place_of_patients():
    other = np.repeat([0, 1, 2], 8)
    folds = list_folds(
        LeaveOneGroupOut(), X, Y, PATIENT, split_params={"groups": other}
    )
    assert_array_equal(folds[0][1], range(8))


def test_a_cv_that_is_none_of_these_is_refused():
    with pytest.raises(ValueError, match="Expected `cv` as an integer"):
        list_folds("five", X, Y)


def test_patients_in_a_table_without_groups_are_warned_of():
    table = pd.DataFrame({"patient": ["a", "a", "b", "b"], "x": range(4)})
    with pytest.warns(UserWarning, match="4 scans of X are of 2 patients"):
        list_folds(2, table, [0, 1, 0, 1], seed=0)
    list_folds(2, table, [0, 1, 0, 1], table["patient"], seed=0)
    list_folds(2, table.iloc[[0, 2]], [0, 0], seed=0, classifier=False)
