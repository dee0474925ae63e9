"""Read scans: PNG, JPEG, BMP, TIFF and DICOM files to grey-level arrays."""

import itertools
import os
import warnings
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

from tbsclassify._dicom import UnreadableScanError, looks_like_dicom, read_dicom
from tbsclassify._sklearn_compat import num_samples
from tbsclassify._validation import is_sequence_of_scans

__all__ = ["UnreadableScanError", "read_scan", "unscanned_mask"]

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
# A lumbar DXA export has about 0.1 to 0.6 million pixels, a plain chest film 8.
_MAX_PIXELS = 64_000_000
# Files read ahead of the one that is worked on.
_N_AHEAD = 32
# Channels of a grey JPEG may differ by some levels where it stores chroma.
_COLOUR_SPREAD = 32


def read_scan(path, *, fill_unscanned=None, return_metadata=False):
    """Read one scan as grey levels in which dense bone is bright.

    Parameters
    ----------
    path : str or path-like
        A PNG, JPEG, BMP, TIFF or DICOM file; what it is shows in its content,
        not in its name.
    fill_unscanned : int, default=None
        Grey level painted over blocks that the densitometer did not scan, as
        found by `unscanned_mask`. None leaves them as they are.
    return_metadata : bool, default=False
        Whether to return what the file says about the image, too.

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
        densitometers), ``modality``, ``manufacturer``, ``model`` and
        ``region``. Nothing of the patient is ever read from a DICOM header.

    Raises
    ------
    UnreadableScanError
        If the file is empty, truncated, of another format, undecodable, has a
        palette, several frames, transparency or more than 64 million pixels.
        It is a ``ValueError``; the message names the file and the reason.
    FileNotFoundError
        If there is no such file.

    Warns
    -----
    UserWarning
        If some pixels are coloured, as a burnt-in overlay is.

    See Also
    --------
    tbsclassify.datasets.load_scans : Reads a whole folder by its CSV table.

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
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path.name}: there is no such file in {path.parent}.")
    try:
        if path.stat().st_size == 0:
            raise UnreadableScanError("is empty (0 bytes)")
        reader = read_dicom if looks_like_dicom(path) else _read_raster
        pixels, metadata = reader(path, _MAX_PIXELS)
    except UnreadableScanError as error:
        raise UnreadableScanError(f"{path.name} {error}.") from None
    scan = pixels if pixels.ndim == 2 else _grey_from_colour(pixels, path.name)
    if fill_unscanned is not None:
        scan = np.where(unscanned_mask(scan), scan.dtype.type(fill_unscanned), scan)
    return (scan, metadata) if return_metadata else scan


def unscanned_mask(scan, *, value=None, block=8):
    """Find the blocks on a scan's border that the densitometer did not scan.

    GE densitometers leave white steps along the border where the arm turned
    back early. They are told from bright bone by their outline: regions of one
    grey level that touch the border and are made of whole square blocks.

    Parameters
    ----------
    scan : ndarray of shape (height, width)
        Grey levels.
    value : int or float, default=None
        Grey level of the unscanned blocks. None takes the brightest of the
        scan, which is 252 in GE's exports.
    block : int, default=8
        Side of the smallest block in pixels.

    Returns
    -------
    mask : ndarray of bool of shape (height, width)
        True where the scan holds no measurement.

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
    for region in np.unique(border[border > 0]):
        inside = regions == region
        # The border must not be taken for the end of a block.
        padded = np.pad(inside, block, mode="edge")
        blocks = ndimage.binary_opening(padded, np.ones((block, block)))
        if inside.sum() >= block**2 and (blocks == padded).all():
            mask |= inside
    return mask


def iter_scans(X):
    """Yield the images of `X`, reading those that are given as paths.

    Threads read a few files ahead, while the caller works on what it has got.

    Parameters
    ----------
    X : array of shape (n, h, w) or (n, c, h, w), or sequence
        Images, or a sequence of 2-D arrays of any sizes, or of paths.
    """
    if not any(map(_is_path, X)):
        yield from X
        return
    with ThreadPoolExecutor(joblib.cpu_count()) as pool:
        pending: deque[Future] = deque()
        for scan in X:
            pending.append(pool.submit(_read, scan))
            if len(pending) > _N_AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def iter_batches(X, batch_size):
    """Yield `X`, in any of its forms, in parts of `batch_size` scans.

    Files are read as the parts are asked for. An `X` without rows is one part.
    """
    X = _image_column(X)
    if is_sequence_of_scans(X):
        scans = iter_scans(X)
        while batch := list(itertools.islice(scans, batch_size)):
            yield batch
        return
    if not hasattr(X, "__getitem__"):
        X = np.asarray(X)
    rows = getattr(X, "iloc", X)
    for start in range(0, max(1, num_samples(X)), batch_size):
        yield rows[start : start + batch_size]


