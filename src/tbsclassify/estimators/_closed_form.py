"""Linear heads in closed form: ridge regression, tuned by patient."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.model_selection import GroupKFold

# Strengths to choose from, for standardised features. The strongest comes first, and so
# wins a tie. Statistics of random filters need little.
_ALPHAS = np.geomspace(1e6, 1e-4, 41)
_N_FOLDS = 5
# The least spread that a feature is divided by, as a share of the median spread.
_LEAST_SCALE = 0.1


@dataclass(frozen=True)
class LinearHead:
    """Outputs that are linear in standardised features.

    Parameters
    ----------
    center, scale : ndarray of shape (n_features,)
        Features are shifted by the first and divided by the second.
    coef : ndarray of shape (n_features, n_outputs)
        Coefficients of the standardised features.
    intercept : ndarray of shape (n_outputs,)
        Outputs for features that are all at their centre.
    alpha : float
        Strength of the ridge penalty.
    rows : ndarray of int of shape (n_rows,)
        Scans that were fitted: those of nonzero weight.
    held_out : ndarray of shape (n_rows, n_outputs)
        Output for each of these scans by a fit without its patient.
    """

    center: np.ndarray
    scale: np.ndarray
    coef: np.ndarray
    intercept: np.ndarray
    alpha: float
    rows: np.ndarray
    held_out: np.ndarray

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return the outputs for features, shape (n_scans, n_outputs)."""
        return (features - self.center) / self.scale @ self.coef + self.intercept

    def rescaled(self, slope: float, bias: np.ndarray) -> Self:
        """Return the head whose outputs are multiplied and shifted."""
        return replace(
            self,
            coef=slope * self.coef,
            intercept=slope * self.intercept + bias,
            held_out=slope * self.held_out + bias,
        )


def fit_head(
    features: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray,
    patient: np.ndarray,
    *,
    n_classes: int,
    alpha: float | None,
    seed: int,
) -> LinearHead:
    """Fit a head on values, if the target is floating-point, else on class codes.

    The outputs are values or logits. Other parameters are those of `fit_ridge`.
    """
    options: dict[str, Any] = {"alpha": alpha, "seed": seed}
    if target.dtype.kind == "f":
        values = target[:, np.newaxis].astype(np.float64)
        return fit_ridge(features, values, weight, patient, **options)
    codes = code_classes(target, n_classes)
    head = fit_ridge(features, codes, weight, patient, **options)
    return calibrate(head, target, weight)


def fit_ridge(
    features: np.ndarray,
    targets: np.ndarray,
    weight: np.ndarray,
    patient: np.ndarray,
    *,
    alpha: float | None,
    seed: int,
) -> LinearHead:
    """Fit ridge regression, its strength chosen by cross-validation.

    Parameters
    ----------
    features : ndarray of shape (n_scans, n_features)
        Features of each scan.
    targets : ndarray of shape (n_scans, n_outputs)
        What the outputs should be.
    weight : ndarray of shape (n_scans,)
        Weight of each scan in the squared error. Only the ratios count.
    patient : ndarray of shape (n_scans,)
        Patient of each scan. All scans of a patient are in one fold.
    alpha : float or None
        Strength of the penalty on standardised features. None chooses the one with
        the least squared error on patients held out.
    seed : int
        Seed of the folds.

    Returns
    -------
    head : LinearHead
        The fit on all scans, with predictions from the cross-validation.

    Raises
    ------
    ValueError
        If the scans are all of one patient.
    """
    rows = np.flatnonzero(weight)
    features, targets = features[rows].astype(np.float64), targets[rows]
    # So that the scale of weights, and scans of zero weight, do not change the meaning
    # of alpha.
    weight, patient = weight[rows] / weight[rows].mean(), patient[rows]
    n_patients = len(np.unique(patient))
    if n_patients < 2:
        raise ValueError(
            "Expected scans with a weight of two patients at least, got "
            f"n_samples={len(rows)} of one. Some are held out, to choose the strength "
            "of the closed form: use scans of more patients."
        )
    center, scale = _center_and_scale(features, weight)
    standard = (features - center) / scale
    alphas = _ALPHAS if alpha is None else np.array([alpha], dtype=float)
    folds = GroupKFold(min(_N_FOLDS, n_patients), shuffle=True, random_state=seed)
    splits = folds.split(standard, groups=patient)
    held_out = _predict_held_out(standard, targets, weight, alphas, splits)
    errors = np.einsum("arj,r->a", (held_out - targets) ** 2, weight)
    best = errors.argmin()
    coef, intercept = _ridge_path(standard, targets, weight, alphas[best : best + 1])
    return LinearHead(
        center,
        scale,
        coef[0],
        intercept[0, 0],
        float(alphas[best]),
        rows,
        held_out[best],
    )


