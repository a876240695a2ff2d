"""Models, setup and log in the panel: what there is to choose from, how it comes and goes, what is missing."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import slicer
from panel_cases import add_brain

REQUIREMENTS = Path(__file__).resolve().parents[2] / "BrainAnomaly" / "Resources" / "requirements.txt"
EMBEDDED = Path(__file__).resolve().parents[2] / "Resources" / "Models" / "denoising_t1w"


@pytest.fixture
def models(tmp_path, monkeypatch):
    """The user's models folder."""
    folder = tmp_path / "modèles"
    monkeypatch.setenv("BRAIN_ANOMALY_MODELS", str(folder))
    return folder


@pytest.fixture
def panel(host, models):
    panel = host.open("BrainAnomaly")
    for name in ("setup", "manage", "log"):
        getattr(panel.ui, f"{name}CollapsibleButton").collapsed = False
    host.process_events()
    return panel


def entries(box) -> list[str]:
    return [box.itemText(index) for index in range(box.count)]


def row_of(panel, text: str) -> int:
    table = panel.ui.modelsTable
    return next(row for row in range(table.rowCount) if table.item(row, 0).text().startswith(text))


def packed(tmp_path: Path) -> Path:
    from BrainAnomalyLib.models.store import export_package

    return export_package(EMBEDDED, tmp_path / "my model.zip")


class TestChooser:
    def test_automatic_comes_first_and_every_model_is_described(self, host, panel):
        from BrainAnomalyLib.models.store import list_models

        texts = entries(panel.ui.modelComboBox)
        assert texts[0] == "Automatic (by contrast)"
        assert len(texts) == 1 + len(list_models())
        host.choose(panel.ui.modelComboBox, next(text for text in texts if text.startswith("Denoising")))
        said = panel.ui.modelDescriptionLabel.text
        parts = (
            "For: T1w",
            "Training cohort: 130 healthy scans",
            "Size: ",
            "License: CC BY-SA 3.0",
            "Time for a scan: about ",
        )
        for part in parts:
            assert part in said

    def test_the_choice_is_kept_in_the_scene_and_decides_the_run(self, host, panel):
        texts = entries(panel.ui.modelComboBox)
        host.choose(panel.ui.modelComboBox, next(text for text in texts if text.startswith("Denoising")))
        assert panel.panel.parameters.modelKey == "denoising"
        panel.ui.inputSelector.setCurrentNode(add_brain())
        request = panel.panel.inputs.request(*panel.panel.models.engine_choice())
        assert (request.detector, request.package) == (None, EMBEDDED)

    def test_a_broken_model_is_listed_and_cannot_start(self, host, models):
        shutil.copytree(EMBEDDED, models / "broken")
        (models / "broken" / "configs" / "metadata.json").write_text("{}", encoding="utf-8")
        panel = host.open("BrainAnomaly")
        panel.ui.inputSelector.setCurrentNode(add_brain())
        broken = next(text for text in entries(panel.ui.modelComboBox) if "cannot be used" in text)
        host.choose(panel.ui.modelComboBox, broken)
        assert not panel.ui.detectButton.enabled
        assert panel.ui.modelDescriptionLabel.text.startswith("Cannot be used: ")


class TestManage:
    def test_a_package_is_imported_verified_and_deleted(self, host, panel, models, tmp_path):
        import qt

        before = panel.ui.modelsTable.rowCount
        host.answer(str(packed(tmp_path)))
        host.click(panel.ui.importModelButton)
        assert panel.ui.manageLabel.text.startswith("Imported Denoising")
        assert panel.ui.modelsTable.rowCount == before + 1
        assert len(entries(panel.ui.modelComboBox)) == before + 2
        (folder,) = [path for path in models.iterdir() if not path.name.startswith(".")]
        panel.ui.modelsTable.selectRow(before)
        host.click(panel.ui.verifyModelButton)
        assert "is intact. SHA-256: " in panel.ui.manageLabel.text
        weights = folder / "models" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")
        host.click(panel.ui.verifyModelButton)
        assert "was changed or damaged" in panel.ui.messageLabel.text
        slicer.app.qt_object().testing = False
        host.answer(qt.QMessageBox.Cancel)
        host.click(panel.ui.deleteModelButton)
        assert folder.exists()
        host.answer(qt.QMessageBox.Ok)
        host.click(panel.ui.deleteModelButton)
        assert not folder.exists()
        assert panel.ui.modelsTable.rowCount == before

    def test_the_models_folder_is_shown_and_named(self, host, panel, models):
        host.click(panel.ui.showModelsFolderButton)
        assert models.is_dir()
        assert str(models) in panel.ui.manageLabel.text

    def test_what_belongs_to_the_extension_cannot_be_deleted(self, panel):
        panel.ui.modelsTable.selectRow(row_of(panel, "Denoising"))
        assert panel.ui.verifyModelButton.enabled
        assert not panel.ui.deleteModelButton.enabled
        panel.ui.modelsTable.selectRow(row_of(panel, "Gray-matter"))
        assert not panel.ui.verifyModelButton.enabled

    def test_a_file_that_is_no_package_changes_nothing(self, host, panel, models, tmp_path):
        (tmp_path / "other.zip").write_bytes(b"PK nothing")
        before = panel.ui.modelsTable.rowCount
        host.answer(str(tmp_path / "other.zip"))
        host.click(panel.ui.importModelButton)
        assert panel.ui.messageLabel.text
        assert "unexpectedly" not in panel.ui.messageLabel.text
        assert panel.ui.modelsTable.rowCount == before
        host.answer("")
        host.click(panel.ui.importModelButton)
        assert not models.exists() or list(models.iterdir()) == []


