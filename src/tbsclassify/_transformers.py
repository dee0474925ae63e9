"""The base of transformers of scans."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin

from tbsclassify._boxes import check_scans_and_boxes, remember_boxes
from tbsclassify._spacing import remember_spacing


class StatelessScanTransformer(TransformerMixin, BaseEstimator):
    """A transformer of scans and their L1-L4 boxes that learns nothing from them.

    A fit only remembers the size of their pixels (`spacing_`) and whether they had
    boxes (`has_boxes_`), to warn of scans that differ from them. Not to be used
    directly. A subclass has `_check_parameters` and `transform`.
    """

    def _check_parameters(self) -> Any:
        """Check the parameters of the constructor."""
        raise NotImplementedError

    def transform(self, X: Any, boxes: ArrayLike | None = None) -> np.ndarray:
        """Transform scans."""
        raise NotImplementedError

    def _is_located(self, X: Any, boxes: np.ndarray) -> np.ndarray:
        """Tell in which scans the place of L1-L4 is known; `boxes` are (n, m, 4)."""
        return ~np.isnan(boxes).all(axis=(1, 2))

    def fit(self, X: Any, y: Any = None, boxes: ArrayLike | None = None) -> Self:
        """Check parameters, and remember what scans the model is fitted on.

        Parameters
        ----------
        X : array, sequence or table
            Scans, as in `transform`.
        y : None
            Ignored.
        boxes : array-like, default=None
            Boxes, as in `transform`.

        Returns
        -------
        self : object
            The transformer itself.
        """
        self._check_parameters()
        _, boxes = check_scans_and_boxes(X, boxes)
        remember_boxes(self, self._is_located(X, boxes))
        remember_spacing(self, X)
        return self

    def fit_transform(
        self, X: Any, y: Any = None, boxes: ArrayLike | None = None
    ) -> np.ndarray:
        """Fit, and transform the same scans.

        Parameters
        ----------
        X : array, sequence or table
            Scans, as in `transform`.
        y : None
            Ignored.
        boxes : array-like, default=None
            Boxes, as in `transform`.

        Returns
        -------
        transformed : ndarray
            The result of `transform`.
        """
        return self.fit(X, y, boxes=boxes).transform(X, boxes=boxes)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.requires_fit = False
        return tags
