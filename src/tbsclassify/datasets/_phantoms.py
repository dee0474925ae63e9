"""Synthetic lumbar spine DXA scans with known TBS."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.utils import Bunch

from tbsclassify._boxes import BOX_SIDES
from tbsclassify._validation import check_number, check_option, check_random_seed
from tbsclassify.datasets._drawing import Recipe, Scan, draw_batch
from tbsclassify.datasets._population import LEVELS, LUMBAR, Patients, draw_patients

_MIN_SIDE = 32  # pixels
_BATCH = 8  # patients a worker draws at a time

_DESCR = """\
Synthetic anteroposterior lumbar spine DXA scans with known TBS.

Drawn by tbsclassify.datasets.make_dxa_phantoms: shapes are closed formulae,
textures are Gaussian random fields, no patient's image was used. The TBS is the
number that each phantom started from, plus a test-retest error; it was not
measured on the image. What a model scores here says that the code runs and
learns what was put in, and nothing about patients.
"""


def make_dxa_phantoms(
    n_patients: int = 100,
    *,
    scans_per_patient: int = 1,
    size: tuple[int, int] | str = (280, 300),
    bit_depth: int = 8,
    noise: float = 0.030,
    h_gain: float | str = 1.35,
    decouple: float = 1.0,
    class_shares: Sequence[float] | None = None,
    appearance: str = "plain",
    return_masks: bool = False,
    n_jobs: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Make synthetic lumbar spine DXA scans with known TBS.

    These are phantoms, not patients. Each starts from numbers (age, BMI, BMD,
    TBS) drawn from a population like that of a densitometry clinic; the TBS
    sets the roughness of the texture inside the vertebrae, and a simulated
    densitometer blurs, samples and adds noise. A score on phantoms shows that
    code runs and learns what was put in; it says nothing about real scans.

    Parameters
    ----------
    n_patients : int, default=100
        Number of patients. Patient ``i`` is the same whatever the number.
    scans_per_patient : int, default=1
        Scans of each patient, repositioned: they share anatomy, texture and
        latent TBS, and differ in pose, noise and display.
    size : tuple of int or "varied", default=(280, 300)
        Height and width of the images in pixels, at least 32 each. At least
        168 x 180 mm are shown, so the default has pixels of 0.6 mm; other
        sizes have larger or smaller ones. With "varied", pixels are 0.6 mm and
        every scan has a size of its own, 280-340 x 300-350 pixels. With
        ``appearance="varied"``, a given size shows a frame that differs from
        scan to scan, in oblong pixels; a varied one has pixels 0.50-0.75 mm
        high.
    bit_depth : {8, 16}, default=8
        Grey levels are ``uint8`` or ``uint16``.
    noise : float, default=0.030
        Standard deviation of the noise in soft tissue at a BMI of 25 kg/m2, in
        g/cm2. It grows with the BMI. 0 for none.
    h_gain : float or "literal", default=1.35
        Slope of the texture's Hurst exponent H over TBS, at a TBS of 1.25. With
        "literal", H is half the TBS, which makes scans harder to tell apart.
    decouple : float, default=1.0
        How far the TBS in the image departs from the latent TBS: 1 lets the
        image carry some 75 % of its variance, 0 all of it.
    class_shares : tuple of 3 floats, default=None
        Shares of patients with degraded (TBS < 1.200), partially degraded and
        normal (TBS > 1.350) bone, by the TBS of their first scan. They are
        scaled to sum to one and kept to within a patient or so in every start
        of the sequence. By default the population decides, near 0.20, 0.53
        and 0.27.
    appearance : {"plain", "varied"}, default="plain"
        "plain" draws clean scans, all framed alike. "varied" draws them as
        unlike each other as those of a clinic: frame, position and proportions
        of the spine, bright discs, scoliosis, fractures, degeneration, cement,
        metal, streaks, white borders, painted-out lines and display. Patients
        and their TBS are the same in both. See :ref:`varied_phantoms`.
    return_masks : bool, default=False
        Whether to return label maps of the vertebrae.
    n_jobs : int, default=None
        Number of processes; None means 1 unless in a
        :obj:`joblib.parallel_config` context. The scans do not depend on it.
    random_state : int, RandomState instance or None, default=None
        Seed of all scans. None takes one from the operating system. NumPy's
        global state is left alone.

    Returns
    -------
    phantoms : :class:`~sklearn.utils.Bunch`
        Scans lie in order of patients, then of their scans. With ``n`` scans:

        images : ndarray of shape (n, height, width)
            Grey levels, feet downwards, bone bright. With ``size="varied"`` an
            object array of shape (n,) that holds 2-D arrays.
        tbs : ndarray of shape (n,)
            Reported TBS, rounded to 0.001: the latent TBS plus a test-retest
            error of standard deviation 0.020.
        tbs_vertebrae : ndarray of shape (n, 4)
            Reported TBS of L1-L4, unrounded; `tbs` is their rounded mean.
        tbs_latent : ndarray of shape (n,)
            TBS the patient started from.
        patient : ndarray of shape (n,)
            Number of the patient: keep a patient's scans together in splits.
        boxes : ndarray of shape (n, 4, 4)
            Boxes of the bodies of L1-L4: top, left, bottom, right in pixels,
            the end exclusive, cut at the border of the image. They end at the
            endplates; those that densitometers draw often touch in the middle
            of the discs.
        boxes_adjacent : ndarray of shape (n, 2, 4)
            The same for T12 and L5; NaN where a body is outside the image.
        masks : ndarray of shape (n, height, width)
            Label maps, ``uint8``: 1-4 are L1-L4, 5 T12, 6 L5, 7 T11 and 0 all
            else. Only with ``return_masks=True``; an object array with
            ``size="varied"``.
        excluded : ndarray of shape (n, 4)
            Whether a clinician would leave L1-L4 out of the TBS. `tbs` is their
            mean all the same. All False in plain scans.
        exclusion_reason : ndarray of shape (n, 4)
            "fracture", "degeneration", "sclerosis", "cement" or "fusion", and
            "" for vertebrae that are not excluded.
        age, bmi, bmd : ndarray of shape (n,)
            Years, kg/m2 and areal bone mineral density in g/cm2. The density is
            that without fractures, degeneration, cement or metal.
        sex : ndarray of shape (n,)
            "F" or "M".
        site : ndarray of shape (n,)
            0, 1 or 2: scanners that differ in sharpness and display.
        pixel_spacing : ndarray of shape (n,)
            Height of a pixel in mm; pixels of plain scans are square.
        spacing : ndarray of shape (n, 2)
            Height and width of a pixel in mm, as `load_scans` gives them.
        rotation : ndarray of shape (n,)
            Rotation of the patient in the image plane in degrees, clockwise.
        shift : ndarray of shape (n, 2)
            Shift of the patient in mm, down and to the right.
        noise_sd : ndarray of shape (n,)
            Standard deviation of the noise in soft tissue, in g/cm2; the streaks
            of varied scans come on top of it.
        frame : :class:`~pandas.DataFrame`
            One row a scan: "image" (2-D arrays), "patient", "tbs",
            "L1_top", "L1_left", "L1_bottom", "L1_right" and so on to
            "L4_right", "age", "sex", "bmi", "bmd", "site", "row_spacing" and
            "column_spacing".
        DESCR : str
            What these data are.

    See Also
    --------
    load_scans : Real scans in the same form.

    Notes
    -----
    *By construction.* The label is drawn, never measured. Means and spreads of
    TBS, its fall with age and BMI, its weak tie with BMD and the shares of its
    classes were set by hand to figures from the abstracts and tables of
    [1]_ [2]_ [3]_ [4]_ [5]_; noise, `h_gain` and `decouple` were set so that a
    small network separates the classes about as well as published networks do.
    Agreement with such figures is therefore no finding. Age, BMI and BMD alone
    tell degraded bone with an area under the curve near 0.80 (0.799 in
    ``benchmarks/phantoms.py 1000 0``): report that baseline as well.

    *Texture.* Inside a body, a von Karman field with Hurst exponent H is added,
    of which the variogram rises as the lag to the power 2H. The vendor's TBS
    is related to the initial slope of that variogram [6]_, but its lags, fit
    and tissue correction are not public. Noise hides the shortest lags, as it
    does on real scans [7]_.

    *Varied scans.* Vertebrae are excluded about as often as in NHANES 2007-08
    [8]_: L1 4.5, L2 4.2, L3 5.8, L4 7.2 %, and 13.8 % of patients with at least
    one. This happens whatever a patient's age and TBS, and the shares of the
    reasons are guesses. The frame is widened from that of 80 real scans; nothing
    was fitted to them.

    *Missing.* Real trabeculae (the field is Gaussian and stationary),
    compression artefacts, burnt-in letters; in plain scans also fractures,
    metal and unscanned borders.

    References
    ----------
    .. [1] Dufour et al. (2013), fall of TBS with age in 5,942 women.
    .. [2] Borgen et al., Osteoporos. Int., doi:10.1007/s00198-019-05215-z, mean
       TBS 1.27 (0.10); BMD and TBS.
    .. [3] MrOS study, PMC5253074, classes of TBS in 3,479 men.
    .. [4] Looker et al., NHANES 2005-2008, TBS and body size.
    .. [5] Krueger et al. (2015), precision of TBS on two scanners.
    .. [6] Maquer et al. (2016), initial slope of the variogram (ISV).
    .. [7] Winzenrieth et al. (2013), effect of resolution and noise on TBS.
    .. [8] NHANES 2007-08, spine DXA, invalid vertebrae of completed scans.

    Examples
    --------
    >>> from tbsclassify.datasets import make_dxa_phantoms
    >>> phantoms = make_dxa_phantoms(4, random_state=0)
    >>> phantoms.images.shape, phantoms.images.dtype
    ((4, 280, 300), dtype('uint8'))
    >>> phantoms.tbs.shape, phantoms.boxes.shape
    ((4,), (4, 4, 4))
    >>> varied = make_dxa_phantoms(20, appearance="varied", random_state=0)
    >>> varied.excluded.shape, int(varied.excluded.any(axis=1).sum())
    ((20, 4), 2)
    """
    _check_arguments(
        n_patients=n_patients,
        scans_per_patient=scans_per_patient,
        size=size,
        bit_depth=bit_depth,
        noise=noise,
        h_gain=h_gain,
        decouple=decouple,
        class_shares=class_shares,
        appearance=appearance,
    )
    recipe = Recipe(
        seed=check_random_seed(random_state),
        scans_per_patient=int(scans_per_patient),
        size=size if isinstance(size, str) else (int(size[0]), int(size[1])),
        bit_depth=bit_depth,
        noise=noise,
        h_gain=h_gain,
        varied=appearance == "varied",
        return_masks=return_masks,
    )
    patients = draw_patients(
        recipe.seed, range(n_patients), decouple=decouple, class_shares=class_shares
    )
    batches = (
        np.arange(start, min(start + _BATCH, n_patients))
        for start in range(0, n_patients, _BATCH)
    )
    # Batches are copied into place as they come, so that no more than a few of
    # them are held besides the result.
    drawn = Parallel(n_jobs=n_jobs, prefer="processes", return_as="generator")(
        delayed(draw_batch)(recipe, batch, patients[batch]) for batch in batches
    )
    return _collect(drawn, recipe, patients)


