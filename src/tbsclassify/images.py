"""Read scans: PNG, JPEG, BMP, TIFF and DICOM files to grey-level arrays."""

import itertools
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, overload

import joblib
import numpy as np
from numpy.typing import ArrayLike
from PIL import Image
from scipy import ndimage

from tbsclassify._dicom import (
    DENSITOMETRY_MODALITIES,
    looks_like_dicom,
    read_dicom,
)
from tbsclassify._files import UnreadableScanError, printable_name, read_whole
from tbsclassify._raster import pixels_of_image, read_raster, to_grey
from tbsclassify._scans import check_fill, check_one_depth, check_scan, scans_of
from tbsclassify._sklearn_compat import num_samples
from tbsclassify._warn import held_back, warn

__all__ = ["UnreadableScanError", "read_scan", "unscanned_mask"]

# A lumbar DXA export has about 0.1 to 0.6 million pixels, a plain chest film 8.
_MAX_PIXELS = 64_000_000
# Files that are read ahead.
_N_AHEAD = 32


@overload
def read_scan(
    path: str | os.PathLike[str],
    *,
    fill_unscanned: int | None = None,
    return_metadata: Literal[False] = False,
) -> np.ndarray: ...


@overload
def read_scan(
    path: str | os.PathLike[str],
    *,
    fill_unscanned: int | None = None,
    return_metadata: Literal[True],
) -> tuple[np.ndarray, dict[str, Any]]: ...


def read_scan(
    path: str | os.PathLike[str],
    *,
    fill_unscanned: int | None = None,
    return_metadata: bool = False,
) -> np.ndarray | tuple[np.ndarray, dict[str, Any]]:
    """Read one scan as grey levels in which dense bone is bright.

    Parameters
    ----------
    path : str or path-like
        A PNG, JPEG, BMP, TIFF or DICOM file, recognised by its content, not by its
        name.
    fill_unscanned : int, default=None
        Grey level painted over blocks that the densitometer did not scan, as
        found by `unscanned_mask`. None leaves them as they are.
    return_metadata : bool, default=False
        Whether to return metadata of the file, too.

    Returns
    -------
    scan : ndarray of uint8 or uint16 of shape (height, width)
        Grey levels at the file's depth. A colour file that holds grey becomes
        grey. Of DICOM files the modality LUT, the VOI LUT or first window, and
        the inversion of MONOCHROME1 are applied; the result spans 0 to
        ``2**bits_stored - 1``.
    metadata : dict
        Only with ``return_metadata=True``: ``format``, ``bits_stored``,
        ``pixel_spacing`` (height and width of a pixel in mm, or None),
        ``pixel_spacing_source`` (the DICOM element, ``ExposedArea`` on GE
        densitometers), ``modality``, ``manufacturer``, ``model``, ``region``
        and ``burned_in_annotation`` (True, False, or None if unknown). Nothing about
        the patient is ever read from a DICOM header.

    Raises
    ------
    UnreadableScanError
        If the file is empty, truncated, of another format, undecodable, no regular
        file, has a palette, several frames, transparency, more than 64 million
        pixels or more than 256 MiB, inflated or not. It is a ``ValueError``; the
        message names the file and the reason.
    FileNotFoundError
        If there is no such file.
    OSError
        If the file cannot be opened, such as a ``PermissionError``. As in all errors,
        the folders of the file are not named.

    Warns
    -----
    UserWarning
        If some pixels are coloured, as in a burnt-in overlay; if a DICOM header says
        that text is burnt into the image (``BurnedInAnnotation``), or names another
        region than the AP spine or another modality than an X-ray.

    See Also
    --------
    tbsclassify.datasets.load_scans : Reads a whole folder by its CSV table.
    UnreadableScanError : The error for a file that is no readable scan.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from PIL import Image
    >>> from tbsclassify import read_scan
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "scan.png")
    ...     Image.fromarray(np.full((280, 300), 70, np.uint8)).save(file)
    ...     scan = read_scan(file)
    >>> scan.shape, scan.dtype, int(scan.max())
    ((280, 300), dtype('uint8'), 70)
    """
    scan, metadata = read_with_metadata(path, fill_unscanned)
    for fault in faults_of_header(metadata):
        warn(f"{printable_name(path)} {fault}")
    return (scan, metadata) if return_metadata else scan


