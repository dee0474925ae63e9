import warnings

import numpy as np
import pydicom
import pytest
from conftest import shared
from numpy.testing import assert_array_equal
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from tbsclassify import read_scan
from tbsclassify.images import UnreadableScanError, unscanned_mask

IDENTITY = ("Garcia^Maria", "PAT-4711", "19480229")


def write_dicom(path, pixels, *, bits=None, **elements):
    """Write a DICOM file of these pixels and elements, with a patient in it."""
    pixels = np.asarray(pixels)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = "1.2.3"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = IDENTITY
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def lut(entries, first=0, bits=8):
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item["LUTDescriptor"].VR = "US"
    item.LUTData = entries
    item["LUTData"].VR = "US"
    return item


RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
DEEP_RAMP = np.arange(1024, dtype=np.uint16).reshape(32, 32)


def test_stored_values_without_transformations_come_back_as_they_are(tmp_path):
    assert_array_equal(read_scan(write_dicom(tmp_path / "a.dcm", RAMP)), RAMP)
    deep = read_scan(write_dicom(tmp_path / "b.dcm", DEEP_RAMP, bits=10))
    assert deep.dtype == np.uint16
    assert_array_equal(deep, DEEP_RAMP)


def test_a_file_without_suffix_is_known_by_its_magic_number(tmp_path):
    path = write_dicom(tmp_path / "IM000001", RAMP)
    assert_array_equal(read_scan(path), RAMP)


def test_monochrome1_is_inverted_over_the_stored_bits(tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm", DEEP_RAMP, bits=10, PhotometricInterpretation="MONOCHROME1"
    )
    assert_array_equal(read_scan(path), 1023 - DEEP_RAMP)


def test_a_window_is_stretched_over_the_stored_bits(tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm", DEEP_RAMP, bits=10, WindowCenter=512, WindowWidth=256
    )
    # PS3.3 C.11.2.1.2: y = ((x - (c - 0.5)) / (w - 1) + 0.5) * range
    expected = ((DEEP_RAMP - 511.5) / 255 + 0.5) * 1023
    assert_array_equal(read_scan(path), np.rint(expected.clip(0, 1023)))


def test_the_first_of_several_windows_is_taken(tmp_path):
    two = write_dicom(
        tmp_path / "a.dcm", RAMP, WindowCenter=[128, 30], WindowWidth=[64, 10]
    )
    one = write_dicom(tmp_path / "b.dcm", RAMP, WindowCenter=128, WindowWidth=64)
    assert_array_equal(read_scan(two), read_scan(one))


def test_rescaled_signed_values_are_windowed_in_their_units(tmp_path):
    signed = DEEP_RAMP.astype(np.int16) - 512
    path = write_dicom(
        tmp_path / "a.dcm",
        signed,
        bits=10,
        RescaleSlope=2,
        RescaleIntercept=100,
        WindowCenter=100,
        WindowWidth=401,
        VOILUTFunction="LINEAR",
    )
    values = signed * 2.0 + 100
    expected = ((values - 99.5) / 400 + 0.5).clip(0, 1) * 1023
    assert np.abs(read_scan(path) - expected).max() <= 1


def test_a_voi_lut_is_applied_and_goes_before_a_window(tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm",
        RAMP,
        VOILUTSequence=[lut([255 - i for i in range(256)])],
        WindowCenter=10,
        WindowWidth=5,
    )
    assert_array_equal(read_scan(path), 255 - RAMP)


