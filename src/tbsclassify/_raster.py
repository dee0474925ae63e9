"""Read PNG, JPEG, BMP and TIFF files, and Pillow images, as grey levels."""

import io
from functools import reduce
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from tbsclassify._files import UnreadableScanError
from tbsclassify._warn import warn

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
# Channels of a grey JPEG may differ by some levels where it stores chroma.
_COLOUR_SPREAD = 32


def read_raster(
    data: bytes, name: str, max_pixels: int
) -> tuple[np.ndarray, dict[str, Any]]:
    """Read a PNG, JPEG, BMP or TIFF file as (h, w) or (h, w, 3) pixels."""
    too_large = f"has more than the {max_pixels} pixels allowed"
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise UnreadableScanError(too_large)
            pixels = pixels_of_image(image)
    except UnreadableScanError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnreadableScanError(too_large) from None
    except Image.UnidentifiedImageError:
        raise UnreadableScanError(
            f"is not a readable {', '.join(_FORMATS)} or DICOM file"
        ) from None
    except Exception as error:
        # On damaged files, the decoders of Pillow raise any error, and quote the file.
        raise UnreadableScanError(
            f"is truncated or damaged ({type(error).__name__})"
        ) from None
    metadata = {
        "format": image.format,
        "bits_stored": 8 * pixels.dtype.itemsize,
        "pixel_spacing": None,
        "pixel_spacing_source": None,
        "modality": None,
        "manufacturer": None,
        "model": None,
        "region": None,
        "burned_in_annotation": None,
    }
    return pixels, metadata


def pixels_of_image(image: Image.Image) -> np.ndarray:
    """Return a Pillow image as (h, w) or (h, w, 3) pixels, upright.

    Raises
    ------
    UnreadableScanError
        If it has a palette, several frames, transparency, or another depth than 8
        or 16 bits.
    """
    _check_image(image)
    inverted = image.mode.startswith("I;16") and _is_white_zero(image)
    pixels = _grey_or_colour(ImageOps.exif_transpose(image))
    return np.iinfo(pixels.dtype).max - pixels if inverted else pixels


def to_grey(pixels: np.ndarray, name: str) -> np.ndarray:
    """Turn (h, w) or (h, w, 3) pixels into grey levels; `name` is for the warning."""
    if pixels.ndim == 2:
        return pixels
    channels = [pixels[..., i] for i in range(pixels.shape[2])]
    # Many times as fast as np.ptp along the last axis.
    spread = reduce(np.maximum, channels) - reduce(np.minimum, channels)
    n_coloured = int((spread > _COLOUR_SPREAD).sum())
    if n_coloured:
        warn(
            f"{name}: {n_coloured} of {spread.size} pixels "
            f"({n_coloured / spread.size:.1%}) are coloured, as burnt-in overlays "
            "are. They become grey and stay in the scan: export it without overlay."
        )
    elif not spread.any():
        return pixels[..., 0]
    return np.array(Image.fromarray(pixels).convert("L"))


def _check_image(image: Image.Image) -> None:
    # Frames are not counted: Pillow would take hours if there are many.
    if getattr(image, "is_animated", False):
        raise UnreadableScanError("holds several frames, expected one")
    # Pillow leaves pixels black that are in no strip of a TIFF.
    boxes = [tile[1] for tile in getattr(image, "tile", [])]
    held = sum((right - left) * (low - top) for left, top, right, low in boxes)
    if boxes and held < image.width * image.height:
        raise UnreadableScanError("holds fewer pixels than its header claims")
    if image.mode in ("P", "PA"):
        raise UnreadableScanError("has palette colours, expected grey levels")
    if image.mode not in ("L", "LA", "RGB", "RGBA", "I", "I;16", "I;16B", "I;16L"):
        raise UnreadableScanError(
            f"has pixels of Pillow's mode {image.mode}, expected 8 or 16-bit grey "
            "levels"
        )
    # Pillow would silently keep the upper 8 of 16 bits in these modes.
    raw_modes = [tile[3] for tile in getattr(image, "tile", [])]
    if image.mode in ("LA", "RGB", "RGBA") and ";16" in str(raw_modes):
        raise UnreadableScanError(
            "has 16 bits in each of several channels; export it as 16-bit grey"
        )


def _is_white_zero(image: Image.Image) -> bool:
    photometric_interpretation = 262
    tags = getattr(image, "tag_v2", {})
    return tags.get(photometric_interpretation) == 0


def _grey_or_colour(image: Image.Image) -> np.ndarray:
    if image.mode in ("LA", "RGBA"):
        if image.getchannel("A").getextrema() != (255, 255):
            raise UnreadableScanError(
                "has transparent pixels; export it without transparency"
            )
        image = image.convert(image.mode[:-1])
    pixels = np.array(image)
    if image.mode == "I":
        if pixels.min() < 0 or pixels.max() > np.iinfo(np.uint16).max:
            raise UnreadableScanError("has grey levels that exceed 16 bits")
        pixels = pixels.astype(np.uint16)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
