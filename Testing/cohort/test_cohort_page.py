"""The tables of a cohort, and its page in a real browser without a screen."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pandas
import pytest

from BrainAnomalyLib.cohort.cohort_tables import write_tables
from BrainAnomalyLib.cohort.page import write_page
from BrainAnomalyLib.cohort.records import CohortOptions
from BrainAnomalyLib.cohort.work import Task, failed
from cohort_cases import entries, quick

BROWSER = next((found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), None)


def made_records(folder: Path, count: int) -> list[dict]:
    made = entries(folder, count)
    out = folder / "out"
    records = quick(Task(tuple(made), ("",) * count, out, CohortOptions()))
    for index, record in enumerate(records):
        record["quality"], record["total_ml"] = round(1.0 - index / (2.0 * count), 4), float(index)
    records[1] = failed(made[1], "", "It is </script> & bad.")
    return records


def test_tables_have_a_row_for_each_scan_and_finding(tmp_path):
    records = made_records(tmp_path, 4)
    write_tables(records, tmp_path / "out")
    scans = pandas.read_csv(tmp_path / "out" / "cohort.csv")
    assert list(scans["status"]) == ["done", "failed", "done", "done"]
    assert list(scans["age"]) == [30, 31, 32, 33]
    assert scans["total_ml"].isna().tolist() == [False, True, False, False]
    stored = pandas.read_parquet(tmp_path / "out" / "cohort.parquet")
    assert list(stored["key"]) == [record["key"] for record in records]
    assert list(stored.columns) == list(scans.columns)
    texts = [
        [["" if pandas.isna(cell) else str(cell) for cell in row] for row in one.values] for one in (stored, scans)
    ]
    assert texts[0] == texts[1]
    findings = pandas.read_csv(tmp_path / "out" / "findings.csv")
    assert list(findings["subject"]) == ["sub-0000", "sub-0002", "sub-0003"]
    assert list(findings["template_z"]) == [4.0] * 3


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    if BROWSER is None:
        pytest.skip("there is no chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def opened(browser, tmp_path):
    """A function that opens the page of so many scans; the page says nothing on its console."""
    said: list[str] = []

    def open_page(count: int):
        path = write_page(made_records(tmp_path, count), tmp_path / "out")
        page = browser.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if "://" in request.url[8:] else None)
        page.goto(path.as_uri())
        page.wait_for_selector("tbody tr")
        return page

    yield open_page
    assert [text for text in said if "ERR_FILE_NOT_FOUND" not in text] == []


def subjects(page) -> list[str]:
    return page.locator("tbody tr td:first-child").all_inner_texts()


def test_worst_quality_first_sorted_and_filtered(opened):
    page = opened(5)
    assert subjects(page) == ["sub-0001", "sub-0004", "sub-0003", "sub-0002", "sub-0000"]
    assert "It is </script> & bad." in page.locator("tbody tr.failed").inner_text()
    page.get_by_text("Volume (mL)").click()
    assert subjects(page) == ["sub-0000", "sub-0002", "sub-0003", "sub-0004", "sub-0001"]
    page.get_by_text("Volume (mL)").click()
    assert subjects(page)[0] == "sub-0004"
    page.get_by_placeholder("Filter").fill("sub-0003")
    assert subjects(page) == ["sub-0003"]
    assert page.locator("#count").inner_text() == "1 of 5 scans"


def test_keys_walk_and_decide_and_the_decisions_are_saved(opened, tmp_path):
    page = opened(4)
    for key in ("ArrowDown", "ArrowDown", "k", "ArrowDown", "r", "ArrowUp"):
        page.keyboard.press(key)
    assert page.locator("tr.chosen").get_attribute("data-key") == "sub-0003/ses-0/FLAIR"
    page.get_by_placeholder("Note").fill('motion, "ghosts"')
    page.reload()
    page.wait_for_selector("tbody tr")
    assert page.locator("tr.keep").get_attribute("data-key") == "sub-0003/ses-0/FLAIR"
    page.locator("#state").select_option("reject")
    assert page.locator("tbody tr").count() == 1
    assert page.locator("tr.reject").get_attribute("data-key") == "sub-0002/ses-0/FLAIR"
    with page.expect_download() as download:
        page.get_by_text("Save decisions.csv").click()
    download.value.save_as(tmp_path / "decisions.csv")
    saved = pandas.read_csv(tmp_path / "decisions.csv", keep_default_na=False)
    assert saved.values.tolist() == [
        ["sub-0003/ses-0/FLAIR", "keep", 'motion, "ghosts"'],
        ["sub-0002/ses-0/FLAIR", "reject", ""],
    ]


def test_a_page_of_two_thousand_scans_opens_at_once_and_scrolls_to_its_end(opened, tmp_path):
    started = time.monotonic()
    page = opened(2000)
    assert time.monotonic() - started < 20.0
    assert page.evaluate("performance.timing.domContentLoadedEventEnd - performance.timing.navigationStart") < 2000
    assert len(subjects(page)) == 200
    for _ in range(12):
        page.locator("#table").evaluate("table => table.scrollTo(0, table.scrollHeight)")
        page.wait_for_timeout(50)
    assert len(subjects(page)) == 2000
    assert sum(path.stat().st_size for path in (tmp_path / "out").glob("index*")) < 2_000_000