def read_with_metadata(
    path: str | os.PathLike[str], fill_unscanned: int | None = None
) -> tuple[np.ndarray, dict[str, Any]]:
    """Read a scan and the metadata of its file, without warnings about them."""
    path = Path(path)
    name = printable_name(path)
    try:
        data = read_whole(path)
        if not data:
            raise UnreadableScanError("is empty (0 bytes)")
        reader = read_dicom if looks_like_dicom(data, path.suffix) else read_raster
        pixels, metadata = reader(data, name, _MAX_PIXELS)
    except UnreadableScanError as error:
        raise UnreadableScanError(f"{name} {error}.") from None
    scan = to_grey(pixels, name)
    if fill_unscanned is not None:
        check_fill(fill_unscanned, "fill_unscanned", scan.dtype)
        scan = np.where(unscanned_mask(scan), scan.dtype.type(fill_unscanned), scan)
    return scan, metadata


def faults_of_header(metadata: dict[str, Any]) -> list[str]:
    """Return faults in a header that speak against using a scan, with a next step."""
    faults = []
    if metadata["burned_in_annotation"]:
        faults.append(
            "has text burnt into its pixels, by its header (BurnedInAnnotation YES). "
            "It may name the patient: look at the scan, and export it without text "
            "before you share it."
        )
    if metadata["region"] not in (None, "ap_spine"):
        faults.append(
            f"shows another region than the AP spine, by its header "
            f"({metadata['region']}). Leave it out."
        )
    if metadata["modality"] not in (None, *DENSITOMETRY_MODALITIES):
        faults.append(
            f"is no image of a densitometer, by its header (modality "
            f"{metadata['modality']}, expected "
            f"{', '.join(sorted(DENSITOMETRY_MODALITIES))}). Leave it out."
        )
    return faults


def unscanned_mask(
    scan: ArrayLike, *, value: float | None = None, block: int = 8
) -> np.ndarray:
    """Find the blocks on a scan's border that the densitometer did not scan.

    GE densitometers leave white steps along the border where the arm turned back
    early. Unlike bright bone, they are regions of one grey level that touch the border
    and are made of whole square blocks.

    Parameters
    ----------
    scan : ndarray of shape (height, width)
        Grey levels.
    value : int or float, default=None
        Grey level of the unscanned blocks. None takes the brightest level of the
        scan, which is 252 in exports of GE.
    block : int, default=8
        Side of the smallest block in pixels.

    Returns
    -------
    mask : ndarray of bool of shape (height, width)
        True where the scan holds no measurement.

    See Also
    --------
    tbsclassify.check_scans : Reports the share of unscanned pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from tbsclassify.images import unscanned_mask
    >>> scan = np.full((40, 40), 90, dtype=np.uint8)
    >>> scan[:16, :8] = 252
    >>> scan[20:30, 20:30] = 252  # bright, but not on the border
    >>> int(unscanned_mask(scan).sum())
    128
    """
    scan = np.asarray(scan)
    level = scan.max() if value is None else value
    regions, _ = ndimage.label(scan == level)
    border = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    mask = np.zeros(scan.shape, dtype=bool)
    windows = ndimage.find_objects(regions)
    for region in np.unique(border[border > 0]):
        window = windows[region - 1]
        inside = regions[window] == region
        if inside.sum() < block**2:
            continue
        # The border of the scan is not the end of a block.
        at_border = [
            (block * (part.start == 0), block * (part.stop == length))
            for part, length in zip(window, scan.shape, strict=True)
        ]
        padded = np.pad(inside, at_border, mode="edge")
        padded = np.pad(padded, block)
        blocks = ndimage.binary_opening(padded, np.ones((block, block)))
        if (blocks == padded).all():
            mask[window] |= inside
    return mask