def _collect(
    batches: Iterable[list[Scan]], recipe: Recipe, patients: Patients
) -> Bunch:
    """Gather scans, as they come, into one Bunch."""
    n_scans = len(patients) * recipe.scans_per_patient
    images = _empty_images(
        recipe, n_scans, np.uint8 if recipe.bit_depth == 8 else np.uint16
    )
    masks = _empty_images(recipe, n_scans, np.uint8) if recipe.return_masks else None
    facts = []
    for i, scan in enumerate(scan for batch in batches for scan in batch):
        images[i] = scan.image
        if masks is not None:
            masks[i] = scan.mask
        facts.append(scan.facts)

    per_scan = {key: np.array([fact[key] for fact in facts]) for key in facts[0]}
    boxes = per_scan.pop("all_boxes")
    of_patient = np.repeat(np.arange(len(patients)), recipe.scans_per_patient)
    phantoms = Bunch(
        images=images,
        tbs=np.round(per_scan["tbs_vertebrae"].mean(axis=1), 3),
        tbs_latent=patients.tbs[of_patient],
        patient=of_patient,
        boxes=boxes[:, LUMBAR],
        boxes_adjacent=boxes[:, [LEVELS.index("T12"), LEVELS.index("L5")]],
        age=patients.age[of_patient],
        sex=np.where(patients.male, "M", "F")[of_patient],
        bmi=patients.bmi[of_patient],
        bmd=patients.bmd[of_patient],
        site=patients.site[of_patient],
        **per_scan,
        DESCR=_DESCR,
    )
    if masks is not None:
        phantoms.masks = masks
    phantoms.frame = _to_frame(phantoms)
    return phantoms


