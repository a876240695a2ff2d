"""A real MRML scene from slicer-core for every test; the engine's heavy run once for the whole folder."""

import pytest

try:
    import slicer

    MISSING = "" if hasattr(slicer, "vtkMRMLScene") else "the 'slicer' package installed here is not slicer-core"
except ImportError as error:
    MISSING = f"slicer-core is not importable ({error}); its package exists for Python 3.11 only"

# Test modules import slicer at their top, so they are left out rather than skipped one by one.
collect_ignore_glob = ["test_scene_*.py"] if MISSING else []


def pytest_report_header():
    return f"Testing/scene is left out: {MISSING}" if MISSING else "Testing/scene: real MRML scene from slicer-core"


@pytest.fixture
def scene():
    created = slicer.vtkMRMLScene()
    yield created
    created.Clear(1)


@pytest.fixture
def volume(scene):
    from scene_cases import add_volume, oblique_affine

    return add_volume(scene, affine=oblique_affine())


@pytest.fixture
def logic():
    from BrainAnomalyLib.slicer.scene.logic import BrainAnomalySceneLogic

    return BrainAnomalySceneLogic()
