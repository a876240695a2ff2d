"""What the name and place of an image file say: whose scan it is, which session and contrast, or what else it holds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .volumes import Contrast, stem

Kind = Literal["scan", "brain mask", "lesion", "labels", "map", "contrast agent"]
NOT_A_SCAN: dict[Kind, str] = {
    "labels": "It holds labels, not a scan.",
    "brain mask": "It is a brain mask.",
    "lesion": "It is a lesion mask.",
    "map": "It is not a structural scan.",
    "contrast agent": "It was taken after a contrast agent.",
}


@dataclass(frozen=True)
class NamedFile:
    """An image file and what its name says.

    ``name`` is the subject as far as the file name or a ``sub-*`` folder gives it, else empty. ``home`` is the folder
    that holds the subject's scans, without structural folders such as ``anat`` or ``ses-1``; above ``sub-*`` in BIDS.
    ``may_be_truth``: among scans of patients this is a mask of lesions, even if its name says no more than ``seg``.
    """

    path: Path
    kind: Kind
    name: str
    home: Path
    session: str
    contrast: Contrast
    may_be_truth: bool = False


def _words(*patterns: str) -> re.Pattern[str]:
    """The patterns as whole words: letters and digits end a word, underscores and hyphens do not belong to it."""
    return re.compile(rf"(?<![a-z0-9])(?:{'|'.join(patterns)})(?![a-z0-9])", re.IGNORECASE)


_SIZE = r"(?:\d+mm)?"
_CONTRASTS: tuple[tuple[Contrast, re.Pattern[str]], ...] = (
    ("T1w", _words(r"t1[- ]?flair")),
    ("FLAIR", _words(rf"(?:t2w?[-_ ])?flair{_SIZE}", r"t2flair", "t2f", r"dark[-_ ]?fluid", "tirm")),
    (
        "T1w",
        _words(rf"t1w?{_SIZE}", r"(?:t1w?[-_ ]?)?mp2?rage", "unit1|t1n", r"(?:ir[-_ ]?)?f?spgr", "bravo", "inplanet1"),
    ),
    ("T2w", _words(rf"t2w?{_SIZE}", "inplanet2")),
    ("PD", _words(rf"pdw?{_SIZE}", r"proton[-_ ]?density")),
)
_CONTRAST_AGENT = _words(
    r"t1w?[-_ ]?(?:post|gd|gado\w*|ce|c|km)", r"ce-[a-z0-9]+", "gd", r"gad(?:olinium)?", r"post[-_ ]?(?:contrast|gd)"
)
_LESION_WORDS = (
    r"lesions?|tumou?rs?|infarcts?|ground[-_ ]?truth|(?<![a-z0-9])(?:label-l[a-z]*|wmh|o?edema|gt)(?![a-z0-9])"
)
_LESION = re.compile(rf"{_LESION_WORDS}|stroke\w*[-_](?:mask|seg|roi)|brats\w*[-_]seg", re.IGNORECASE)
_LESION_ONLY = re.compile(rf"{_LESION_WORDS}|stroke[-_](?=(?:mask|seg|roi)(?![a-z0-9]))", re.IGNORECASE)
# What a mask of lesions is called where the cohort leaves no doubt that it is one.
_TRUTH = _words(r"segs?\d?", r"masks?\d?", r"labels?\d?", r"rois?\d?", "truth", r"consensus\w*", r"raters?[-_ ]?\d*")
_ANATOMY = _words(
    r"brain(?:[-_ ]?masks?)?",
    "head",
    "skull",
    r"(?:de)?face",
    "gm",
    "wm",
    "csf",
    r"vessels?",
    r"ventric\w*",
    r"tissues?",
)
_MASK = _words(r"(?:brain[-_ ]?)?masks?", "brainmask", "dlmuse", "dlicv", r"brain[-_ ]?labels?")
_NOT_BRAIN = _words(r"(?:de)?face", "gm", "wm", "csf", "roi", "vessels?", r"ventric\w*", "skull")
_LABELS = _words(
    r"d?seg\w*", "probseg", r"aseg\w*", r"aparc\w*", "wmparc", "labels?", r"parc\w*", "atlas", "ribbon", "synthseg"
)
_MAP = _words(
    r"[rt][12]map", r"[rt]2star\w*", "adc", "qsm", "cbf", "swi", "bold", "dwi", "dti", "asl", "m0scan", "phase",
    r"magnitude\d?", "sbref", r"field[-_ ]?map", r"jacobian\w*", r"warp\w*", "xfm", r"bias[-_ ]?field", "angio",
    "tof", "mra", r"perf\w*", "ktrans", "trace", "trace[wx]?", r"prob\w*",
)  # fmt: skip
_MAP_AT_END = re.compile(r"(?<![a-z0-9])(?:fa|md|ad|rd|ct|pet|epi|dsc|dce|b0|b1|r2|gm|wm|csf)$", re.IGNORECASE)
_ENTITY = _words(r"(?:acq|run|rec|desc|space|res|part|echo|dir|label|task|cohort|ses|ce)-[a-z0-9]+")
_GENERIC = _words(
    "brain", "head", "stripped", "extracted", "masked", "bet", r"n[34]", r"\d+(?:\.\d+)?(?:x\d+(?:\.\d+)?)*mm", "reg",
    "registered", "defaced", "scan", "image", "img", "anat", "anatomical", "structural", "3d", "axial", "ax",
    "sagittal", "sag", "coronal", "cor", "tra", "iso", "preproc", "orig", "mni", r"mni\d+", "vol", "volume", "nifti",
)  # fmt: skip
_SESSION = re.compile(
    r"(?<![a-z0-9])(ses-[a-z0-9]+|(?:session|visit|timepoint|tp|wave|scan|baseline|followup)[-_ ]?\d+)(?![a-z0-9])",
    re.IGNORECASE,
)
# In a folder of its own patient a study is a session; beside other scans it may be what the patient is called.
_STUDY = re.compile(r"study[-_ ]?\d+", re.IGNORECASE)
_SESSION_FOLDER = re.compile(
    r"(?:ses|session|visit|timepoint|tp|wave|baseline|follow[-_ ]?up|year|month)[-_ ]?\w*"
    r"|(?:19|20)\d\d[-_.]?\d\d[-_.]?\d\d\w*",
    re.IGNORECASE,
)
_LABEL_FOLDER = re.compile(
    r"(?:(?:brain|lesion|tumou?r|manual|ground[-_ ]truth)[-_ ])?"
    r"(?:labels?(?:tr|ts)?|masks?|seg(?:mentation)?s?|lesions?|annotations?)",
    re.IGNORECASE,
)
_STRUCTURE = re.compile(
    rf"anat|mri|nii|nifti|dicom|dcm|raw|images?(?:tr|ts)?|scans?|brain|structural|{_LABEL_FOLDER.pattern}",
    re.IGNORECASE,
)
_SUBJECT = re.compile(r"(?<![a-z0-9])sub-[a-z0-9]+", re.IGNORECASE)


def named_file(path: Path, root: Path) -> NamedFile:
    """What ``path``, somewhere below ``root``, is by its name and folders."""
    text = stem(path)
    folders = path.relative_to(root).parent.parts
    name, depth = _subject(text, folders)
    home = root.joinpath(*folders[:depth])
    kind, session = _kind(text, folders), _session(text, folders)
    if home != root and _STUDY.fullmatch(name):
        name, session = "", session or name
    return NamedFile(path, kind, name, home, session, _of(path), _may_be_truth(text, kind, folders))


def contrast_of_words(text: str) -> Contrast:
    """The contrast that a name or a series description mentions last (a BIDS suffix stands last), or ``unknown``."""
    ends: dict[int, Contrast] = {}
    for contrast, pattern in _CONTRASTS:
        for match in pattern.finditer(text):
            ends.setdefault(match.end(), contrast)
    return ends[max(ends)] if ends else "unknown"


def kind_of(text: str) -> Kind:
    """What a file of this name (without extension) holds."""
    if _LESION.search(text):
        return "lesion"
    if _MASK.search(text):
        return "labels" if _NOT_BRAIN.search(text) else "brain mask"
    if _LABELS.search(text):
        return "labels"
    if _MAP.search(text) or _MAP_AT_END.search(text):
        return "map"
    return "contrast agent" if _CONTRAST_AGENT.search(text) else "scan"


def _kind(text: str, folders: tuple[str, ...]) -> Kind:
    """By name, but nothing in a folder of labels is a scan."""
    kind, place = kind_of(text), _label_folder(folders)
    if kind != "scan" or not place:
        return kind
    return "lesion" if _LESION.search(place) else "labels"


def _label_folder(folders: tuple[str, ...]) -> str:
    """The innermost folder of labels, or an empty string."""
    return next((part for part in reversed(folders) if _LABEL_FOLDER.fullmatch(part)), "")


def _may_be_truth(text: str, kind: Kind, folders: tuple[str, ...]) -> bool:
    if kind == "lesion":
        return True
    if kind == "labels" and kind_of(text) == "scan":
        return _ANATOMY.search(_label_folder(folders)) is None
    return _TRUTH.search(text) is not None and _ANATOMY.search(text) is None


def subject_folder(folder: Path, root: Path) -> Path:
    """``folder`` or the nearest folder above it (at most ``root``) that is not structural (session, ``anat``)."""
    parts = folder.relative_to(root).parts
    return root.joinpath(*parts[: _depth(parts)])


def session_of_folders(folders: tuple[str, ...]) -> str:
    """The innermost session folder, or an empty string."""
    return next((part for part in reversed(folders) if _SESSION_FOLDER.fullmatch(part)), "")


def _of(path: Path) -> Contrast:
    """Contrast by the file's name, else by its folder's."""
    found = contrast_of_words(stem(path))
    return found if found != "unknown" else contrast_of_words(path.parent.name)


def _subject(text: str, folders: tuple[str, ...]) -> tuple[str, int]:
    """The subject's name ('' if none) and how many of the folders lead to its home."""
    depth = next((index for index, part in enumerate(folders) if _SUBJECT.match(part)), None)
    inner = _SUBJECT.search(text)
    if inner is not None or depth is not None:
        name = inner.group() if inner is not None else _SUBJECT.match(folders[depth or 0]).group()  # type: ignore[union-attr]
        return name, _depth(folders) if depth is None else depth
    return _remainder(text), _depth(folders)


def _depth(folders: tuple[str, ...]) -> int:
    depth = len(folders)
    while depth and _is_structure(folders[depth - 1]):
        depth -= 1
    return depth


def _is_structure(part: str) -> bool:
    structural = _STRUCTURE.fullmatch(part) or _SESSION_FOLDER.fullmatch(part)
    return structural is not None or any(pattern.fullmatch(part) for _, pattern in _CONTRASTS)


def _remainder(text: str) -> str:
    """The name without words on contrast, kind, session and processing: what is left names the subject."""
    for pattern in (_SESSION, _ENTITY, _CONTRAST_AGENT, *(pattern for _, pattern in _CONTRASTS), _LESION_ONLY):
        text = pattern.sub("", text)
    for pattern in (_MASK, _LABELS, _MAP, _TRUTH, _GENERIC):
        text = pattern.sub("", text)
    return re.sub(r"([-_ .])[-_ .]+", r"\1", text).strip("-_ .")


def _session(text: str, folders: tuple[str, ...]) -> str:
    match = _SESSION.search(text)
    return match.group() if match is not None else session_of_folders(folders)
