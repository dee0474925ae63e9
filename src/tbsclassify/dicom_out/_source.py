"""The DICOM file that a result belongs to, and what the result takes over from it.

Highdicom makes the new objects from a stand-in without a patient, so that none of its
logs, warnings and errors can quote one. What identifies the patient and the study goes
from file to file as bytes.
"""

import io
import os
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from tbsclassify._compressed import inflate
from tbsclassify._dicom import PYDICOM_LOCK, quiet_pydicom
from tbsclassify._files import UnreadableScanError, read_whole, write_named

RESEARCH_USE = "Research use only, not for diagnosis or treatment."
# What objects of this library say of the software that made them.
SOFTWARE = {
    "manufacturer": "The tbsclassify developers",
    "manufacturer_model_name": "tbsclassify",
    "device_serial_number": "none",
    "software_versions": version("tbsclassify"),
}

_UIDS = ("SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
# What the Patient and General Study modules (PS3.3 C.7.1.1 and C.7.2.1) need to file
# an object with its patient. Age, weight, comments and the like stay behind.
_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_OPTIONAL = (
    "SpecificCharacterSet",
    "IssuerOfPatientID",
    "StudyDescription",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "TimezoneOffsetFromUTC",
)
_IMAGE = ("Rows", "Columns", "NumberOfFrames", "PatientOrientation")
# Objects made from a lossy image must say so; values of other forms are left out.
_LOSSY = {
    "LossyImageCompression": rb"01",
    "LossyImageCompressionRatio": rb"\d{1,5}(\.\d{1,8})?",
    "LossyImageCompressionMethod": rb"ISO_\d{5}(_\d)?",
}
# Some devices write these in forms that the standard forbids. Then they are left empty
# or out. Names and ids are always taken over.
_DATE = rb"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"
_FORMS = {
    "PatientBirthDate": _DATE,
    "StudyDate": _DATE,
    "StudyTime": rb"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?",
    "PatientSex": rb"[FMO]",
    "PatientIdentityRemoved": rb"YES|NO",
    "TimezoneOffsetFromUTC": rb"[+-]\d{4}",
}
# A header may claim more than memory holds.
_MAX_PIXELS = 2**26
_ASCII = ("", "ISO_IR 6", "ISO 2022 IR 6")
# These take the place of the UIDs of the source until highdicom is done. It does not
# know all classes of images, and asks for a position of some, but not of a secondary
# capture.
_STAND_INS = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
    "StudyInstanceUID": "2.25.1",
    "SeriesInstanceUID": "2.25.2",
    "SOPInstanceUID": "2.25.3",
}


class Source(NamedTuple):
    """A DICOM image that was read as far as its results need it.

    Attributes
    ----------
    stand_in : pydicom.Dataset
        The image for highdicom, without patient and with UIDs of its own.
    identity : dict of str to bytes
        Values of patient and study as they stand in the file.
    uids : dict of str to str
        Its own UIDs and that of its class.
    shape : tuple of int
        Its height and width in pixels.
    """

    stand_in: Any
    identity: dict[str, bytes]
    uids: dict[str, str]
    shape: tuple[int, int]

    def uid(self, *parts: Any) -> str:
        """Return the UID of an object made from these parts and this image."""
        from pydicom.uid import generate_uid

        made_of = [self.uids["SOPInstanceUID"], SOFTWARE["software_versions"], *parts]
        return generate_uid(entropy_srcs=[repr(made_of)])

    def text(self, text: Any, name: str, most: int) -> str:
        """Return text that the character set of the file holds, in `most` characters.

        Raises
        ------
        ValueError
            If it is empty, too long or of other characters; it names the argument.
        """
        from pydicom.charset import python_encoding

        # The first of several is what new text is written in.
        term = self.identity["SpecificCharacterSet"].split(b"\\")[0].decode("ascii")
        encoding = "ascii" if term in _ASCII else python_encoding[term]
        text = str(text)
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            raise ValueError(
                f"Expected {name} to have characters of the source's character set "
                f"({encoding}), got {text!r}. Pass a name in plain letters."
            ) from None
        if not 0 < len(text) <= most or not text.isprintable() or "\\" in text:
            raise ValueError(
                f"Expected {name} to be 1 to {most} printable characters without "
                f"backslash, got {text!r}. Pass a shorter or plainer name."
            )
        return text


def import_highdicom() -> Any:
    """Return highdicom, or say how to install it."""
    try:
        import highdicom
        import highdicom.seg
        import highdicom.sr
    except ImportError as error:
        raise ImportError(
            "Writing DICOM needs highdicom. Install it: "
            'pip install "tbsclassify[dicom-out]".'
        ) from error
    return highdicom


def check_fingerprint(fingerprint: Any) -> str:
    """Return the fingerprint of a model, 64 hexadecimal digits."""
    if isinstance(fingerprint, str) and re.fullmatch(r"[0-9a-f]{64}", fingerprint):
        return fingerprint
    raise ValueError(
        "Expected fingerprint to be the 64 hexadecimal digits of a model file, got "
        f"{fingerprint!r}. Save the model with save_model and pass "
        'model_info(path)["fingerprint"].'
    )


