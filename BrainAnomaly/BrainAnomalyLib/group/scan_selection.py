"""Which scans of a cohort count for its group, with what is known of their subjects."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import OptionsError

MEASURES = {"total_ml": "Volume (mL)", "findings": "Findings", "largest_ml": "Largest finding (mL)"}
_TABLE, _SUBJECT, _AGE = "cohort.csv", "participant_id", "age"
_DECISION_COLUMNS = {"key", "decision"}


class GroupScans(NamedTuple):
    """``table``: a row (pandas) for each scan that counts; ``left_out``: key and reason; ``notes``: what is odd."""

    table: Any
    left_out: list[tuple[str, str]]
    notes: list[str]


def group_scans(out: Path, decisions: Path | None = None, participants: Path | None = None) -> GroupScans:
    """The scans of the cohort in ``out`` that are done and not rejected, with columns of their subjects.

    ``decisions`` is what the page saves (default: ``decisions.csv`` in ``out`` if it is there), ``participants`` a
    table with a column ``participant_id``; other columns of the cohort's own table, as age, are used too. A column that
    begins with ``age`` becomes ``age`` in years. Raises OptionsError.
    """
    table = _read(out / _TABLE, {"key", "subject", "status", "in_template"}, "Run the cohort first.")
    notes: list[str] = []
    left_out = [(key, f"It failed: {why}") for key, why in _values(table[table["status"] != "done"], "key", "reason")]
    table = table[table["status"] == "done"]
    given = decisions or out / "decisions.csv"
    if decisions is not None or given.is_file():
        rejected = _rejected(given, set(table["key"]) | {key for key, _ in left_out}, notes)
        left_out += [(key, rejected[key]) for key in table["key"] if key in rejected]
        table = table[~table["key"].isin(rejected)]
    if participants is not None:
        table = _with_participants(table, participants, notes)
    if table.empty:
        raise OptionsError(
            f"The cohort '{out}' has no scan left to analyse.", "Look at the decisions and at cohort.csv."
        )
    return GroupScans(_with_numbers(table), left_out, notes)


def subject_means(table: Any, columns: Iterable[str]) -> Any:
    """The mean of each subject over its scans; one row for each subject, in order."""
    return table.groupby("subject", sort=True)[list(columns)].mean()


def _rejected(path: Path, known: set[str], notes: list[str]) -> dict[str, str]:
    table = _read(path, _DECISION_COLUMNS, "Save it from the cohort's page.")
    unknown = sorted(set(table["key"]) - known)
    if unknown:
        notes.append(f"Decisions about scans that are not in the cohort count for nothing: {', '.join(unknown[:5])}.")
    table = table[table["decision"] == "reject"]
    remarks = _values(table, "key", "note") if "note" in table else [(key, "") for key in table["key"]]
    return {key: f"It was rejected{f': {note}' if note else '.'}" for key, note in remarks}


def _with_participants(table: Any, path: Path, notes: list[str]) -> Any:
    people = _read(path, {_SUBJECT}, f"It needs a column '{_SUBJECT}'.")
    measured = list(table.columns[: list(table.columns).index("in_template") + 1])
    people = people.assign(_label=people[_SUBJECT].map(_label)).drop_duplicates("_label")
    people = people.drop(columns=[_SUBJECT, *measured], errors="ignore")
    taken = [name for name in people.columns if name in table.columns]
    merged = table.assign(_label=table["subject"].map(_label)).drop(columns=taken)
    merged = merged.merge(people, on="_label", how="left", indicator="_found")
    missing = sorted(set(merged.loc[merged["_found"] == "left_only", "subject"]))
    if missing:
        notes.append(f"Subjects that '{path.name}' does not name: {', '.join(missing[:5])}, {len(missing)} in all.")
    return merged.drop(columns=["_label", "_found"]).fillna("")


def _with_numbers(table: Any) -> Any:
    import pandas

    age = next((name for name in table.columns if name.lower().startswith(_AGE)), None)
    ages = table[age].astype(str).str.strip().str.rstrip("+") if age else ""
    table = table.assign(age=pandas.to_numeric(ages, errors="coerce") if age else float("nan"))
    numbers = {name: pandas.to_numeric(table[name], errors="coerce") for name in (*MEASURES, "quality")}
    shown = table["contrast"].where(table["contrast"] != "unknown", table["shown_contrast"])
    return table.assign(**numbers, contrast=shown)


def _label(subject: object) -> str:
    return str(subject).strip().removeprefix("sub-")


def _values(table: Any, *columns: str) -> list[tuple[str, str]]:
    return [(str(one), str(other)) for one, other in zip(*(table[name] for name in columns), strict=True)]


def _read(path: Path, columns: set[str], remedy: str) -> Any:
    """A table of texts. Raises OptionsError."""
    import pandas

    try:
        separator = "\t" if path.suffix.lower() == ".tsv" else ","
        table = pandas.read_csv(path, sep=separator, dtype=str, keep_default_na=False, na_values=["n/a"])
    except (OSError, ValueError) as error:
        raise OptionsError(f"The table '{path}' cannot be read.", remedy) from error
    missing = columns - set(table.columns)
    if missing:
        raise OptionsError(f"The table '{path}' has no column '{sorted(missing)[0]}'.", remedy)
    return table.fillna("")
