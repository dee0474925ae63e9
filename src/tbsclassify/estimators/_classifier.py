"""The base of classifiers around PyTorch networks."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if

from tbsclassify._scores import check_targets
from tbsclassify._spacing import remember_spacing, warn_of_spacings
from tbsclassify._validation import check_option
from tbsclassify.estimators._base import BaseTBSEstimator
from tbsclassify.estimators._inputs import check_images, combine_weights
from tbsclassify.estimators._losses import (
    CLASS_LOSSES,
    log_probabilities,
    probabilities,
)
from tbsclassify.estimators._ranges import TBSRanges
from tbsclassify.labels import check_tbs


def _has_learned_tbs(classifier):
    if getattr(classifier, "_ranges", None) is None:
        raise AttributeError(
            f"{type(classifier).__name__} predicts TBS only after a fit on TBS values: "
            "fit(X, y, tbs=values)."
        )
    return True


class BaseTBSClassifier(ClassifierMixin, BaseTBSEstimator):
    """The fit and the predictions of a classifier, which may learn TBS values.

    Not to be used directly.
    """

    classes_: np.ndarray
    # The ranges of TBS that the classes stand for, if TBS was learned.
    _ranges: Any

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        tbs: ArrayLike | None = None,
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
            Class of each scan.
        groups : array-like of shape (n_scans,), default=None
            Patient of each scan. No patient is then both trained on and held out, to
            stop early, to measure `residual_std_` or to choose the strength of a closed
            form. Inside a Pipeline pass them as ``classifier_name__groups`` or by
            metadata routing: a search or ``cross_validate`` passes its own ``groups``
            only to the splitter.
        sample_weight : array-like of shape (n_scans,), default=None
            Weight of each scan in the loss, multiplied by `class_weight`. Only the
            ratios of weights count: they are scaled to a mean of 1.
        tbs : array-like of shape (n_scans,), default=None
            TBS of each scan, whose range is `y`. The network then learns the value, and
            the probability of a class is that of its range under a normal distribution
            around the predicted value, with standard deviation `residual_std_`. Values
            are not needed to predict. Inside a Pipeline pass them as
            ``classifier_name__tbs`` or by metadata routing.

        Returns
        -------
        self : BaseTBSClassifier
            The fitted classifier.

        Raises
        ------
        TypeError, ValueError
            If a parameter is not what its description says; if images differ in size,
            hold NaN, or are too small for the network; if there is one class only, or
            a class is left without a scan to train on; if weights are all zero, or
            initial weights are NaN; if `tbs` and `y` disagree (the message names the
            first such row).
        FloatingPointError
            If the loss becomes NaN or infinite; the message names the epoch.
        """
        self._check_parameters()
        check_option(self.loss, "loss", CLASS_LOSSES)
        self._forget_fit()  # so that a failing refit leaves the model unfitted
        remember_spacing(self, X)
        warn_of_spacings(self, X)
        images, y = check_images(self, X, y, reset=True)
        codes = self._encode(y)
        weight = combine_weights(
            self.class_weight, sample_weight, y, codes, self.classes_
        )
        self._ranges = None
        if tbs is not None:
            self._ranges = TBSRanges.of_classes(
                tbs, codes, self.classes_, self.thresholds
            )
            tbs = check_tbs(tbs)
        self._train(images, codes, len(self.classes_), weight, groups, tbs)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict class probabilities.

        Parameters
        ----------
        X : array or sequence
            Scans, as in `fit`.

        Returns
        -------
        proba : ndarray of float of shape (n_scans, n_classes)
            Probabilities in the order of `classes_`; rows sum to one.
        """
        return self._proba(self._outputs(X))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Predict logarithms of class probabilities.

        They are computed from the outputs of the network, so they are accurate even if
        a probability is so small that it rounds to zero.

        Parameters
        ----------
        X : array or sequence
            Scans, as in `fit`.

        Returns
        -------
        log_proba : ndarray of float of shape (n_scans, n_classes)
            Logarithms in the order of `classes_`.
        """
        outputs = self._outputs(X)
        if self._ranges is not None:
            return self._log_proba_of_ranges(outputs)
        return log_probabilities(outputs).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """Predict the most probable class.

        Parameters
        ----------
        X : array or sequence
            Scans, as in `fit`.

        Returns
        -------
        y : ndarray of shape (n_scans,)
            Predicted classes.
        """
        # Predict first: an unfitted network raises NotFittedError.
        winners = self.predict_proba(X).argmax(axis=1)
        return self.classes_[winners]

    def decision_function(self, X: Any) -> np.ndarray:
        """Compute scores that grow with the probability of a class.

        Parameters
        ----------
        X : array or sequence
            Scans, as in `fit`.

        Returns
        -------
        scores : ndarray of shape (n_scans,) or (n_scans, n_classes)
            For two classes the log-odds of the second, positive if it is predicted; for
            more classes the logarithm of each probability.
        """
        outputs = self._outputs(X).double()
        if self._ranges is not None:
            scores = self._log_proba_of_ranges(outputs)
        elif outputs.shape[1] == 1:
            return outputs[:, 0].numpy()
        elif outputs.shape[1] == 2:
            scores = outputs.numpy()
        else:
            scores = log_probabilities(outputs).numpy()
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    @available_if(_has_learned_tbs)
    def predict_tbs(self, X: Any, return_std: bool = False) -> Any:
        """Predict the TBS of scans, if the network has learned it.

        Only for a classifier that was fitted with `tbs`.

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

    def _predict_once(self, X):
        """Return classes, probabilities, TBS and its spread from one prediction.

        The last two are None if the network has not learned TBS.
        """
        outputs = self._outputs(X)
        proba, tbs, std = self._proba(outputs), None, None
        if self._ranges is not None:
            tbs, std = self._with_std(self._as_tbs(outputs), return_std=True)
        return self.classes_[proba.argmax(axis=1)], proba, tbs, std

    def _proba(self, outputs):
        if self._ranges is not None:
            return np.exp(self._log_proba_of_ranges(outputs))
        return probabilities(outputs).numpy()

    def _log_proba_of_ranges(self, outputs):
        return self._ranges.log_proba(self._as_tbs(outputs), self.residual_std_)

    def _encode(self, y):
        self.classes_, codes = np.unique(check_targets(y), return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                "Expected y to hold at least two classes, got one class only, "
                f"{self.classes_[0]}. Add scans of another class."
            )
        return codes
