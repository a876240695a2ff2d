"""The module files of 3D Slicer, opened with small stand-ins for what only the application has."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import slicer
from scene_cases import column, detection_of

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("BrainAnomaly", "BrainAnomalyTraining")


class _Base:
    """Stands for the ScriptedLoadableModule classes: keeps what it is given."""

    def __init__(self, parent=None):
        self.parent = parent


@pytest.fixture
def application(monkeypatch):
    """Stand-ins for qt, ctk and the Python files that only the application ships."""
    base = ModuleType("slicer.ScriptedLoadableModule")
    for name in ("", "Logic", "Test", "Widget"):
        setattr(base, f"ScriptedLoadableModule{name}", type(f"Base{name}", (_Base,), {}))
    translation = ModuleType("slicer.i18n")
    translation.tr = lambda text: text
    translation.translate = lambda context, text: text
    monkeypatch.setattr(slicer, "app", SimpleNamespace(connect=lambda signal, slot: True), raising=False)
    for module in (base, translation, ModuleType("qt"), ModuleType("ctk")):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in MODULES:
        monkeypatch.syspath_prepend(str(ROOT / name))
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.parametrize("name", MODULES)
def test_module_registers_itself(application, name):
    module = __import__(name)
    parent = SimpleNamespace()
    getattr(module, name)(parent)
    assert parent.title.startswith("Brain Anomaly")
    assert parent.categories == ["Segmentation"]
    assert "For research, not for diagnosis." in parent.helpText
    for part in ("Widget", "Logic", "Test"):
        assert hasattr(module, name + part)


@pytest.mark.parametrize("name", MODULES)
def test_opening_the_module_file_imports_no_engine(application, name):
    program = f"""
import sys, types
for name in ("qt", "ctk", "slicer", "slicer.i18n", "slicer.ScriptedLoadableModule"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__getattr__ = lambda attribute: object
sys.path.insert(0, {str(ROOT / name)!r})
import {name}
heavy = ("torch", "monai", "SimpleITK", "scipy", "numpy", "BrainAnomalyLib", "BrainAnomalyTrainingLib")
print([name for name in heavy if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_scripting_logic_goes_the_same_way(application, volume, logic):
    from BrainAnomaly import BrainAnomalyLogic

    nodes = logic.apply(detection_of(volume), volume)
    scripting = BrainAnomalyLogic()
    assert scripting.hasAnomalyMap(volume)
    assert scripting.resultNodes(volume) == nodes
    scripting.setThreshold(volume, 5.0, minimumMm3=0.0)
    assert column(nodes.findings_table, "id") == [1, 2]
    assert scripting.record(volume).threshold == 5.0
    scripting.removeResults(volume)
    assert not scripting.hasAnomalyMap(volume)
    assert "histogram" in scripting.detectorNames()


def test_training_logic_refuses_impossible_jobs_in_words(application, tmp_path):
    from BrainAnomalyTraining import BrainAnomalyTrainingLogic
    from BrainAnomalyTrainingLib.slicer.runs.requests import CohortRequest, Target, TrainingRequest

    with pytest.raises(ValueError, match="There is no folder"):
        BrainAnomalyTrainingLogic.checkCohort(CohortRequest(str(tmp_path / "nowhere"), "T1w", "denoising"))
    with pytest.raises(ValueError, match="saved in"):
        BrainAnomalyTrainingLogic.train(
            TrainingRequest(CohortRequest(str(tmp_path), "T1w", "denoising"), Target("", "model"))
        )
    assert BrainAnomalyTrainingLogic.run(tmp_path).phase.value == "new"
