"""Limits on the size of compressed DICOM files, checked before decompression."""

import io
import struct
import zlib
from itertools import pairwise
from typing import Any

from tbsclassify._files import MAX_BYTES, UnreadableScanError

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_PLAIN = b"1.2.840.10008.1.2.1\0\0\0"
# Deflate turns one byte into at most 1032.
_PIECE = 2**14
# Markers that begin the header of a JPEG or JPEG-LS image.
_JPEG_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_JPEG_2000 = b"\xff\x4f\xff\x51"


def inflate(data: bytes) -> bytes:
    """Return a deflated DICOM file as the same file without compression.

    Pydicom itself has no limit, and a file of a megabyte may hold a gigabyte.
    """
    # For the elements that name the compression, pydicom has a public reader only for
    # files on disk. What it takes for deflated must be taken for deflated here.
    from pydicom.filereader import _read_file_meta_info

    file = io.BytesIO(data)
    file.seek(132 if data[128:132] == b"DICM" else 0)
    syntax = _read_file_meta_info(file).get("TransferSyntaxUID")
    if syntax != _DEFLATED.decode():
        return data
    start, inflater, pieces, size = file.tell(), zlib.decompressobj(-15), [], 0
    for at in range(start, len(data), _PIECE):
        pieces.append(inflater.decompress(data[at : at + _PIECE]))
        size += len(pieces[-1])
        if size > MAX_BYTES:
            raise UnreadableScanError(
                f"inflates to more than the {MAX_BYTES} bytes allowed"
            )
    return b"".join([data[:start].replace(_DEFLATED, _PLAIN), *pieces])


def check_frame(dataset: Any) -> None:
    """Refuse a compressed frame that is larger than the header of its file says.

    Decoders allocate the size that the compressed data claim.
    """
    from pydicom.encaps import generate_frames
    from pydicom.uid import RLELossless

    size = int(dataset.Rows), int(dataset.Columns), int(dataset.SamplesPerPixel)
    frame = next(iter(generate_frames(dataset.PixelData, number_of_frames=1)))
    if dataset.file_meta.TransferSyntaxUID == RLELossless:
        _check_runs(frame, size[0] * size[1])
        return
    claimed = _claimed_size(frame)
    if claimed != size:
        got = " x ".join(map(str, claimed)) if claimed else "another format"
        raise UnreadableScanError(
            f"has compressed data of {' x '.join(map(str, size))} (rows, columns, "
            f"channels) by its header, and of {got} by their own"
        )


def _claimed_size(frame: bytes) -> tuple[int, int, int] | None:
    """Return the rows, columns and channels that compressed data claim to hold."""
    if frame.startswith(_JPEG_2000) and len(frame) >= 42:
        right, bottom, left, top = struct.unpack(">4I", frame[8:24])
        return bottom - top, right - left, int.from_bytes(frame[40:42], "big")
    at = 2
    while frame[:2] == b"\xff\xd8" and frame[at : at + 1] == b"\xff":
        marker, header = frame[at + 1 : at + 2], frame[at + 5 : at + 10]
        if marker == b"\xff":  # padding
            at += 1
        elif marker and marker[0] in _JPEG_FRAMES and len(header) == 5:
            return struct.unpack(">HHB", header)
        else:
            at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None


def _check_runs(frame: bytes, n_pixels: int) -> None:
    """Refuse a frame whose run lengths add up to far more than its pixels."""
    n_segments, *offsets = struct.unpack("<16L", frame[:64])
    for start, stop in pairwise([*offsets[: min(n_segments, 15)], len(frame)]):
        at, length = start, 0
        while at < min(stop, len(frame)):
            head = frame[at]
            at += head + 2 if head < 128 else 1 + (head > 128)
            length += head + 1 if head < 128 else (257 - head) * (head > 128)
            # Some writers pad.
            if length > 2 * n_pixels + 128:
                raise UnreadableScanError(
                    f"has compressed data for more than its {n_pixels} pixels"
                )
