import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from tbsclassify._boxes import box_columns, check_boxes
from tbsclassify._validation import check_groups, patient_ids


def test_numbers_stay_as_they_are():
    ids = patient_ids([3, 1, 3], 3)
    assert ids.dtype.kind == "i"
    assert_array_equal(ids, [3, 1, 3])


@pytest.mark.parametrize("make", [list, pd.Series, lambda x: np.array(x, dtype=object)])
def test_numbers_beside_text_become_text(make):
    assert patient_ids(make([1, "A3", "1", 1.0]), 4).tolist() == ["1", "A3", "1", "1"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A1", "A1 "),
        ("A1", "\tA1\n"),
        ("A 1", "A  1"),
        ("Zoe\u0308", "Zo\u00eb"),
        ("A1", "A1\u00a0"),
    ],
)
def test_spellings_that_look_alike_are_one_patient(one, other):
    ids = patient_ids([one, other], 2)
    assert ids[0] == ids[1]


def test_ids_that_differ_are_kept_apart():
    assert len(set(patient_ids(["007", "7", "a7", "A7"], 4))) == 4


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, "", "  "])
def test_scans_without_a_patient_are_named_by_index(missing):
    with pytest.raises(ValueError, match=r"lacks the patient of 1 .* index \[1\]"):
        patient_ids(["SECRET", missing], 2)


def test_a_missing_number_is_a_missing_patient():
    with pytest.raises(ValueError, match=r"index \[0\]"):
        patient_ids([np.nan, 1.0], 2)


def test_errors_name_no_patient():
    with pytest.raises(ValueError, match="Expected groups") as info:
        patient_ids(["SECRET"], 2)
    assert "SECRET" not in str(info.value)


def test_without_groups_each_scan_is_a_patient():
    assert_array_equal(patient_ids(None, 3), [0, 1, 2])


def test_groups_are_counted_by_patient():
    codes, n_patients = check_groups(["b", "a ", "a"], 3)
    assert_array_equal(codes, [1, 0, 0])
    assert n_patients == 2


def test_box_columns_are_found_whatever_their_case_and_order():
    names = ["L1.right", "l1 top", "age", "L1_LEFT", "l1-bottom"]
    assert box_columns(names) == {"L1": ["l1 top", "L1_LEFT", "l1-bottom", "L1.right"]}


def test_a_lone_side_is_no_box():
    assert box_columns(["image", "left", "age"]) == {}


def test_three_sides_of_a_box_are_refused():
    with pytest.raises(ValueError, match="got only top, left, bottom"):
        box_columns(["top", "left", "bottom"])


def test_two_columns_for_one_side_are_refused():
    names = ["L1_top", "l1_top", "L1_left", "L1_bottom", "L1_right"]
    with pytest.raises(ValueError, match=r"\['L1_top', 'l1_top'\]"):
        box_columns(names)


def test_one_box_a_scan_is_one_level():
    assert check_boxes([[1, 2, 3, 4]], 1).shape == (1, 1, 4)


def test_a_column_s_name_in_place_of_the_patients_is_refused():
    with pytest.raises(ValueError, match=r"got one text\. Pass the column itself"):
        check_groups("patient", 7)


def test_a_misspelled_option_is_answered_with_the_one_most_alike():
    from tbsclassify._validation import check_option

    with pytest.raises(ValueError, match=r"got 'textur'\. Did you mean 'texture'\?$"):
        check_option("textur", "mode", ("full", "head", "texture"))
    with pytest.raises(ValueError, match=r"got 'spark'\.$"):
        check_option("spark", "mode", ("full", "head", "texture"))
