"""Find L1 to L4 in scans without boxes."""

from collections.abc import Iterator
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Bunch

from tbsclassify._boxes import (
    BOX_COLUMNS,
    BOX_SIDES,
    CONFIDENCES,
    LEVELS,
    boxes_of_table,
    check_boxes,
    check_scans_and_boxes,
    put_boxes,
)
from tbsclassify._scans import check_table, numbers_in
from tbsclassify._validation import check_number, check_option, check_random_seed
from tbsclassify.images import iter_scans
from tbsclassify.localization._adapt import adapt
from tbsclassify.localization._decode import Found, find_levels
from tbsclassify.localization._network import network_of, segment
from tbsclassify.localization._prepare import Picture, prepare_scan, to_scan
from tbsclassify.localization._weights import shipped_knowledge


class LumbarLocalizer(TransformerMixin, BaseEstimator):
    """Find the vertebrae L1 to L4 in bare anteroposterior scans.

    A small network segments the spine, and vertebral bodies against discs. Four
    vertebrae in a row are fitted to the sequence of bodies and discs, and a linear
    model that sees ribs, crests and sacrum around them decides which is L1. Pixels may
    have any size, and the scan any depth.

    The shipped knowledge was learned from phantoms alone, so `transform` works without
    `fit`. `fit` adapts it to the boxes that a site has drawn.

    Parameters
    ----------
    edges : {"disc", "endplate"}, default="disc"
        Where boxes end. Boxes of densitometers touch in the middle of the discs; boxes
        of phantoms end at the endplates. After `fit`, boxes end where those of the
        site do.
    max_steps : int, default=150
        Training steps of `fit`, a second or less each on one core. Before them,
        phantoms are drawn, five for each scan.
    random_state : int, RandomState instance or None, default=None
        Seed of `fit`.

    Attributes
    ----------
    n_scans_ : int
        Number of scans with boxes that `fit` has learned from.
    margins_ : ndarray of shape (4,)
        How far the site's boxes reach beyond the discs at the top and bottom, in
        distances of vertebrae, and beyond the sides, in widths of the spine: top,
        left, bottom, right. Only a `fit` with boxes sets it and `n_scans_`.

    See Also
    --------
    tbsclassify.LumbarCropper : Crops scans to what is found, ``boxes="auto"``.

    Notes
    -----
    The weak point is which vertebra is L1, for people too: levels are counted from ribs
    or crests, which many scans hardly show. Look at scans with a confidence far below
    1. Scans are assumed to be upright: the confidences do not show that one is upside
    down. :ref:`localization` in the guide has measured figures.

    Examples
    --------
    >>> from tbsclassify import LumbarLocalizer
    >>> from tbsclassify.datasets import make_dxa_phantoms
    >>> scans = make_dxa_phantoms(2, random_state=0)
    >>> found = LumbarLocalizer(edges="endplate").locate(scans.images)
    >>> found.boxes.shape
    (2, 4, 4)
    >>> off = abs(found.boxes - scans.boxes)  # pixels
    >>> bool(off.max() < 12)
    True

    In a table, the boxes stand beside the scans:

    >>> table = LumbarLocalizer().transform_table(scans.frame[["image"]])
    >>> list(table.columns[:5])
    ['image', 'L1_top', 'L1_left', 'L1_bottom', 'L1_right']
    """

    def __init__(
        self,
        *,
        edges: Literal["disc", "endplate"] = "disc",
        max_steps: int = 150,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.edges = edges
        self.max_steps = max_steps
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, boxes: ArrayLike | None = None) -> Self:
        """Adapt to the boxes of a site, given about twenty scans or more.

        The localizer learns the look of the scans, how they are framed, and where
        boxes end. The network sees as many phantoms as scans, so that it does not
        forget what the few scans do not show.

        Parameters
        ----------
        X : array, sequence or table
            Scans, as in `transform`.
        y : None
            Ignored.
        boxes : array-like of shape (n_scans, 4, 4), default=None
            Boxes of L1 to L4 as (top, left, bottom, right) in pixels. None takes
            those of a table, as in `transform_table`. Scans in which a level is NaN are
            left out. Without any boxes nothing is learned, and what an earlier fit has
            learned is dropped.

        Returns
        -------
        self : LumbarLocalizer
            The fitted localizer.

        Raises
        ------
        ValueError
            If a scan is not readable; if boxes have no meaning, do not follow each
            other from L1 down to L4, or lie beside their scan; or if fewer than five
            scans have boxes of all four vertebrae.

        Examples
        --------
        >>> from tbsclassify import LumbarLocalizer
        >>> from tbsclassify.datasets import make_dxa_phantoms
        >>> scans = make_dxa_phantoms(6, random_state=0)
        >>> localizer = LumbarLocalizer(max_steps=2, random_state=0)
        >>> localizer.fit(scans.images, boxes=scans.boxes).n_scans_
        6
        """
        self._check_parameters()
        seed = check_random_seed(self.random_state)
        scans, given = check_scans_and_boxes(X, boxes)
        if boxes is None and np.isnan(given).all():
            for name in vars(self).keys() & {"knowledge_", "margins_", "n_scans_"}:
                delattr(self, name)
            return self
        if given.shape[1] != len(LEVELS):
            raise ValueError(
                "Expected boxes of L1, L2, L3 and L4, of shape (n_scans, 4, 4), got "
                f"{given.shape}. One box of the whole does not tell the levels."
            )
        known = ~np.isnan(given).any(axis=(1, 2))
        if known.sum() < 5:
            raise ValueError(
                "Expected boxes of all four vertebrae for at least 5 scans, got "
                f"{known.sum()}. Box more scans, some twenty, or use the localizer "
                "without fit."
            )
        pictures = list(_pictures_of(scans, given, known))
        self.knowledge_, self.margins_ = adapt(
            shipped_knowledge(), pictures, given[known], self.max_steps, seed
        )
        self.n_scans_ = len(pictures)
        return self

    def locate(self, X: Any) -> Bunch:
        """Find L1 to L4.

        Parameters
        ----------
        X : array, sequence or table
            Scans, as in `transform`.

        Returns
        -------
        found : :class:`~sklearn.utils.Bunch`
            With ``n`` scans:

            boxes : ndarray of shape (n, 4, 4)
                Boxes of L1 to L4 as (top, left, bottom, right) in pixels, ends
                exclusive.
            axis : ndarray of shape (n, 5, 2)
                Row and column of the spine's axis at the top of L1, in the discs
                between, and at the bottom of L4.
            level_confidence : ndarray of shape (n,)
                Probability that L1 is L1, not one of its neighbours.
            place_confidence : ndarray of shape (n,)
                Contrast of vertebral bodies and discs, 0 to 1. Near 0, there is hardly
                a spine.
        """
        self._check_parameters()
        boxes, axes, confidences = [], [], []
        for picture, found in self._find(X):
            boxes.append(to_scan(self._boxes(found), picture.frame))
            points = np.stack([found.edges, found.axis], axis=1)
            axes.append(points * picture.frame[2:] + picture.frame[:2])
            confidences.append([found.level_confidence, found.place_confidence])
        level, place = np.array(confidences).T
        return Bunch(
            boxes=np.stack(boxes),
            axis=np.stack(axes),
            level_confidence=level,
            place_confidence=place,
        )

    def transform(self, X: Any) -> np.ndarray:
        """Find L1 to L4, with confidences.

        Parameters
        ----------
        X : array of shape (n_scans, height, width), sequence or table
            Scans; or a sequence of 2-D arrays of any sizes or of paths; or a
            DataFrame with arrays or paths in a column ``image``.

        Returns
        -------
        found : ndarray of shape (n_scans, 18)
            The boxes of `locate` and both confidences, in the order of
            `get_feature_names_out`.

        Raises
        ------
        ValueError
            If a scan is not readable.

        See Also
        --------
        transform_table : Puts these beside the scans, and keeps known boxes.
        """
        found = self.locate(X)
        confidences = [found[name][:, np.newaxis] for name in CONFIDENCES]
        return np.hstack([found.boxes.reshape(-1, len(BOX_COLUMNS)), *confidences])

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> np.ndarray:
        """Fit, and find L1 to L4 in the same scans.

        Parameters
        ----------
        X : array, sequence or table
            Scans, as in `transform`.
        y : None
            Ignored.
        **fit_params : dict
            Boxes for `fit`.

        Returns
        -------
        found : ndarray of shape (n_scans, 18)
            The result of `transform`.
        """
        return self.fit(X, y, **fit_params).transform(X)

    def transform_table(self, table: pd.DataFrame) -> pd.DataFrame:
        """Add boxes and confidences to the scans of a table.

        Boxes in the table are kept, since somebody may have drawn them. A scan is
        located only if none of its levels and no box of the whole is known.

        Parameters
        ----------
        table : pandas.DataFrame
            Scans in a column ``image``. It may have columns of boxes, as
            `tbsclassify.LumbarCropper` takes them, with NaN where none is known.

        Returns
        -------
        table : pandas.DataFrame
            The same rows and columns, with columns ``L1_top`` to ``L4_right``,
            ``level_confidence`` and ``place_confidence``. Where boxes were known,
            confidences stay as they were, NaN if there were none.

        Raises
        ------
        ValueError
            If there is no column ``image``, a scan is not readable, or boxes have
            no meaning.
        TypeError
            If `table` is not a pandas DataFrame.

        Examples
        --------
        As a step of a Pipeline, which with a `memory` locates training scans once:

        >>> from sklearn.pipeline import make_pipeline
        >>> from sklearn.preprocessing import FunctionTransformer
        >>> from tbsclassify import LumbarLocalizer, make_texture_classifier
        >>> pipeline = make_pipeline(
        ...     FunctionTransformer(LumbarLocalizer().transform_table),
        ...     make_texture_classifier(),
        ... )
        """
        check_table(table)
        self._check_parameters()
        given, unknown = boxes_of_table(table), np.ones(len(table), dtype=bool)
        if given is not None:
            unknown = np.isnan(check_boxes(given, len(table))).all(axis=(1, 2))
        boxes = np.full((len(table), len(LEVELS), len(BOX_SIDES)), np.nan)
        confidences = _confidences_of(table)
        if unknown.any():
            found = self.locate(table.loc[unknown, "image"])
            boxes[unknown] = found.boxes
            for name in CONFIDENCES:
                confidences[name][unknown] = found[name]
        return put_boxes(table, boxes, unknown).assign(**confidences)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Get the names of the columns that `transform` returns.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Ignored.

        Returns
        -------
        names : ndarray of str of shape (18,)
            ``L1_top`` to ``L4_right``, ``level_confidence``, ``place_confidence``.
        """
        return np.array([*BOX_COLUMNS, *CONFIDENCES], dtype=object)

    def _find(self, X: Any) -> Iterator[tuple[Picture, Found]]:
        """Yield the picture of each scan, and the levels found in it."""
        knowledge = getattr(self, "knowledge_", None) or shipped_knowledge()
        network = network_of(knowledge.network)
        for scan in iter_scans(check_scans_and_boxes(X, None)[0], one_depth=False):
            picture = prepare_scan(scan)
            maps = segment(network, picture.pixels)
            yield (
                picture,
                find_levels(picture.pixels, maps, knowledge.levels, knowledge.habits),
            )

    def _boxes(self, found: Found) -> np.ndarray:
        """Return boxes with the ends that were asked for, in shares of the frame."""
        ends, sides = np.stack([found.edges[:-1], found.edges[1:]], axis=1), found.sides
        margins = getattr(self, "margins_", None)
        if margins is not None:
            pitch, width = np.ptp(found.edges) / len(ends), np.ptp(sides, axis=1).mean()
            ends, sides = ends + pitch * margins[::2], sides + width * margins[1::2]
        elif self.edges == "endplate":
            ends = found.ends
        return np.stack([ends[:, 0], sides[:, 0], ends[:, 1], sides[:, 1]], axis=1)

    def _check_parameters(self) -> None:
        check_option(self.edges, "edges", ("disc", "endplate"))
        check_number(self.max_steps, "max_steps", low=1, integer=True)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.requires_fit = False
        return tags


def _pictures_of(
    scans: Any, boxes: np.ndarray, wanted: np.ndarray
) -> Iterator[Picture]:
    """Yield pictures of the wanted scans, after checking their boxes."""
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2
    swapped = wanted & (np.diff(centres[..., 0], axis=1) <= 0).any(axis=1)
    if swapped.any():
        raise ValueError(
            "Expected boxes to follow each other from L1 down to L4, got others at "
            f"index {np.flatnonzero(swapped)[:10].tolist()}. Put the levels in order, "
            "and turn scans upright."
        )
    for i, scan in enumerate(iter_scans(scans, one_depth=False)):
        if not wanted[i]:
            continue
        if ((centres[i] < 0) | (centres[i] > scan.shape)).any():
            raise ValueError(
                f"Expected boxes to lie in their scan, got {boxes[i].tolist()} for one "
                f"of shape {scan.shape} at index {i}. Boxes count pixels of the scan "
                "as it is passed: scale them if it was resized after they were drawn."
            )
        yield prepare_scan(scan)


def _confidences_of(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the confidences in a table, NaN where there are none."""
    confidences = {}
    for name in CONFIDENCES:
        n_columns = [*table.columns].count(name)
        if n_columns > 1:
            raise ValueError(
                f"Expected table to have one column {name!r}, got {n_columns}. Drop or "
                "rename all but one."
            )
        known = numbers_in(table, [name])[:, 0] if n_columns else np.nan
        confidences[name] = np.array(np.broadcast_to(known, len(table)))
    return confidences
