"""L1 to L4 of one DICOM scan as a DICOM segmentation."""

import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tbsclassify._boxes import LEVELS, check_boxes
from tbsclassify._validation import check_option
from tbsclassify.dicom_out._source import (
    SOFTWARE,
    Source,
    finish,
    import_highdicom,
    read_source,
    save,
)

# Where boxes come from, in DICOM's words.
_ORIGINS = {"found": "AUTOMATIC", "corrected": "SEMIAUTOMATIC", "given": "MANUAL"}


def write_segmentation(
    source: str | os.PathLike,
    path: str | os.PathLike,
    boxes: ArrayLike,
    *,
    origin: str = "found",
) -> None:
    """Write the boxes of L1 to L4 as a DICOM segmentation of the scan.

    The segmentation is filed with its scan: it has the name, id, birth date and sex of
    the patient, and the study, as they stand in `source`. Only the functions of this
    module copy identity, and only when they are called.

    Parameters
    ----------
    source : str or path-like
        The DICOM file that the boxes belong to.
    path : str or path-like
        The segmentation to write. A file that is there is replaced.
    boxes : array-like of shape (4, 4)
        The boxes of L1, L2, L3 and L4 as ``(top, left, bottom, right)`` in pixels of
        the scan, ends exclusive; NaN where a vertebra is not known.
    origin : {"found", "corrected", "given"}, default="found"
        Whether `LumbarLocalizer` found the boxes, somebody corrected what it found, or
        somebody drew them. The segmentation says automatic, semiautomatic or manual.

    Raises
    ------
    ImportError
        If the extra is not installed: ``pip install "tbsclassify[dicom-out]"``.
    UnreadableScanError
        If `source` is no DICOM image or lacks what a segmentation refers to. It is a
        ``ValueError``, and quotes nothing of the file.
    ValueError
        If no box is known, or one has no pixel of the scan in it.
    FileNotFoundError
        If there is no such file.
    OSError
        If the file cannot be written. One that was there is as it was.

    See Also
    --------
    write_report : Writes what a model predicts.
    write_results : Writes both from a row of a table of scores.

    Notes
    -----
    Each known vertebra is a binary segment, coded in SNOMED CT, of the pixels whose
    centre lies in its box, so a segment is a rectangle, not the outline of a bone.
    Segments lie on the pixels of the scan. They have no position in the patient, which
    a projection such as a DXA scan does not tell.

    The same boxes of the same scan have the same UIDs, whenever they are written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import pydicom
    >>> from pydicom.data import get_testdata_file
    >>> from tbsclassify.dicom_out import write_segmentation
    >>> source = get_testdata_file("CT_small.dcm")  # stands for a DXA scan
    >>> boxes = [[10 + 20 * i, 40, 28 + 20 * i, 80] for i in range(4)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "vertebrae.dcm")
    ...     write_segmentation(source, path, boxes)
    ...     segments = pydicom.dcmread(path)
    >>> [segment.SegmentLabel for segment in segments.SegmentSequence]
    ['L1', 'L2', 'L3', 'L4']
    >>> segments.pixel_array.sum(axis=(1, 2)).tolist()
    [720, 720, 720, 720]
    """
    _, content = make_segmentation(read_source(source), boxes, origin=origin)
    save(content, path)


