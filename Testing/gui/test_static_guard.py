"""Code that Slicer runs is read for what PySide6 forgives and PythonQt or another Qt does not."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("BrainAnomaly", "BrainAnomalyTraining")
# The rooms that may import slicer, qt and ctk.
SOURCES = sorted(
    [ROOT / name / f"{name}.py" for name in MODULES]
    + [path for name in MODULES for path in (ROOT / name).glob("*Lib/slicer/**/*.py")]
)
QT = ("qt", "ctk")
# Threads starve while the application is idle; QThread is missing in some supported PythonQt.
THREADS = {"threading", "_thread", "concurrent", "multiprocessing", "asyncio"}
THREAD_CLASSES = {"QThread", "QThreadPool", "QRunnable", "QtConcurrent"}
GONE_IN_QT6 = {"QRegExp", "QRegExpValidator", "QTextCodec", "QDesktopWidget", "QStringRef", "QSignalMapper", "QMatrix"}
# Signatures that Qt 5.15 and Qt 6, CTK and qMRML have; seen in the application or in its sources.
SIGNALS = {
    "aboutToQuit()",
    "cellChanged(int,int)",
    "cellClicked(int,int)",
    "cellDoubleClicked(int,int)",
    "checkedIndexesChanged()",
    "clicked()",
    "clicked(bool)",
    "contentsCollapsed(bool)",
    "currentCellChanged(int,int,int,int)",
    "currentIndexChanged(int)",
    "currentNodeChanged(bool)",
    "currentNodeChanged(vtkMRMLNode*)",
    "currentNodeIDChanged(QString)",
    "currentPathChanged(QString)",
    "currentTextChanged(QString)",
    "dataSelected(vtkStringArray*,vtkCollection*)",
    "directoryChanged(QString)",
    "editingFinished()",
    "errorOccurred(QProcess::ProcessError)",
    "finished(int,QProcess::ExitStatus)",
    "itemChanged(QTableWidgetItem*)",
    "itemSelectionChanged()",
    "linkActivated(QString)",
    "mrmlSceneChanged(vtkMRMLScene*)",
    "nodeAddedByUser(vtkMRMLNode*)",
    "readyReadStandardError()",
    "readyReadStandardOutput()",
    "sectionClicked(int)",
    "startupCompleted()",
    "textChanged()",
    "textChanged(QString)",
    "timeout()",
    "toggled(bool)",
    "triggered()",
    "triggered(bool)",
    "valueChanged(double)",
    "valueChanged(int)",
    "valueIsChanging(double)",
    "valuesChanged(double,double)",
}
QT5_ONLY = {"currentIndexChanged(QString)", "activated(QString)", "highlighted(QString)", "valueChanged(QString)",
            "error(QProcess::ProcessError)", "buttonClicked(int)", "finished(int)"}  # fmt: skip


def faults(tree: ast.AST) -> Iterator[str]:
    """Every fault of a file, with its line."""
    for node in ast.walk(tree):
        for check in (thread_fault, keyword_fault, isinstance_fault, signal_fault, gone_fault):
            found = check(node)
            if found:
                yield f"line {getattr(node, 'lineno', 0)}: {found}"


def thread_fault(node: ast.AST) -> str:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
    if {name.split(".")[0] for name in names} & THREADS:
        return "Python threads starve in the application; use a child process and a timer"
    return "no threads of Qt" if isinstance(node, ast.Attribute) and node.attr in THREAD_CLASSES else ""


def keyword_fault(node: ast.AST) -> str:
    if isinstance(node, ast.Call) and node.keywords and is_qt_class(node.func):
        return f"PythonQt takes no keyword arguments: {ast.unparse(node.func)}"
    return ""


def isinstance_fault(node: ast.AST) -> str:
    if not (isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass")):
        return ""
    kinds = node.args[1].elts if isinstance(node.args[1], ast.Tuple) else [node.args[1]]
    return "Qt classes are unrelated in PythonQt; use inherits()" if any(is_qt_class(kind) for kind in kinds) else ""


def signal_fault(node: ast.AST) -> str:
    connects = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "connect"
    if not (connects and node.args and isinstance(node.args[0], ast.Constant)):
        return ""
    signature = str(node.args[0].value).replace(" ", "")
    if signature in QT5_ONLY:
        return f"not in every Qt: {signature}"
    return "" if signature in SIGNALS else f"unknown signal {signature}; check it in the application, then name it here"


def gone_fault(node: ast.AST) -> str:
    return f"not in Qt 6: {node.attr}" if isinstance(node, ast.Attribute) and node.attr in GONE_IN_QT6 else ""


def is_qt_class(node: ast.AST) -> bool:
    """``qt.QLabel``, ``ctk.ctkSliderWidget``, ``slicer.qMRMLNodeComboBox``."""
    if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
        return False
    return node.value.id in QT or (node.value.id == "slicer" and node.attr.startswith(("qMRML", "qSlicer")))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_code_that_slicer_runs_is_for_pythonqt(path):
    assert list(faults(ast.parse(path.read_text(encoding="utf-8")))) == []


def test_the_guard_reads_both_modules_and_their_panels():
    names = {path.relative_to(ROOT).parts[0] for path in SOURCES}
    assert names == set(MODULES)
    for room in ("panel", "scene", "runs"):
        assert any(room in path.parts for path in SOURCES)


@pytest.mark.parametrize(
    "code",
    [
        "import threading",
        "from concurrent.futures import ThreadPoolExecutor",
        "qt.QThread(self)",
        "qt.QPushButton(text='a')",
        "slicer.qMRMLNodeComboBox(parent=None)",
        "isinstance(widget, qt.QWidget)",
        "isinstance(widget, (int, ctk.ctkSliderWidget))",
        "widget.connect('clicked', f)",
        "widget.connect('currentIndexChanged(QString)', f)",
        "widget.connect('finished(int)', f)",
        "qt.QRegExp('a')",
    ],
)
def test_the_guard_finds_what_it_is_for(code):
    assert len(list(faults(ast.parse(code)))) == 1


@pytest.mark.parametrize(
    "code",
    ["widget.connect('clicked( bool )', f)", "button.clicked.connect(f)", "dict(a=1)", "isinstance(value, str)"],
)
def test_the_guard_lets_good_code_pass(code):
    assert list(faults(ast.parse(code))) == []
