"""The row of a results table for predicted TBS values."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from tbsclassify._validation import check_groups
from tbsclassify.metrics._bootstrap import with_intervals
from tbsclassify.metrics._tallies import REGRESSION_MEASURES, RegressionTallies


def regression_row(
    tbs: ArrayLike,
    predicted: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    n_bootstrap: int = 2000,
    confidence_level: float = 0.95,
    random_state: np.random.RandomState | int | None = None,
) -> pd.Series:
    r"""Score predicted TBS values as one row of a results table.

    Parameters
    ----------
    tbs : array-like of shape (n_scans,)
        Measured TBS values.
    predicted : array-like of shape (n_scans,)
        Predicted TBS values.
    groups : array-like of shape (n_scans,), default=None
        Patient of each scan. The bootstrap draws whole patients, because scans of one
        patient are not independent. With None, each scan is a patient of its own.
    n_bootstrap : int, default=2000
        Number of bootstrap replicates; 0 leaves the intervals out.
    confidence_level : float, default=0.95
        Confidence level of the intervals. The limits of agreement are always at
        95 %.
    random_state : int, RandomState or None, default=None
        Seed of the bootstrap.

    Returns
    -------
    row : pandas.Series
        ``n_scans``, ``n_patients``, and for each measure the value under its name
        and the interval under the name with ``_low`` and ``_high``:

        r
            Pearson's correlation; NaN where `tbs` or `predicted` is constant.
        mae, rmse
            Mean absolute and root mean squared difference, in TBS units.
        bias
            Mean of predicted minus measured TBS.
        lower_limit, upper_limit
            Limits of agreement [1]_: the bias minus and plus 1.96 standard
            deviations of the differences. About 95 % of differences lie between
            them if these are normally distributed. NaN for a single scan.

    Raises
    ------
    ValueError
        If lengths differ, or a value is missing or infinite.

    See Also
    --------
    classification_row : The measures of predicted classes.
    tbsclassify.plotting.BlandAltmanDisplay : The differences as a picture.
    format_table : Format rows for reading.
    tbsclassify.TBSAdHocRegressor : Predicts values from scratch.
    tbsclassify.TBSPretrainedRegressor : Predicts values.

    Notes
    -----
    *How good a value can be.* TBS itself is repeatable within limits. Replicate
    scans on one densitometer have a coefficient of variation of 1.4 to 1.6 %, about
    0.02 at a TBS of 1.25. Two densitometers of one model (GE Prodigy) agree with
    an R\ :sup:`2` of 0.85, r = 0.92, and a bias of 0.010; two models with an
    R\ :sup:`2` of 0.72 to 0.81 [2]_. No prediction can agree better with the TBS of
    another scan of the patient. If TBS was computed from the same scan as the
    prediction, closer agreement is possible, because both see the noise of that scan,
    but it says nothing more about the patient. For comparison, TBS predicted from CT
    by a ResNet-50 had r = 0.54 [3]_.

    *Folds.* Predicted values of all folds of a cross-validation may be pooled.
    They are in TBS units, unlike scores of classes, which need the `folds` of
    `classification_row`. One trace of the folds is left: a model that predicts the
    mean of the training patients has an r somewhat below 0, because a fold with low
    values leaves high ones for training.

    *Several rows of a patient.* Each scan counts once, and so does each
    prediction of repeated cross-validation. Give `groups`, so that repetition does
    not narrow the intervals.

    References
    ----------
    .. [1] Bland JM, Altman DG, "Statistical methods for assessing agreement
       between two methods of clinical measurement", Lancet 327, 1986.
    .. [2] Krueger D, Libber J, Binkley N, "Spine trabecular bone score precision,
       a comparison between GE Lunar standard and high-resolution densitometers",
       J Clin Densitom 18(2), 2015.
    .. [3] "Feasibility of bone mineral density and bone microarchitecture
       assessment using deep learning with a convolutional neural network", J
       Comput Assist Tomogr, 2023, PMC10184800.

    Examples
    --------
    >>> from tbsclassify.metrics import regression_row
    >>> row = regression_row(
    ...     [1.10, 1.22, 1.31, 1.40], [1.15, 1.25, 1.30, 1.35], random_state=0
    ... )
    >>> print(f"r {row['r']:.3f}, bias {row['bias']:.3f}, MAE {row['mae']:.3f}")
    r 0.994, bias 0.005, MAE 0.035
    >>> print(f"{row['lower_limit']:.3f} to {row['upper_limit']:.3f}")
    -0.082 to 0.092
    """
    tbs, predicted = check_values(tbs, predicted)
    patient, n_patients = check_groups(groups, len(tbs))
    sizes = {"n_scans": len(tbs), "n_patients": n_patients}
    measures = with_intervals(
        RegressionTallies(tbs, predicted).measure,
        REGRESSION_MEASURES,
        patient,
        n_bootstrap,
        confidence_level,
        random_state,
    )
    return pd.Series(sizes | measures, dtype=object).infer_objects()


def check_values(tbs: ArrayLike, predicted: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return measured and predicted values, one of each a scan."""
    arrays = []
    for name, values in (("tbs", tbs), ("predicted", predicted)):
        array = check_array(values, ensure_2d=False, dtype=np.float64, input_name=name)
        if array.ndim != 1:
            raise ValueError(
                f"Expected {name} to hold one value a scan, got shape {array.shape}. "
                "Pass an array of shape (n_scans,)."
            )
        arrays.append(array)
    if len(arrays[0]) != len(arrays[1]):
        raise ValueError(
            f"Expected predicted to hold a value for each of {len(arrays[0])} scans, "
            f"got {len(arrays[1])} values. Predict the scans that tbs belongs to."
        )
    return arrays[0], arrays[1]
