"""The structures at a scan's voxels, kept with the anomaly map: they name regions at any threshold."""

from __future__ import annotations

import base64
import json
import zlib
from typing import NamedTuple

import numpy as np

from ...io.geometry import Array
from ...regions.naming import Regions
from .nodes.links import PREFIX, VolumeNode
from .nodes.scene_volumes import is_right_handed, world_grid
from .run_record import RunRecord

STRUCTURES_ATTRIBUTE = PREFIX + "structures"


class Stored(NamedTuple):
    """Structures (i, j, k on the map's voxels, 8 bits), None if none were kept, and where they come from, in words."""

    structures: Array | None
    source: str


def remember_structures(anomaly_map: VolumeNode, structures: Array | None, source: str) -> None:
    """Keep structures (i, j, k on the map's voxels) on the map's node, saved with the scene; None forgets."""
    if structures is None:
        anomaly_map.RemoveAttribute(STRUCTURES_ATTRIBUTE)
        return
    data = base64.b64encode(zlib.compress(np.ascontiguousarray(structures, dtype=np.uint8).tobytes())).decode("ascii")
    stored = {"source": source, "right_handed": is_right_handed(anomaly_map), "data": data}
    anomaly_map.SetAttribute(STRUCTURES_ATTRIBUTE, json.dumps(stored))


def stored_structures(anomaly_map: VolumeNode) -> Stored:
    """The structures that were kept; none where they are of another shape."""
    text = anomaly_map.GetAttribute(STRUCTURES_ATTRIBUTE)
    if text is None:
        return _NONE
    try:
        stored = json.loads(text)
        found = np.frombuffer(zlib.decompress(base64.b64decode(stored["data"])), dtype=np.uint8)
        structures = found.reshape(anomaly_map.GetImageData().GetDimensions())
    except (ValueError, KeyError, TypeError, zlib.error):
        return _NONE
    # Slices are reversed where Slicer's reader has reversed those of the map.
    same = stored["right_handed"] == is_right_handed(anomaly_map)
    return Stored(structures if same else structures[:, :, ::-1], str(stored["source"]))


_NONE = Stored(None, "")


class CachedRegions:
    """The regions of the map last cut: what makes naming quick is made once for a map."""

    def __init__(self) -> None:
        self._key: tuple[str, int, str | None] | None = None
        self._regions: Regions | None = None

    def of(self, anomaly_map: VolumeNode, record: RunRecord) -> Regions:
        """The regions of a map's findings, made again only if its image or structures have changed since."""
        image = anomaly_map.GetImageData()
        key = (image.__this__, image.GetMTime(), anomaly_map.GetAttribute(STRUCTURES_ATTRIBUTE))
        if self._regions is None or key != self._key:
            grid = world_grid(anomaly_map)
            onto = record.template_from_world(grid, is_right_handed(anomaly_map))
            self._key, self._regions = key, Regions(grid, onto, stored_structures(anomaly_map).structures)
        return self._regions
