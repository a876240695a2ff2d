"""The anomaly map as a DICOM Parametric Map in its real values (DICOM PS3.3, A.75)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...io.geometry import FloatArray, Grid
from .dicom_codes import ANOMALY, NO_UNITS, concept
from .dicom_segmentation import LONGEST, common_attributes
from .source_images import SourceImages, libraries

SERIES_DESCRIPTION = "Anomaly map, research only"
SERIES_NUMBER = 9003


def parametric_map(source: SourceImages, anomaly: FloatArray, grid: Grid, unit: str, threshold: float) -> Any:
    """The map (i, j, k on ``grid``, RAS mm) at the pixels of the images, windowed from 0 to 1.5 times the threshold."""
    highdicom, _ = libraries()
    frames = source.sampled(anomaly.astype(np.float32), grid)
    mapping = highdicom.pm.RealWorldValueMapping(
        lut_label="ANOMALY",
        lut_explanation=unit[:LONGEST],
        unit=concept(NO_UNITS),
        value_range=(float(frames.min()), float(frames.max())),
        slope=1.0,
        intercept=0.0,
        quantity_definition=concept(ANOMALY),
    )
    top = max(1.5 * threshold, 1e-3)
    made = highdicom.pm.ParametricMap(
        source_images=source.images,
        pixel_array=frames,
        series_number=SERIES_NUMBER,
        series_description=SERIES_DESCRIPTION,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[highdicom.VOILUTTransformation(window_center=top / 2.0, window_width=top)],
        content_label="ANOMALY",
        content_description="For research, not for diagnosis",
        **common_attributes(),
    )
    # Type 2C (PS3.3, C.7.3.1): a brain has no laterality as a whole.
    made.Laterality = ""
    return made
