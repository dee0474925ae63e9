"""DICOM objects of what a model found in a DICOM scan, for the scan's own patient."""

from tbsclassify.dicom_out._report import write_report
from tbsclassify.dicom_out._results import write_results
from tbsclassify.dicom_out._segmentation import write_segmentation

__all__ = ["write_report", "write_results", "write_segmentation"]
