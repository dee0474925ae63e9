import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageDraw, ImageFont

from tbsclassify import (
    LumbarCropper,
    VariogramFeatures,
    check_scans,
    check_vertebrae,
    exclude_vertebrae,
    make_dxa_phantoms,
)
from tbsclassify._spacing import SPACING_COLUMNS
from tbsclassify.quality import LIMITS

LEVELS = ["L1", "L2", "L3", "L4"]
NEED_NO_BOXES = ["unscanned_share", "n_letters", "column_contrast"]


@pytest.fixture(scope="module")
def scans():
    return make_dxa_phantoms(6, return_masks=True, random_state=0)


@pytest.fixture(scope="module")
def reports(scans):
    return check_scans(scans.frame), check_vertebrae(scans.frame)


def columns_of(level):
    return [f"{level}_{side}" for side in ("top", "left", "bottom", "right")]


def only(scans, row=0):
    """Return one scan with its boxes, to be spoilt."""
    return scans.images[row].copy(), scans.boxes[row].copy()


def check_one(image, boxes, **options):
    return check_scans([image], boxes=boxes[np.newaxis], **options).iloc[0]


def write_on(image, text):
    picture = Image.fromarray(image)
    font = ImageFont.load_default(16)
    ImageDraw.Draw(picture).text((8, 8), text, fill=255, font=font)
    return np.asarray(picture)


def test_a_report_has_a_number_for_each_limit_and_the_index_of_the_table(scans):
    frame = scans.frame.set_index(pd.Index(list("uvwxyz")))
    report = check_scans(frame)
    assert report.index.tolist() == frame.index.tolist()
    assert report.columns.tolist() == [*LIMITS, *SPACING_COLUMNS, "reasons"]


def test_plain_phantoms_have_no_reason_that_needs_no_boxes(reports):
    report, _ = reports
    assert (report["column_contrast"] > 2 * LIMITS["column_contrast"]).all()
    assert (report[["unscanned_share", "n_letters"]] == 0).all(axis=None)
    assert (report["n_in_view"] == 4).all()


def test_scans_without_boxes_get_the_checks_that_need_none(scans):
    report = check_scans(list(scans.images[:2]))
    assert report[NEED_NO_BOXES].notna().all(axis=None)
    assert report.drop(columns=[*NEED_NO_BOXES, "reasons"]).isna().all(axis=None)


def test_one_box_a_scan_tells_only_where_the_spine_is(scans):
    whole = np.hstack([scans.boxes[:, 0, :2], scans.boxes[:, 3, 2:]])
    report = check_scans(scans.images, boxes=whole)
    assert report["off_centre"].notna().all()
    assert report[["n_in_view", "cobb_angle", "height_ratio"]].isna().all(axis=None)


def test_scans_come_as_arrays_tables_and_paths_with_one_result(
    scans, reports, tmp_path
):
    paths = []
    for i, image in enumerate(scans.images):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(image).save(paths[-1])
    read = check_scans(paths, boxes=scans.boxes, spacings=scans.spacing)
    pd.testing.assert_frame_equal(read, reports[0])


@pytest.mark.parametrize(
    "convert",
    [
        lambda image: image.astype(np.uint16) * 257,
        lambda image: image / 255.0,
        lambda image: image.astype(np.float16),
    ],
    ids=["16 bits", "floats", "half precision"],
)
def test_the_depth_of_grey_levels_does_not_matter(scans, reports, convert):
    frame = scans.frame.assign(image=[convert(image) for image in scans.images])
    report = check_scans(frame)
    numbers = list(LIMITS)
    assert_allclose(
        report[numbers].to_numpy(float),
        reports[0][numbers].to_numpy(float),
        rtol=1e-5,
        atol=1e-6,
    )


def test_a_file_that_cannot_be_read_is_a_row_with_its_reason(scans, tmp_path):
    good, bad = tmp_path / "good.png", tmp_path / "SMITH.png"
    Image.fromarray(scans.images[0]).save(good)
    bad.write_bytes(b"no image")
    frame = pd.DataFrame({"image": [bad, good, tmp_path / "JONES.png"]})
    report = check_scans(frame)
    assert report["reasons"].str.startswith("not readable").tolist() == [
        True, False, True,
    ]  # fmt: skip
    assert report.loc[[0, 2], list(LIMITS)].isna().all(axis=None)
    assert not report["reasons"].str.contains("SMITH|JONES").any()