def read_source(source: str | os.PathLike) -> Source:
    """Read the header of a DICOM image.

    Raises
    ------
    UnreadableScanError
        If it is no DICOM file, holds no single image, or lacks a UID. The message
        quotes nothing of the file.
    FileNotFoundError
        If there is no such file.
    """
    try:
        raw, order = _read_elements(read_whole(Path(source)))
        rows, columns = (int.from_bytes(raw[one], order) for one in ("Rows", "Columns"))
        uids = {name: raw[name].decode("ascii") for name in _UIDS}
        frames = int(raw["NumberOfFrames"] or 1)
    except (OSError, Warning):
        raise
    except UnreadableScanError as error:
        raise UnreadableScanError(
            f"Expected source to be a DICOM image, got what {error}."
        ) from None
    except Exception as error:
        raise UnreadableScanError(
            "Expected source to be a DICOM image, got one with a header that cannot be "
            f"read ({type(error).__name__}). Export it again."
        ) from None
    _check_uids(uids)
    if not 0 < rows * columns <= _MAX_PIXELS or frames != 1:
        raise UnreadableScanError(
            f"Expected source to hold one image of at most {_MAX_PIXELS} pixels, got "
            "none, a larger one or several frames. Pass the image that was scored."
        )
    shape = rows, columns
    return Source(_make_stand_in(raw, shape), _identity(raw), uids, shape)


def _read_elements(data: bytes) -> tuple[dict[str, bytes], Any]:
    """Return the elements of a file as bytes, and its byte order."""
    import pydicom

    names = [*_UIDS, *_TYPE_2, *_OPTIONAL, *_IMAGE, *_LOSSY]
    # An invalid character set would be quoted in a warning and in the log.
    unchecked = pydicom.config.disable_value_validation()
    with PYDICOM_LOCK, unchecked, quiet_pydicom():
        dataset = pydicom.dcmread(
            io.BytesIO(inflate(data)),
            stop_before_pixels=True,
            specific_tags=names,
            force=True,
        )
    raw = {name: _value(dataset, name) for name in names}
    return raw, "little" if dataset.original_encoding[1] else "big"


def _check_uids(uids: dict[str, str]) -> None:
    from pydicom.uid import RE_VALID_UID

    if not uids["SOPClassUID"]:
        raise UnreadableScanError(
            "Expected source to be a DICOM image, which results can be filed with, got "
            "a file of another kind. Results of other images fit into a table."
        )
    for name, uid in uids.items():
        # The class UID of pydicom would quote it in a warning.
        if len(uid) > 64 or not re.fullmatch(RE_VALID_UID, uid):
            raise UnreadableScanError(
                f"Expected source to have a valid {name}, which results refer to, got "
                "none or one that DICOM forbids. Export it again from the densitometer "
                "or the archive."
            )


def _make_stand_in(raw: dict[str, bytes], shape: tuple[int, int]) -> Any:
    """Return the image for highdicom, without a patient."""
    import pydicom

    stand_in = pydicom.Dataset()
    for name in _TYPE_2:
        setattr(stand_in, name, None)
    for name, uid in _STAND_INS.items():
        setattr(stand_in, name, uid)
    stand_in.Modality = "OT"  # is not written
    stand_in.Rows, stand_in.Columns = shape
    stand_in.PatientOrientation = None
    if re.fullmatch(rb"[AFHLPR]{1,3}\\[AFHLPR]{1,3}", raw["PatientOrientation"]):
        orientation = raw["PatientOrientation"].decode("ascii")
        stand_in.PatientOrientation = orientation.split("\\")
    for name, form in _LOSSY.items():
        if re.fullmatch(form, raw[name]):
            setattr(stand_in, name, raw[name].decode("ascii"))
    return stand_in


def _identity(raw: dict[str, bytes]) -> dict[str, bytes]:
    """Return the elements of patient and study, empty where they are not valid."""
    from pydicom.charset import python_encoding

    identity = {name: raw[name] for name in (*_TYPE_2, *_OPTIONAL)}
    for name, form in _FORMS.items():
        if not re.fullmatch(form, identity[name]):
            identity[name] = b""
    if identity["PatientIdentityRemoved"] == b"YES":
        # The standard wants to know how, which the source may tell in codes.
        method = identity["DeidentificationMethod"] or b"As of the source image"
        identity["DeidentificationMethod"] = method
    terms = identity["SpecificCharacterSet"].decode("ascii", "replace").split("\\")
    if not set(terms) <= set(python_encoding):
        identity["SpecificCharacterSet"] = b""
    return identity


def _value(dataset: Any, name: str) -> bytes:
    """Return the bytes of an element without padding, before pydicom decodes them."""
    if name not in dataset:
        return b""
    element = dataset.get_item(name)
    value = element.value
    if not isinstance(value, bytes):  # pydicom has decoded it already
        text = "\\".join([value] if isinstance(value, str) else value)
        value = text.encode("ascii", "replace")
    # Numbers may end in zeros.
    return value if name in ("Rows", "Columns") else value.strip(b" \0")


def finish(dataset: Any, source: Source) -> bytes:
    """Return an object of highdicom as a file, with the patient of the source."""
    from pydicom.charset import convert_encodings, default_encoding
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.dataelem import RawDataElement
    from pydicom.filewriter import correct_ambiguous_vr
    from pydicom.tag import Tag

    real = {_STAND_INS[name]: uid for name, uid in source.uids.items()}
    for element in dataset.iterall():
        if element.VR == "UI" and isinstance(element.value, str):
            element.value = real.get(element.value, element.value)
    dataset = correct_ambiguous_vr(dataset, True)
    for name, value in source.identity.items():
        if not value and name in _OPTIONAL:
            continue
        tag, kind = Tag(tag_for_keyword(name) or 0), dictionary_VR(name)
        padded = value + b" " * (len(value) % 2)
        dataset[tag] = RawDataElement(
            tag, kind, len(padded), padded, 0, False, True, True
        )
    # Otherwise pydicom would decode the bytes and write them anew.
    terms = dataset.get("SpecificCharacterSet")
    encodings = convert_encodings(terms) if terms else default_encoding
    dataset.set_original_encoding(False, True, encodings)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def save(content: bytes, path: str | os.PathLike) -> None:
    """Write a file whole or not at all."""
    write_named(path, lambda file: file.write(content))
