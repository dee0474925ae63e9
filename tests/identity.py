"""DICOM files full of identity, and the check that nothing tells any of it."""

import contextlib
import logging
import re
import struct
import traceback
import warnings

import numpy as np
from pydicom.datadict import DicomDictionary, tag_for_keyword

from tbsclassify._dicom import _TAGS

IDENTITY = ("Garcia", "Maria", "PAT-4711", "19480229")
# In the order of the identifiers, shorter than the longest text of any kind.
_VALUE = b"Garcia^Maria PAT-4711 19480229"
_TEXT = {*("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST")}
_TEXT |= {"TM", "UC", "UI", "UR", "UT"}
_LONG = {"OB", "OW", "SQ", "UC", "UN", "UR", "UT"}
# What describes the device is handed on as it is written.
OF_THE_DEVICE = ("Manufacturer", "ManufacturerModelName")
_PIXELS = {
    "SamplesPerPixel": ("US", 1),
    "BitsAllocated": ("US", 8),
    "BitsStored": ("US", 8),
    "HighBit": ("US", 7),
    "PixelRepresentation": ("US", 0),
}


def identified_dicom(pixels, *, vr=None, **elements):
    """Return a DICOM file that says who the patient is wherever there is text.

    Written by hand, as no library writes values that DICOM forbids: dates that are
    names, names of character sets that are none. The elements passed are bytes, and
    called of another kind by `vr`.
    """
    rows, columns = pixels.shape
    found = {
        tag: element(tag, vr, _VALUE)
        for tag, (vr, *_) in DicomDictionary.items()
        if vr in _TEXT and 0x0008 <= tag >> 16 < 0x7FE0
    }
    for keyword in _TAGS:
        found.pop(tag_for_keyword(keyword), None)
    found[0x00080005] = element(0x00080005, "CS", b"ISO_IR 100")

    def put(keyword, vr, value):
        tag = tag_for_keyword(keyword)
        found[tag] = element(tag, vr, value)

    for keyword, (kind, number) in _PIXELS.items():
        put(keyword, kind, struct.pack("<H", number))
    put("Rows", "US", struct.pack("<H", rows))
    put("Columns", "US", struct.pack("<H", columns))
    put("PhotometricInterpretation", "CS", b"MONOCHROME2")
    put("Modality", "CS", b"CR")
    put("Manufacturer", "LO", b"Maker")
    put("ProtocolName", "LO", b"AP Spine " + _VALUE)
    put("PixelData", "OB", pixels.tobytes())
    # Private elements, and sequences of either length.
    found[0x00090010] = element(0x00090010, "LO", _VALUE)
    found[0x00091001] = element(0x00091001, "LT", _VALUE)
    found[0x00091002] = element(0x00091002, "UN", _VALUE)
    inside = element(0x00100010, "PN", _VALUE) + element(0x00104000, "LT", _VALUE)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inside)) + inside
    put("OtherPatientIDsSequence", "SQ", item)
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    tag = tag_for_keyword("RequestAttributesSequence")
    head = struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"SQ", 0, 0xFFFFFFFF)
    found[tag] = head + item + end
    for keyword, value in elements.items():
        tag = tag_for_keyword(keyword)
        found[tag] = element(tag, vr or DicomDictionary[tag][0][:2], value)
    syntax = element(0x00020010, "UI", b"1.2.840.10008.1.2.1")
    meta = element(0x00020000, "UL", struct.pack("<I", len(syntax))) + syntax
    return bytes(128) + b"DICM" + meta + b"".join(found[tag] for tag in sorted(found))


def element(tag, vr, value):
    """Encode one element, explicit and little endian."""
    value += (b"\0" if vr in ("UI", "OB", "UN") else b" ") * (len(value) % 2)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    size = struct.pack("<HI" if vr in _LONG else "<H", *[0] * (vr in _LONG), len(value))
    return head + size + value


def told(texts):
    """Return the identifiers that are in any of the texts."""
    everything = "\n".join(map(str, texts))
    return [one for one in IDENTITY if re.search(re.escape(one), everything, re.I)]


@contextlib.contextmanager
def nothing_told(capfd, caplog):
    """Check that a block tells nothing of identity, wherever it might.

    The block appends to the list that it gets what it returns or writes. An error is
    swallowed, and checked with all that Python would print of it; so are warnings, the
    log and both streams.
    """
    said = []
    caplog.clear()
    caplog.set_level(logging.INFO)
    capfd.readouterr()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with np.printoptions(threshold=10):
                yield said
        except Exception as error:
            said += traceback.format_exception(error)
    said += [str(one.message) for one in caught]
    said += [caplog.text, *capfd.readouterr()]
    assert told(said) == []