def test_a_file_that_may_not_be_read_is_not_named(scans, tmp_path, monkeypatch):
    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    path = tmp_path / "SMITH.png"
    Image.fromarray(scans.images[0]).save(path)
    monkeypatch.setattr("tbsclassify.images.read_raster", refuse)
    report = check_scans([path])
    assert report["reasons"].tolist() == ["not readable: Permission denied"]


@pytest.mark.parametrize("form", [list, np.asarray], ids=["list", "array"])
def test_a_scan_with_nan_is_a_row_with_its_reason(scans, form):
    images = scans.images[:2].astype(float)
    images[0, 0, 0] = np.nan
    report = check_scans(form(images))
    assert "not readable" in report.loc[0, "reasons"]
    assert report.loc[1, "n_letters"] == 0


def test_boxes_that_are_not_known_are_told_from_vertebrae_out_of_view(scans):
    frame = scans.frame.copy()
    for level in LEVELS:
        frame.loc[2, columns_of(level)] = np.nan
    frame.loc[3, columns_of("L4")] = np.nan
    report = check_scans(frame)
    assert report.loc[[2, 3], "n_in_view"].tolist() == [0, 3]
    unknown = "boxes of L1, L2, L3, L4 not known (n_in_view 0, expected at least 4)"
    assert report.loc[2, "reasons"] == unknown
    assert "boxes of L4 not known (n_in_view 3" in report.loc[3, "reasons"]
    assert np.isnan(report.loc[2, "cobb_angle"])
    assert report.loc[3, "cobb_angle"] >= 0


@pytest.mark.parametrize("bottom", [280, 300], ids=["at", "beyond"])
def test_a_vertebra_cut_off_by_the_border_is_not_in_view(scans, bottom):
    image, boxes = only(scans)
    boxes[3, 2] = bottom
    report = check_one(image, boxes)
    assert report["n_in_view"] == 3
    assert "vertebrae out of view" in report["reasons"]
    report = check_vertebrae([image], boxes=boxes[np.newaxis])
    assert report["excluded"].tolist()[3]
    assert "cut off" in report["reasons"][3]


def test_an_angle_says_whether_it_takes_pixels_for_squares():
    image, boxes = bent_spine(20)
    known = [[0.6, 0.6]]
    report = check_scans([image], boxes=boxes[np.newaxis])
    assert "scoliosis, if pixels of unknown size are square" in report["reasons"][0]
    assert np.isnan(report["row_spacing"][0])
    report = check_scans([image], boxes=boxes[np.newaxis], spacings=known)
    assert "scoliosis (cobb_angle" in report["reasons"][0]
    assert report["column_spacing"][0] == 0.6


def test_a_box_wholly_beyond_the_scan_is_survived(scans):
    image, boxes = only(scans)
    boxes[3] = [400, 400, 440, 440]
    report = check_vertebrae([image], boxes=boxes[np.newaxis])
    assert np.isnan(report["density_ratio"][3])
    assert check_one(image, boxes)["n_in_view"] == 3


def bent_spine(degrees, stretch=1):
    """Draw a column that turns by an angle from its first endplate to its last."""
    top, bottom, width = 40, 240, 40
    radius = (bottom - top) / 2 / np.sin(np.radians(degrees / 2))
    image = np.full((280, 300 * stretch), 30, np.uint8)
    columns = np.arange(300 * stretch) / stretch
    for row in range(280):
        height = np.clip(row - 140, -130, 130)
        middle = 150 + np.sqrt(radius**2 - height**2) - radius
        image[row, abs(columns - middle) < width / 2] = 140
    y = np.linspace(top, bottom, 5)
    middle = 150 + np.sqrt(radius**2 - ((y[:-1] + y[1:]) / 2 - 140) ** 2) - radius
    boxes = np.stack([y[:-1], middle - 20, y[1:], middle + 20], axis=1)
    return image, boxes * [1, stretch, 1, stretch]


