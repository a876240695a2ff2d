"""The report: one page that says everything, fetches nothing and runs nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from BrainAnomalyLib.detection import Detection
from BrainAnomalyLib.errors import OutputError
from BrainAnomalyLib.output.html import report_html, write_report
from made_detection import made_detection
from synthetic import AWKWARD


class Reader(HTMLParser):
    """Tags that are open, texts, and addresses that a browser would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.sources: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.sources += [value or "" for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def detection() -> Detection:
    made = made_detection("Müller <b>")
    description = {**made.detector, "package": "ab" * 32, "config": {"passes": 4}}
    return replace(made, detector=description, warnings=("Looks like T2w & not FLAIR.",))


def test_everything_a_reader_must_know_is_on_the_page() -> None:
    made = detection()
    text = read(report_html(made, rejected=3)).text
    notice = "For research, not for diagnosis."
    for said in (notice, "Müller <b>", "ab" * 32, "Looks like T2w & not FLAIR.", "Made by hand"):
        assert said in text
    assert "3 more were rejected" in text
    assert '{"passes": 4}' in text
    assert f"{len(made.findings.table)} findings, {made.findings.total_ml:.2f} mL together." in text


def test_every_finding_has_its_row() -> None:
    made = detection()
    page = report_html(made)
    rows = re.findall(r"<tr><td>(\d+)</td><td>([\d.]+)</td>", page)
    assert rows == [(str(row.id), f"{row.volume_ml:.2f}") for row in made.findings.table]


def test_a_written_page_holds_its_pictures_and_loads_nothing(tmp_path: Path) -> None:
    folder = tmp_path / AWKWARD
    folder.mkdir(parents=True)
    path = write_report(detection(), folder / "report.html")
    reader = read(path.read_text(encoding="utf-8"))
    assert [source[:22] for source in reader.sources] == ["data:image/png;base64,"]
    assert "script" not in reader.seen
    assert [other.name for other in folder.iterdir()] == ["report.html"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="could not be written"):
        write_report(detection(), tmp_path / "none" / "report.html", pictures=False)
