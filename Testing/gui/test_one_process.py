"""Testing/scene and Testing/gui share one pytest process: neither disturbs the other."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ORDER = (
    "Testing/scene/test_scene_module.py::test_module_registers_itself",
    "Testing/gui/test_host_ui.py",
    "Testing/scene/test_scene_color.py",
    "Testing/scene/test_scene_module.py::test_opening_the_module_file_imports_no_engine",
)


def test_both_folders_run_in_one_process(tmp_path):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path}/own", *ORDER]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-2000:]
