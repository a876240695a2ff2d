"""What the reader has chosen in the panel, saved with the scene."""

# ruff: noqa: N815 - parameters are named the way Slicer names them.

from typing import Annotated

from slicer import vtkMRMLNode, vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

AUTOMATIC = "automatic"
LARGEST_MINIMUM_MM3 = 100000.0


@parameterNodeWrapper
class BrainAnomalyParameterNode:
    """Choices of the panel; each widget named in the .ui file is bound to one of them.

    ``contrast`` is what ``inputVolume`` shows, ``furtherContrast1`` what ``furtherVolume1`` does, and so on.
    ``modelKey`` is the key of a model of ``model_store``, or ``automatic``. ``brainMask`` is a label map or
    segmentation on the scan. ``priorVolume`` is the scan of an earlier date, ``priorFolder`` the folder of its result.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    contrast: Annotated[str, Choice([AUTOMATIC, "T1w", "T2w", "FLAIR", "PD"])] = AUTOMATIC
    furtherContrast1: Annotated[str, Choice([AUTOMATIC, "T1w", "T2w", "FLAIR", "PD"])] = AUTOMATIC
    furtherContrast2: Annotated[str, Choice([AUTOMATIC, "T1w", "T2w", "FLAIR", "PD"])] = AUTOMATIC
    furtherContrast3: Annotated[str, Choice([AUTOMATIC, "T1w", "T2w", "FLAIR", "PD"])] = AUTOMATIC
    brainMask: vtkMRMLNode
    furtherVolume1: vtkMRMLScalarVolumeNode
    furtherVolume2: vtkMRMLScalarVolumeNode
    furtherVolume3: vtkMRMLScalarVolumeNode
    priorVolume: vtkMRMLScalarVolumeNode
    priorFolder: str = ""
    modelKey: str = AUTOMATIC
    device: Annotated[str, Choice(["auto", "cpu", "cuda", "mps"])] = "auto"
    minimumMm3: Annotated[float, WithinRange(0.0, LARGEST_MINIMUM_MM3)] = 20.0
    overlayOpacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.75
    exportFolder: str = ""
