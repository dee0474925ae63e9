import re

import numpy as np
import pandas as pd
import pytest
from conftest import load_real_scans
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, StratifiedGroupKFold
from test_dicom import write_dicom

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
    with pytest.warns(
        UserWarning, match=r"1 of 6 scans have no boxes .* row\(s\) 3 of"
    ):
        scans = load_scans(table, path)
    assert scans.boxes.shape == (6, 4, 4)
    assert scans.boxes[0, 1].tolist() == [8, 5, 13, 15]
    assert np.isnan(scans.boxes[3]).all()
    known = np.arange(6) != 3
    assert_array_equal(
        LumbarCropper(24).transform(scans.frame[known]),
        LumbarCropper(24).transform(scans.images[known], boxes=scans.boxes[known]),
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


def test_a_missing_column_is_named_beside_those_that_may_be_meant(folder):
    path, table = folder
    theirs = {"file": "Filename", "patient": "Patient ID", "tbs": "TBS L1-L4"}
    message = (
        r"no column 'file' \(file_column\), .*; it has 'Filename', .* Do you mean "
        "file_column='Filename', patient_column='Patient ID', tbs_column='TBS L1-L4'"
    )
    with pytest.raises(ValueError, match=message):
        load_scans(table.rename(columns=theirs), path)


def test_a_header_is_known_by_any_of_its_names(folder):
    path, table = folder
    theirs = {"file": "a", "patient": "b", "tbs": "c", "age": "d"}
    table = table.rename(columns=theirs)
    with pytest.raises(ValueError, match="names are not shown"):
        load_scans(table, path)
    with pytest.raises(ValueError, match="it has 'a', 'b', 'c', 'd', 'L1 Top'"):
        load_scans(table.assign(**{"L1 Top": 3, "BMI": 25}), path)


def test_case_and_blanks_in_names_of_columns_do_not_matter(folder):
    path, table = folder
    theirs = {"file": "FILE", "patient": " Patient", "tbs": "TBS"}
    table.rename(columns=theirs).to_csv(path / "theirs.csv", index=False)
    scans = load_scans(path / "theirs.csv", path)
    assert scans.tbs.tolist() == table["tbs"].tolist()
    assert scans.patient.tolist() == table["patient"].tolist()


def test_of_two_names_that_differ_by_case_none_is_guessed(folder):
    path, table = folder
    table = table.rename(columns={"tbs": "TBS"}).assign(Tbs=1.3)
    with pytest.raises(ValueError, match="Do you mean tbs_column='TBS', tbs_column='T"):
        load_scans(table, path)


def test_rows_of_a_file_have_the_numbers_of_a_spreadsheet(folder):
    path, table = folder
    table.loc[1, "tbs"] = 9
    lines = table.to_csv(index=False).splitlines()
    lines.insert(1, "")
    (path / "bad.csv").write_text("\n".join(["", *lines, ",,"]))
    # An empty line, the header, an empty line, and row 0.
    with pytest.raises(ValueError, match=r"1 of 6 rows .*\n  row 5 \(1.png\): TBS 9"):
        load_scans(path / "bad.csv", path)


@pytest.mark.parametrize("separator", [",", ";"])
@pytest.mark.parametrize("title", ["Spine study\n\n", "Spine study,,\n"])
def test_a_title_above_the_header_is_told(folder, title, separator):
    path, table = folder
    text = title.replace(",", separator) + table.to_csv(index=False, sep=separator)
    (path / "titled.csv").write_text(text)
    with pytest.raises(ValueError, match="such as a title: the names are in row"):
        load_scans(path / "titled.csv", path)


@pytest.mark.parametrize("title", ["Patient,Garcia", "Patient,Garcia,,", "a,b,c,d,e,f"])
def test_a_title_of_several_entries_is_not_taken_for_a_header(folder, title):
    path, table = folder
    (path / "titled.csv").write_text(f"{title}\n{table.to_csv(index=False)}")
    with pytest.raises(ValueError, match=r"the names are in row 2\. Delete") as info:
        load_scans(path / "titled.csv", path)
    assert "Garcia" not in str(info.value)


def test_entries_that_are_words_of_headers_are_no_header(folder):
    path, table = folder
    theirs = {"file": "Datei", "patient": "Nummer", "tbs": "Wert", "age": "Rolle"}
    table.rename(columns=theirs).assign(Rolle="patient").to_csv(path / "t.csv")
    names = {"file_column": "Datei", "patient_column": "Nummer", "tbs_column": "Wert"}
    assert load_scans(path / "t.csv", path, **names).tbs.tolist() == [*table["tbs"]]


def test_empty_lines_leave_whole_numbers_whole(folder):
    path, table = folder
    table["accession"] = 90071992547409931 + np.arange(6)
    lines = table.to_csv(index=False).splitlines()
    (path / "gaps.csv").write_text("\n".join([*lines[:3], "", *lines[3:], "", ""]))
    frame = load_scans(path / "gaps.csv", path).frame
    assert frame["accession"].tolist() == table["accession"].tolist()


def test_a_line_of_quotation_marks_is_no_row(folder):
    path, table = folder
    header, *lines = table.to_csv(index=False).splitlines()
    (path / "t.csv").write_text("\n".join([header, *lines[:2], '""', *lines[2:]]))
    assert load_scans(path / "t.csv", path).tbs.tolist() == table["tbs"].tolist()


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize("decimal", [".", ","])
def test_numbers_are_numbers_whatever_separates_them(folder, separator, decimal):
    path, table = folder
    table["bmi"] = [22.5, 23.25, np.nan, 25.0, 26.5, 27.75]
    table.to_csv(path / "t.csv", index=False, sep=separator, decimal=decimal)
    frame = load_scans(path / "t.csv", path).frame
    np.testing.assert_array_equal(frame["bmi"], table["bmi"])
    assert frame["bmi"].dtype == float


def test_a_folder_that_is_not_there_is_told_once(folder):
    path, table = folder
    with pytest.raises(FileNotFoundError, match=r"Expected image_dir .*imagse', where"):
        load_scans(table, path / "imagse")


def test_a_folder_without_any_of_the_files_is_told_once(folder):
    path, table = folder
    (path / "empty").mkdir()
    with pytest.raises(
        FileNotFoundError, match=r"none of the 6 files\. The first, 0\.png, is"
    ):
        load_scans(table, path / "empty")


@pytest.mark.parametrize("theirs", ["C:\\Studie\\", "/mnt/scans/", "scans/"])
def test_folders_in_file_names_are_told(folder, theirs):
    path, table = folder
    table["file"] = theirs + table["file"]
    with pytest.raises(FileNotFoundError, match="without the folder that the table na"):
        load_scans(table, path)


def test_a_suffix_that_file_names_lack_is_told(folder):
    path, table = folder
    table["file"] = table["file"].str.removesuffix(".png")
    with pytest.raises(FileNotFoundError, match=r"is not there, but 0\.png"):
        load_scans(table, path)


def test_threads_change_nothing(folder):
    path, table = folder
    one, two = load_scans(table, path), load_scans(table, path, n_jobs=2)
    assert_array_equal(one.images, two.images)


def test_real_scans_load_with_their_boxes():
    scans = load_real_scans()
    assert all(image.ndim == 2 for image in scans.images)
    assert len(scans.images) == 94
    assert (~np.isnan(scans.boxes).any(axis=(1, 2))).sum() == 80


# --- Tables as programs write them -------------------------------------------


BOXES = [f"{level}_{side}" for level in ("L1", "L2", "L3", "L4") for side in SIDES]


def with_boxes(table, names=BOXES, values=(2, 5, 17, 15)):
    table = table.copy()
    for name, value in zip(names, values * (len(names) // 4), strict=True):
        table[name] = value
    return table


@pytest.mark.parametrize(
    ("encoding", "separator"),
    [
        ("utf-8", ","),
        ("utf-8-sig", ","),
        ("utf-8-sig", ";"),
        ("cp1252", ";"),
        ("utf-16", "\t"),
        ("utf-16-le", ";"),
        ("utf-8", "|"),
    ],
)
def test_a_table_is_read_whatever_its_encoding_and_separator(
    folder, encoding, separator
):
    path, table = folder
    table["patient"] = ["007", "007", "Zoë", "b", "c", "d"]
    table.to_csv(path / "t.csv", sep=separator, encoding=encoding, index=False)
    scans = load_scans(path / "t.csv", path)
    assert scans.patient.tolist() == table["patient"].tolist()
    assert_array_equal(scans.tbs, table["tbs"])


def test_excels_first_line_and_decimal_commas_are_read(folder):
    path, table = folder
    table = with_boxes(table, values=(2.5, 5.0, 17.5, 15.0))
    text = table.to_csv(sep=";", decimal=",", index=False)
    (path / "t.csv").write_text("sep=;\n" + text)
    scans = load_scans(path / "t.csv", path)
    assert_array_equal(scans.tbs, table["tbs"])
    assert scans.boxes[0, 0].tolist() == [2.5, 5, 17.5, 15]


@pytest.mark.parametrize("column", ["L1_top", "tbs", "row_spacing"])
def test_a_decimal_comma_among_points_is_refused_by_row(folder, column):
    path, table = folder
    table = with_boxes(table).astype({"L1_top": object, "tbs": object})
    table["row_spacing"] = table["column_spacing"] = [0.6] * 6
    table[column] = table[column].astype(object)
    table.loc[2, column] = "3,5"
    reason = r"row 2 \(2.png\): .*'3,5' is not a number \(expected 3.5, with a point\)"
    with pytest.raises(ValueError, match=reason):
        load_scans(table, path)


def test_unquoted_decimal_commas_do_not_shift_columns(folder):
    path, _ = folder
    (path / "t.csv").write_text("file,patient,tbs\n0.png,a,1,25\n")
    with pytest.raises(ValueError, match=r"Expected 3 entries in row 2 .* got 4"):
        load_scans(path / "t.csv", path)


def test_a_workbook_is_refused_with_what_to_save(folder):
    path, _ = folder
    (path / "t.xlsx").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(ValueError, match=r"t.xlsx .* Excel workbook.*CSV UTF-8"):
        load_scans(path / "t.xlsx", path)


def test_a_column_that_is_there_twice_is_named(folder):
    path, table = folder
    (path / "t.csv").write_text("file,patient,tbs,tbs\n0.png,a,1.2,1.3\n")
    with pytest.raises(ValueError, match=r"each column once, .* columns 2, 3 "):
        load_scans(path / "t.csv", path)
    table = pd.concat([table, table[["tbs"]]], axis=1)
    with pytest.raises(ValueError, match=r"each column once, .* columns 2, 4 "):
        load_scans(table, path)


@pytest.mark.parametrize("as_file", [True, False])
def test_a_table_without_rows_is_called_so(folder, as_file):
    path, table = folder
    table[:0].to_csv(path / "t.csv", index=False)
    with pytest.raises(ValueError, match=r"a row for each scan, got no rows"):
        load_scans(path / "t.csv" if as_file else table[:0], path)


class OtherTable:
    """Stands in for a table of polars."""

    def __init__(self, frame):
        self._frame, self.columns = frame, frame.columns.tolist()

    def __getitem__(self, name):
        return self._frame[name]


def test_another_librarys_table_loads_alike(folder):
    path, table = folder
    scans = load_scans(OtherTable(table), path)
    assert_array_equal(scans.images, load_scans(table, path).images)


def test_a_column_called_image_is_not_overwritten(folder):
    path, table = folder
    with pytest.raises(ValueError, match=r"no column 'image'.*Rename yours"):
        load_scans(table.assign(image="pelvis"), path)


def test_files_may_be_named_in_a_column_called_image(folder):
    path, table = folder
    scans = load_scans(
        table.rename(columns={"file": "image"}), path, file_column="image"
    )
    assert_array_equal(scans.frame["image"][3], scans.images[3])


# --- Patients ----------------------------------------------------------------


def test_ids_of_numbers_and_text_are_patients_of_one_kind(folder):
    path, table = folder
    table["patient"] = pd.Series([1, 1.0, "A3", "A3 ", " A3", "1"], dtype=object)
    scans = load_scans(table, path)
    assert scans.patient.tolist() == ["1", "1", "A3", "A3", "A3", "1"]
    assert scans.frame["patient"].tolist() == scans.patient.tolist()
    for splitter in (GroupKFold(2), StratifiedGroupKFold(2), GroupShuffleSplit(2)):
        for train, test in splitter.split(scans.images, [0, 1] * 3, scans.patient):
            assert not set(scans.patient[train]) & set(scans.patient[test])


def test_blanks_alone_are_no_patient(folder):
    path, table = folder
    table.loc[4, "patient"] = "  "
    with pytest.raises(ValueError, match=r"row 4 \(4.png\): no patient"):
        load_scans(table, path)


def test_ids_that_differ_by_case_are_reported_by_row_and_not_named(folder):
    path, table = folder
    table["patient"] = ["xq1", "a", "XQ1", "b", "c", "d"]
    with pytest.warns(UserWarning, match=r"by case,.* in rows 0 and 2\.") as record:
        scans = load_scans(table, path)
    assert len(set(scans.patient)) == 6
    assert "xq1" not in str(record[0].message).lower()


def test_one_patient_spelt_with_a_blank_may_have_one_image_twice(folder):
    path, table = folder
    Image.open(path / "2.png").save(path / "3.png")
    table["patient"] = ["a", "b", "c", "c ", "d", "e"]
    assert load_scans(table, path).patient[3] == "c"


# --- Files -------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["./0.png", "sub/../0.png", " 0.png"])
def test_other_spellings_of_a_file_are_the_same_file(folder, spelling):
    path, table = folder
    table.loc[1, "file"] = spelling
    table.loc[1, "tbs"] = table.loc[0, "tbs"]
    with pytest.raises(ValueError, match=r"row 1 .* listed in an earlier row"):
        load_scans(table, path)


@pytest.mark.parametrize("on_bad_rows", ["error", "warn"])
def test_rows_for_vertebrae_are_refused_whatever_is_done_with_bad_rows(
    folder, on_bad_rows
):
    path, table = folder
    table.loc[1, "file"] = "./0.png"  # of the same patient, with another TBS
    with pytest.raises(ValueError, match=r"rows 0 and 1 .*1.1 and 1.12.*aggregate"):
        load_scans(table, path, on_bad_rows=on_bad_rows)


def test_a_file_under_two_patients_is_left_out_in_both_rows(folder):
    path, table = folder
    table.loc[3, "file"] = "2.png"
    with pytest.warns(UserWarning, match="2 of 6 rows"):
        scans = load_scans(table, path, on_bad_rows="warn")
    assert scans.frame["file"].tolist() == ["0.png", "1.png", "4.png", "5.png"]


# --- Boxes -------------------------------------------------------------------


@pytest.mark.parametrize(
    "spell", [str.lower, str.title, str.upper, lambda name: name.replace("_", " ")]
)
def test_names_of_box_columns_may_be_spelt_otherwise(folder, spell):
    path, table = folder
    expected = load_scans(with_boxes(table), path)
    scans = load_scans(with_boxes(table, [spell(name) for name in BOXES]), path)
    assert_array_equal(scans.boxes, expected.boxes)
    crops = [LumbarCropper(16).transform(x.frame) for x in (scans, expected)]
    assert_array_equal(*crops)


def test_levels_without_columns_are_not_known(folder):
    path, table = folder
    table = with_boxes(table, [name for name in BOXES if name[:2] in ("L1", "L4")])
    scans = load_scans(table, path)
    assert np.isnan(scans.boxes[:, 1:3]).all()
    assert scans.boxes[0, 3].tolist() == [2, 5, 17, 15]
    assert_array_equal(
        LumbarCropper(16).transform(scans.frame),
        LumbarCropper(16).transform(scans.images, boxes=scans.boxes),
    )


def test_one_box_of_the_whole_is_read_and_checked(folder):
    path, table = folder
    scans = load_scans(with_boxes(table, SIDES), path)
    assert scans.boxes.shape == (6, 1, 4)
    with pytest.raises(ValueError, match="a box reaches beyond its scan"):
        load_scans(with_boxes(table, SIDES, (2, 5, 31, 15)), path)


def test_a_level_that_lacks_a_side_is_refused_by_name(folder):
    path, table = folder
    table = with_boxes(table).drop(columns="L2_right")
    with pytest.raises(ValueError, match=r"L2_right, got only L2_top, L2_left, L2_b"):
        load_scans(table, path)


def test_columns_that_look_like_boxes_of_another_program_are_reported(folder):
    path, table = folder
    table[["L1_xmin", "top_L2", "L1_bmd"]] = 5.0
    with pytest.warns(UserWarning, match=r"'L1_xmin', 'top_L2' look like boxes"):
        assert load_scans(table, path).boxes is None


# --- Pixel sizes and regions -------------------------------------------------


def dicom_folder(path, **elements):
    """Write DICOM scans, one for each value of the elements, and their table."""
    rng = np.random.default_rng(0)
    n = len(next(iter(elements.values())))
    for i in range(n):
        write_dicom(
            path / f"{i}.dcm",
            rng.integers(0, 256, (16, 16)).astype(np.uint8),
            **{name: values[i] for name, values in elements.items()},
        )
    return pd.DataFrame(
        {"file": [f"{i}.dcm" for i in range(n)], "patient": range(n), "tbs": 1.25}
    )


def test_pixel_sizes_of_files_come_with_the_scans(tmp_path):
    table = dicom_folder(tmp_path, PixelSpacing=[[0.6, 0.59], [0.6, 0.59]])
    scans = load_scans(table, tmp_path)
    assert_array_equal(scans.spacing, [[0.6, 0.59]] * 2)
    assert_array_equal(scans.frame[["row_spacing", "column_spacing"]], scans.spacing)


def test_pixel_sizes_that_nobody_tells_are_not_known(folder):
    path, table = folder
    assert np.isnan(load_scans(table, path).spacing).all()


def test_pixel_sizes_of_the_table_go_before_those_of_files(tmp_path):
    table = dicom_folder(tmp_path, PixelSpacing=[[0.6, 0.6], [0.6, 0.6]])
    table["row_spacing"], table["column_spacing"] = [[0.61, np.nan]] * 2
    table["column_spacing"] = [0.61, np.nan]
    assert_array_equal(load_scans(table, tmp_path).spacing, [[0.61, 0.61], [0.6, 0.6]])


def test_pixel_sizes_that_cannot_be_are_taken_as_not_known(folder):
    path, table = folder
    table["row_spacing"] = [600.0, 0.06, 0.3, 0.6, 0.2, 1.1]
    table["column_spacing"] = [600.0, 0.06, 0.7, 0.6, 0.2, 1.1]
    message = (
        r"0\.2 to 1\.1 mm.* got 0\.06 to 600 mm in 3 of 6 rows of table, 0, 1, 2\."
    )
    with (
        pytest.warns(UserWarning, match=message),
        pytest.warns(UserWarning, match="pixels of different sizes"),
    ):
        scans = load_scans(table, path)
    assert np.isnan(scans.spacing[:3]).all()
    assert scans.spacing[3:, 0].tolist() == [0.6, 0.2, 1.1]


def test_a_size_of_the_table_that_cannot_be_does_not_give_way_to_that_of_the_file(
    tmp_path,
):
    table = dicom_folder(tmp_path, PixelSpacing=[[0.6, 0.6], [0.6, 0.6]])
    with pytest.warns(UserWarning, match="1 of 2 rows"):
        scans = load_scans(table.assign(spacing=[0.025, 0.6]), tmp_path)
    assert_array_equal(scans.spacing, [[np.nan, np.nan], [0.6, 0.6]])


@pytest.mark.parametrize("name", ["spacing", "Pixel_Spacing", "pixel size (mm)"])
def test_one_column_may_hold_the_size_of_square_pixels(folder, name):
    path, table = folder
    scans = load_scans(table.assign(**{name: "0.6"}), path)
    assert_array_equal(scans.spacing, [[0.6, 0.6]] * 6)
    assert name not in scans.frame
    assert_array_equal(scans.frame[["row_spacing", "column_spacing"]], scans.spacing)
    with pytest.raises(ValueError, match=f"{re.escape(name)} is not a number"):
        load_scans(table.assign(**{name: "x"}), path)


def test_loaded_scans_of_two_scanners_are_cropped_at_one_size(tmp_path):
    table = dicom_folder(tmp_path, PixelSpacing=[[0.6, 0.6], [0.3, 0.3]])
    with pytest.warns(UserWarning, match=r"LumbarCropper\(spacing="):
        scans = load_scans(table, tmp_path)
    crops = LumbarCropper(8, spacing=0.6).transform(scans.frame)
    assert_array_equal(crops[0], scans.images[0][4:12, 4:12])
    pairs = scans.images[1].astype(float).reshape(8, 2, 8, 2)
    box = LumbarCropper(8, spacing=0.6, resample="box").transform(scans.frame[1:])
    assert_allclose(box[0], pairs.mean(axis=(1, 3)), atol=1)


def test_mixed_pixel_sizes_are_reported_by_row(tmp_path):
    sizes = [[0.6, 0.6], [0.25, 0.25], [0.61, 0.6]]
    table = dicom_folder(tmp_path, PixelSpacing=sizes)
    with pytest.warns(UserWarning, match=r"0\.25 x 0\.25 mm in row\(s\) 1;"):
        load_scans(table, tmp_path)


def test_other_regions_are_reported_by_row(tmp_path):
    names = ["AP Spine", "AP Spine", "Left Femur", "Total Body", ""]
    table = dicom_folder(tmp_path, ProtocolName=names)
    with (
        pytest.warns(UserWarning, match=r"row\(s\) 2 of table .* region .*\(femur\)"),
        pytest.warns(UserWarning, match=r"row\(s\) 3 of .* region .*\(total_body\)"),
    ):
        load_scans(table, tmp_path)


@pytest.mark.parametrize(("fill", "got"), [(300, "300"), (0.5, "0.5")])
def test_a_grey_level_that_scans_cannot_hold_is_not_painted(folder, fill, got):
    path, table = folder
    with pytest.raises(ValueError, match=rf"Expected fill_unscanned .* got {got}"):
        load_scans(table, path, fill_unscanned=fill)


def test_tbs_in_single_precision_is_that_which_is_printed(tmp_path):
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(
        tmp_path / "0.png"
    )
    table = pd.DataFrame(
        {"file": ["0.png"], "patient": ["a"], "tbs": np.float32([1.35])}
    )
    assert load_scans(table, tmp_path).tbs.tolist() == [1.35]


def test_swapped_arguments_are_told(tmp_path):
    with pytest.raises(ValueError, match=r"is a folder, .* The table comes first"):
        load_scans(tmp_path, tmp_path / "scans.csv")


def test_blanks_around_a_header_leave_ids_their_zeros(folder):
    path, table = folder
    text = table.to_csv(index=False).replace("file,patient,tbs", "file , patient ,tbs")
    (path / "padded.csv").write_text(text)
    patients = load_scans(path / "padded.csv", path).patient
    assert patients.tolist() == table["patient"].tolist()


def test_one_entry_that_is_no_number_leaves_other_decimal_commas_readable(folder):
    path, table = folder
    table = table.assign(tbs=["k.A.", "1,12", "1,3", "1,4", "1.25", "1,36"])
    table.to_csv(path / "semicolons.csv", sep=";", index=False)
    with pytest.warns(UserWarning, match="1 of 6 rows"):
        scans = load_scans(path / "semicolons.csv", path, on_bad_rows="warn")
    assert scans.tbs.tolist() == [1.12, 1.3, 1.4, 1.25, 1.36]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text + "\n,,,\n,,,\n",
        lambda text: "\n\n" + text,
        lambda text: text.replace("\n", "\r"),
        lambda text: '"sep=,"\n' + text,
        lambda text: text.replace("file", '"file"', 1).replace("age", '"a;b;c;d;e"'),
    ],
    ids=["rows below", "lines above", "old Mac", "quoted sep", "quoted header"],
)
def test_what_spreadsheets_put_around_a_table_is_no_row(folder, spoil):
    path, table = folder
    (path / "export.csv").write_bytes(spoil(table.to_csv(index=False)).encode())
    scans = load_scans(path / "export.csv", path)
    assert_array_equal(scans.tbs, table["tbs"])


def test_an_empty_file_is_said_to_lack_column_names(folder):
    path, _ = folder
    (path / "empty.csv").write_text("\n\n")
    with pytest.raises(ValueError, match="to name the columns, got an empty"):
        load_scans(path / "empty.csv", path)


def test_folders_may_be_written_as_on_windows(folder):
    path, table = folder
    (path / "visit 1").mkdir()
    (path / "0.png").rename(path / "visit 1" / "0.png")
    files = ["visit 1\\0.png", *table["file"][1:]]
    assert len(load_scans(table.assign(file=files), path).images) == 6


def test_names_of_pixel_size_columns_may_be_spelt_otherwise(folder):
    path, table = folder
    table["Row Spacing"], table["COLUMN_SPACING"] = 0.6, 0.5
    assert load_scans(table, path).spacing.tolist() == [[0.6, 0.5]] * 6
    with pytest.raises(ValueError, match="one column 'row_spacing', got 2"):
        load_scans(table.assign(row_spacing=0.6), path)


def test_half_a_pixel_size_is_a_bad_row(folder):
    path, table = folder
    table["row_spacing"], table["column_spacing"] = 0.6, [np.nan, *[0.6] * 5]
    with pytest.raises(ValueError, match="one of row_spacing and column_spac"):
        load_scans(table, path)


def test_characters_without_width_make_no_other_patient(folder):
    path, table = folder
    table["patient"] = ["\ufeffA1", "A1\u200b", "A1", "b", "c", "d"]
    assert load_scans(table, path).patient[:3].tolist() == ["A1"] * 3


def test_a_file_whose_name_differs_in_case_is_named(tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.PNG")
    table = pd.DataFrame({"file": ["a.png"], "patient": ["p"], "tbs": [1.2]})
    table.to_csv(tmp_path / "scans.csv", index=False)
    with pytest.raises(ValueError, match=r"no such file, but a\.PNG \(upper and lower"):
        load_scans(tmp_path / "scans.csv", tmp_path)


def test_scans_that_are_only_predicted_need_no_patients(folder):
    path, table = folder
    table = table.drop(columns=["patient", "tbs"])
    scans = load_scans(table, path, patient_column=None, tbs_column=None)
    assert scans.patient is None
    assert len(scans.frame) == 6


@pytest.mark.parametrize(
    ("one", "other"),
    [("Pat-011", "pat 11"), ("Pat_011", "Pat011"), ("011", "11"), ("A.1", "a1")],
)
def test_spellings_of_one_patient_are_warned_of(folder, one, other):
    path, table = folder
    table["patient"] = [one, "b", other, "c", "d", "e"]
    with pytest.warns(UserWarning, match=r"different patients, in rows 0 and 2\."):
        load_scans(table, path)


def test_other_patients_are_no_spellings(folder):
    path, table = folder
    table["patient"] = ["1-11", "11-1", "111", "1111", "0", "-"]
    assert len(set(load_scans(table, path).patient)) == 6


def test_boxes_whose_vertebrae_are_not_below_each_other_are_refused(folder):
    path, table = folder
    for i, level in enumerate(["L1", "L2", "L3", "L4"]):
        sides = zip(SIDES, [5, 2 + 3 * i, 15, 5 + 3 * i], strict=True)
        table = table.assign(**{f"{level}_{side}": one for side, one in sides})
    with pytest.raises(ValueError, match=r"row 0 .*\(are top and left swapped"):
        load_scans(table, path)


def test_text_among_ages_is_told_when_the_table_is_read(folder):
    path, table = folder
    table["age"] = table["age"].astype(object)
    table.loc[2, "age"] = "Garcia"
    with pytest.warns(UserWarning, match=r"age is not a number in row\(s\) 2") as told:
        load_scans(table, path)
    assert "Garcia" not in str(told[0].message)
