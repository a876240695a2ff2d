"""What a reader says about findings: remembered at the voxel of each finding's peak, so that it outlives a threshold.

A comment belongs to whatever finding covers its voxel. Where none does it waits; where several meet in one finding it
has all of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from operator import index
from typing import Any

import numpy as np

from ...findings.table import Findings
from ...io.geometry import FloatArray
from .nodes.links import PREFIX, VolumeNode
from .nodes.scene_volumes import is_right_handed

COMMENTS_ATTRIBUTE = PREFIX + "comments"
_Voxel = tuple[int, int, int]


def comments_on(findings: Findings, anomaly_map: VolumeNode) -> dict[int, str]:
    """Finding's number to what is said about it."""
    found: dict[int, list[str]] = {}
    for voxel, text in _remembered(anomaly_map).items():
        found.setdefault(int(findings.labels[voxel]), []).append(text)
    return {number: "; ".join(texts) for number, texts in found.items() if number > 0}


def remember_comment(anomaly_map: VolumeNode, findings: Findings, peaks: FloatArray, number: int, text: str) -> None:
    """Say ``text`` about a finding in place of what was said, "" for nothing; ``peaks`` is the map it was found in."""
    inside = findings.labels == number
    comments = {voxel: said for voxel, said in _remembered(anomaly_map).items() if not inside[voxel]}
    if text:
        i, j, k = (int(place) for place in np.unravel_index(np.argmax(np.where(inside, peaks, -np.inf)), inside.shape))
        comments[i, j, k] = text
    _remember(anomaly_map, comments)


def forget_comments(anomaly_map: VolumeNode) -> None:
    """Say nothing about any finding."""
    anomaly_map.RemoveAttribute(COMMENTS_ATTRIBUTE)


def _remember(anomaly_map: VolumeNode, comments: Mapping[_Voxel, str]) -> None:
    if not comments:
        forget_comments(anomaly_map)
        return
    rows = [{"voxel": list(voxel), "text": text} for voxel, text in comments.items()]
    stored = {"slices": _slices(anomaly_map), "right_handed": is_right_handed(anomaly_map), "comments": rows}
    anomaly_map.SetAttribute(COMMENTS_ATTRIBUTE, json.dumps(stored))


def _remembered(anomaly_map: VolumeNode) -> dict[_Voxel, str]:
    """Voxel to text; slices are counted from the other end where Slicer's reader has reversed those of the map."""
    try:
        stored: dict[str, Any] = json.loads(anomaly_map.GetAttribute(COMMENTS_ATTRIBUTE) or "{}")
        if not stored or stored["slices"] != _slices(anomaly_map):
            return {}
        reverse, last = stored["right_handed"] != is_right_handed(anomaly_map), stored["slices"] - 1
        found = {}
        for row in stored["comments"]:
            i, j, k = (index(place) for place in row["voxel"])
            found[i, j, last - k if reverse else k] = str(row["text"])
        sizes = anomaly_map.GetImageData().GetDimensions()
        return {at: text for at, text in found.items() if all(0 <= a < n for a, n in zip(at, sizes, strict=True))}
    except (ValueError, KeyError, TypeError, IndexError):
        return {}


def _slices(anomaly_map: VolumeNode) -> int:
    return int(anomaly_map.GetImageData().GetDimensions()[2])
