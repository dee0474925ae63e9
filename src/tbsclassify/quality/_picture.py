"""Checks of a whole image, without boxes."""

import numpy as np
from PIL import Image
from scipy import ndimage

# A grey level with this share of the border may be the level of unscanned blocks.
_BORDER_SHARE = 0.02
_BLOCK = 8  # pixels, the side of the smallest block
# Letters: their strokes are thin and among the brightest pixels.
_STROKE = 1 / 60  # of the image's shorter side, at most
_LETTER_HEIGHT = (5, 1 / 14)  # pixels at least, and share of the image's height
_BRIGHT = 0.6  # of the range of grey levels
_CONTRAST = 0.3  # to what is around a stroke, of the same range
# The column of the spine is looked for in a picture of this side, at these widths.
_SIDE = 64
_WIDTHS = (13, 19, 26)
_ROW_QUANTILE = 0.15


def unscanned_blocks(scan: np.ndarray) -> np.ndarray:
    """Return a mask of the bright blocks on the border that were not scanned.

    Unlike in `unscanned_mask`, their level need not be the brightest of the scan, since
    there may be metal.
    """
    edges = np.concatenate([scan[0], scan[-1], scan[1:-1, 0], scan[1:-1, -1]])
    levels, counts = np.unique(edges, return_counts=True)
    bright = levels > (float(scan.min()) + float(scan.max())) / 2
    frequent = counts >= _BORDER_SHARE * len(edges)
    mask = np.zeros(scan.shape, dtype=bool)
    for level in levels[bright & frequent]:
        mask |= _blocks(scan == level)
    return mask


def _blocks(same: np.ndarray) -> np.ndarray:
    """Keep the regions on the border that are made of whole square blocks."""
    regions, n_regions = ndimage.label(same)
    # The border of the scan is not the end of a block.
    padded = np.pad(same, _BLOCK, mode="edge").astype(np.uint8)
    opened = ndimage.maximum_filter(
        ndimage.minimum_filter(padded, _BLOCK),
        _BLOCK,
        origin=-1 if _BLOCK % 2 == 0 else 0,
    )
    opened = opened[_BLOCK:-_BLOCK, _BLOCK:-_BLOCK].astype(bool) & same
    size = np.bincount(regions.ravel(), minlength=n_regions + 1)
    whole = size == np.bincount(regions[opened], minlength=n_regions + 1)
    border = np.zeros(n_regions + 1, dtype=bool)
    for edge in (regions[0], regions[-1], regions[:, 0], regions[:, -1]):
        border[edge] = True
    keep = whole & border & (size >= _BLOCK**2)
    keep[0] = False
    return keep[regions]


def count_letters(scan: np.ndarray) -> int:
    """Return the length of the longest line of bright letters.

    Letters are compact figures of thin bright strokes, alike in height, whose
    middles lie on one level and whose gaps are no wider than three of them.
    """
    low, high = float(scan.min()), float(scan.max())
    if high <= low:
        return 0
    level = (scan - low) / (high - low)
    thickest = max(5, round(_STROKE * min(scan.shape)))
    strokes = ndimage.white_tophat(level, size=(thickest, thickest)) > _CONTRAST
    figures, _ = ndimage.label(strokes & (level > _BRIGHT), np.ones((3, 3)))
    letters = []
    for rows, columns in ndimage.find_objects(figures):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        tall = _LETTER_HEIGHT[0] <= height <= _LETTER_HEIGHT[1] * scan.shape[0]
        if tall and width <= 1.5 * height:
            letters.append((columns.start, columns.stop, rows.start, rows.stop))
    return _longest_line(sorted(letters))


def _longest_line(letters: list[tuple[int, int, int, int]]) -> int:
    """Return the longest chain of boxes (left, right, top, bottom), sorted by left."""
    lengths: list[int] = []
    for i, (left, right, top, bottom) in enumerate(letters):
        best = 0
        for j in range(i):
            _, end, above, below = letters[j]
            height, other = bottom - top, below - above
            aligned = abs(top + bottom - above - below) <= 0.5 * max(height, other)
            alike = max(height, other) <= 1.4 * min(height, other)
            if aligned and alike and -1 <= left - end <= 3 * height and right > end:
                best = max(best, lengths[j])
        lengths.append(best + 1)
    return max(lengths, default=0)


def column_contrast(scan: np.ndarray, unscanned: np.ndarray) -> float:
    """Return how clearly a bright column runs through the scan from top to bottom.

    The grey levels of a column, less those on its brighter side, as a share of
    the range of grey levels, in all rows but the worst 15 %. A lumbar spine is
    such a column; a hip, a chest, a whole body, noise and a blank are not.
    """
    picture = _small(scan, unscanned)
    low, high = np.percentile(picture, (2, 98))
    if high <= low:
        return 0.0
    picture = np.clip((picture - low) / (high - low), 0, 1)
    picture = ndimage.uniform_filter1d(picture, 5, axis=0, mode="nearest")
    return _best_course(np.stack([_ridge(picture, width) for width in _WIDTHS]))


def _small(scan: np.ndarray, unscanned: np.ndarray) -> np.ndarray:
    """Shrink a scan, unscanned blocks as dark as its darkest tenth."""
    pixels = scan.astype(np.float32)
    if unscanned.any() and not unscanned.all():
        pixels[unscanned] = np.percentile(pixels[~unscanned], 10)
    image = Image.fromarray(pixels)
    return np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BOX), float)


def _ridge(picture: np.ndarray, width: int) -> np.ndarray:
    """Return the mean over a width minus the greater mean beside it, by column."""
    flank = width // 2
    inside = ndimage.uniform_filter1d(picture, width, axis=1, mode="nearest")
    beside = ndimage.uniform_filter1d(picture, flank, axis=1, mode="nearest")
    reach = width // 2 + flank // 2 + 1
    middle = np.arange(reach, _SIDE - reach)
    darker = np.maximum(beside[:, middle - reach], beside[:, middle + reach])
    ridge = np.full(picture.shape, -np.inf)
    ridge[:, middle] = inside[:, middle] - darker
    return ridge


def _best_course(ridges: np.ndarray) -> float:
    """Return the contrast along the best course through ridges (n, rows, columns).

    A course moves by at most one column from row to row. Each ridge has one; the best
    counts.
    """
    n, n_rows, n_columns = ridges.shape
    padded = np.full((n, n_columns + 2), -np.inf)
    padded[:, 1:-1] = ridges[:, 0]
    steps = np.empty((n_rows - 1, n, n_columns), dtype=int)
    for row in range(1, n_rows):
        options = np.stack([padded[:, :-2], padded[:, 1:-1], padded[:, 2:]])
        steps[row - 1] = options.argmax(axis=0) - 1
        padded[:, 1:-1] = options.max(axis=0) + ridges[:, row]
    each, columns = np.arange(n), padded[:, 1:-1].argmax(axis=1)
    contrasts = [ridges[each, -1, columns]]
    for row in range(n_rows - 2, -1, -1):
        columns = columns + steps[row, each, columns]
        contrasts.append(ridges[each, row, columns])
    return float(np.quantile(contrasts, _ROW_QUANTILE, axis=0).max())
