"""Add augmented copies of scans to a training set, by imbalanced-learn's protocol."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_consistent_length

from tbsclassify._scans import scans_of
from tbsclassify._scores import check_targets
from tbsclassify._validation import check_random_seed
from tbsclassify.augmentation._copies import count_copies
from tbsclassify.augmentation._random import AugmentationDraws, RandomAugmentation
from tbsclassify.augmentation._table import resample_table
from tbsclassify.images import iter_scans, stack_scans

# Anything else becomes the first, as in the classifiers.
_DTYPES = [np.float32, np.float64, np.uint8, np.uint16]
# Copies made at a time, so that their floating-point versions stay small.
_CHUNK_SIZE = 64


class AugmentationSampler(BaseEstimator):
    """Add augmented copies of scans to a training set, class by class.

    In a Pipeline of imbalanced-learn, the sampler adds copies when the Pipeline is
    fitted and does nothing when it predicts, so that scans held out by
    cross-validation are never augmented.

    Parameters
    ----------
    augmentation : RandomAugmentation, default=None
        How copies differ from their originals; None is ``RandomAugmentation()``.
    n_copies : "auto", int or dict, default="auto"
        How many copies to add. ``"auto"`` brings each class to the size of the
        largest. An int is the number of copies of each scan. A dict has an entry
        for each class that gets copies: an int is their number, and a float the
        share of all scans that the class has in the end.
    random_state : int, RandomState, Generator or None, default=None
        Seed of the choice of originals and of the augmentation.

    Attributes
    ----------
    n_copies_ : dict
        Number of copies added to each class.
    sample_indices_ : ndarray of int of shape (n_scans_new,)
        Index of the original of each scan returned, to index what belongs to the
        scans: ``groups[sampler.sample_indices_]``.

    See Also
    --------
    RandomAugmentation : Augments differently in each epoch, without more data.

    Notes
    -----
    Originals of a class take turns in a random order, so that the numbers of
    copies of two of them differ by one at most.

    *Boxes.* In a table, the boxes of a copy are mirrored and turned with its
    image, so that a cropper after the sampler crops copies as it crops originals.
    A turned box becomes the upright box around its four corners, and is cut at the
    border of the image. If `X` is not a table, crop first: boxes given to a later
    step do not follow.

    *Groups.* Copies are not new patients: split by patient first, and resample the
    training part. Outside a Pipeline, groups follow as
    ``groups[sampler.sample_indices_]``. A Pipeline of imbalanced-learn resamples
    only `X` and `y`. It passes groups on as they are, shorter than the scans, so a
    classifier after the sampler cannot split off a validation set by patient.
    Without patients, copies of one scan would be on both sides. Give it
    ``early_stopping=False``; it then needs no groups and ignores them.

    References
    ----------
    .. [1] Int J Adv Comput Sci Appl 15(6), 2024, pp. 1554 ff., Table I.

    Examples
    --------
    The training set of the paper [1]_ in small figures; its scans, 979 normal
    and 148 degraded, got 225 and 563 copies, which made 37 % of them degraded.

    >>> import numpy as np
    >>> from tbsclassify.augmentation import AugmentationSampler
    >>> X = np.random.default_rng(0).integers(256, size=(1127, 8, 8), dtype=np.uint8)
    >>> y = np.repeat([0, 1], [979, 148])
    >>> sampler = AugmentationSampler(n_copies={0: 225, 1: 563}, random_state=0)
    >>> X_new, y_new = sampler.fit_resample(X, y)
    >>> X_new.shape, f"{y_new.mean():.1%}"
    ((1915, 8, 8), '37.1%')

    The same by the share in the end:

    >>> sampler.set_params(n_copies={0: 225, 1: 0.37}, random_state=0)
    AugmentationSampler(n_copies={0: 225, 1: 0.37}, random_state=0)
    >>> X_new, y_new = sampler.fit_resample(X, y)
    >>> sampler.n_copies_
    {0: 225, 1: 559}

    A table comes back as a table, with boxes that fit the copies:

    >>> from tbsclassify import LumbarCropper, TBSLabeler, make_dxa_phantoms
    >>> scans = make_dxa_phantoms(6, random_state=0)
    >>> y = TBSLabeler().fit_transform(scans.tbs)
    >>> sampler = AugmentationSampler(n_copies={0: 4}, random_state=0)
    >>> X_new, y_new = sampler.fit_resample(scans.frame, y)
    >>> LumbarCropper().transform(X_new).shape
    (10, 224, 224)
    """

    def __init__(
        self,
        augmentation: RandomAugmentation | None = None,
        *,
        n_copies: Mapping[Any, float] | int | Literal["auto"] = "auto",
        random_state: int | np.random.RandomState | np.random.Generator | None = None,
    ) -> None:
        self.augmentation = augmentation
        self.n_copies = n_copies
        self.random_state = random_state

    def fit_resample(self, X: Any, y: ArrayLike) -> tuple[Any, np.ndarray]:
        """Return the scans, followed by augmented copies of some.

        Parameters
        ----------
        X : array of shape (n_scans, height, width) or (n_scans, channels, \
height, width), sequence or DataFrame
            Scans: uint8, uint16 or floating-point grey levels. Or a sequence of
            such 2-D arrays or of paths. Or a table with these in a column
            ``image`` and boxes as in `LumbarCropper.transform`.
        y : array-like of shape (n_scans,)
            Class of each scan.

        Returns
        -------
        X_new : ndarray of shape (n_scans_new, height, width) or (n_scans_new, \
channels, height, width), or DataFrame
            The scans in their order, then the copies, class by class; a 1-D array
            of arrays if sizes differ. For a table, a pandas table with the same
            columns: arrays in ``image``, boxes that fit them, and everything else
            repeated from the original.
        y_new : ndarray of shape (n_scans_new,)
            Their classes.

        Raises
        ------
        ValueError
            If `X` does not hold images of one depth, or holds label maps, which
            would not fit the copies; if `n_copies` names a class that is not in
            `y`, or a share cannot be reached by adding copies.
        """
        images = _collect_images(X)
        labels = check_targets(y)
        check_consistent_length(images, labels)
        classes, codes, counts = np.unique(
            labels, return_inverse=True, return_counts=True
        )
        self.n_copies_ = count_copies(
            self.n_copies,
            dict(zip(classes.tolist(), counts.tolist(), strict=True)),
        )
        generator = torch.Generator().manual_seed(check_random_seed(self.random_state))
        originals = []
        for code, n_copies in enumerate(self.n_copies_.values()):
            order = torch.randperm(int(counts[code]), generator=generator).numpy()
            originals.append(np.resize(np.flatnonzero(codes == code)[order], n_copies))
        rows = np.concatenate([np.arange(len(labels)), *originals])
        images = images[rows]
        draws = self._augment_in_place(images[len(labels) :], generator)
        self.sample_indices_ = rows
        if "image" in getattr(X, "columns", ()):
            return resample_table(X, rows, images, draws), labels[rows]
        return images, labels[rows]

    def _augment_in_place(
        self, copies: np.ndarray, generator: torch.Generator
    ) -> AugmentationDraws:
        """Augment an array of images, or put augmented ones into a 1-D array."""
        augmentation = self.augmentation
        if augmentation is None:
            augmentation = RandomAugmentation()
        if not hasattr(augmentation, "draw"):
            raise TypeError(
                "Expected augmentation to be a RandomAugmentation or None, got "
                f"{augmentation!r}."
            )
        all_draws = [augmentation.draw(0, generator)]
        for start in range(0, len(copies), _CHUNK_SIZE):
            chunk = copies[start : start + _CHUNK_SIZE]
            draws = augmentation.draw(len(chunk), generator)
            all_draws.append(draws)
            if chunk.dtype != object:
                chunk[:] = _apply(augmentation, chunk, draws)
                continue
            for i, image in enumerate(chunk):
                alone = AugmentationDraws(*(drawn[i : i + 1] for drawn in draws))
                chunk[i] = _apply(augmentation, image[np.newaxis], alone)[0]
        return AugmentationDraws(
            *(torch.cat(drawn) for drawn in zip(*all_draws, strict=True))
        )


def _apply(
    augmentation: RandomAugmentation, images: np.ndarray, draws: AugmentationDraws
) -> np.ndarray:
    """Augment images of shape (n, h, w) or (n, c, h, w)."""
    batch = torch.from_numpy(images).view(len(images), -1, *images.shape[-2:])
    return augmentation.apply(batch, draws).numpy().reshape(images.shape)


def _collect_images(X: Any) -> np.ndarray:
    """Return images as one array, or as a 1-D array of arrays of unequal sizes."""
    scans = scans_of(X)
    if isinstance(scans, list):
        images = [
            scan if scan.dtype in _DTYPES else scan.astype(_DTYPES[0])
            for scan in iter_scans(scans, channels=True)
        ]
        if len({image.shape for image in images}) == 1:
            return np.stack(images)
        collected = np.empty(len(images), dtype=object)
        collected[:] = images
        return collected
    images = check_array(
        stack_scans(scans), allow_nd=True, dtype=_DTYPES, input_name="X"
    )
    if images.ndim not in (3, 4):
        raise ValueError(
            "Expected X to have shape (n, height, width) or (n, channels, height, "
            f"width), got {images.shape}. Resample scans before features are taken."
        )
    return images