class TestSetup:
    @pytest.fixture
    def incomplete(self, monkeypatch):
        """One requirement that is not there, until the test removes it."""
        from BrainAnomalyLib.slicer.panel import dependencies

        wanted = ["numpy>=1.26", "no_such_package>=1.0"]
        monkeypatch.setattr(dependencies, "required", lambda file: list(wanted))
        return wanted

    def test_everything_installed_is_said(self, panel):
        assert panel.ui.setupStatusLabel.text.startswith("Everything is installed.")
        assert not panel.ui.installButton.enabled
        assert "pip download" in panel.ui.offlineLabel.text
        assert str(REQUIREMENTS) in panel.ui.offlineLabel.text

    def test_nothing_is_installed_before_the_reader_asks(self, host, models, incomplete):
        panel = host.open("BrainAnomaly")
        assert host.packaging.calls == []
        assert "Missing Python packages: no_such_package" in panel.ui.messageLabel.text
        assert "no_such_package: missing" in panel.ui.setupStatusLabel.text
        assert panel.ui.installButton.enabled

    def test_installing_goes_through_slicer_and_can_be_resumed(self, host, models, incomplete):
        panel = host.open("BrainAnomaly")
        panel.ui.setupCollapsibleButton.collapsed = False
        host.process_events()
        host.packaging.fails_with = RuntimeError("no network")
        host.click(panel.ui.installButton)
        assert "no network" in panel.ui.messageLabel.text
        assert panel.ui.installButton.enabled
        host.close_panels()
        again = host.show(sys.modules["BrainAnomaly"].BrainAnomalyWidget())
        assert not again.ui.setupCollapsibleButton.collapsed
        assert "was not finished" in again.ui.logTextEdit.toPlainText()
        host.packaging.fails_with = None
        incomplete.pop()
        again.ui.installButton.enabled = True
        host.click(again.ui.installButton)
        assert again.ui.messageLabel.text == "Everything is installed."
        again.cleanup()
        names = [name for name, _arguments in host.packaging.calls]
        assert names == ["pip_ensure"]
        (_positional, options) = host.packaging.calls[0][1]
        assert options["skip_packages"] == ["torch"]

    def test_torch_comes_from_the_pytorch_extension(self, host, monkeypatch):
        from BrainAnomalyLib.slicer.panel import dependencies

        monkeypatch.setattr(dependencies, "missing", lambda file: [dependencies.TORCH])
        dependencies.install(REQUIREMENTS)
        assert host.packaging.calls == [("installTorch", {"askConfirmation": True, "torchVersionRequirement": ">=2.4"})]


def test_the_log_keeps_everything_and_is_copied(host, panel):
    import qt

    panel.panel.messages.say("first sentence")
    panel.panel.messages.log("only in the log")
    host.click(panel.ui.copyLogButton)
    copied = qt.QApplication.clipboard().text()
    assert "first sentence" in copied
    assert "only in the log" in copied


def test_a_fault_of_the_program_is_said_and_its_traceback_kept(panel):
    with panel.panel.messages.plain():
        raise ZeroDivisionError("division by zero")
    assert panel.ui.messageLabel.text.startswith("BrainAnomaly failed unexpectedly (ZeroDivisionError")
    assert "Traceback" in panel.ui.logTextEdit.toPlainText()
