import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pydicom
import pytest
from conftest import shared
from identity import identified_dicom, nothing_told
from numpy.testing import assert_array_equal
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from tbsclassify.dicom_out import write_report, write_results, write_segmentation
from tbsclassify.images import UnreadableScanError

pytest.importorskip("highdicom")

FINGERPRINT = "0123456789abcdef" * 4
SHAPE = (120, 90)
BOXES = np.array([[10.0 + 25 * i, 20, 32 + 25 * i, 70] for i in range(4)])
SOURCES = {
    "computed radiography": ComputedRadiographyImageStorage,
    "secondary capture": SecondaryCaptureImageStorage,
    "digital x-ray": DigitalXRayImageStorageForPresentation,
    "private": "1.2.840.113619.4.99",
}
SIDES = ("top", "left", "bottom", "right")
COLUMNS = [f"L{i}_{side}" for i in range(1, 5) for side in SIDES]
IDENTITY = ("Garcia", "Maria", "PAT-4711", "19480229", "Dr. Moreno")


@pydicom.config.disable_value_validation()
def write_source(path, *, syntax=ExplicitVRLittleEndian, without=(), **elements):
    """Write a DICOM scan with a patient in it, and values that DICOM may forbid."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(dataset, name, generate_uid(entropy_srcs=[name]))
    dataset.PatientName = "Garcia^Maria"
    dataset.PatientID = "PAT-4711"
    dataset.PatientBirthDate = "19480229"
    dataset.PatientSex = "F"
    dataset.PatientAge = "076Y"
    dataset.PatientComments = "afraid of dogs"
    dataset.StudyDate, dataset.StudyTime = "20240102", "101500"
    dataset.StudyID, dataset.AccessionNumber = "S1", "A1"
    dataset.ReferringPhysicianName = "Dr. Moreno^"
    dataset.Modality = "CR"
    dataset.Rows, dataset.Columns = SHAPE
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = bytes(SHAPE[0] * SHAPE[1])
    for name, value in elements.items():
        setattr(dataset, name, value)
    for name in without:
        delattr(dataset, name)
    dataset.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def source(tmp_path):
    return write_source(tmp_path / "scan.dcm")


def report_of(source, path=None, **arguments):
    """Write a report and read it again."""
    path = path or source.with_name("report.dcm")
    prediction = {
        "classes": ["normal", "degraded"],
        "probabilities": [0.25, 0.75],
        "tbs": 1.137,
        "tbs_std": 0.061,
    }
    write_report(source, path, fingerprint=FINGERPRINT, **prediction | arguments)
    return pydicom.dcmread(path)


def segmentation_of(source, boxes=BOXES, **arguments):
    """Write a segmentation and read it again."""
    path = source.with_name("segmentation.dcm")
    write_segmentation(source, path, boxes, **arguments)
    return pydicom.dcmread(path)


def contents(dataset):
    """Return all items of a content tree as (name, value) pairs."""
    found = []
    for item in dataset.get("ContentSequence", ()):
        name = item.ConceptNameCodeSequence[0].CodeMeaning
        if item.ValueType == "NUM":
            found.append((name, float(item.MeasuredValueSequence[0].NumericValue)))
        elif item.ValueType == "CODE":
            found.append((name, item.ConceptCodeSequence[0].CodeMeaning))
        elif item.ValueType == "TEXT":
            found.append((name, item.TextValue))
        found += contents(item)
    return found


def told(error):
    """Return what an error and those behind it say."""
    chain = [error, error.__cause__]
    return str(chain + ([] if error.__suppress_context__ else [error.__context__]))


def test_a_report_holds_the_prediction_and_calls_it_one(source):
    found = dict(contents(report_of(source)))
    assert found["Predicted class of trabecular bone"] == "degraded"
    assert found["Probability of normal"] == 0.25
    assert found["Probability of degraded"] == 0.75
    assert found["Predicted trabecular bone score"] == 1.137
    assert found["Standard deviation of predicted TBS"] == 0.061


def test_a_report_names_model_and_version_and_says_research_use(source):
    found = contents(report_of(source, model_name="TBSPretrainedClassifier"))
    version = pydicom.dcmread(source.with_name("report.dcm")).SoftwareVersions
    assert ("Algorithm Name", "tbsclassify") in found
    assert ("Algorithm Version", version) in found
    assert ("Algorithm Parameters", f"sha256 of the model: {FINGERPRINT}") in found
    assert ("Algorithm Parameters", "model: TBSPretrainedClassifier") in found
    assert "Research use only" in dict(found)["Comment"]


def test_the_class_is_the_one_that_the_model_predicts(source):
    # With thresholds, it is not the most probable.
    found = dict(contents(report_of(source, label="normal")))
    assert found["Predicted class of trabecular bone"] == "normal"


def test_a_regressor_has_a_report_without_class(source):
    names = {
        name
        for name, _ in contents(
            report_of(source, classes=None, probabilities=None, tbs_std=None)
        )
    }
    assert "Predicted trabecular bone score" in names
    assert not {name for name in names if "class" in name or "Probability" in name}


def test_highdicom_reads_a_report_as_template_1500(source):
    from highdicom.sr import srread

    report_of(source)
    report = srread(source.with_name("report.dcm"))
    [group] = report.content.get_image_measurement_groups()
    assert len(group.get_measurements()) == 4
    [image] = group.source_images
    assert image.referenced_sop_instance_uid == pydicom.dcmread(source).SOPInstanceUID


@pytest.mark.parametrize("make", [report_of, segmentation_of])
def test_the_source_is_referred_to_in_its_study(source, make):
    scan, made = pydicom.dcmread(source), make(source)
    if make is report_of:
        [study] = made.CurrentRequestedProcedureEvidenceSequence
        assert study.StudyInstanceUID == scan.StudyInstanceUID
        [series] = study.ReferencedSeriesSequence
        [image] = series.ReferencedSOPSequence
    else:
        [series] = made.ReferencedSeriesSequence
        [image] = series.ReferencedInstanceSequence
    assert made.StudyInstanceUID == scan.StudyInstanceUID
    assert made.SeriesInstanceUID != scan.SeriesInstanceUID
    assert series.SeriesInstanceUID == scan.SeriesInstanceUID
    assert image.ReferencedSOPInstanceUID == scan.SOPInstanceUID
    assert image.ReferencedSOPClassUID == scan.SOPClassUID


@pytest.mark.parametrize("make", [report_of, segmentation_of])
@pytest.mark.parametrize(
    ("syntax", "name", "character_set"),
    [
        (DeflatedExplicitVRLittleEndian, "García^María", "ISO_IR 100"),
        (ImplicitVRLittleEndian, "山田^太郎", "ISO_IR 192"),
        (ExplicitVRBigEndian, "Garcia^Maria", "ISO_IR 6"),
    ],
)
def test_the_patient_is_that_of_the_source(tmp_path, make, syntax, name, character_set):
    path = write_source(
        tmp_path / "a.dcm",
        syntax=syntax,
        PatientName=name,
        SpecificCharacterSet=character_set,
    )
    scan, made = pydicom.dcmread(path), make(path)
    assert made.PatientName == name
    for element in ("PatientID", "PatientBirthDate", "PatientSex", "StudyDate"):
        assert made[element].value == scan[element].value
    assert made.AccessionNumber == "A1"


@pytest.mark.parametrize("make", [report_of, segmentation_of])
def test_what_files_no_result_stays_behind(source, make):
    made = make(source)
    assert "PatientAge" not in made
    assert (
        b"afraid"
        not in source.with_name(
            "report.dcm" if make is report_of else "segmentation.dcm"
        ).read_bytes()
    )


def test_segments_are_the_pixels_of_the_boxes(source):
    boxes = BOXES.copy()
    boxes[0] = [10.4, 20.6, 31.5, 70.4]
    made = segmentation_of(source, boxes)
    expected = np.zeros((4, *SHAPE), dtype=np.uint8)
    expected[0, 10:31, 21:70] = 1
    for k in (1, 2, 3):
        top, left, bottom, right = BOXES[k].astype(int)
        expected[k, top:bottom, left:right] = 1
    assert_array_equal(made.pixel_array, expected)


def test_segments_are_coded_as_vertebrae(source):
    made = segmentation_of(source)
    found = [
        (one.SegmentLabel, one.SegmentedPropertyTypeCodeSequence[0].CodeValue)
        for one in made.SegmentSequence
    ]
    codes = ("66794005", "14293000", "36470004", "11994002")  # SNOMED CT
    assert found == list(zip(("L1", "L2", "L3", "L4"), codes, strict=True))


def test_a_vertebra_that_is_not_known_has_no_segment(source):
    boxes = BOXES.copy()
    boxes[[0, 2]] = np.nan
    made = segmentation_of(source, boxes)
    assert [one.SegmentLabel for one in made.SegmentSequence] == ["L2", "L4"]
    assert made.NumberOfFrames == 2


@pytest.mark.parametrize(
    ("origin", "expected"),
    [("found", "AUTOMATIC"), ("corrected", "SEMIAUTOMATIC"), ("given", "MANUAL")],
)
def test_segments_say_where_boxes_come_from(source, origin, expected):
    made = segmentation_of(source, origin=origin)
    assert {one.SegmentAlgorithmType for one in made.SegmentSequence} == {expected}


def test_the_orientation_of_the_source_is_that_of_the_segments(tmp_path):
    path = write_source(tmp_path / "a.dcm", PatientOrientation=["L", "F"])
    assert segmentation_of(path).PatientOrientation == ["L", "F"]


@pytest.mark.parametrize("make", [report_of, segmentation_of])
def test_the_same_result_has_the_same_uids_and_another_has_others(source, make):
    def uids(**arguments):
        made = make(source, **arguments)
        found = [one.value for one in made.iterall() if one.VR == "UI"]
        return made.SOPInstanceUID, found

    other = {"tbs": 1.138} if make is report_of else {"boxes": BOXES + 1}
    first, all_first = uids()
    assert uids() == (first, all_first)
    assert uids(**other)[0] != first


def test_numbers_of_any_type_make_the_same_uid(source):
    first = report_of(source, tbs=1.25, probabilities=[0.25, 0.75])
    again = report_of(
        source, tbs=np.float32(1.25), probabilities=np.array([0.25, 0.75], np.float32)
    )
    assert again.SOPInstanceUID == first.SOPInstanceUID


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dicom3tools is not installed")
class TestValidity:
    """What dciodvfy, which checks files against the standard, finds."""

    def check(self, path):
        done = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        assert "Error" not in said
        assert any(one in said for one in ("ComprehensiveSR", "Segmentation"))

    @pytest.mark.parametrize("kind", SOURCES)
    def test_results_of_each_kind_of_source_are_valid(self, tmp_path, kind):
        source = write_source(tmp_path / "a.dcm", SOPClassUID=SOURCES[kind])
        report_of(source)
        self.check(tmp_path / "report.dcm")
        segmentation_of(source)
        self.check(tmp_path / "segmentation.dcm")

    def test_results_of_a_poor_source_are_valid(self, tmp_path):
        source = write_source(
            tmp_path / "a.dcm",
            PatientBirthDate="29.02.48",
            PatientSex="female",
            StudyDate="",
            PatientIdentityRemoved="YES",
            LossyImageCompression="01",
            LossyImageCompressionRatio="10",
            without=["PatientID", "StudyTime", "SpecificCharacterSet", "StudyID"],
        )
        report_of(source, classes=None, probabilities=None, tbs_std=None)
        self.check(tmp_path / "report.dcm")
        boxes = np.full((4, 4), np.nan)
        boxes[2] = BOXES[2]
        segmentation_of(source, boxes, origin="given")
        self.check(tmp_path / "segmentation.dcm")

    @pytest.mark.parametrize(
        "name", ["ge_ap_spine", "cr_hip_rle", "rgb_secondary_capture"]
    )
    def test_results_of_real_files_are_valid(self, tmp_path, name):
        source = shared("data", "dicom", f"{name}.dcm")
        write_report(source, tmp_path / "report.dcm", fingerprint=FINGERPRINT, tbs=1.2)
        self.check(tmp_path / "report.dcm")
        write_segmentation(source, tmp_path / "segmentation.dcm", BOXES)
        self.check(tmp_path / "segmentation.dcm")


def unfit_source(path, kind):
    """Write a source that is unfit in one way; return the reason."""
    if kind == "png":
        Image.fromarray(np.zeros((9, 9), np.uint8)).save(path, format="PNG")
        return "to be a DICOM"
    if kind == "empty":
        path.write_bytes(b"")
        return "to be a DICOM"
    if kind == "text":
        path.write_text("Garcia Maria PAT-4711 " * 99)
        return "to be a DICOM"
    if kind == "frames":
        write_source(path, NumberOfFrames=2)
        return "to hold one image"
    if kind == "no image":
        write_source(path, without=["Rows"])
        return "to hold one image"
    if kind == "bomb":
        write_source(path, Rows=60000, Columns=60000)
        return "to hold one image"
    if kind == "folder":
        path.mkdir()
        return "to be a DICOM image, got what is a folder"
    if kind == "identity":
        write_source(path, StudyInstanceUID="PAT-4711")
        return "to have a valid StudyInstanceUID"
    write_source(path, without=[kind])
    return "to be a DICOM" if kind == "SOPClassUID" else f"to have a valid {kind}"


@pytest.mark.parametrize(
    "kind",
    [
        *("png", "empty", "text", "frames", "no image", "bomb", "folder", "identity"),
        *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    ],
)
def test_an_unfit_source_is_refused_without_its_patient(tmp_path, kind):
    path = tmp_path / "garcia.dcm"
    reason = unfit_source(path, kind)
    with pytest.raises(UnreadableScanError, match=f"^Expected source {reason}") as info:
        write_report(path, tmp_path / "r.dcm", fingerprint=FINGERPRINT, tbs=1.2)
    assert not any(part in told(info.value) for part in (*IDENTITY, "garcia"))
    with pytest.raises(UnreadableScanError):
        write_segmentation(path, tmp_path / "r.dcm", BOXES)
    assert not (tmp_path / "r.dcm").exists()


@pytest.mark.parametrize(
    ("odd", "n_files"),
    [
        ({}, 2),
        ({"PatientOrientation": b"Garcia\\Maria"}, 2),
        ({"LossyImageCompression": b"01"}, 2),
        ({"NumberOfFrames": b"19480229"}, 0),
        ({"SOPClassUID": b"PAT-4711"}, 0),
        ({"StudyInstanceUID": b"Garcia"}, 0),
    ],
)
@pytest.mark.parametrize("character_set", [b"ISO_IR 100", b"ISO_Garcia"])
def test_nothing_of_the_patient_is_told(
    tmp_path, capfd, caplog, odd, n_files, character_set
):
    # Identity is in all elements, of forms that they may have and may not.
    uids = {
        name: generate_uid(entropy_srcs=[name]).encode()
        for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    }
    uids["SOPClassUID"] = ComputedRadiographyImageStorage.encode()
    path = tmp_path / "scan.dcm"
    data = identified_dicom(np.zeros(SHAPE, np.uint8), **uids | odd)
    path.write_bytes(data.replace(b"ISO_IR 100", character_set))
    row = {"class": 1, "tbs": 1.2} | dict(zip(COLUMNS, BOXES.ravel(), strict=True))
    out = tmp_path / "out"
    with nothing_told(capfd, caplog) as said:
        said += write_results(path, out, row, fingerprint=FINGERPRINT)
    assert len(list(out.glob("*"))) == n_files


def test_an_invalid_birth_date_is_left_empty(tmp_path):
    path = write_source(tmp_path / "a.dcm", PatientBirthDate="29.02.48")
    assert report_of(path).PatientBirthDate == ""


@pytest.mark.parametrize("without", [(), ("SpecificCharacterSet",)])
def test_an_id_is_kept_byte_by_byte_even_if_dicom_forbids_it(tmp_path, without):
    path = write_source(tmp_path / "a.dcm", PatientID="P" * 70, without=without)
    # Of another character set than the file says.
    path.write_bytes(path.read_bytes().replace(b"P" * 70, b"\xe9" * 70))
    assert report_of(path).get_item("PatientID").value == b"\xe9" * 70


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fingerprint": "0123456789ab"}, "Expected fingerprint to be the 64"),
        ({"probabilities": [0.5, 0.6]}, "Expected probabilities to be 2 numbers"),
        ({"probabilities": [1.0]}, "Expected probabilities to be 2 numbers"),
        ({"probabilities": [np.nan, 1]}, "Expected probabilities to be 2 numbers"),
        ({"classes": None}, "Expected classes with probabilities"),
        ({"classes": ["a", "a"]}, "Expected classes to be different"),
        ({"classes": ["a", "b" * 41]}, "Expected classes to be 1 to 40"),
        ({"classes": ["a", "山"]}, "Expected classes to have characters"),
        ({"label": "other"}, "Expected label to be one of classes"),
        ({"probabilities": None}, "Expected probabilities or label"),
        ({"tbs": None}, "Expected tbs with tbs_std"),
        ({"tbs": np.inf}, "Expected tbs to be a finite number"),
        ({"tbs_std": -1.0}, "Expected tbs_std to be a finite number at least 0"),
        ({"model_name": "a\nb"}, "Expected model_name to be 1 to 64 printable"),
        (
            {"classes": None, "probabilities": None, "tbs": None, "tbs_std": None},
            "Expected classes or tbs to report",
        ),
    ],
)
def test_a_wrong_argument_of_a_report_is_named(source, arguments, message):
    given = {
        "fingerprint": FINGERPRINT,
        "classes": ["normal", "degraded"],
        "probabilities": [0.25, 0.75],
        "tbs": 1.137,
        "tbs_std": 0.061,
    }
    with pytest.raises(ValueError, match=f"^{message}"):
        write_report(source, source.with_name("r.dcm"), **given | arguments)
    assert not source.with_name("r.dcm").exists()


@pytest.mark.parametrize(
    ("boxes", "origin", "message"),
    [
        (BOXES[:3], "found", r"Expected boxes to have shape \(4, 4\)"),
        (BOXES * np.nan, "found", "Expected boxes to hold a vertebra"),
        (BOXES + 200, "found", "Expected the box of L1 to lie in a scan of 120 x 90"),
        (BOXES[:, [2, 1, 0, 3]], "found", "boxes holds 1 scan"),
        (BOXES, "drawn", "Expected origin to be one of 'found', 'corrected', 'given'"),
    ],
)
def test_a_wrong_argument_of_a_segmentation_is_named(source, boxes, origin, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        write_segmentation(source, source.with_name("s.dcm"), boxes, origin=origin)


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(source):
    path = source.with_name("absent") / "r.dcm"
    with pytest.raises(OSError, match="Expected path to be a file that can be"):
        write_report(source, path, fingerprint=FINGERPRINT, tbs=1.2)
    assert [one.name for one in source.parent.iterdir()] == ["scan.dcm"]


def test_without_highdicom_the_extra_is_named(source, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(ImportError, match=r"tbsclassify\[dicom-out\]"):
        write_report(source, source.with_name("r.dcm"), fingerprint=FINGERPRINT, tbs=1)


def test_a_row_of_a_table_of_scores_becomes_a_report_and_a_segmentation(
    source, tmp_path
):
    first = {
        "file": "scan.dcm",
        "class": 1,
        "probability_0": 0.2,
        "probability_1": 0.8,
        "tbs": 1.1,
        "tbs_std": 0.05,
    } | dict(zip(COLUMNS, BOXES.ravel(), strict=True))
    # A file without a score makes numbers of classes.
    table = pd.DataFrame([first, {"file": "b.dcm", "error": "is empty (0 bytes)"}])
    out = tmp_path / "out"
    made = write_results(source, out, table.loc[0], fingerprint=FINGERPRINT)
    report, segmentation = map(pydicom.dcmread, made)
    found = dict(contents(report))
    assert found["Predicted class of trabecular bone"] == "1"
    assert found["Probability of 0"] == 0.2
    assert segmentation.NumberOfFrames == 4
    assert [one.stem for one in made] == [
        report.SOPInstanceUID,
        segmentation.SOPInstanceUID,
    ]
    again = write_results(source, out, table.loc[0], fingerprint=FINGERPRINT)
    assert sorted(again) == sorted(out.iterdir())
    assert write_results(source, out, table.loc[1], fingerprint=FINGERPRINT) == []


def test_a_row_without_boxes_of_vertebrae_has_no_segmentation(source, tmp_path):
    row = {"class": "degraded", "top": 5, "left": 5, "bottom": 50, "right": 50}
    [path] = write_results(source, tmp_path / "out", row, fingerprint=FINGERPRINT)
    assert pydicom.dcmread(path).Modality == "SR"