def stack_scans(X):
    """Return `X` as one array where it holds images or paths one by one.

    These may be a sequence or a table's column ``image``. Anything else (arrays
    and tables of numbers) comes back as it is.

    Raises
    ------
    ValueError
        If the images are not all of one size.
    """
    X = _image_column(X)
    if not is_sequence_of_scans(X):
        return X
    scans = [np.asarray(scan) for scan in iter_scans(X)]
    shapes = sorted({scan.shape for scan in scans})
    if len(shapes) > 1:
        shown = ", ".join(str(shape) for shape in shapes[:3])
        raise ValueError(
            f"X holds images of {len(shapes)} sizes ({shown}"
            f"{', ...' if len(shapes) > 3 else ''}), but a network takes one. Bring "
            "them to one size first: make_pipeline(LumbarCropper(), classifier)."
        )
    return np.stack(scans)


def _is_path(scan):
    return isinstance(scan, str | os.PathLike)


def _read(scan):
    return read_scan(scan) if _is_path(scan) else scan


def _image_column(X):
    return X["image"] if "image" in getattr(X, "columns", ()) else X


def _read_raster(path, max_pixels):
    """Read a PNG, JPEG, BMP or TIFF file as (h, w) or (h, w, 3) pixels."""
    too_large = f"has more than the {max_pixels} pixels allowed"
    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise UnreadableScanError(too_large)
            _check_raster(image)
            inverted = image.mode.startswith("I;16") and _is_white_zero(image)
            pixels = _grey_or_colour(ImageOps.exif_transpose(image))
    except UnreadableScanError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnreadableScanError(too_large) from None
    except Image.UnidentifiedImageError:
        raise UnreadableScanError(
            f"is not a readable {', '.join(_FORMATS)} or DICOM file"
        ) from None
    except Exception as error:
        # Pillow's decoders raise nearly anything on damaged files.
        raise UnreadableScanError(
            f"is truncated or damaged ({type(error).__name__}: {error})"
        ) from None
    if inverted:
        pixels = np.iinfo(pixels.dtype).max - pixels
    metadata = {
        "format": image.format,
        "bits_stored": 8 * pixels.dtype.itemsize,
        "pixel_spacing": None,
        "pixel_spacing_source": None,
        "modality": None,
        "manufacturer": None,
        "model": None,
        "region": None,
    }
    return pixels, metadata


def _check_raster(image):
    if getattr(image, "n_frames", 1) > 1:
        raise UnreadableScanError(
            f"holds {image.n_frames} frames, but one image is wanted"
        )
    if image.mode in ("P", "PA"):
        raise UnreadableScanError("has palette colours, but grey levels are wanted")
    if image.mode not in ("L", "LA", "RGB", "RGBA", "I", "I;16", "I;16B", "I;16L"):
        raise UnreadableScanError(
            f"has pixels of Pillow's mode {image.mode}, but 8 or 16-bit grey levels "
            "are wanted"
        )
    # Pillow would silently keep the upper 8 of 16 bits in these modes.
    raw_modes = [tile[3] for tile in getattr(image, "tile", [])]
    if image.mode in ("LA", "RGB", "RGBA") and ";16" in str(raw_modes):
        raise UnreadableScanError(
            "has 16 bits in each of several channels; export it as 16-bit grey"
        )


def _is_white_zero(image):
    photometric_interpretation = 262
    tags = getattr(image, "tag_v2", {})
    return tags.get(photometric_interpretation) == 0


def _grey_or_colour(image):
    if image.mode in ("LA", "RGBA"):
        if image.getchannel("A").getextrema() != (255, 255):
            raise UnreadableScanError("has transparent pixels")
        image = image.convert(image.mode[:-1])
    pixels = np.array(image)
    if image.mode == "I":
        if pixels.min() < 0 or pixels.max() > np.iinfo(np.uint16).max:
            raise UnreadableScanError("has grey levels that exceed 16 bits")
        pixels = pixels.astype(np.uint16)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _grey_from_colour(pixels, name):
    spread = np.ptp(pixels, axis=2)
    n_coloured = int((spread > _COLOUR_SPREAD).sum())
    if n_coloured:
        warnings.warn(
            f"{name}: {n_coloured} of {spread.size} pixels "
            f"({n_coloured / spread.size:.1%}) are coloured, as burnt-in overlays "
            "are. They become grey and stay in the scan: export it without overlay.",
            UserWarning,
            stacklevel=3,
        )
    elif not spread.any():
        return pixels[..., 0]
    return np.array(Image.fromarray(pixels).convert("L"))
