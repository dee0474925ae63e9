"""The base of regressors around PyTorch networks."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin

from tbsclassify._spacing import remember_spacing, warn_of_spacings
from tbsclassify._validation import check_groups
from tbsclassify.estimators._base import BaseTBSEstimator
from tbsclassify.estimators._inputs import check_images, scan_weights


class BaseTBSRegressor(RegressorMixin, BaseTBSEstimator):
    """The fit and the predictions of a regressor of TBS.

    Not to be used directly.
    """

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train the network from its initial weights.

        Parameters
        ----------
        X : array of shape (n_scans, height, width) or (n_scans, channels, \
height, width), or sequence
            Scans of one size: uint8, uint16 or floating-point grey levels. Or a
            sequence of such 2-D arrays or of paths, or a table with these in a
            column ``image``. An array of shape (n_samples, n_features) is read as
            images one row high.
        y : array-like of shape (n_scans,)
            TBS of each scan.
        groups : array-like of shape (n_scans,), default=None
            Patient of each scan. Patients that are held out, to choose the strength, to
            stop early and to measure `residual_std_`, are not trained on.
        sample_weight : array-like of shape (n_scans,), default=None
            Weight of each scan in the loss. Only the ratios of weights count: they
            are scaled to a mean of 1.

        Returns
        -------
        self : BaseTBSRegressor
            The fitted regressor.

        Raises
        ------
        TypeError, ValueError
            If a parameter is not what its description says; if images differ in size,
            hold NaN, or are too small for the network; if there are scans of one
            patient only; if weights are all zero, or initial weights are NaN.
        FloatingPointError
            If the loss becomes NaN or infinite; the message names the epoch.
        """
        self._check_parameters()
        self._forget_fit()  # so that a failing refit leaves the model unfitted
        remember_spacing(self, X)
        warn_of_spacings(self, X)
        images, y = check_images(self, X, y, reset=True, y_numeric=True)
        y = np.asarray(y, dtype=np.float64)
        weight = scan_weights(sample_weight, y)
        _, n_patients = check_groups(groups, len(y))
        if n_patients < 2:
            raise ValueError(
                f"Expected scans of two patients at least, got n_samples={len(y)} of "
                "one. Some are held out, to measure residual_std_."
            )
        self._train(images, np.zeros(len(y), dtype=int), 0, weight, groups, y)
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict TBS.

        Parameters
        ----------
        X : array or sequence
            Scans, as in `fit`.
        return_std : bool, default=False
            Whether to return the standard deviation of the true values, too.

        Returns
        -------
        tbs : ndarray of shape (n_scans,)
            Predicted TBS.
        std : ndarray of shape (n_scans,)
            Standard deviation of the true TBS around it, the same for all scans
            (`residual_std_`). Only with ``return_std=True``.
        """
        return self._with_std(self._predicted_tbs(X), return_std)
