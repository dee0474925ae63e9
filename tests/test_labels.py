import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from tbsclassify import TBSLabeler


def test_both_borders_belong_to_the_partially_degraded_range():
    labeler = TBSLabeler(scheme="three-class")
    y = labeler.fit_transform([1.351, 1.350, 1.200, 1.199])
    assert_array_equal(y, [0, 1, 1, 2])


@pytest.mark.parametrize(
    ("policy", "expected"), [("normal", [0, 0, 0, 1]), ("degraded", [0, 1, 1, 1])]
)
def test_the_binary_scheme_puts_the_middle_range_where_it_is_told(policy, expected):
    labeler = TBSLabeler(partially_degraded=policy)
    assert_array_equal(labeler.fit_transform([1.36, 1.35, 1.2, 1.1]), expected)


def test_class_names_stand_at_the_index_of_their_class():
    labeler = TBSLabeler(scheme="three-class").fit([1.0])
    names = labeler.class_names_[labeler.transform([1.4, 1.3, 1.1])]
    assert names.tolist() == ["normal", "partially degraded", "degraded"]


def test_the_middle_range_can_be_selected():
    mask = TBSLabeler().partially_degraded_mask([1.36, 1.35, 1.2, 1.1])
    assert_array_equal(mask, [False, True, True, False])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -1.2, 0.0])
def test_scores_without_meaning_are_refused_by_index(bad):
    with pytest.raises(ValueError, match=r"at index 1 "):
        TBSLabeler().fit([1.3, bad, 1.2])


def test_transform_refuses_what_fit_refuses():
    labeler = TBSLabeler().fit([1.3])
    with pytest.raises(ValueError, match="at index 0"):
        labeler.transform([np.nan])


@pytest.mark.parametrize(
    "thresholds", [(1.35, 1.2), (1.2, 1.2), (1.2,), (0, 1.2), (1.2, np.nan)]
)
def test_thresholds_must_be_two_increasing_positive_numbers(thresholds):
    with pytest.raises(ValueError, match="Expected thresholds "):
        TBSLabeler(thresholds=thresholds).fit([1.3])


def test_an_unknown_scheme_lists_the_known_ones():
    with pytest.raises(ValueError, match="'binary', 'three-class'"):
        TBSLabeler(scheme="ternary").fit([1.3])


@given(st.lists(st.floats(0.5, 2.0), min_size=2, max_size=20))
def test_a_lower_score_is_never_labelled_less_severe(scores):
    scores = np.sort(scores)
    y = TBSLabeler(scheme="three-class").fit_transform(scores)
    assert (np.diff(y) <= 0).all()


@given(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=20))
def test_binary_classes_are_the_three_classes_merged(scores):
    three = TBSLabeler(scheme="three-class").fit_transform(scores)
    for policy, lowest in [("normal", 2), ("degraded", 1)]:
        binary = TBSLabeler(partially_degraded=policy).fit_transform(scores)
        assert_array_equal(binary, three >= lowest)


@pytest.mark.parametrize("scheme", ["binary", "three-class"])
def test_scores_in_per_cent_are_refused_with_the_unit_expected(scheme):
    message = r"Expected tbs in TBS units such as 1.25, got 125: 2 .* 1 \(125\), 2"
    with pytest.raises(ValueError, match=message):
        TBSLabeler(scheme=scheme).fit([1.25, 125, 131])


def test_thresholds_in_per_cent_are_refused():
    with pytest.raises(ValueError, match="Expected thresholds"):
        TBSLabeler(thresholds=(120, 135)).fit([1.25])


def test_the_mask_of_the_middle_range_refuses_per_cent_alike():
    with pytest.raises(ValueError, match=r"such as 1\.25, got 127"):
        TBSLabeler().partially_degraded_mask([127, 1.2])


def test_a_table_in_place_of_scores_is_refused():
    with pytest.raises(ValueError, match=r"got a table\. Pass its column"):
        TBSLabeler().fit_transform(pd.DataFrame({"tbs": [1.2], "age": [60]}))


@pytest.mark.parametrize("dtype", ["float32", "Float32"])
def test_borders_in_single_precision_are_the_borders(dtype):
    tbs = pd.Series([1.2, 1.35, 1.351], dtype=dtype)
    labels = TBSLabeler(scheme="three-class").fit_transform(tbs)
    assert labels.tolist() == [1, 1, 0]
    assert TBSLabeler().partially_degraded_mask(tbs).tolist() == [True, True, False]