def test_the_cobb_angle_is_that_of_a_bent_spine():
    bent = check_one(*bent_spine(24))
    assert bent["cobb_angle"] == pytest.approx(24, abs=1.5)
    assert "scoliosis" in bent["reasons"]
    assert check_one(*bent_spine(5))["cobb_angle"] == pytest.approx(5, abs=1.5)


def test_the_cobb_angle_hardly_depends_on_the_sides_of_boxes():
    image, boxes = bent_spine(5)
    boxes[3, 1] -= 15  # a transverse process that was taken for the body
    assert check_one(image, boxes)["cobb_angle"] == pytest.approx(5, abs=2)


def test_the_cobb_angle_is_that_in_millimetres():
    image, boxes = bent_spine(24, stretch=2)
    in_mm = check_one(image, boxes, spacings=[[0.6, 0.3]])
    assert in_mm["cobb_angle"] == pytest.approx(24, abs=1.5)
    assert check_one(image, boxes)["cobb_angle"] > 35


def test_the_cobb_angle_of_a_strong_bend_is_too_small():
    assert 35 < check_one(*bent_spine(45))["cobb_angle"] < 45


def test_the_cobb_angle_does_not_depend_on_the_order_of_levels():
    image, boxes = bent_spine(24)
    upside_down = [280, 0, 280, 0] + boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1]
    report = check_one(image[::-1], upside_down)
    assert report["cobb_angle"] == pytest.approx(24, abs=1.5)


def test_outlines_take_the_place_of_boxes_that_are_not_known(scans):
    bare = scans.frame[["image"]].assign(mask=list(scans.masks))
    report = check_scans(bare)
    assert (report["n_in_view"] == 4).all()
    assert_allclose(
        report["height_ratio"], check_scans(scans.frame)["height_ratio"], atol=0.05
    )


def test_a_spine_at_the_side_is_off_centre(scans):
    image, boxes = only(scans)
    report = check_one(image[:, 100:], boxes - [0, 100, 0, 100])
    assert report["off_centre"] > LIMITS["off_centre"]
    assert "off-centre" in report["reasons"]


def test_rotation_is_seen_by_the_spinous_processes(scans):
    image, boxes = only(scans)
    straight = np.full_like(image, 40)
    turned = straight.copy()
    for top, left, bottom, right in boxes.astype(int):
        width = right - left
        for picture, share in ((straight, 0.5), (turned, 0.65)):
            picture[top:bottom, left:right] = 120
            column = int(left + share * width)
            picture[top : bottom + 8, column - 2 : column + 3] = 200
    assert check_one(straight, boxes)["rotation"] <= 0.03
    assert check_one(turned, boxes)["rotation"] == pytest.approx(0.15, abs=0.03)


def test_a_low_vertebra_is_excluded_and_not_its_neighbours(scans):
    image, boxes = only(scans)
    boxes[1, 0] += 0.4 * (boxes[1, 2] - boxes[1, 0])
    report = check_vertebrae([image], boxes=boxes[np.newaxis])
    low = report["height_ratio"] < LIMITS["height_ratio"]
    assert low.tolist() == [False, True, False, False]
    assert "lower than its neighbours" in report["reasons"][1]


def test_a_dense_vertebra_is_excluded(scans):
    image, boxes = only(scans)
    top, left, bottom, right = boxes[2].astype(int)
    image = image.astype(float)
    image[top:bottom, left:right] *= 1.9
    report = check_vertebrae([image], boxes=boxes[np.newaxis])
    assert report["density_ratio"].idxmax() == 2
    assert report["excluded"].tolist()[2]


def test_metal_is_a_bright_area(scans):
    image, boxes = only(scans)
    top, left, bottom, right = boxes[2].astype(int)
    image[top + 4 : bottom - 4, left + 4 : right - 4] = 255
    report = check_one(image, boxes)
    assert report["bright_share"] > 0.5
    assert "metal or cement" in report["reasons"]


def test_another_texture_is_told_at_equal_density(scans):
    image, boxes = only(scans)
    top, left, bottom, right = boxes[0].astype(int)
    image[top:bottom, left:right] = image[top:bottom, left:right].mean()
    report = check_vertebrae([image], boxes=boxes[np.newaxis])
    assert report["texture_ratio"].idxmin() == 0
    assert "texture" in report["reasons"][0]


