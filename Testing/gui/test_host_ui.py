"""Loading of .ui files by the host: what the application would only print is an error or a problem here."""

import sys

import pytest

UI = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0"><class>Panel</class>
<widget class="{top}" name="Panel"><layout class="QVBoxLayout" name="layout">
<item><widget class="ctkCollapsibleButton" name="section"><property name="text"><string>Input</string></property>
<layout class="QFormLayout" name="form"><item row="0" column="0"><widget class="{inner}" name="inner">
{properties}</widget></item></layout></widget></item></layout></widget>
<connections>{connections}</connections></ui>"""
SCENE_CONNECTION = """<connection><sender>Panel</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>inner</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection>"""


@pytest.fixture
def load_ui(host, tmp_path):
    import slicer

    def load(inner="QLineEdit", properties="", connections="", top="qMRMLWidget"):
        path = tmp_path / "panel.ui"
        text = UI.format(inner=inner, properties=properties, connections=connections, top=top)
        path.write_text(text, encoding="utf-8")
        return slicer.util.loadUI(str(path))

    return load


def test_a_ui_is_loaded_with_its_widgets_as_attributes(host, load_ui):
    import slicer

    ui = slicer.util.childWidgetVariables(load_ui())
    assert ui.inner.className() == "QLineEdit"
    assert ui.section.text == "Input"


def test_an_unknown_class_in_a_ui_raises(host, load_ui):
    with pytest.raises(Exception, match="unable to create a custom widget of the class qMRMLNoSuchWidget"):
        load_ui(inner="qMRMLNoSuchWidget")
    host.record.ui_problems.clear()


def test_a_misspelled_property_in_a_ui_is_a_problem(host, load_ui):
    load_ui(properties='<property name="txet"><string>a</string></property>')
    assert host.record.ui_problems.pop() == "QLineEdit 'inner' has no property 'txet'"


def test_flags_in_a_ui_are_ints(host, load_ui):
    import ctk

    word = '<property name="filters"><set>ctkPathLineEdit::Dirs|ctkPathLineEdit::Files</set></property>'
    panel = load_ui(inner="ctkPathLineEdit", properties=word)
    edit = panel.findChild("ctkPathLineEdit")
    assert edit.filters == ctk.ctkPathLineEdit.Dirs | ctk.ctkPathLineEdit.Files == 3


def test_selectors_need_the_scene_connection(host, load_ui):
    import slicer

    for connections, enabled in ((SCENE_CONNECTION, True), ("", False)):
        widget = load_ui(inner="qMRMLNodeComboBox", connections=connections)
        widget.setMRMLScene(slicer.mrmlScene)
        assert widget.findChild("qMRMLNodeComboBox").enabled is enabled


def test_a_connection_that_cannot_be_made_is_a_problem(host, load_ui):
    load_ui(inner="QLineEdit", connections=SCENE_CONNECTION)
    assert "Panel.mrmlSceneChanged" in host.record.ui_problems.pop()


def test_modules_go_after_a_test():
    import slicer

    assert "qt" not in sys.modules
    assert "slicer.ScriptedLoadableModule" not in sys.modules
    assert not hasattr(slicer, "app")
    assert not hasattr(slicer, "qMRMLWidget")