def iter_scans(
    X: Any, *, channels: bool = False, one_depth: bool = True
) -> Iterator[np.ndarray]:
    """Yield the scans of `X` as checked arrays, and read paths.

    Threads read a few files ahead while the caller works.

    Parameters
    ----------
    X : array of shape (n, h, w) or (n, c, h, w), sequence, column or table
        Scans in any of their forms.
    channels : bool, default=False
        Whether scans may have channels, as (channels, height, width).
    one_depth : bool, default=True
        Whether all scans must have the same depth.

    Raises
    ------
    ValueError
        If a scan cannot be read, has an invalid shape, holds NaN, or has another depth
        although `one_depth` is True.
    """
    depth = None
    for i, scan in enumerate(_iter_read(scans_of(X))):
        scan = check_scan(scan, i, channels=channels)
        depth = scan.dtype if depth is None else depth
        if one_depth:
            check_one_depth(depth, scan.dtype, i)
        yield scan


def iter_batches(X: Any, batch_size: int) -> Iterator[Any]:
    """Yield `X`, in any of its forms, in batches.

    Files are read when their batch is needed. An `X` without rows is one batch.
    """
    rows = scans_of(X)
    if isinstance(rows, list):
        scans = iter_scans(rows, channels=True)
        while batch := list(itertools.islice(scans, batch_size)):
            yield batch
        return
    if not hasattr(rows, "__getitem__"):
        rows = np.asarray(rows)
    n_rows = num_samples(rows)
    rows = getattr(rows, "iloc", rows)
    for start in range(0, max(1, n_rows), batch_size):
        yield rows[start : start + batch_size]


def stack_scans(X: Any) -> Any:
    """Return `X` as one array if it holds images or paths one by one.

    They may be a sequence or the column ``image`` of a table. Anything else (arrays and
    tables of numbers) is returned as it is.

    Raises
    ------
    ValueError
        If there is no image, or if sizes or depths differ.
    """
    scans = scans_of(X)
    if not isinstance(scans, list):
        if getattr(scans, "ndim", 0) >= 3 and len(scans) == 0:
            raise ValueError(
                f"Expected X to hold at least one scan, got none (shape {scans.shape})."
            )
        return scans
    scans = list(iter_scans(scans, channels=True))
    shapes = sorted({scan.shape for scan in scans})
    if len(shapes) > 1:
        shown = ", ".join(str(shape) for shape in shapes[:3])
        raise ValueError(
            f"Expected X to hold images of one size, as a network takes them, got "
            f"{len(shapes)} sizes ({shown}{', ...' if len(shapes) > 3 else ''}). Bring "
            "them to one size first: make_pipeline(LumbarCropper(), classifier)."
        )
    return np.stack(scans)


def _iter_read(scans: Iterable[Any]) -> Iterator[Any]:
    """Yield scans in order; threads read the files among them ahead."""
    if not any(map(_is_path, scans)):
        yield from (_from_pillow(scan, i) for i, scan in enumerate(scans))
        return
    with ThreadPoolExecutor(joblib.cpu_count()) as pool:
        pending: deque[Any] = deque()
        for i, scan in enumerate(scans):
            is_path = _is_path(scan)
            pending.append(
                pool.submit(_read_in_thread, scan) if is_path else _from_pillow(scan, i)
            )
            if len(pending) > _N_AHEAD:
                yield _result(pending.popleft())
        while pending:
            yield _result(pending.popleft())


def _read_in_thread(path: str | os.PathLike[str]) -> tuple[np.ndarray, list[str]]:
    """Return a scan and what there is to warn of."""
    with held_back() as messages:
        return read_scan(path), messages


def _result(scan: Any) -> Any:
    if not isinstance(scan, Future):
        return scan
    scan, messages = scan.result()
    for message in messages:
        warn(message)
    return scan


def _is_path(scan: Any) -> bool:
    return isinstance(scan, str | os.PathLike)


def _from_pillow(scan: Any, index: int) -> Any:
    """Turn a Pillow image into grey levels by the rules for files."""
    if not isinstance(scan, Image.Image):
        return scan
    name = f"X[{index}]"
    try:
        return to_grey(pixels_of_image(scan), name)
    except UnreadableScanError as error:
        raise UnreadableScanError(f"{name} {error}.") from None
