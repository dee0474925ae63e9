"""A structured report of what a model predicts of one DICOM scan."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tbsclassify._validation import check_number
from tbsclassify.dicom_out._source import (
    RESEARCH_USE,
    SOFTWARE,
    Source,
    check_fingerprint,
    finish,
    import_highdicom,
    read_source,
    save,
)

# Codes of this library, for which no standard has any, begin with 99 (PS3.3 8.2).
_SCHEME = "99TBSCLASSIFY"


def write_report(
    source: str | os.PathLike,
    path: str | os.PathLike,
    *,
    fingerprint: str,
    classes: Sequence[Any] | None = None,
    probabilities: ArrayLike | None = None,
    label: Any = None,
    tbs: float | None = None,
    tbs_std: float | None = None,
    model_name: str | None = None,
) -> None:
    """Write what a model predicts of a DICOM scan as a DICOM structured report.

    The report is filed with its scan: it has the name, id, birth date and sex of the
    patient, and the study, as they stand in `source`. Only the functions of this module
    copy identity, and only when they are called. Do not pass the report on where the
    scan may not go.

    Parameters
    ----------
    source : str or path-like
        The DICOM file that was scored.
    path : str or path-like
        The report to write. A file that is there is replaced.
    fingerprint : str
        Of the model, ``model_info(path)["fingerprint"]``.
    classes : sequence of length n_classes, default=None
        The classes, numbers or names, such as ``model.classes_``.
    probabilities : array-like of shape (n_classes,), default=None
        The probability of each class.
    label : object, default=None
        The class that the model predicts, one of `classes`; None takes the most
        probable.
    tbs : float, default=None
        The TBS that the model predicts. The report calls it predicted: it is not the
        TBS of the software that is registered for it.
    tbs_std : float, default=None
        Its standard deviation, if the model learned one.
    model_name : str, default=None
        What to call the model, such as its class, up to 64 characters.

    Raises
    ------
    ImportError
        If the extra is not installed: ``pip install "tbsclassify[dicom-out]"``.
    UnreadableScanError
        If `source` is no DICOM image or lacks what a report refers to. It is a
        ``ValueError``, and quotes nothing of the file.
    ValueError
        If there is neither a class nor a TBS to report, or an argument has another
        form.
    FileNotFoundError
        If there is no such file.
    OSError
        If the report cannot be written. A file that was there is as it was.

    See Also
    --------
    write_segmentation : Writes L1 to L4.
    write_results : Writes both from a row of a table of scores.

    Notes
    -----
    The report is a Comprehensive SR with the template Measurement Report (DICOM PS3.16,
    TID 1500), unverified and preliminary. One measurement group refers to the scan. It
    has a qualitative evaluation for the class, a number for each probability, for
    the TBS and for its standard deviation, the algorithm with its version and the
    fingerprint of the model, and a comment that says "research use only". Concepts for
    which DICOM has no code have one of the private scheme 99TBSCLASSIFY.

    The same prediction for the same scan has the same UIDs, whenever it is written,
    so that an archive keeps it once. A birth date, sex, or time of a study that DICOM
    forbids is left empty. Age, weight and comments are not taken over.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import pydicom
    >>> from pydicom.data import get_testdata_file
    >>> from tbsclassify.dicom_out import write_report
    >>> source = get_testdata_file("CT_small.dcm")  # stands for a DXA scan
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "report.dcm")
    ...     write_report(source, path, fingerprint="0" * 64,
    ...                  classes=["normal", "degraded"], probabilities=[0.2, 0.8],
    ...                  tbs=1.14, tbs_std=0.06)
    ...     report = pydicom.dcmread(path)
    >>> report.SOPClassUID.name
    'Comprehensive SR Storage'
    >>> report.StudyInstanceUID == pydicom.dcmread(source).StudyInstanceUID
    True
    """
    _, content = make_report(
        read_source(source),
        fingerprint=fingerprint,
        classes=classes,
        probabilities=probabilities,
        label=label,
        tbs=tbs,
        tbs_std=tbs_std,
        model_name=model_name,
    )
    save(content, path)


def make_report(
    source: Source,
    *,
    fingerprint: str,
    classes: Sequence[Any] | None = None,
    probabilities: ArrayLike | None = None,
    label: Any = None,
    tbs: float | None = None,
    tbs_std: float | None = None,
    model_name: str | None = None,
) -> tuple[str, bytes]:
    """Return the UID of a report and the file.

    Arguments are those of `write_report`.
    """
    highdicom = import_highdicom()
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    fingerprint = check_fingerprint(fingerprint)
    names, shares, chosen = _check_classes(source, classes, probabilities, label)
    numbers = _numbers(names, shares, tbs, tbs_std)
    if not names and not numbers:
        raise ValueError(
            "Expected classes or tbs to report, got neither. Pass classes with "
            "probabilities or label, or tbs, or both."
        )
    about = [f"sha256 of the model: {fingerprint}"]
    if model_name is not None:
        about.append(f"model: {source.text(model_name, 'model_name', 64)}")
    made_of = ("report", *about, *names, chosen, *numbers.items())
    tracking_uid = source.uid("tracking", *made_of)
    group = _measurement_group(source, tracking_uid, about, numbers, chosen)
    uid = source.uid(*made_of)
    report = highdicom.sr.ComprehensiveSR(
        evidence=[source.stand_in],
        content=_report_content(group, fingerprint),
        series_instance_uid=source.uid("series", *made_of),
        series_number=1,
        sop_instance_uid=uid,
        instance_number=1,
        is_complete=True,
        series_description="Predicted TBS class, research use only",
        coding_schemes=[
            CodingSchemeIdentificationItem(_SCHEME, name="Codes of tbsclassify")
        ],
        **SOFTWARE,
    )
    return uid, finish(report, source)


def _numbers(
    names: list[str], shares: list[float], tbs: float | None, tbs_std: float | None
) -> dict[tuple[str, str], float]:
    """Return the numbers of a report by their codes, value and meaning."""
    numbers: dict[tuple[str, str], float] = {}
    if shares:
        coded = [(f"probability_{one}", f"Probability of {one}") for one in names]
        numbers |= dict(zip(coded, shares, strict=True))
    if tbs is not None:
        check_number(tbs, "tbs")
        numbers["predicted_tbs", "Predicted trabecular bone score"] = tbs
    if tbs_std is not None:
        check_number(tbs_std, "tbs_std", low=0)
        if tbs is None:
            raise ValueError(
                f"Expected tbs with tbs_std, got tbs_std={tbs_std!r} alone. Pass both."
            )
        coded_std = "predicted_tbs_std", "Standard deviation of predicted TBS"
        numbers[coded_std] = tbs_std
    # UIDs depend on what is written, not on the type it came in.
    return {name: round(float(one), 6) for name, one in numbers.items()}


def _measurement_group(
    source: Source,
    tracking_uid: str,
    about: list[str],
    numbers: dict[tuple[str, str], float],
    chosen: str | None,
) -> Any:
    """Return the measurements of one image, with the predicted class."""
    sr = import_highdicom().sr
    from pydicom.sr.codedict import codes

    evaluations = []
    if chosen is not None:
        evaluations.append(
            sr.QualitativeEvaluation(
                _code("predicted_class", "Predicted class of trabecular bone"),
                _code(f"class_{chosen}", chosen),
            )
        )
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            identifier="tbsclassify", uid=tracking_uid
        ),
        algorithm_id=sr.AlgorithmIdentification(
            "tbsclassify",
            SOFTWARE["software_versions"],
            parameters=[*about, RESEARCH_USE],
        ),
        finding_sites=[sr.FindingSite(anatomic_location=codes.SCT.LumbarSpine)],
        measurements=[
            sr.Measurement(_code(*name), one, codes.UCUM.NoUnits)
            for name, one in numbers.items()
        ],
        qualitative_evaluations=evaluations,
        source_images=[
            sr.SourceImageForMeasurementGroup.from_source_image(source.stand_in)
        ],
    )
    # The template is extensible.
    group[0].ContentSequence.append(
        sr.TextContentItem(
            name=codes.DCM.Comment,
            value=f"{RESEARCH_USE} Values are predicted by a model from the image. A "
            "predicted TBS is not the TBS of software that is registered for it.",
            relationship_type=sr.RelationshipTypeValues.CONTAINS,
        )
    )
    return group


def _report_content(group: Any, fingerprint: str) -> Any:
    """Return the content of a report, observed by a model, with one group."""
    sr = import_highdicom().sr
    from pydicom.sr.codedict import codes

    observer = sr.DeviceObserverIdentifyingAttributes(
        uid=_uid_of_model(fingerprint),
        name="tbsclassify",
        manufacturer_name=SOFTWARE["manufacturer"],
        model_name=SOFTWARE["manufacturer_model_name"],
    )
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(
                observer_type=codes.DCM.Device,
                observer_identifying_attributes=observer,
            )
        ),
        procedure_reported=codes.SCT.DualEnergyXRayAbsorptiometry,
        imaging_measurements=[group],
    )
    return report[0]


def _check_classes(
    source: Source, classes: Any, probabilities: Any, label: Any
) -> tuple[list[str], list[float], str | None]:
    """Return classes as text, their probabilities if any, and the one predicted."""
    if classes is None:
        if probabilities is not None or label is not None:
            raise ValueError(
                "Expected classes with probabilities and label, got none. Pass "
                "classes=model.classes_."
            )
        return [], [], None
    names = [source.text(one, "classes", 40) for one in classes]
    if len(set(names)) < len(names) or not names:
        raise ValueError(
            f"Expected classes to be different ones, got {names}. Pass model.classes_."
        )
    shares: list[float] = []
    if probabilities is not None:
        values = np.asarray(probabilities, dtype=float)
        fit = values.shape == (len(names),) and (values >= 0).all()
        if not fit or not np.isclose(values.sum(), 1, atol=1e-3):
            raise ValueError(
                f"Expected probabilities to be {len(names)} numbers, one a class, that "
                f"add up to 1, got {values.tolist()}. Pass one row of predict_proba."
            )
        shares = values.tolist()
    if label is not None:
        if str(label) not in names:
            raise ValueError(
                f"Expected label to be one of classes, {names}, got {label!r}."
            )
        return names, shares, str(label)
    if not shares:
        raise ValueError(
            "Expected probabilities or label with classes, got neither. Pass what "
            "predict_proba or predict returns."
        )
    return names, shares, names[int(np.argmax(shares))]


def _code(value: str, meaning: str) -> Any:
    return import_highdicom().sr.CodedConcept(value, _SCHEME, meaning)


def _uid_of_model(fingerprint: str) -> str:
    from pydicom.uid import generate_uid

    return generate_uid(entropy_srcs=["model", fingerprint])