def _center_and_scale(features, weight):
    """Return mean and spread of each feature; the spread of a constant is infinite."""
    center = np.average(features, axis=0, weights=weight)
    scale = np.sqrt(np.average((features - center) ** 2, axis=0, weights=weight))
    constant = scale <= 1e-6 * np.abs(center)  # but for rounding
    if not constant.all():
        # A channel that hardly ever responds would be blown up where it does.
        scale = np.maximum(scale, _LEAST_SCALE * np.median(scale[~constant]))
    scale[constant] = np.inf
    return center, scale


def _predict_held_out(X, targets, weight, alphas, splits):
    """Return the outputs for each strength by fits without a scan's patient."""
    held_out = np.empty((len(alphas), *targets.shape))
    for train, test in splits:
        coef, intercept = _ridge_path(X[train], targets[train], weight[train], alphas)
        held_out[:, test] = X[test] @ coef + intercept
    return held_out


def _ridge_path(X, targets, weight, alphas):
    """Return coefficients and intercepts for each strength, stacked.

    One decomposition of the smaller Gram matrix serves all strengths.
    """
    root = np.sqrt(weight)[:, np.newaxis]
    x_mean = np.average(X, axis=0, weights=weight)
    y_mean = np.average(targets, axis=0, weights=weight)
    A, B = (X - x_mean) * root, (targets - y_mean) * root
    wide = A.shape[1] > A.shape[0]
    values, vectors = np.linalg.eigh(A @ A.T if wide else A.T @ A)
    rotated = vectors.T @ (B if wide else A.T @ B)
    shrunk = rotated / (
        values.clip(0)[:, np.newaxis] + alphas[:, np.newaxis, np.newaxis]
    )
    coef = vectors @ shrunk
    if wide:
        coef = A.T @ coef
    return coef, y_mean - x_mean[np.newaxis, np.newaxis] @ coef


def code_classes(codes: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the targets of a ridge: -1 and 1 for two classes, else one-hot codes.

    Two classes have one column, more classes one each.
    """
    if n_classes == 2:
        return 2.0 * codes[:, np.newaxis] - 1
    return np.eye(n_classes)[codes]


def calibrate(head: LinearHead, codes: np.ndarray, weight: np.ndarray) -> LinearHead:
    """Turn outputs into logits, by predictions for held-out patients.

    One slope for all classes, never negative, and a shift for each class are fitted
    by maximum likelihood, with the softened targets of Platt (1999), under which
    the slope stays finite even if the classes are separated without an error.

    Parameters
    ----------
    head : LinearHead
        Fitted on the targets of `code_classes`.
    codes : ndarray of int of shape (n_scans,)
        Class of each scan.
    weight : ndarray of shape (n_scans,)
        Weight of each scan.

    Returns
    -------
    head : LinearHead
        The head with logits as outputs, one for two classes, else one a class.
    """
    codes, weight = codes[head.rows], weight[head.rows]
    scores = head.held_out
    binary = scores.shape[1] == 1
    if binary:
        scores = np.hstack([np.zeros_like(scores), scores])
    n_classes = scores.shape[1]
    count = np.bincount(codes, minlength=n_classes)
    soft = (np.eye(n_classes) * count[:, np.newaxis] + 1) / (count + n_classes)[
        :, np.newaxis
    ]
    target = soft[codes]

    def loss(parameters: np.ndarray) -> Any:
        slope, bias = parameters[0], np.append(0.0, parameters[1:])
        log_proba = log_softmax(slope * scores + bias, axis=1)
        surplus = weight[:, np.newaxis] * (np.exp(log_proba) - target)
        gradient = [(surplus * scores).sum(), *surplus[:, 1:].sum(axis=0)]
        value = -(weight[:, np.newaxis] * target * log_proba).sum()
        return value / len(codes), np.array(gradient) / len(codes)

    start = np.append(1.0, np.zeros(n_classes - 1))
    bounds = [(0, None)] + [(None, None)] * (n_classes - 1)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    bias = found[1:] if binary else np.append(0.0, found[1:])
    return head.rescaled(found[0], bias)
