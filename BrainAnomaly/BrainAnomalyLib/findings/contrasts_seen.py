"""On which contrasts of an examination a finding is seen, and whether it is bright or dark there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..io.geometry import FloatArray
from ..io.volumes import CONTRASTS
from .table import Finding, Findings

# A contrast shows a finding where so much of it is as rare as one voxel of a hundred in healthy brains.
_SHOWN_EVIDENCE, _SHOWN_SHARE = 2.0, 0.25


def with_contrasts(findings: Findings, signed: Mapping[str, FloatArray]) -> Findings:
    """The findings, each with the contrasts that show it: "FLAIR +, T2w +, T1w -".

    ``signed`` are maps by name (i, j, k; -log10 of the part of healthy voxels as high, below 0 where darker than
    expected); those that are not named after a contrast are passed over.
    """
    from scipy import ndimage

    maps = {name: values for name, values in signed.items() if name in CONTRASTS}
    if not maps:
        return findings
    boxes = ndimage.find_objects(findings.labels)
    rows = []
    for finding in findings.table:
        box = boxes[finding.id - 1]
        inside = findings.labels[box] == finding.id
        rows.append(_shown(finding, {name: values[box][inside] for name, values in maps.items()}))
    return replace(findings, table=tuple(rows))


def _shown(finding: Finding, values: Mapping[str, FloatArray]) -> Finding:
    shown = [f"{name} {_sign(inside)}" for name, inside in values.items() if _is_shown(inside)]
    return replace(finding, contrasts=", ".join(shown))


def _is_shown(inside: FloatArray) -> bool:
    return bool(np.mean(np.abs(inside) >= _SHOWN_EVIDENCE) >= _SHOWN_SHARE)


def _sign(inside: FloatArray) -> str:
    return "+" if float(inside.sum(dtype=np.float64)) >= 0.0 else "-"
