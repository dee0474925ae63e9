"""What a CropDisplay computes and what it draws; how it looks is for the eye."""

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from tbsclassify import LumbarCropper, make_dxa_phantoms
from tbsclassify.plotting import CropDisplay

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def phantoms():
    return make_dxa_phantoms(3, random_state=0)


def rectangles(ax):
    """Boxes drawn, as (top, left, bottom, right)."""
    return [
        (one.get_y(), one.get_x(), one.get_y() + one.get_height(),
         one.get_x() + one.get_width())
        for one in ax.patches
        if isinstance(one, Rectangle)
    ]  # fmt: skip


def legend(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def test_boxes_and_the_square_of_the_row_are_drawn(phantoms):
    cropper = LumbarCropper(200)
    display = CropDisplay.from_scan(phantoms.frame, row=2, cropper=cropper)
    whole = [*phantoms.boxes[2, 0, :2], *phantoms.boxes[2, 3, 2:]]
    whole[1] = phantoms.boxes[2, :, 1].min()
    whole[3] = phantoms.boxes[2, :, 3].max()
    square = cropper.square_of(phantoms.images[2].shape, whole)
    assert_allclose(rectangles(display.ax_), [*phantoms.boxes[2], square])
    assert_array_equal(display.image, phantoms.images[2])
    assert legend(display) == ["L1-L4", "Axis", "Crop"]
    levels = [text.get_text() for text in display.ax_.texts]
    assert levels == ["L1", "L2", "L3", "L4"]


def test_the_axis_goes_through_the_centres_of_known_vertebrae(phantoms):
    boxes = phantoms.boxes.copy()
    boxes[0, 1] = np.nan
    display = CropDisplay.from_scan(phantoms.images, boxes=boxes)
    (axis,) = display.ax_.lines
    centres = (boxes[0, [0, 2, 3], :2] + boxes[0, [0, 2, 3], 2:]) / 2
    assert_allclose(axis.get_xydata(), centres[:, ::-1])


def test_a_scan_without_boxes_shows_its_square_alone(phantoms):
    display = CropDisplay.from_scan(phantoms.images)
    assert legend(display) == ["Crop"]
    assert not display.ax_.lines
    assert display.ax_.get_title() == ""


def test_confidences_are_in_the_title_where_the_table_has_them(phantoms):
    frame = phantoms.frame.assign(place_confidence=[0.1, 0.756, 0.2])
    assert CropDisplay.from_scan(frame, row=1).ax_.get_title() == "place 0.76"


def test_a_confidence_that_is_not_known_is_not_in_the_title(phantoms):
    frame = phantoms.frame.assign(level_confidence=np.nan, place_confidence=0.756)
    assert CropDisplay.from_scan(frame).ax_.get_title() == "place 0.76"


def test_pixel_sizes_may_be_given_beside_scans(phantoms):
    cropper = LumbarCropper(200, spacing=1.2)
    by_table = CropDisplay.from_scan(phantoms.frame, row=1, cropper=cropper)
    display = CropDisplay.from_scan(
        phantoms.images,
        row=1,
        boxes=phantoms.boxes,
        spacings=phantoms.spacing,
        cropper=cropper,
    )
    assert_allclose(display.square, by_table.square)


def test_a_map_with_nan_is_refused(phantoms):
    with pytest.raises(ValueError, match="Input saliency contains NaN"):
        CropDisplay.from_scan(phantoms.frame, saliency=np.full((224, 224), np.nan))


def test_a_path_is_read(phantoms, tmp_path):
    Image.fromarray(phantoms.images[1]).save(tmp_path / "scan.png")
    # The other files are not looked at.
    paths = [tmp_path / "missing.png", tmp_path / "scan.png"]
    display = CropDisplay.from_scan(paths, row=1)
    assert_array_equal(display.image, phantoms.images[1])


def test_a_map_lies_over_the_square(phantoms):
    attributions = np.zeros((200, 200))
    attributions[:100] = 1
    attributions[100:] = -3
    cropper = LumbarCropper(200)
    display = CropDisplay.from_scan(
        phantoms.frame, cropper=cropper, saliency=attributions
    )
    drawn = display.ax_.images[1]
    top, left, bottom, right = display.square
    assert drawn.get_extent() == [left, right, bottom, top]
    assert_allclose(drawn.get_array()[[0, -1], 0], [1 / 3, -1])
    assert_allclose(drawn.get_alpha()[[0, -1], 0], [0.8 / 3, 0.8])
    display.figure_.draw_without_rendering()


def test_a_map_of_zeros_is_drawn(phantoms):
    display = CropDisplay.from_scan(phantoms.frame, saliency=np.zeros((224, 224)))
    assert not display.ax_.images[1].get_alpha().any()


def test_it_is_drawn_on_given_axes(phantoms):
    _, axes = plt.subplots(1, 2)
    display = CropDisplay.from_scan(phantoms.frame, ax=axes[1])
    assert display.ax_ is axes[1]
    assert display.figure_ is axes[1].figure


def test_the_view_holds_a_square_that_reaches_beyond_the_scan(phantoms):
    display = CropDisplay.from_scan(phantoms.frame, cropper=LumbarCropper(500))
    top, left, bottom, right = display.square
    assert display.ax_.get_xlim() == (left - 2, right + 2)
    assert display.ax_.get_ylim() == (bottom + 2, top - 2)


@pytest.mark.parametrize("row", [-1, 3])
def test_a_row_that_is_not_there_is_refused(phantoms, row):
    with pytest.raises(ValueError, match="Expected row to be an integer"):
        CropDisplay.from_scan(phantoms.frame, row=row)


def test_a_map_of_another_size_is_refused(phantoms):
    with pytest.raises(ValueError, match=r"size of the crop, \(224, 224\), got"):
        CropDisplay.from_scan(phantoms.frame, saliency=np.zeros((100, 100)))
