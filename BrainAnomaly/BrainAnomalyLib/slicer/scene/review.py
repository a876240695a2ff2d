"""What a reader has rejected: remembered in the scene as a region, so that it outlives a change of the threshold.

A finding is rejected when all voxels at its peak lie in the remembered region. Raising the threshold shrinks or splits
a rejected finding, and its parts stay rejected. Lowering it lets the finding grow, and it stays rejected unless it
merges with a region of a higher peak that nobody has rejected: that one is shown rather than hidden.
"""

from __future__ import annotations

import base64
import json
import zlib
from functools import lru_cache
from typing import Any

import numpy as np

from ...findings.table import Findings
from ...io.geometry import FloatArray, MaskArray, Shape
from .nodes.links import PREFIX, VolumeNode
from .nodes.scene_volumes import is_right_handed

REJECTED_ATTRIBUTE = PREFIX + "rejected"


def rejected_region(anomaly_map: VolumeNode) -> MaskArray | None:
    """The remembered region (i, j, k on the map's voxels), None if nothing is rejected or it was of another shape."""
    text = anomaly_map.GetAttribute(REJECTED_ATTRIBUTE)
    shape = anomaly_map.GetImageData().GetDimensions()
    return None if text is None else _decoded(text, shape, is_right_handed(anomaly_map))


def remember_rejected(anomaly_map: VolumeNode, region: MaskArray | None) -> None:
    """Keep the region on the map's node, saved with the scene; None or an empty one forgets everything."""
    if region is None or not region.any():
        anomaly_map.RemoveAttribute(REJECTED_ATTRIBUTE)
        return
    anomaly_map.SetAttribute(REJECTED_ATTRIBUTE, _encoded(region, is_right_handed(anomaly_map)))


def rejected_ids(findings: Findings, anomaly: FloatArray, region: MaskArray | None) -> frozenset[int]:
    """Numbers of the findings that are rejected by this region."""
    if region is None:
        return frozenset()
    touched = {int(number) for number in np.unique(findings.labels[region])} - {0}
    return frozenset(number for number in touched if _is_rejected(number, findings, anomaly, region))


def with_finding(region: MaskArray | None, findings: Findings, number: int, kept: bool) -> MaskArray:
    """The region once the finding of that number is kept or rejected."""
    inside = findings.labels == number
    if region is None:
        return np.zeros_like(inside) if kept else inside
    return np.asarray(region & ~inside if kept else region | inside)


def kept_mask(findings: Findings, rejected: frozenset[int]) -> MaskArray:
    """Voxels (i, j, k) of all findings that are not rejected."""
    if not rejected:
        return np.asarray(findings.labels > 0)
    shown = np.ones(len(findings.table) + 1, dtype=np.bool_)
    shown[[0, *rejected]] = False
    return np.asarray(shown[findings.labels])


def _is_rejected(number: int, findings: Findings, anomaly: FloatArray, region: MaskArray) -> bool:
    at_peak = (findings.labels == number) & (anomaly >= findings.table[number - 1].peak)
    return bool(region[at_peak].all())


def _encoded(region: MaskArray, right_handed: bool) -> str:
    bits = base64.b64encode(zlib.compress(np.packbits(region).tobytes())).decode("ascii")
    return json.dumps({"shape": list(region.shape), "right_handed": right_handed, "bits": bits})


@lru_cache(maxsize=2)
def _decoded(text: str, shape: Shape, right_handed: bool) -> MaskArray | None:
    """The region; slices reversed where Slicer's reader has reversed those of the map."""
    try:
        content: dict[str, Any] = json.loads(text)
        if tuple(content["shape"]) != tuple(shape):
            return None
        packed = np.frombuffer(zlib.decompress(base64.b64decode(content["bits"])), dtype=np.uint8)
        region = np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape).astype(np.bool_)
    except (ValueError, KeyError, TypeError, zlib.error):
        return None
    return region if content["right_handed"] == right_handed else np.asarray(region[:, :, ::-1])