def test_a_modality_lut_is_applied(tmp_path):
    item = lut([i // 2 for i in range(256)])
    item.ModalityLUTType = "US"
    path = write_dicom(tmp_path / "a.dcm", RAMP, ModalityLUTSequence=[item])
    assert_array_equal(read_scan(path), RAMP // 2)


def test_pixel_spacing_is_reported_with_its_source(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", RAMP, PixelSpacing=[1.05, 0.6])
    _, metadata = read_scan(path, return_metadata=True)
    assert metadata["pixel_spacing"] == (1.05, 0.6)
    assert metadata["pixel_spacing_source"] == "PixelSpacing"


def test_exposed_area_stands_in_for_a_missing_or_zero_spacing(tmp_path):
    tall = np.zeros((20, 10), np.uint8)
    path = write_dicom(
        tmp_path / "a.dcm", tall, PixelSpacing=[0, 0], ExposedArea=[5, 20]
    )
    _, metadata = read_scan(path, return_metadata=True)
    assert metadata["pixel_spacing"] == (1.0, 0.5)
    assert metadata["pixel_spacing_source"] == "ExposedArea"


def test_metadata_hold_nothing_of_the_patient(tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm", RAMP, ProtocolName="AP Spine Garcia", Modality="CR"
    )
    _, metadata = read_scan(path, return_metadata=True)
    assert metadata["region"] == "ap_spine"
    shown = repr(metadata)
    assert not any(part in shown for part in (*IDENTITY, "Garcia"))


def unfit_dicom(path, kind):
    """Write a DICOM file that is unfit in one way; return the reason."""
    if kind == "frames":
        write_dicom(path, np.tile(RAMP, (2, 1)), Rows=16, NumberOfFrames=2)
        return "holds 2 frames"
    if kind == "zero":
        write_dicom(path, RAMP, Rows=0)
        return "has zero size"
    if kind == "bomb":
        write_dicom(path, RAMP, Rows=60000, Columns=60000)
        return "claims 60000 x 60000 pixels"
    if kind == "palette":
        write_dicom(path, RAMP, PhotometricInterpretation="PALETTE COLOR")
        return "has palette colours"
    if kind == "window":
        write_dicom(path, RAMP, WindowCenter=5, WindowWidth=0)
        return "has grey-scale elements that make no sense"
    if kind == "no pixels":
        dataset = pydicom.dcmread(write_dicom(path, RAMP))
        del dataset.PixelData
        dataset.save_as(path)
        return "holds no image"
    if kind == "garbage":
        path.write_bytes(bytes(128) + b"DICM" + bytes(range(256)))
        return "(is not readable as DICOM|holds no image)"
    data = write_dicom(path, RAMP).read_bytes()
    path.write_bytes(data[:-100])
    return "is truncated"


@pytest.mark.parametrize(
    "kind",
    [
        "frames",
        "zero",
        "bomb",
        "palette",
        "window",
        "no pixels",
        "garbage",
        "truncated",
    ],
)
def test_an_unfit_file_is_refused_by_name_reason_and_no_patient(tmp_path, kind):
    path = tmp_path / "scan7.dcm"
    reason = unfit_dicom(path, kind)
    with pytest.raises(UnreadableScanError, match=f"^scan7.dcm {reason}") as info:
        read_scan(path)
    chain = [info.value, info.value.__cause__]
    chain += [] if info.value.__suppress_context__ else [info.value.__context__]
    assert not any(part in str(chain) for part in IDENTITY)


def test_values_that_dicom_forbids_are_not_quoted_in_warnings(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", RAMP)
    data = path.read_bytes().replace(b"19480229", b"29.02.48")
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_scan(path)


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "spacing"),
    [
        ("ge_ap_spine", (780, 716), np.uint8, (0.2526, 0.2514)),
        ("ge_lateral", (1768, 808), np.uint8, (0.2477, 0.2475)),
        ("ge_left_femur", (600, 680), np.uint8, (0.25, 0.25)),
        ("ge_total_body_a", (791, 272), np.uint8, (2.4273, 2.4191)),
        ("cr_hip_jpeg2000_lossless", (2140, 1760), np.uint16, (0.2, 0.2)),
        ("cr_hip_jpeg_lossless", (2140, 1760), np.uint16, (0.2, 0.2)),
        ("cr_hip_rle", (2140, 1760), np.uint16, (0.2, 0.2)),
        ("cr_chest_monochrome1_jpeg2000", (1955, 1841), np.uint16, None),
    ],
)
@pytest.mark.filterwarnings("ignore:.* shows another region")
def test_real_files_are_read(name, shape, dtype, spacing):
    scan, metadata = read_scan(
        shared("data", "dicom", f"{name}.dcm"), return_metadata=True
    )
    assert (scan.shape, scan.dtype) == (shape, dtype)
    found = metadata["pixel_spacing"]
    assert found == (spacing and pytest.approx(spacing, abs=1e-4))


def test_three_codecs_of_one_real_image_agree():
    folder = shared("data", "dicom")
    names = ["cr_hip_rle", "cr_hip_jpeg_lossless", "cr_hip_jpeg2000_lossless"]
    first, *others = (read_scan(folder / f"{name}.dcm") for name in names)
    for other in others:
        assert_array_equal(other, first)


def test_a_real_undecodable_file_says_its_compression():
    path = shared("data", "dicom", "cr_hip_jpeg_12bit_undecodable.dcm")
    with pytest.raises(UnreadableScanError, match="cannot be decoded from JPEG Ext"):
        read_scan(path)


def test_a_real_colour_capture_is_reported():
    path = shared("data", "dicom", "rgb_secondary_capture.dcm")
    with pytest.warns(UserWarning, match="coloured"):
        assert read_scan(path).ndim == 2


def test_the_white_steps_of_a_real_spine_scan_are_found():
    scan = read_scan(shared("data", "dicom", "ge_ap_spine.dcm"))
    mask = unscanned_mask(scan)
    assert set(np.unique(scan[mask])) == {252}
    assert not mask[:, 50:660].any()
    assert mask[:500, 0].all()


# --- Grey levels -------------------------------------------------------------


def deep_lut(entries, bits=16):
    """Make a table of 16-bit words, as OW bytes, that declares so many bits."""
    item = Dataset()
    item.LUTDescriptor = [len(entries), 0, bits]
    item["LUTDescriptor"].VR = "US"
    item.LUTData = np.asarray(entries, dtype="<u2").tobytes()
    item["LUTData"].VR = "OW"
    return item


def test_a_voi_lut_that_declares_more_bits_than_it_fills_keeps_all_levels(tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm",
        DEEP_RAMP,
        bits=10,
        VOILUTSequence=[deep_lut(np.arange(1024))],
    )
    scan = read_scan(path)
    assert len(np.unique(scan)) == 1024
    assert_array_equal(scan, DEEP_RAMP)


def test_a_modality_lut_that_declares_more_bits_than_it_fills_keeps_all_levels(
    tmp_path,
):
    item = deep_lut(np.arange(1024)[::-1])
    item.ModalityLUTType = "US"
    path = write_dicom(
        tmp_path / "a.dcm", DEEP_RAMP, bits=10, ModalityLUTSequence=[item]
    )
    assert_array_equal(read_scan(path), 1023 - DEEP_RAMP)


def test_a_voi_lut_that_fills_its_sixteen_bits_is_not_stretched(tmp_path):
    entries = np.arange(1024) * 40  # up to 40920 of 65535
    path = write_dicom(
        tmp_path / "a.dcm", DEEP_RAMP, bits=10, VOILUTSequence=[deep_lut(entries)]
    )
    assert read_scan(path).max() == round(40920 / 65535 * 1023)


def test_a_negative_slope_without_a_window_turns_the_polarity(tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm", DEEP_RAMP, bits=10, RescaleSlope=-1, RescaleIntercept=1023
    )
    assert_array_equal(read_scan(path), 1023 - DEEP_RAMP)


def test_a_negative_slope_of_signed_values_turns_the_polarity(tmp_path):
    signed = DEEP_RAMP.astype(np.int16) - 512
    path = write_dicom(
        tmp_path / "a.dcm", signed, bits=10, RescaleSlope=-2, RescaleIntercept=0
    )
    assert_array_equal(read_scan(path), 1023 - DEEP_RAMP)


def test_a_negative_slope_and_monochrome1_cancel(tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm",
        RAMP,
        RescaleSlope=-1,
        RescaleIntercept=255,
        PhotometricInterpretation="MONOCHROME1",
    )
    assert_array_equal(read_scan(path), RAMP)


def test_a_window_on_values_of_a_negative_slope_shows_low_values_dark(tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm",
        RAMP,
        RescaleSlope=-1,
        RescaleIntercept=255,
        WindowCenter=128,
        WindowWidth=256,
    )
    assert_array_equal(read_scan(path), 255 - RAMP)


def test_a_slope_without_an_intercept_is_not_applied_in_part(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", RAMP, RescaleSlope=2)
    assert_array_equal(read_scan(path), RAMP)


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("name", ["a.dcm", "IM000001"])
def test_a_complete_file_without_meta_header_is_read(tmp_path, implicit, name):
    dataset = pydicom.dcmread(write_dicom(tmp_path / "whole.dcm", RAMP))
    del dataset.file_meta
    dataset.preamble = None
    dataset.save_as(tmp_path / name, implicit_vr=implicit, little_endian=True)
    assert (tmp_path / name).read_bytes()[:2] == b"\x08\x00"
    assert_array_equal(read_scan(tmp_path / name), RAMP)


def test_a_truncated_file_without_meta_header_is_still_called_so(tmp_path):
    dataset = pydicom.dcmread(write_dicom(tmp_path / "whole.dcm", RAMP))
    del dataset.file_meta
    dataset.preamble = None
    path = tmp_path / "a.dcm"
    dataset.save_as(path, implicit_vr=True, little_endian=True)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UnreadableScanError, match=r"^a.dcm is truncated"):
        read_scan(path)


@pytest.mark.parametrize("bits", [32, 17])
def test_more_than_sixteen_bits_are_refused_with_a_plain_reason(tmp_path, bits):
    deep = np.arange(256, dtype=np.uint32).reshape(16, 16) << 24
    path = write_dicom(tmp_path / "a.dcm", deep, bits=bits)
    with pytest.raises(UnreadableScanError, match=rf"stores {bits} bits a pixel"):
        read_scan(path)


def test_a_table_of_8_bits_may_have_an_entry_for_each_of_10(tmp_path):
    entries = np.arange(1024) // 4
    path = write_dicom(
        tmp_path / "a.dcm",
        DEEP_RAMP,
        bits=10,
        VOILUTSequence=[deep_lut(entries, bits=8)],
    )
    expected = np.rint(entries / 255 * 1023).reshape(DEEP_RAMP.shape)
    assert_array_equal(read_scan(path), expected)


@pytest.mark.parametrize("element", ["VOILUTSequence", "ModalityLUTSequence"])
def test_tables_of_8_bits_may_be_bytes(tmp_path, element):
    item = deep_lut(RAMP.ravel()[::-1], bits=8)
    item.LUTData = RAMP.ravel()[::-1].tobytes()
    path = write_dicom(tmp_path / "a.dcm", RAMP, **{element: [item]})
    assert_array_equal(read_scan(path), 255 - RAMP)


def test_a_table_after_a_rescale_slope_is_read_without_a_warning(tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm",
        DEEP_RAMP,
        bits=10,
        RescaleSlope=-1,
        RescaleIntercept=1023,
        VOILUTSequence=[deep_lut(np.arange(1024))],
    )
    assert_array_equal(read_scan(path), 1023 - DEEP_RAMP)


# --- Region and spacing ------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "region"),
    [
        ("Lumbar Spine Lateral", "lateral_spine"),
        ("LVA Lateral Spine", "lateral_spine"),
        ("AP/Lateral Spine", "lateral_spine"),
        ("Lumbar Spine Lat", "lateral_spine"),
        ("IVA Spine", "lateral_spine"),
        ("AP Spine", "ap_spine"),
        ("APSpine", "ap_spine"),
        ("DualFemur", "femur"),
        ("PA Spine", "ap_spine"),
        ("AP_SPINE", "ap_spine"),
        ("Spine A.P.", "ap_spine"),
        ("Lumbar Spine", "ap_spine"),
        ("Dual Femur", "femur"),
        ("Left Hip", "femur"),
        ("Unilateral Hip", "femur"),
        ("Hip, lateral", "femur"),
        ("Total Body", "total_body"),
        ("Whole-body", "total_body"),
        ("Left Forearm", "forearm"),
        ("AP Spine and Dual Femur", None),
        ("Research Chip", None),
        ("", None),
    ],
)
@pytest.mark.filterwarnings("ignore:.* shows another region")
def test_the_region_is_found_whatever_the_order_of_words(tmp_path, protocol, region):
    path = write_dicom(tmp_path / "a.dcm", RAMP, ProtocolName=protocol)
    _, metadata = read_scan(path, return_metadata=True)
    assert metadata["region"] == region


@pytest.mark.parametrize(
    ("element", "value"),
    [
        ("ExposedArea", [520, 478]),  # for 280 x 257 pixels of a spine
        ("ExposedArea", [25, 30]),
        ("PixelSpacing", [5.0, 5.0]),
        ("ImagerPixelSpacing", [0.6, 0.21]),
        ("PixelSpacing", [0.01, 0.6]),
    ],
)
def test_a_pixel_size_that_cannot_be_is_not_handed_on(tmp_path, element, value):
    pixels = np.zeros((280, 257), np.uint8)
    path = write_dicom(tmp_path / "a.dcm", pixels, **{element: value})
    with pytest.warns(UserWarning, match=rf"^a.dcm: expected .* from {element}.*table"):
        _, metadata = read_scan(path, return_metadata=True)
    assert metadata["pixel_spacing"] is None
    assert metadata["pixel_spacing_source"] is None


def test_a_plausible_size_takes_the_place_of_one_that_cannot_be(tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm", RAMP, PixelSpacing=[9, 9], ImagerPixelSpacing=[0.5, 0.5]
    )
    with pytest.warns(UserWarning, match=r"9 x 9 mm from PixelSpacing"):
        _, metadata = read_scan(path, return_metadata=True)
    assert metadata["pixel_spacing_source"] == "ImagerPixelSpacing"


@pytest.mark.filterwarnings("ignore:.* shows another region")
def test_a_total_body_may_have_larger_pixels(tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm", RAMP, ProtocolName="Total Body", PixelSpacing=[2.4, 2.4]
    )
    _, metadata = read_scan(path, return_metadata=True)
    assert metadata["pixel_spacing"] == (2.4, 2.4)


# --- Warnings and identity ---------------------------------------------------


def test_a_forbidden_value_of_an_element_that_is_read_is_not_quoted(tmp_path, caplog):
    path = write_dicom(tmp_path / "a.dcm", RAMP, Modality="CR")
    path.write_bytes(path.read_bytes().replace(b"CS\x02\x00CR", b"CS\x02\x00g^"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, metadata = read_scan(path, return_metadata=True)
    assert metadata["modality"] is None
    assert not caplog.records


def test_reading_leaves_the_warnings_of_others_alone(tmp_path, monkeypatch):
    path = write_dicom(tmp_path / "a.dcm", RAMP)

    def refuse(*args, **kwargs):
        raise AssertionError("filters of warnings are common to all threads")

    monkeypatch.setattr(warnings, "catch_warnings", refuse)
    assert_array_equal(read_scan(path), RAMP)
    assert pydicom.config.settings.reading_validation_mode == pydicom.config.WARN