def make_segmentation(
    source: Source, boxes: ArrayLike, *, origin: str = "found"
) -> tuple[str, bytes]:
    """Return the UID of a segmentation and the file.

    Arguments are those of `write_segmentation`.
    """
    highdicom = import_highdicom()
    check_option(origin, "origin", _ORIGINS)
    corners = _check_corners(boxes)
    known = np.flatnonzero(~np.isnan(corners).any(axis=1)).tolist()
    masks = _draw_masks(corners, known, source.shape)
    made_of = ("segmentation", origin, corners.tolist())
    tracking_uids = [source.uid("tracking", level, *made_of) for level in known]
    uid = source.uid(*made_of)
    segmentation = highdicom.seg.Segmentation(
        source_images=[source.stand_in],
        pixel_array=masks,
        segmentation_type="BINARY",
        segment_descriptions=_describe_segments(known, tracking_uids, origin),
        series_instance_uid=source.uid("series", *made_of),
        series_number=2,
        sop_instance_uid=uid,
        instance_number=1,
        content_label="VERTEBRAE",
        content_description="Boxes of L1-L4, research use only",
        series_description="Vertebrae L1-L4, research use only",
        **SOFTWARE,
    )
    # Highdicom leaves this out, and the standard wants it where no position is known.
    segmentation.PatientOrientation = source.stand_in.PatientOrientation
    _name_dimensions(segmentation, source.uid("dimensions", *made_of))
    return uid, finish(segmentation, source)


def _check_corners(boxes: ArrayLike) -> np.ndarray:
    """Return the boxes of L1 to L4, shape (4, 4), of which one at least is known."""
    given = np.asarray(boxes, dtype=float)
    if given.shape != (len(LEVELS), 4):
        raise ValueError(
            "Expected boxes to have shape (4, 4), top, left, bottom and right of L1 to "
            f"L4, got {given.shape}. Pass NaN for a vertebra that is not known."
        )
    corners = check_boxes(given[np.newaxis], 1)[0]
    if np.isnan(corners).any(axis=1).all():
        raise ValueError(
            "Expected boxes to hold a vertebra, got NaN only. Write no segmentation of "
            "this scan."
        )
    return corners


def _draw_masks(
    corners: np.ndarray, known: list[int], shape: tuple[int, int]
) -> np.ndarray:
    """Return the pixels of each known vertebra, shape (1, height, width, n_known)."""
    masks = np.zeros((1, *shape, len(known)), dtype=np.uint8)
    for k, level in enumerate(known):
        # A pixel belongs to the box that its centre is in.
        top, left, bottom, right = np.ceil(corners[level] - 0.5).clip(0).astype(int)
        masks[0, top:bottom, left:right, k] = 1
        if not masks[..., k].any():
            raise ValueError(
                f"Expected the box of {LEVELS[level]} to lie in a scan of "
                f"{shape[0]} x {shape[1]} pixels, got {corners[level].tolist()}. Boxes "
                "count pixels of the file, not of a crop."
            )
    return masks


def _describe_segments(
    known: list[int], tracking_uids: list[str], origin: str
) -> list[Any]:
    highdicom = import_highdicom()
    from pydicom.sr.codedict import codes

    algorithm = None
    if origin != "given":
        algorithm = highdicom.AlgorithmIdentificationSequence(
            name="tbsclassify LumbarLocalizer",
            family=codes.cid7162.ArtificialIntelligence,
            version=SOFTWARE["software_versions"],
            source=SOFTWARE["manufacturer"],
        )
    bones = codes.SCT
    vertebrae = (
        *(bones.BoneStructureOfL1, bones.BoneStructureOfL2),
        *(bones.BoneStructureOfL3, bones.BoneStructureOfL4),
    )
    return [
        highdicom.seg.SegmentDescription(
            segment_number=k,
            segment_label=LEVELS[level],
            segmented_property_category=bones.AnatomicalStructure,
            segmented_property_type=vertebrae[level],
            algorithm_type=_ORIGINS[origin],
            algorithm_identification=algorithm,
            tracking_uid=tracking_uid,
            tracking_id=f"tbsclassify {LEVELS[level]}",
        )
        for k, (level, tracking_uid) in enumerate(
            zip(known, tracking_uids, strict=True), start=1
        )
    ]


def _name_dimensions(segmentation: Any, uid: str) -> None:
    """Give dimensions, to which highdicom gives a random UID, one of this library's."""
    for item in segmentation.DimensionIndexSequence:
        item.DimensionOrganizationUID = uid
    segmentation.DimensionOrganizationSequence[0].DimensionOrganizationUID = uid
