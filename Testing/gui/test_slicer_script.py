"""The script for the real application, run in the host: its checks pass on both modules and fail where they should."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "Testing" / "in_slicer" / "run_slicer_tests.py"


@pytest.fixture
def script(host):
    specification = importlib.util.spec_from_file_location("run_slicer_tests", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_every_check_of_both_modules_passes(script, tmp_path):
    assert script.main(tmp_path) == 0
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert [result["traceback"] for result in results["tests"]] == [""] * 6
    assert {path.name for path in tmp_path.glob("*.png")} == {"BrainAnomaly.png", "BrainAnomalyTraining.png"}


def test_a_failing_self_test_fails_the_script(script, host, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "MODULES", ("BrainAnomaly",))
    module = host.load_module("BrainAnomaly")
    monkeypatch.setattr(script, "self_test", lambda name: module.BrainAnomalyTest().test_none())
    assert script.main(tmp_path) == 1
    assert "AttributeError" in (tmp_path / "results.json").read_text(encoding="utf-8")


def test_a_widget_of_another_class_is_noticed(script, tmp_path):
    import qt

    (tmp_path / "panel.ui").write_text('<ui><widget class="ctkSliderWidget" name="slider"/></ui>', encoding="utf-8")
    widget = qt.QWidget()
    widget.objectName = "slider"
    with pytest.raises(AssertionError, match="slider is a QWidget, not a ctkSliderWidget"):
        script.check_classes(tmp_path / "panel.ui", {"slider": widget})
