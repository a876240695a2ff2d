"""Codes of what is reported: SNOMED CT as in DICOM's context groups (PS3.16, CID 12140, 244), UCUM, DCM, LOINC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .source_images import libraries

if TYPE_CHECKING:
    from ...findings.table import Finding

Code = tuple[str, str, str]
# What an unsupervised detector finds is of unknown kind: "Lesion" is the least that SNOMED CT can say.
CATEGORY: Code = ("49755003", "SCT", "Morphologically Altered Structure")
LESION: Code = ("52988006", "SCT", "Lesion")
BRAIN: Code = ("12738006", "SCT", "Brain")
FAMILY: Code = ("123109", "DCM", "Artificial Intelligence")
VOLUME: Code = ("118565006", "SCT", "Volume")
MAXIMUM: Code = ("56851009", "SCT", "Maximum")
MILLILITER: Code = ("mL", "UCUM", "mL")
MILLIMETER: Code = ("mm", "UCUM", "mm")
NO_UNITS: Code = ("1", "UCUM", "no units")
MR_BRAIN: Code = ("24590-2", "LN", "MR Brain")
# No code list knows these; the scheme is this program's own.
ANOMALY: Code = ("ANOMALY", "99BRAINANOMALY", "Anomaly map value")
TO_VENTRICLE: Code = ("VENTRICLE", "99BRAINANOMALY", "Distance to nearest ventricle")
TO_CORTEX: Code = ("CORTEX", "99BRAINANOMALY", "Distance to nearest cortex")
_REGIONS: dict[str, Code] = {
    "frontal lobe": ("83251001", "SCT", "Frontal lobe"),
    "parietal lobe": ("16630005", "SCT", "Parietal lobe"),
    "temporal lobe": ("78277001", "SCT", "Temporal lobe"),
    "occipital lobe": ("31065004", "SCT", "Occipital lobe"),
    "insula": ("36169008", "SCT", "Insula"),
    "caudate nucleus": ("11000004", "SCT", "Caudate Nucleus"),
    "putamen": ("89278009", "SCT", "Putamen"),
    "striatum": ("31428008", "SCT", "Corpus striatum"),
    "pallidum": ("14738005", "SCT", "Globus Pallidus"),
    "thalamus": ("42695009", "SCT", "Thalamus"),
    "hippocampus": ("5366008", "SCT", "Hippocampus"),
    "amygdala": ("4958002", "SCT", "Amygdala"),
    "brainstem": ("119238007", "SCT", "Brain Stem"),
    "cerebellum": ("113305005", "SCT", "Cerebellum"),
    "ventricles": ("35764002", "SCT", "Brain ventricle"),
}
_SIDES: dict[str, Code] = {
    "left": ("7771000", "SCT", "Left"),
    "right": ("24028007", "SCT", "Right"),
    "bilateral": ("51440002", "SCT", "Bilateral"),
}


def region_code(finding: Finding) -> Code:
    """Code of a finding's region; the brain for one without a code of its own."""
    return _REGIONS.get(finding.region, BRAIN)


def side_code(finding: Finding) -> Code | None:
    """Code of a finding's side; None for the midline, which is no laterality."""
    return _SIDES.get(finding.side)


def concept(code: Code) -> Any:
    """The code as highdicom wants it."""
    return libraries()[0].sr.CodedConcept(*code)