def _empty_images(recipe: Recipe, n: int, dtype: type) -> np.ndarray:
    """Return room for ``n`` images, or for references to them if sizes vary."""
    if isinstance(recipe.size, str):
        return np.empty(n, dtype=object)
    return np.empty((n, *recipe.size), dtype=dtype)


def _to_frame(phantoms: Bunch) -> pd.DataFrame:
    """Return one row a scan, with one column a number."""
    columns = {
        "image": pd.Series(list(phantoms.images), dtype=object),
        "patient": phantoms.patient,
        "tbs": phantoms.tbs,
    }
    for i, level in enumerate(LEVELS[LUMBAR]):
        for j, edge in enumerate(BOX_SIDES):
            columns[f"{level}_{edge}"] = phantoms.boxes[:, i, j]
    for name in ("age", "sex", "bmi", "bmd", "site"):
        columns[name] = phantoms[name]
    columns["row_spacing"], columns["column_spacing"] = phantoms.spacing.T
    return pd.DataFrame(columns)


def _check_arguments(
    *,
    n_patients: int,
    scans_per_patient: int,
    size: tuple[int, int] | str,
    bit_depth: int,
    noise: float,
    h_gain: float | str,
    decouple: float,
    class_shares: Sequence[float] | None,
    appearance: str,
) -> None:
    """Raise for arguments that make no scan, and say what would."""
    check_number(n_patients, "n_patients", low=1, integer=True)
    check_number(scans_per_patient, "scans_per_patient", low=1, integer=True)
    check_number(noise, "noise", low=0)
    check_number(decouple, "decouple", low=0)
    check_option(appearance, "appearance", ("plain", "varied"))
    if isinstance(h_gain, str):
        check_option(h_gain, "h_gain", ("literal",))
    else:
        check_number(h_gain, "h_gain", low=0)
    if isinstance(bit_depth, bool) or bit_depth not in (8, 16):
        raise ValueError(f"Expected bit_depth to be 8 or 16, got {bit_depth!r}.")
    _check_size(size)
    if class_shares is not None:
        shares = np.asarray(class_shares)
        numeric = shares.dtype.kind in "iuf"
        if not numeric or shares.shape != (3,) or not np.all(np.isfinite(shares)):
            raise ValueError(
                "Expected class_shares to be three numbers, shares of degraded, "
                f"partially degraded and normal bone, got {class_shares!r}."
            )
        if np.any(shares < 0) or shares.sum() <= 0:
            raise ValueError(
                "Expected class_shares to be shares of at least 0, not all 0, got "
                f"{class_shares!r}."
            )


def _check_size(size: object) -> None:
    message = (
        f"Expected size to be (height, width) of at least {_MIN_SIDE} pixels each, or "
        f"'varied', got {size!r}."
    )
    if isinstance(size, str):
        if size != "varied":
            raise ValueError(message)
        return
    if not isinstance(size, Sequence | np.ndarray):
        raise TypeError(message)
    integers = all(isinstance(side, Integral) for side in size)
    if len(size) != 2 or not integers or min(size) < _MIN_SIDE:
        raise ValueError(message)
