"""The demonstration case in Slicer's Sample Data module: a brain of the ICBM152 template with a synthetic lesion.

The file is attached to a release of the repository. It is made by ``Utilities/make_sample_data.py``; Slicer checks its
SHA-256 after the download. Nothing is downloaded before the user asks for it.
"""

from __future__ import annotations

from pathlib import Path

CATEGORY = "BrainAnomaly"
SAMPLE_NAME = "BrainAnomalyDemo"
FILE_NAME = "BrainAnomalyDemo.nii.gz"
THUMBNAIL = "Icons/BrainAnomalySampleData.png"
ADDRESS = f"https://github.com/SlicerBrainAnomaly/SlicerBrainAnomaly/releases/download/SampleData/{FILE_NAME}"
_SHA256 = "5d9bddd8a9a9bc9762abda04d84b5250cd8e707cb37c77a6384d72d539793a95"


def checksum() -> str:
    """The file's checksum as the Sample Data module wants it."""
    return f"SHA256:{_SHA256}"


def register(resources: Path) -> None:
    """Offer the case in the Sample Data module; ``resources`` is the Resources folder of the module.

    Does nothing in a Slicer that was built without that module.
    """
    try:
        import SampleData  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE_NAME,
        thumbnailFileName=str(resources / THUMBNAIL),
        uris=ADDRESS,
        fileNames=FILE_NAME,
        checksums=checksum(),
        nodeNames=SAMPLE_NAME,
        loadFileType="VolumeFile",
    )
