"""The report: one page that says everything, fetches nothing and runs nothing."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2
import pytest

from BrainAnomalyLib.detection import Detection
from BrainAnomalyLib.errors import OutputError
from BrainAnomalyLib.output.finding_pictures import key_pictures
from BrainAnomalyLib.output.html import report_html, write_report
from BrainAnomalyLib.output.origin import Words
from BrainAnomalyLib.output.pdf import report_pdf, write_pdf
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
    text = read(report_html(made, Words(named=True, heading="Ward 3"))).text
    notice = "For research, not for diagnosis."
    for said in (notice, "Müller <b>", "Ward 3", "ab" * 32, "Looks like T2w & not FLAIR.", "Made by hand"):
        assert said in text
    assert '{"passes": 4}' in text
    assert f"{len(made.findings.table)} findings, {made.findings.total_ml:.2f} mL together." in text


def test_every_finding_has_its_row() -> None:
    made = detection()
    page = report_html(made)
    for row in made.findings.table:
        cells = (str(row.id), row.where, row.tissue, row.place, f"{row.volume_ml:.2f}", row.looks)
        assert "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) in page
    assert f"<tr><td>{made.findings.table[0].where}</td><td>1</td>" in page


def test_a_written_page_holds_its_pictures_and_loads_nothing(tmp_path: Path) -> None:
    folder = tmp_path / AWKWARD
    folder.mkdir(parents=True)
    path = write_report(detection(), folder / "report.html")
    reader = read(path.read_text(encoding="utf-8"))
    assert [source[:22] for source in reader.sources] == ["data:image/png;base64,"] * 3
    assert "Finding 2, " in reader.text
    assert "Müller" not in reader.text
    assert "script" not in reader.seen
    assert [other.name for other in folder.iterdir()] == ["report.html"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="could not be written"):
        write_report(detection(), tmp_path / "none" / "report.html", pictures=False)


@pytest.fixture(scope="module")
def pages() -> list[Any]:
    return list(pypdfium2.PdfDocument(report_pdf(detection())))


def text_of(page: Any) -> str:
    return " ".join(page.get_textpage().get_text_range().split())


def test_a_pdf_says_what_the_page_says_but_no_name(pages: list[Any]) -> None:
    made, text = detection(), " ".join(text_of(page) for page in pages)
    for said in ("Looks like T2w & not FLAIR.", "Made by hand", "2 findings", "3 (chosen by the test)", "By region"):
        assert said in text
    for row in made.findings.table:
        assert f"{row.id} {row.where} {row.tissue}" in text
    assert "Müller" not in text
    assert all("For research, not for diagnosis." in text_of(page) for page in pages)


def test_a_pdf_shows_every_finding_and_the_pseudo_healthy_scan_below(pages: list[Any]) -> None:
    images = [shape for page in pages for shape in page.get_objects() if shape.type == pypdfium2.raw.FPDF_PAGEOBJ_IMAGE]
    assert len(images) == 2
    for picture in key_pictures(detection()):
        assert picture.planes.endswith("the pseudo-healthy scan")
    (width, height), plain = images[0].get_px_size(), key_pictures(replace(detection(), pseudo_healthy=None))
    assert height / width == pytest.approx(2.0 / 3.0, abs=0.01)
    assert [picture.planes for picture in plain] == ["scan with the finding's outline"] * 2
    pixels = np.asarray(pages[0].render(scale=0.5).to_numpy())
    assert pixels.std() > 10.0


def test_a_pdf_with_a_name_shows_it_and_equal_ones_are_equal(tmp_path: Path) -> None:
    (page, *_) = pypdfium2.PdfDocument(write_pdf(detection(), tmp_path / "a.pdf", Words(True, "2 May")).read_bytes())
    assert "Brain anomaly report: Müller <b> 2 May" in text_of(page)
    assert report_pdf(detection()) == report_pdf(detection())


def test_columns_that_others_add_appear_in_the_reports() -> None:
    made = detection()
    for row, change in zip(made.findings.table, ("new", "growing"), strict=True):
        object.__setattr__(row, "change", change)
        object.__setattr__(row, "contrasts", "FLAIR +, T1w -")
    page = report_html(made)
    assert "<th>Seen on</th><th>Change</th>" in page
    assert "<td>FLAIR +, T1w -</td><td>growing</td>" in page
    text = " ".join(text_of(page) for page in pypdfium2.PdfDocument(report_pdf(made)))
    assert "growing" in text


def reviewed() -> Detection:
    """The first finding rejected, the second kept, both with a comment."""
    made = detection()
    first, second = made.findings.table
    table = (replace(first, review="rejected", comment="a <vessel>"), replace(second, review="kept", comment="look"))
    return replace(made, findings=replace(made.findings, table=table))


def test_a_rejected_finding_is_marked_in_the_table_and_left_out_of_sums_and_pictures() -> None:
    made = reviewed()
    second = made.findings.table[1]
    page = report_html(made)
    text = read(page).text
    assert "<th>Review</th><th>Comment</th>" in page
    assert "<td>rejected</td><td>a &lt;vessel&gt;</td>" in page
    assert "<td></td><td>look</td>" in page
    assert f"1 finding, {second.volume_ml:.2f} mL together. 1 more were rejected by the reader" in text
    assert [picture.finding.id for picture in key_pictures(made)] == [2]
    assert f"<tr><td>{made.findings.table[0].where}</td><td>1</td>" not in page
    said = " ".join(text_of(page) for page in pypdfium2.PdfDocument(report_pdf(made)))
    assert "rejected a <vessel>" in said
    assert "look" in said


def test_without_a_review_nothing_of_it_is_said() -> None:
    assert "<th>Review</th>" not in report_html(detection())
    assert "<th>Comment</th>" not in report_html(detection())


def test_a_change_is_said_in_ml_and_percent() -> None:
    made = detection()
    table = [
        replace(row, change="growing", prior_ml=1.0, change_ml=0.5, change_percent=50.0) for row in made.findings.table
    ]
    page = report_html(replace(made, findings=replace(made.findings, table=tuple(table))))
    assert "<td>growing</td><td>+0.50</td><td>+50</td>" in page
