"""Results as a BIDS derivative data set: names, sidecars and the description of the whole.

Names and entries follow BIDS 1.10 ("Derivatives: imaging"): https://bids-specification.readthedocs.io
"""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..detectors.anatomy.structures import NAMES
from ..io.volumes import stem
from ..output.folder import RESEARCH_USE
from ..service.workplace import write_json, write_whole
from .entries import Entry
from .places import Kept, move, write_in_template, write_thumbnail
from .records import STATE, THUMBNAILS, read_record

# What of the folder is not of BIDS.
GROUP, WORK = "group", "work"
_IGNORED = (STATE, THUMBNAILS, GROUP, WORK, "figures", "index*", "cohort.*", "findings.csv", "decisions.csv")
_VOLUME = ".nii.gz"
_SPACE, _TEMPLATE = "space-orig", "space-MNI152NLin2009aSym_res-2"
_MASKS = {"brain_mask": ("brain", "mask"), "findings": ("findings", "dseg"), "structures": ("structures", "dseg")}
_ABOUT = {
    "anomaly_map": "How unlike healthy brains each voxel is",
    "findings": "Connected regions above the threshold, numbered from the largest",
    "structures": "Healthy structures that belong at each voxel",
    "brain_mask": "Brain in which anomalies were looked for",
    "pseudo_healthy": "The scan as expected without anomalies",
    "uncertainty": "How unsure the expected intensity is",
    "residual_signed": "Scan minus expected scan",
    "residual_absolute": "Absolute of scan minus expected scan",
}
_TEMPLATE_SOURCE = "https://www.bic.mni.mcgill.ca/ServicesAtlases/ICBM152NLin2009"
_TABLE_COLUMNS = {
    "volume_ml": {"Description": "Volume", "Units": "mL"},
    "peak": {"Description": "Highest value of the anomaly map, in its unit"},
    "mean": {"Description": "Mean of the anomaly map, in its unit"},
    "side": {"Description": "Side by the template's midline: left, right, midline or bilateral"},
    "looks": {"Description": "Whether it looks brighter or darker than expected"},
}


@dataclass(frozen=True)
class BidsDerivative:
    """The layout of a derivative of the data set ``raw``; detections write below ``work`` first."""

    raw: Path
    work: Path

    def folder(self, out: Path, entry: Entry) -> Path:
        """A folder in ``work``, without what a run that was killed has left there."""
        folder = self.work / entry.key
        shutil.rmtree(folder, ignore_errors=True)
        return folder

    def keep(self, folder: Path, summary: dict[str, Any], out: Path, entry: Entry) -> Kept:
        """Move every file to its BIDS name, with sidecars; the folder in ``work`` and an earlier result's files go."""
        earlier = read_record(out, entry.key) or {}
        place = _Place(out, entry, f"bids:raw:{entry.scan.relative_to(self.raw).as_posix()}", summary)
        files = place.in_template(folder)
        in_template = files[0]
        files += [made for name in summary["files"] if name.endswith(_VOLUME) for made in place.volume(folder, name)]
        figures = [place.figure(folder, name) for name in summary["files"] if not name.endswith((_VOLUME, ".csv"))]
        files += [place.table(), *figures]
        for name in set(earlier.get("files", [])) - set(files):
            (out / name).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        return Kept(
            place.folder, next(one for one in figures if one.endswith("overview.png")), in_template, tuple(files)
        )


