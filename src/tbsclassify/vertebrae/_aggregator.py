"""A classifier of scans that learns from single vertebrae."""

from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils import check_consistent_length
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from tbsclassify._pipelines import fit_metadata, request_metadata
from tbsclassify._scores import check_labels, proba_columns
from tbsclassify._sklearn_compat import check_sample_weight
from tbsclassify._validation import patient_ids
from tbsclassify.labels import check_tbs
from tbsclassify.vertebrae._splitter import VertebraSplitter

# Metadata of a fit that are passed on to the estimator.
_METADATA = ("groups", "sample_weight", "tbs")


def _predicts_tbs(aggregator: "PatientAggregator") -> bool:
    estimator = getattr(aggregator, "estimator_", aggregator.estimator)
    return hasattr(estimator, "predict_tbs")


class PatientAggregator(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """Train a classifier on vertebrae, and score scans by the mean over theirs.

    Scans are split by a `VertebraSplitter`. The classifier learns each vertebra with
    the class of its scan, and the probability of a scan is the mean over its
    vertebrae. Vertebrae without a box are left out of both.

    Parameters
    ----------
    estimator : classifier
        Learns from the table of vertebrae and has `predict_proba`. A classifier of this
        library takes the table as it is. Put others into a Pipeline after features.
    splitter : VertebraSplitter, default=None
        Makes the table of vertebrae. None means ``VertebraSplitter()``.

    Attributes
    ----------
    estimator_ : classifier
        The classifier, fitted on the vertebrae.
    classes_ : ndarray of shape (n_classes,)
        Class labels.

    See Also
    --------
    VertebraSplitter : The table of vertebrae alone.

    Notes
    -----
    A row of `X` is a scan. The probabilities of several scans of a patient are
    averaged by ``pandas.DataFrame(proba).groupby(patient).mean()``.

    A vertebra gets the class and the TBS value of its scan, which describe all
    vertebrae together: its own difference from them is noise to the classifier. Also,
    vertebrae of a scan are similar. So four times as many rows are not four times as
    much data.

    The estimator gets `groups`, `sample_weight` and `tbs` if its `fit` takes them,
    unless it declines them by ``set_fit_request(tbs=False)``, with metadata routing and
    without. With routing, other steps of a Pipeline that take `sample_weight`, such as
    StandardScaler, need a request.

    With `groups`, networks hold out whole scans, and whole patients if they are known,
    and so does a search inside with a `GroupKFold` as its `cv`. Other splits separate
    vertebrae of the same scan. So put `CalibratedClassifierCV` and
    `TunedThresholdClassifierCV`, which do not take `groups`, around the aggregator.

    Examples
    --------
    >>> from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
    >>> from tbsclassify import (
    ...     PatientAggregator,
    ...     TBSLabeler,
    ...     VertebraSplitter,
    ...     make_texture_classifier,
    ... )
    >>> from tbsclassify.datasets import make_dxa_phantoms
    >>> scans = make_dxa_phantoms(24, class_shares=(1, 0, 1), random_state=0)
    >>> y = TBSLabeler().fit_transform(scans.tbs)
    >>> model = PatientAggregator(make_texture_classifier(), VertebraSplitter(80))
    >>> cross_val_score(
    ...     model, scans.frame, y, groups=scans.patient, cv=StratifiedGroupKFold(3)
    ... ).shape
    (3,)

    Each vertebra by itself:

    >>> model.fit(scans.frame, y).vertebra_proba(scans.frame).columns.tolist()
    ['scan', 'level', 'proba_0', 'proba_1']
    """

    def __init__(
        self, estimator: Any, splitter: VertebraSplitter | None = None
    ) -> None:
        self.estimator = estimator
        self.splitter = splitter

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        tbs: ArrayLike | None = None,
    ) -> Self:
        """Fit the classifier on the vertebrae of scans.

        Parameters
        ----------
        X : DataFrame
            Scans in a column ``image``, with boxes of L1 to L4, as
            `VertebraSplitter.split` takes them.
        y : array-like of shape (n_scans,)
            Class of each scan.
        groups : array-like of shape (n_scans,), default=None
            Patient of each scan. With None, each scan is a patient of its own.
        sample_weight : array-like of shape (n_scans,), default=None
            Weight of each vertebra of a scan.
        tbs : array-like of shape (n_scans,), default=None
            TBS of each scan, for a classifier that learns from it.

        Returns
        -------
        self : PatientAggregator
            The fitted classifier.

        Raises
        ------
        TypeError
            If the estimator has no `predict_proba`, `sample_weight` is given and its
            `fit` takes none, or the splitter is none.
        ValueError
            If lengths differ; if a weight is negative; if a scan has too few vertebrae,
            or anything else that `VertebraSplitter.split` refuses.
        """
        y = check_labels(y)
        check_consistent_length(X, y)
        given: dict[str, Any] = {"groups": patient_ids(groups, len(y))}
        if sample_weight is not None:
            given["sample_weight"] = check_sample_weight(
                sample_weight, y, ensure_non_negative=True
            )
        if tbs is not None:
            given["tbs"] = check_tbs(tbs, len(y))
        estimator = clone(self.estimator)
        if get_config()["enable_metadata_routing"]:
            request_metadata(estimator, *_METADATA)
        if sample_weight is not None and not fit_metadata(
            estimator, sample_weight=sample_weight
        ):
            raise TypeError(
                "Expected the fit of estimator to take sample_weight, which was given, "
                f"got {estimator!r}. Choose another one, or leave the weights out."
            )
        vertebrae, scan = self._split(X)
        metadata = fit_metadata(
            estimator, **{name: values[scan] for name, values in given.items()}
        )
        estimator.fit(vertebrae, y[scan], **metadata)
        if not hasattr(estimator, "predict_proba"):
            raise TypeError(
                "Expected estimator to have predict_proba, whose mean over vertebrae "
                f"is taken, got {estimator!r}. Wrap it in CalibratedClassifierCV, or "
                "set what makes it give probabilities."
            )
        self.estimator_, self.classes_ = estimator, estimator.classes_
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict class probabilities, the mean over the vertebrae of each scan.

        Parameters
        ----------
        X : DataFrame
            Scans, as in `fit`.

        Returns
        -------
        proba : ndarray of shape (n_scans, n_classes)
            Probabilities in the order of `classes_`.
        """
        check_is_fitted(self, "estimator_")
        vertebrae, scan = self._split(X)
        return _means(self.estimator_.predict_proba(vertebrae), scan)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Predict logarithms of class probabilities.

        Parameters
        ----------
        X : DataFrame
            Scans, as in `fit`.

        Returns
        -------
        log_proba : ndarray of shape (n_scans, n_classes)
            Logarithms of what `predict_proba` gives.
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """Predict the class that is most probable on average.

        Parameters
        ----------
        X : DataFrame
            Scans, as in `fit`.

        Returns
        -------
        y : ndarray of shape (n_scans,)
            Predicted classes.
        """
        # Predict first: an unfitted estimator raises NotFittedError.
        winners = self.predict_proba(X).argmax(axis=1)
        return self.classes_[winners]

    @available_if(_predicts_tbs)
    def predict_tbs(self, X: Any) -> np.ndarray:
        """Predict the TBS of scans, the mean over their vertebrae.

        Only where the estimator has learned TBS and predicts it.

        Parameters
        ----------
        X : DataFrame
            Scans, as in `fit`.

        Returns
        -------
        tbs : ndarray of shape (n_scans,)
            Predicted TBS.
        """
        check_is_fitted(self, "estimator_")
        vertebrae, scan = self._split(X)
        return _means(self.estimator_.predict_tbs(vertebrae), scan)

    def vertebra_proba(self, X: Any) -> pd.DataFrame:
        """Predict the class probabilities of each vertebra.

        Parameters
        ----------
        X : DataFrame
            Scans, as in `fit`.

        Returns
        -------
        table : pandas.DataFrame
            A row for each vertebra: ``scan``, the index of its row in `X`; ``level``,
            1 to 4; and ``proba_...`` for each class.
        """
        check_is_fitted(self, "estimator_")
        vertebrae, scan = self._split(X)
        proba = self.estimator_.predict_proba(vertebrae)
        table = pd.DataFrame({"scan": scan, "level": vertebrae["level"]})
        return table.join(pd.DataFrame(proba, columns=proba_columns(self.classes_)))

    def _split(self, X: Any) -> tuple[pd.DataFrame, np.ndarray]:
        splitter = VertebraSplitter() if self.splitter is None else self.splitter
        if not isinstance(splitter, VertebraSplitter):
            raise TypeError(
                f"Expected splitter to be a VertebraSplitter or None, got {splitter!r}."
            )
        return splitter.split(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


def _means(values: np.ndarray, scan: np.ndarray) -> np.ndarray:
    """Return means over the vertebrae of each scan, which has at least one."""
    sums = np.zeros((scan[-1] + 1, *values.shape[1:]))
    np.add.at(sums, scan, values)
    counts = np.bincount(scan)
    return (sums.T / counts).T
