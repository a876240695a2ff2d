"""A small folder of made healthy scans: the template brain, a little different for each subject, at 2 mm."""

from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage

# One more than a training needs, so that one can be left out.
SUBJECTS = tuple(f"sub-{number:02d}" for number in range(1, 7))
BROKEN = "sub-99"


def make_healthy_folder(folder: Path, subjects=SUBJECTS, broken=True) -> Path:
    """One T1w scan for each subject, and an empty one that no training can use."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, subject in enumerate(subjects):
        save(folder / f"{subject}_T1w.nii.gz", *healthy_brain(number))
    if broken:
        image, affine = healthy_brain(0)
        save(folder / f"{BROKEN}_T1w.nii.gz", np.zeros_like(image), affine)
    return folder


def healthy_brain(seed):
    """A brain-extracted T1w volume (i, j, k) and its affine: other contrast of the tissues, bias, noise, a shift."""
    from BrainAnomalyLib.preparation.space.template import load_template

    template, random = load_template("template_2mm"), np.random.default_rng(seed)
    inside = template.brain_mask
    smooth = ndimage.gaussian_filter(random.normal(size=inside.shape), 12.0)
    bias = 1.0 + 0.1 * smooth / np.abs(smooth).max()
    image = np.clip(template.brain, 0.0, None) ** random.uniform(0.9, 1.1) * bias
    image = 400.0 * image * (1.0 + random.normal(0.0, 0.02, inside.shape))
    affine = template.grid.affine.copy()
    affine[:3, 3] += random.uniform(-4.0, 4.0, 3)
    return np.where(inside, np.maximum(image, 1.0), 0.0).astype(np.float32), affine


def save(path, image, affine):
    """Write NIfTI."""
    nibabel.save(nibabel.Nifti1Image(image, affine), path)
