"""Classifiers on radiomics, as a second group of papers builds them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import BaseCrossValidator, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from tbsclassify._validation import check_option
from tbsclassify.texture._radiomics import TextureMatrixFeatures


class _UpToFiveFolds(BaseCrossValidator):
    """Five folds stratified by class, or as many as the rarest class has rows.

    Resampling may leave few rows of a class, and scikit-learn's folds none for some.
    """

    def split(
        self, X: Any, y: ArrayLike, groups: Any = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        classes, counts = np.unique(y, return_counts=True)
        if counts.min() < 2:
            raise ValueError(
                "Expected two training rows or more of each class, by which a support "
                "vector machine gets probabilities, got one of class "
                f"{classes.tolist()[counts.argmin()]!r}. Choose classifier='logistic', "
                "more folds, or a resampler that adds rows."
            )
        yield from StratifiedKFold(min(5, counts.min())).split(X, y)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        return 5


_CLASSIFIERS = {
    # A SVC has no probabilities of its own.
    "svm": lambda: CalibratedClassifierCV(SVC(), cv=_UpToFiveFolds(), ensemble=False),
    "logistic": lambda: LogisticRegression(max_iter=5000),
    "boosting": HistGradientBoostingClassifier,
}


def make_radiomics_classifier(
    classifier: str | BaseEstimator = "svm",
    *,
    features: TextureMatrixFeatures | None = None,
    resampler: Any = None,
) -> Pipeline:
    """Make a classifier on radiomics, with resampling inside the training folds.

    Parameters
    ----------
    classifier : {"svm", "logistic", "boosting"} or estimator, default="svm"
        The three of [1]_: a support vector machine with a Gaussian kernel and
        probabilities by Platt's method (in five folds, fewer where a class has
        fewer rows), logistic regression, and boosted trees, here
        `sklearn.ensemble.HistGradientBoostingClassifier`; or a classifier of your
        own, such as ``xgboost.XGBClassifier()``.
    features : TextureMatrixFeatures, default=None
        The features; None takes those with which [1]_ reports its best result,
        ``TextureMatrixFeatures(["gldm", "glrlm"])``.
    resampler : object with `fit_resample`, default=None
        What changes the training set before the classifier learns from it, such
        as ``imblearn.combine.SMOTEENN()``. Test scans are never resampled. SMOTE
        and SMOTEENN need more than five training scans of each class by default.
        A resampler needs imbalanced-learn, ``pip install "tbsclassify[resampling]"``.

    Returns
    -------
    classifier : sklearn.pipeline.Pipeline
        The unfitted steps: features, standardisation, the resampler if there is
        one, the classifier. With a resampler it is imbalanced-learn's Pipeline,
        which resamples in `fit` only.

    Raises
    ------
    ImportError
        If there is a resampler and no imbalanced-learn.

    See Also
    --------
    tbsclassify.comparison.radiomics_models : All three, to be compared.
    make_texture_classifier : The baseline on variograms.
    TextureMatrixFeatures : The features alone.

    Notes
    -----
    Resampling before the split puts copies of one patient's neighbourhood on both
    sides of it, and the score then measures how well copies are recognised:
    :ref:`sphx_glr_auto_examples_plot_resampling.py` shows by how much. With this
    Pipeline that cannot happen.

    A resampler that evens out the classes moves the probabilities towards the
    rare class. Choose a threshold for them, ``compare_models(threshold="f1")``,
    or calibrate them. The ROC AUC changes less; that of the support vector machine
    may rise: see :ref:`which_model`.

    References
    ----------
    .. [1] "Comparison of Resampling Methods and Radiomic Machine Learning
       Classifiers for Predicting Bone Quality Using Dual-Energy X-Ray
       Absorptiometry", Diagnostics 15(2):175, 2025.

    Examples
    --------
    >>> from imblearn.combine import SMOTEENN
    >>> from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
    >>> from tbsclassify import TBSLabeler
    >>> from tbsclassify.datasets import make_dxa_phantoms
    >>> from tbsclassify.texture import make_radiomics_classifier
    >>> scans = make_dxa_phantoms(60, random_state=0)
    >>> y = TBSLabeler().fit_transform(scans.tbs)
    >>> model = make_radiomics_classifier("svm", resampler=SMOTEENN(random_state=0))
    >>> cv = StratifiedGroupKFold(3)
    >>> cross_val_score(
    ...     model, scans.frame, y, groups=scans.patient, cv=cv, scoring="roc_auc"
    ... ).shape
    (3,)
    """
    if isinstance(classifier, str):
        check_option(classifier, "classifier", _CLASSIFIERS)
        classifier = _CLASSIFIERS[classifier]()
    if features is None:
        features = TextureMatrixFeatures(["gldm", "glrlm"])
    if resampler is None:
        return make_pipeline(features, StandardScaler(), classifier)
    try:
        from imblearn.pipeline import make_pipeline as make_resampling_pipeline
    except ImportError as error:
        raise ImportError(
            "A resampler needs imbalanced-learn. Install it with "
            '`pip install "tbsclassify[resampling]"`.'
        ) from error
    return make_resampling_pipeline(features, StandardScaler(), resampler, classifier)