def test_white_blocks_are_unscanned_though_metal_is_brighter(scans):
    image, boxes = only(scans)
    image[:, :16] = 252
    image[100:104, 30:34] = 255
    report = check_one(image, boxes)
    assert report["unscanned_share"] == pytest.approx(16 / image.shape[1])
    assert "unscanned" in report["reasons"]


def test_letters_are_counted(scans):
    report = check_scans([write_on(scans.images[0], "HIKE"), scans.images[0]])
    assert report["n_letters"].tolist() == [4, 0]
    assert "burnt-in text" in report.loc[0, "reasons"]


@pytest.mark.parametrize("spoil", ["blank", "noise", "turned"])
def test_what_is_no_spine_is_another_region(scans, spoil):
    image = scans.images[0]
    pictures = {
        "blank": np.full_like(image, 90),
        "noise": np.random.default_rng(0).integers(0, 256, image.shape, np.uint8),
        "turned": np.rot90(image),
    }
    report = check_scans([pictures[spoil]])
    assert "wrong region" in report.loc[0, "reasons"]


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (5, 5)])
def test_tiny_images_are_survived(shape):
    image = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    report = check_scans([image], boxes=[[[0, 0, 1, 1]] * 4])
    assert "wrong region" in report.loc[0, "reasons"]


def test_confidences_of_a_localiser_are_used(scans):
    frame = scans.frame.assign(level_confidence=0.9, place_confidence=0.2)
    report = check_scans(frame)
    assert (report["level_confidence"] == 0.9).all()
    assert report["reasons"].str.contains("place unsure").all()
    assert not report["reasons"].str.contains("level unsure").any()


def test_limits_can_be_changed_by_the_name_of_their_column(scans):
    strict = check_scans(scans.frame, limits={"cobb_angle": 0})
    assert strict["reasons"].str.contains("scoliosis").all()
    lenient = dict.fromkeys(("height_ratio", "n_in_view"), 0)
    lenient |= dict.fromkeys(("density_ratio", "texture_ratio", "bright_share"), 100)
    assert not check_vertebrae(scans.frame, limits=lenient)["excluded"].any()


@pytest.mark.parametrize(
    ("limits", "error", "message"),
    [
        ({"cobb": 1}, ValueError, "Expected limits of the checks n_in_view, .*'cobb'"),
        ({"cobb_angle": -1}, ValueError, r"limits\['cobb_angle'\]"),
        ({"density_ratio": 0.9}, ValueError, "at least 1"),
        ([10], TypeError, "Expected limits to be a dict"),
    ],
)
def test_limits_are_checked(scans, limits, error, message):
    with pytest.raises(error, match=message):
        check_scans(scans.frame, limits=limits)


def test_boxes_of_some_levels_only_are_refused(scans):
    with pytest.raises(ValueError, match="got 3 a scan"):
        check_scans(scans.images, boxes=scans.boxes[:, :3])


def test_the_reports_agree_on_how_many_vertebrae_are_usable():
    scans = make_dxa_phantoms(12, appearance="varied", random_state=1)
    usable = ~check_vertebrae(scans.frame)["excluded"].to_numpy().reshape(-1, 4)
    assert_array_equal(check_scans(scans.frame)["n_usable"], usable.sum(axis=1))
    assert not usable.all()


def test_excluded_vertebrae_lose_their_boxes_and_labels(scans, reports):
    report = reports[1].assign(excluded=False)
    report.loc[[1, 7], "excluded"] = True  # L2 of scan 0, L4 of scan 1
    frame = scans.frame.assign(mask=list(scans.masks))
    table = exclude_vertebrae(frame, report)
    unknown = table[[f"{level}_top" for level in LEVELS]].isna().to_numpy()
    assert_array_equal(np.argwhere(unknown), [[0, 1], [1, 3]])
    assert set(np.unique(table["mask"][0])) == set(np.unique(scans.masks[0])) - {2}
    assert table["usable"].all()
    assert frame["L2_top"].notna().all()  # the table given is left alone


