"""The anatomical images of a BIDS data set, as pybids finds them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import OptionsError
from ..io.scan_names import NOT_A_SCAN
from ..io.volumes import Contrast
from .entries import Cohort, Entry, LeftOut

Filters = Mapping[str, Mapping[str, Any]]
_CONTRASTS: dict[str, Contrast] = {
    **{"T1w": "T1w", "T2w": "T2w", "FLAIR": "FLAIR", "PDw": "PD"},
    **{"PD": "PD", "inplaneT1": "T1w", "inplaneT2": "T2w", "UNIT1": "T1w"},
}
_IMAGES = [".nii", ".nii.gz"]
_KEPT_ENTITIES = ("acquisition", "run", "reconstruction")


def scans_of_bids(root: Path, filters: Filters | None = None) -> Cohort:
    """The anatomical images of the data set ``root`` and what was left out; derivatives are not searched.

    ``filters``: contrast (as ``t1w`` or ``FLAIR``) to entities and their wanted values, as of a filter file of BIDS
    Apps. Raises OptionsError for a data set or filters that cannot be used.
    """
    import bids

    root = root.resolve()
    try:
        indexer = bids.BIDSLayoutIndexer(index_metadata=False)
        layout = bids.BIDSLayout(root, validate=True, derivatives=False, indexer=indexer)
        files = layout.get(datatype="anat", extension=_IMAGES)
    except Exception as error:  # pybids raises many kinds for broken data sets
        reason = " ".join(str(error).split())
        message = f"The BIDS data set '{root}' cannot be read ({reason})."
        raise OptionsError(message, "Check it with the BIDS validator.") from error
    ignored, unwanted = _Ignored(root), _unwanted(layout, filters or {})
    entries, left_out = [], []
    for file in sorted(files, key=lambda one: one.path):
        path, entities = Path(file.path), file.get_entities()
        reason = ignored.reason(path) or _fault(entities, path)
        reason = reason or ("The filter file leaves it out." if file.path in unwanted else "")
        if reason:
            left_out.append(LeftOut(path, reason))
        else:
            entries.append(_entry(path, entities))
    return Cohort(entries, left_out)


def read_filters(path: Path) -> Filters:
    """The content of a filter file of BIDS Apps. Raises OptionsError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OptionsError(f"The filter file '{path}' cannot be read.", "It is JSON in UTF-8.") from error
    if not (isinstance(content, dict) and all(isinstance(one, dict) for one in content.values())):
        example = '{"flair": {"acquisition": "3d"}}'
        raise OptionsError(f"The filter file '{path}' has another form.", f"For example {example}.")
    return content


class _Ignored:
    """What ``.bidsignore`` names, by the rules of gitignore as BIDS says."""

    def __init__(self, root: Path) -> None:
        import pathspec

        file = root / ".bidsignore"
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
        self._root, self._spec = root, pathspec.GitIgnoreSpec.from_lines(lines)

    def reason(self, path: Path) -> str:
        """Why a file is left out; '' if it is not named."""
        place = path.relative_to(self._root).as_posix()
        return "The data set's .bidsignore names it." if self._spec.match_file(place) else ""


def _unwanted(layout: Any, filters: Filters) -> set[str]:
    """Paths that the filters leave out: of each contrast they name all but what they find."""
    unwanted: set[str] = set()
    for name, wanted in filters.items():
        suffixes = _suffixes(name)
        query = {entity: _query(value) for entity, value in wanted.items() if entity not in ("datatype", "suffix")}
        try:
            found = layout.get(datatype="anat", suffix=suffixes, extension=_IMAGES, **query)
        except ValueError as error:
            reason = " ".join(str(error).split())
            raise OptionsError(f"The filter for '{name}' cannot be used ({reason}).") from error
        every = layout.get(datatype="anat", suffix=suffixes, extension=_IMAGES)
        unwanted |= {one.path for one in every} - {one.path for one in found}
    return unwanted


def _suffixes(name: str) -> list[str]:
    found = [one for one, contrast in _CONTRASTS.items() if name.lower() in (one.lower(), contrast.lower())]
    if not found:
        raise OptionsError(f"The filter file names '{name}'.", f"It may name {', '.join(_CONTRASTS)}.")
    return found


def _query(value: Any) -> Any:
    """``null`` wants files without the entity and ``*`` those with any, as in fMRIPrep's filter files."""
    from bids.layout import Query

    return {None: Query.NONE, "*": Query.ANY}.get(value, value) if value is None or isinstance(value, str) else value


def _fault(entities: dict[str, Any], path: Path) -> str:
    if "ceagent" in entities:
        return NOT_A_SCAN["contrast agent"]
    if entities.get("suffix") not in _CONTRASTS:
        return f"Images of the kind '{entities.get('suffix')}' are not analysed."
    if entities.get("part") in ("phase", "imag", "real"):
        return "It is no magnitude image."
    return "" if path.exists() else "The file is not there (a link that leads nowhere)."


def _entry(path: Path, entities: dict[str, Any]) -> Entry:
    return Entry(
        scan=path,
        subject=f"sub-{entities['subject']}",
        session=f"ses-{entities['session']}" if "session" in entities else "",
        contrast=_CONTRASTS[entities["suffix"]],
        extra={name: str(value) for name, value in entities.items() if name in _KEPT_ENTITIES},
    )
