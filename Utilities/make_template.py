"""Rebuild the embedded ICBM152 template from the copy that the nilearn package carries.

Usage: python Utilities/make_template.py   (needs nilearn, numpy, scipy and SimpleITK)

The skull-stripped T1w average and the gray and white matter probability maps (ICBM 2009a, nonlinear, symmetric) are
cut to the engine's 1 mm grid (192 x 224 x 192, RAS) and written as 8-bit NIfTI with the SHA-256 of each file.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import SimpleITK

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "Resources" / "Template"
sys.path.insert(0, str(ROOT / "BrainAnomaly"))

from BrainAnomalyLib.io.geometry import from_image, to_image
from BrainAnomalyLib.io.resampling import resample
from BrainAnomalyLib.preparation.space.grids import grid_named

SOURCES = {
    "icbm152_t1_brain.nii.gz": "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz",
    "icbm152_gray_matter.nii.gz": "mni_icbm152_gm_tal_nlin_sym_09a_converted.nii.gz",
    "icbm152_white_matter.nii.gz": "mni_icbm152_wm_tal_nlin_sym_09a_converted.nii.gz",
}


def main() -> None:
    """Write the three volumes and their hashes into Resources/Template."""
    import nilearn

    folder = Path(nilearn.__file__).parent / "datasets" / "data"
    onto = grid_named("template_1mm")
    hashes = {}
    for name, source in SOURCES.items():
        array, grid = from_image(SimpleITK.ReadImage(str(folder / source)))
        SimpleITK.WriteImage(to_image(resample(array, grid, onto, interpolation="nearest"), onto), str(FOLDER / name))
        hashes[name] = hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()
    (FOLDER / "SHA256SUMS.json").write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