def test_scans_with_fewer_than_two_vertebrae_left_are_named_by_row(scans, reports):
    report = reports[1].assign(excluded=False)
    report.loc[[4, 5, 6], "excluded"] = True
    with pytest.warns(UserWarning, match=r"1 of 6 scans .* row \[1\]"):
        table = exclude_vertebrae(scans.frame, report)
    assert table["usable"].tolist() == [True, False, True, True, True, True]
    assert exclude_vertebrae(scans.frame, report, min_remaining=1)["usable"].all()


def test_texture_features_do_without_excluded_vertebrae(scans, reports):
    report = reports[1].assign(excluded=False)
    report.loc[2, "excluded"] = True
    crops = LumbarCropper(260).transform_table(scans.frame)
    table = exclude_vertebrae(crops, report)
    boxes = scans.boxes.copy()
    boxes[0, 2] = np.nan
    expected = VariogramFeatures().transform(scans.images, boxes=boxes)
    assert_allclose(VariogramFeatures().transform(table)[0], expected[0])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda report: report.drop(columns="excluded"), "none called 'excluded'"),
        (lambda report: report.assign(excluded="False"), "got 'False' in row 0"),
        (lambda report: report.assign(excluded=pd.NA), "got <NA> .* one of 24"),
        (lambda report: report.assign(excluded=np.nan), "True or False, got nan"),
        (lambda report: report.assign(scan=report["scan"] + 0.5), r"got scan 0\.5"),
        (lambda report: report.assign(scan=report["scan"] - 1), "got scan -1"),
        (lambda report: report.assign(scan=report["scan"] + 1), "got scan 6"),
        (lambda report: report.assign(level="L5"), "got 'L5'"),
    ],
)
def test_a_report_that_does_not_fit_is_refused(scans, reports, spoil, message):
    with pytest.raises(ValueError, match=message):
        exclude_vertebrae(scans.frame, spoil(reports[1]))


def test_a_report_may_come_from_a_file_or_have_nullable_columns(scans, reports):
    report = reports[1].assign(excluded=reports[1]["scan"] == 0)
    nullable = report.astype({"scan": "Int64", "excluded": "boolean"})
    for form in (nullable, report.astype({"excluded": int})):
        table = exclude_vertebrae(scans.frame, form, min_remaining=0)
        assert table["L1_top"].isna().tolist() == [True] + [False] * 5


def test_vertebrae_that_only_a_label_map_shows_are_excluded_and_counted(scans, reports):
    bare = scans.frame[["image"]].assign(mask=list(scans.masks))
    report = reports[1].assign(excluded=False)
    report.loc[[0, 4, 5, 6], "excluded"] = True
    with pytest.warns(UserWarning, match=r"row \[1\]"):
        table = exclude_vertebrae(bare, report)
    assert table["usable"].tolist() == [True, False, True, True, True, True]
    assert 1 not in table["mask"][0]


def test_a_map_of_the_whole_spine_tells_only_where_it_is(scans):
    whole = scans.frame[["image"]].assign(mask=list(scans.masks > 0))
    report = check_scans(whole)
    assert report["off_centre"].notna().all()
    assert report[["n_in_view", "height_ratio"]].isna().all(axis=None)


def test_a_map_of_the_whole_spine_loses_what_is_in_excluded_boxes(scans, reports):
    report = reports[1].assign(excluded=False)
    report.loc[0, "excluded"] = True  # L1 of scan 0, whose label would be 1
    frame = scans.frame.assign(mask=list(scans.masks > 0))
    table = exclude_vertebrae(frame, report)
    second, kept = int(scans.boxes[0, 1, 0]) + 1, table["mask"][0]
    assert_array_equal(kept[second:], scans.masks[0, second:] > 0)
    first = scans.boxes[0, 0].round().astype(int)
    assert not kept[first[0] + 1 : first[2] - 1, first[1] + 1 : first[3] - 1].any()
    assert table["usable"].all()


def test_a_table_without_vertebrae_is_refused(scans, reports):
    with pytest.raises(ValueError, match="Expected table to have boxes"):
        exclude_vertebrae(scans.frame[["image"]], reports[1])
    with pytest.raises(TypeError, match="pandas DataFrame of scans, got ndarray"):
        exclude_vertebrae(scans.images, reports[1])