class _Place:
    """The files of one scan."""

    def __init__(self, out: Path, entry: Entry, source: str, summary: dict[str, Any]) -> None:
        self._out, self._key, self._source, self._summary = out, entry.key, source, summary
        self._prefix, _, self._suffix = stem(entry.scan).rpartition("_")
        home = "/".join(part for part in (entry.subject, entry.session) if part)
        self.folder, self._figures = f"{home}/anat", f"{home}/figures"

    def volume(self, folder: Path, file: str) -> list[str]:
        """Move a volume and describe it; returns both files' paths in the data set."""
        name = file.removesuffix(_VOLUME)
        kind, suffix = _MASKS.get(name, (re.sub(r"[^a-zA-Z0-9]", "", name), self._suffix))
        desc = kind if name not in _MASKS else f"{self._suffix}{kind}"
        target = self._named(_SPACE, desc, suffix)
        move(folder / file, self._out / target)
        about = {**self._common(name), "SpatialReference": self._source, **self._special(name)}
        return [target, self._describe(target, about)]

    def table(self) -> str:
        """The meaning of the labels, a row for each finding."""
        target = self._named(_SPACE, f"{self._suffix}findings", "dseg", ".tsv")
        with (self._out / target).open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
            writer.writerow(("index", "name", *_TABLE_COLUMNS))
            for one in self._summary["findings"]:
                row = [one["id"], f"finding {one['id']}", *(one[column] for column in _TABLE_COLUMNS)]
                writer.writerow("n/a" if value in ("", None) else value for value in row)
        return target

    def in_template(self, folder: Path) -> list[str]:
        """The findings on the template's grid as a mask, described; returns both files' paths in the data set."""
        target = self._named(_TEMPLATE, f"{self._suffix}findings", "mask")
        write_in_template(folder, self._summary, self._out / target)
        about = {**self._common("findings"), "Type": "ROI", "SpatialReference": _TEMPLATE_SOURCE}
        about["Resolution"] = "2 mm in each direction, by nearest neighbor"
        return [target, self._describe(target, about)]

    def figure(self, folder: Path, name: str) -> str:
        """Move a picture or report, which BIDS has no names for."""
        target = f"{self._figures}/{self._prefix}_{self._suffix}_{name}"
        if name == "overview.png":
            write_thumbnail(folder / name, self._out / THUMBNAILS / f"{self._key}.jpg")
        move(folder / name, self._out / target)
        return target

    def _named(self, space: str, desc: str, suffix: str, extension: str = _VOLUME) -> str:
        return f"{self.folder}/{self._prefix}_{space}_desc-{desc}_{suffix}{extension}"

    def _common(self, name: str) -> dict[str, Any]:
        part = name.removeprefix("component_")
        about = _ABOUT.get(name, f"The part '{part}' of the combined anomaly map")
        return {"Description": f"{about}. {RESEARCH_USE}", "Sources": [self._source]}

    def _special(self, name: str) -> dict[str, Any]:
        if name == "brain_mask":
            return {"Type": "Brain", "Method": self._summary["brain_mask"]["method"]}
        if name == "findings":
            return {"Threshold": self._summary["threshold"], "Units": "label", **_TABLE_COLUMNS}
        if name == "structures":
            return {"Units": "label", "Levels": {str(place): one for place, one in enumerate(NAMES)}}
        if name != "anomaly_map":
            return {"Units": "arbitrary", "SkullStripped": True}
        shown = {key: value for key, value in self._summary.items() if key not in ("files", "notice")}
        return {"Units": self._summary["detector"]["unit"], "SkullStripped": True, "BrainAnomaly": shown}

    def _describe(self, target: str, content: dict[str, Any]) -> str:
        sidecar = f"{target.removesuffix(_VOLUME)}.json"
        write_json(self._out / sidecar, content)
        return sidecar


def derivative_entries(entries: Iterable[Entry]) -> list[Entry]:
    """The entries of a BIDS data set with keys that do not depend on which others are run with them."""
    named = (
        replace(one, key="/".join(part for part in (one.subject, one.session, stem(one.scan)) if part))
        for one in entries
    )
    return sorted(named, key=lambda entry: entry.key)


def tidy(work: Path, entries: Iterable[Entry]) -> None:
    """Remove the folders of the entries' subjects in ``work``, and ``work`` itself if nothing is left in it."""
    for subject in {entry.subject for entry in entries}:
        shutil.rmtree(work / subject, ignore_errors=True)
    with suppress(OSError):
        work.rmdir()


def describe_derivative(out: Path, raw: Path) -> None:
    """Write what BIDS wants at the top of a derivative: description, README, what is not of BIDS. Raises OSError."""
    inside = out.is_relative_to(raw)
    link = Path(*[".."] * len(out.relative_to(raw).parts)).as_posix() if inside else raw.as_uri()
    description = {
        "Name": "BrainAnomaly: unsupervised detection of anomalies in brain MR",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "BrainAnomaly", "Version": __version__, "Description": RESEARCH_USE}],
        "SourceDatasets": [{"URL": link}],
        "DatasetLinks": {"raw": link},
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "dataset_description.json", description)
    _write(out / ".bidsignore", "".join(f"{name}\n" for name in _IGNORED))
    _write(out / "README.md", _README)


_README = f"""# Anomalies in brain MR

Written by BrainAnomaly {__version__}. {RESEARCH_USE}

`desc-anomalymap` is the anomaly map, `dseg` the findings with their table, `desc-pseudohealthy` the scan as expected
without anomalies, all on the scan's own grid (`space-orig`); `space-MNI152NLin2009aSym` holds the findings on the
template's grid. The sidecar of the anomaly map has everything that is known of a result. `index.html` is a page to look
all scans through, `cohort.csv` has a row for each scan, `findings.csv` one for each finding.
"""


def _write(path: Path, text: str) -> None:
    write_whole(path, lambda fresh: fresh.write_text(text, encoding="utf-8", newline="\n"))
