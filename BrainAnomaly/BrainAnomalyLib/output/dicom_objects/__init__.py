"""A detection as DICOM objects of the scan's study: segmentation, structured report, parametric map, report."""
