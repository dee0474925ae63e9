import numpy as np
import pandas as pd
import pytest
from conftest import load_real_scans
from numpy.testing import assert_array_equal
from PIL import Image

from tbsclassify import LumbarCropper
from tbsclassify.datasets import load_scans

SIDES = ["top", "left", "bottom", "right"]


@pytest.fixture
def folder(tmp_path):
    """Return a folder of six scans and a table that describes them well."""
    rng = np.random.default_rng(0)
    for i in range(6):
        pixels = rng.integers(0, 256, (30, 20)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    table = pd.DataFrame(
        {
            "file": [f"{i}.png" for i in range(6)],
            "patient": ["007", "007", "a", "b", "c", "d"],
            "tbs": [1.1, 1.12, 1.3, 1.4, 1.25, 1.36],
            "age": [50, 50, 61, 62, 63, 64],
        }
    )
    table.to_csv(tmp_path / "scans.csv", index=False)
    return tmp_path, table


def test_a_csv_file_and_its_table_load_alike(folder):
    path, table = folder
    by_csv, by_frame = load_scans(path / "scans.csv", path), load_scans(table, path)
    assert_array_equal(by_csv.images, by_frame.images)
    assert by_csv.patient.tolist() == ["007", "007", "a", "b", "c", "d"]
    assert_array_equal(by_csv.tbs, table.tbs)
    assert by_csv.frame["age"].tolist() == table["age"].tolist()


def test_the_table_passed_is_not_changed(folder):
    path, table = folder
    before = table.copy()
    load_scans(table, path)
    pd.testing.assert_frame_equal(table, before)


def test_images_of_unequal_sizes_stay_apart_and_can_be_indexed(folder):
    path, table = folder
    Image.fromarray(np.zeros((10, 12), np.uint8)).save(path / "5.png")
    scans = load_scans(table, path)
    assert scans.images.shape == (6,)
    assert scans.images[[0, 5]][1].shape == (10, 12)
    assert LumbarCropper(20).transform(scans.images).shape == (6, 20, 20)


def test_boxes_are_read_and_travel_in_the_frame(folder):
    path, table = folder
    for i, level in enumerate(["L1", "L2", "L3", "L4"]):
        for side, value in zip(SIDES, [2 + 6 * i, 5, 7 + 6 * i, 15], strict=True):
            table[f"{level}_{side}"] = float(value)
    table.loc[3, [name for name in table if name[:1] == "L"]] = np.nan
    scans = load_scans(table, path)
    assert scans.boxes.shape == (6, 4, 4)
    assert scans.boxes[0, 1].tolist() == [8, 5, 13, 15]
    assert np.isnan(scans.boxes[3]).all()
    assert_array_equal(
        LumbarCropper(24).transform(scans.frame),
        LumbarCropper(24).transform(scans.images, boxes=scans.boxes),
    )


def test_tables_without_tbs_can_be_loaded(folder):
    path, table = folder
    scans = load_scans(table.drop(columns="tbs"), path, tbs_column=None)
    assert scans.tbs is None


def spoil(path, table):
    """Put a fault of each kind into rows 1 to 9 and return the reasons."""
    Image.open(path / "3.png").save(path / "copy.png")
    (path / "broken.png").write_bytes(b"")
    for name in ("6.png", "7.png", "8.png"):
        Image.fromarray(np.full((9, 9), int(name[0]), np.uint8)).save(path / name)
    faults = [
        ("nowhere.png", "e", 1.2, "there is no such file"),
        ("0.png", "007", 1.1, "listed in an earlier row"),
        ("copy.png", "f", 1.2, "the same pixels stand under another patient in row 3"),
        ("6.png", "g", np.nan, "no TBS"),
        ("7.png", "h", 135.0, "TBS 135 lies outside 0.5-2.0"),
        ("8.png", "i", "1,2", "TBS '1,2' is not a number"),
        ("broken.png", "j", 1.2, "is empty"),
        (None, "k", 1.2, "no file name"),
    ]
    rows = pd.DataFrame([f[:3] for f in faults], columns=["file", "patient", "tbs"])
    return pd.concat([table, rows], ignore_index=True), [f[3] for f in faults]


def test_all_bad_rows_are_reported_at_once_with_row_and_reason(folder):
    path, table = folder
    table, reasons = spoil(path, table)
    with pytest.raises(ValueError, match="9 of 14 rows") as info:
        load_scans(table, path)
    lines = str(info.value).splitlines()
    for row, reason in enumerate(reasons, start=6):
        line = next(line for line in lines if line.startswith(f"  row {row} "))
        assert reason in line
    assert any(line.startswith("  row 3 ") and "row 8" in line for line in lines)


def test_bad_rows_can_be_left_out_with_a_warning(folder):
    path, table = folder
    table, _ = spoil(path, table)
    with pytest.warns(UserWarning, match="9 of 14 rows"):
        scans = load_scans(table, path, on_bad_rows="warn")
    assert [path.rsplit("/")[-1] for path in scans.paths] == [
        "0.png",
        "1.png",
        "2.png",
        "4.png",
        "5.png",
    ]
    assert len(scans.images) == len(scans.tbs) == len(scans.frame) == 5


def test_errors_never_name_a_patient(folder):
    path, table = folder
    table["patient"] = [f"SECRET{i}" for i in range(6)]
    table.loc[1, "tbs"] = np.nan
    table.loc[2, "file"] = "3.png"
    with pytest.raises(ValueError, match="rows of table") as info:
        load_scans(table, path)
    assert "SECRET" not in str(info.value)


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([1, 2, np.nan, 4], "a box is incomplete"),
        ([9, 2, 3, 4], "a box ends before it begins"),
        ([1, 2, 3, 21], "a box reaches beyond its scan"),
    ],
)
def test_boxes_without_meaning_are_bad_rows(folder, box, reason):
    path, table = folder
    for level in ["L1", "L2", "L3", "L4"]:
        table[[f"{level}_{side}" for side in SIDES]] = [1.0, 2.0, 3.0, 4.0]
    table.loc[2, [f"L3_{side}" for side in SIDES]] = box
    with pytest.raises(ValueError, match=rf"row 2 \(2.png\): {reason}"):
        load_scans(table, path)


def test_a_missing_column_is_named_beside_those_there_are(folder):
    path, table = folder
    with pytest.raises(ValueError, match="no column 'tbs'; it has 'file', 'patient'"):
        load_scans(table.rename(columns={"tbs": "TBS L1-L4"}), path)


def test_threads_change_nothing(folder):
    path, table = folder
    one, two = load_scans(table, path), load_scans(table, path, n_jobs=2)
    assert_array_equal(one.images, two.images)


def test_real_scans_load_with_their_boxes():
    scans = load_real_scans()
    assert all(image.ndim == 2 for image in scans.images)
    assert len(scans.images) == 94
    assert (~np.isnan(scans.boxes).any(axis=(1, 2))).sum() == 80
