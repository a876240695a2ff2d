"""The facts of PythonQt that the host must show, one test each: properties, classes, signals, dialogs."""

import functools
import sys
import time

import pytest


@pytest.fixture
def qt(host):
    import qt

    return qt


@pytest.fixture
def ctk(host):
    import ctk

    return ctk


# Properties and attributes


def test_properties_are_attributes(qt):
    button = qt.QPushButton("Apply")
    assert (button.text, button.enabled, button.checked, button.toolTip) == ("Apply", True, False, "")
    button.text = "Cancel"
    assert button.text == "Cancel"


def test_calling_a_property_is_a_type_error(qt):
    with pytest.raises(TypeError, match="'str' object is not callable"):
        qt.QPushButton("Apply").text()


def test_setters_and_is_functions_work_too(qt):
    button = qt.QPushButton()
    button.setText("Apply")
    button.setEnabled(False)
    assert button.text == "Apply"
    assert not button.isEnabled()


def test_layout_parent_children_are_functions(qt):
    widget = qt.QWidget()
    layout = qt.QVBoxLayout(widget)
    label = qt.QLabel("a")
    layout.addWidget(label)
    assert widget.layout() == layout
    assert label.parent() == widget
    assert label in widget.children()


def test_values_have_functions(qt):
    item = qt.QTableWidgetItem("cell")
    assert item.text() == "cell"
    assert qt.QWidget().size.width() > 0
    assert qt.QColor(255, 0, 0).name() == "#ff0000"


def test_name_is_the_object_name(qt):
    widget = qt.QWidget()
    widget.objectName = "panel"
    assert widget.name == "panel"


def test_new_attributes_are_refused(qt):
    with pytest.raises(AttributeError, match="'fooBar' does not exist on QPushButton and creating new attributes"):
        qt.QPushButton().fooBar = 1


def test_unknown_attributes_are_errors(qt):
    with pytest.raises(AttributeError):
        _ = qt.QPushButton().fooBar
    with pytest.raises(AttributeError):
        _ = qt.QNoSuchClass


def test_functions_cannot_be_assigned(qt):
    with pytest.raises(AttributeError):
        qt.QPushButton().click = None


@pytest.mark.parametrize("value", ["a", None, [1]])
def test_wrong_types_are_attribute_errors(qt, value):
    with pytest.raises(AttributeError, match="Property 'value' of type 'int' does not accept an object of type"):
        qt.QSpinBox().value = value


def test_a_float_is_cut_for_an_int_property(qt):
    box = qt.QSpinBox()
    box.value = 3.9
    assert box.value == 3


def test_keyword_arguments_are_refused(qt):
    with pytest.raises(ValueError, match="keyword"):
        qt.QPushButton(text="Apply")


def test_wrong_arguments_are_value_errors(qt):
    with pytest.raises(ValueError, match="wrong arguments"):
        qt.QSpinBox().setValue("a")


def test_classes_are_unrelated_in_python(qt):
    button = qt.QPushButton()
    assert not isinstance(button, qt.QWidget)
    assert type(button) is qt.QPushButton
    assert button.inherits("QWidget")
    assert button.isWidgetType()
    assert button.className() == "QPushButton"


def test_find_children_gives_a_tuple_by_class_or_name(qt):
    widget = qt.QWidget()
    label = qt.QLabel("a", widget)
    label.objectName = "first"
    assert widget.findChildren(qt.QLabel) == (label,)
    assert widget.findChildren("QLabel") == (label,)
    assert widget.findChild(qt.QLabel, "first") == label
    assert widget.findChild("QLabel", "second") is None


def test_enumerators_are_ints(qt):
    process = qt.QProcess()
    assert process.state() == 0
    assert isinstance(qt.Qt.AlignRight, int)
    label = qt.QLabel()
    label.alignment = qt.Qt.AlignRight | qt.Qt.AlignVCenter
    assert label.alignment == 0x82
    label.setAlignment(1)
    assert label.alignment == 1


def test_dynamic_properties(qt):
    widget = qt.QWidget()
    assert widget.property("none") is None
    widget.setProperty("SlicerParameterName", "threshold")
    assert widget.property("SlicerParameterName") == "threshold"


def test_deleted_objects_say_so(qt):
    label = qt.QLabel("a")
    label.delete()
    assert not label
    with pytest.raises(ValueError, match="destroyed"):
        _ = label.text


def test_a_connection_keeps_its_slot_alive_until_it_is_disconnected(qt, host):
    import gc
    import weakref

    class Receiver:
        def slot(self):
            pass

    kept, let_go = Receiver(), Receiver()
    references = weakref.ref(kept), weakref.ref(let_go)
    for receiver in (kept, let_go):
        timer = qt.QTimer()
        timer.connect("timeout()", receiver.slot)
        if receiver is let_go:
            assert timer.disconnect("timeout()", receiver.slot)
        timer.deleteLater()
    receiver = kept = let_go = timer = None
    host.process_events()
    gc.collect()
    assert references[0]() is not None
    assert references[1]() is None


def test_python_subclasses_can_filter_events(qt, host):
    class Filter(qt.QObject):
        def __init__(self):
            qt.QObject.__init__(self)
            self.count = 0

        def eventFilter(self, watched, event):
            self.count += event.type() == qt.QEvent.MouseButtonPress
            return False

    button, watcher = qt.QPushButton("a"), Filter()
    button.installEventFilter(watcher)
    button.show()
    host.click(button)
    assert watcher.count == 1


@pytest.mark.parametrize("name", ["QThread", "Signal", "Slot", "QThreadPool"])
def test_what_pythonqt_lacks_is_missing(qt, name):
    assert not hasattr(qt, name)


# Signals and slots


def test_connect_by_signature_and_by_attribute(qt):
    got, button = [], qt.QPushButton()
    assert button.connect("clicked( bool )", lambda checked: got.append(("text", checked)))
    assert button.clicked.connect(lambda checked: got.append(("attribute", checked)))
    button.click()
    assert got == [("text", False), ("attribute", False)]


@pytest.mark.parametrize("signature", ["clicked", "clicked(int)", "currentIndexChanged(QString)"])
def test_unknown_signatures_return_false_and_print(qt, host, capsys, signature):
    assert qt.QPushButton().connect(signature, print) is False
    assert f"QObject::connect() signal '{signature}' does not exist on QPushButton" in capsys.readouterr().err
    assert len(host.record.failed_connections) == 1
    host.record.failed_connections.clear()


def test_extra_arguments_are_dropped_but_defaults_receive_them(qt):
    got, button = [], qt.QPushButton()

    class Panel:
        def none(self):
            got.append("none")

        def optional(self, node=7):
            got.append(node)

    panel = Panel()
    for slot in (panel.none, panel.optional):
        button.connect("clicked(bool)", slot)
    button.connect("clicked()", panel.optional)
    button.click()
    assert got == ["none", False, 7]


def test_a_decorated_slot_gets_every_argument(qt, host):
    def decorated(function):
        @functools.wraps(function)
        def wrapper(*arguments):
            return function(*arguments)

        return wrapper

    button = qt.QPushButton()
    button.connect("clicked(bool)", decorated(lambda: None))
    button.click()
    assert "TypeError" in host.record.slot_errors.pop()


def test_exceptions_in_slots_are_printed_swallowed_and_recorded(qt, host, capsys):
    got, button = [], qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.connect("clicked()", lambda: got.append("next"))
    button.click()
    assert got == ["next"]
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert "ZeroDivisionError" in host.record.slot_errors.pop()
    assert host.record.problems == []


def test_disconnect(qt):
    got, button = [], qt.QPushButton()
    slot = lambda: got.append(1)  # noqa: E731
    button.connect("clicked()", slot)
    assert button.disconnect("clicked()", slot)
    button.click()
    assert got == []
    assert not button.disconnect("clicked()", slot)


def test_blocked_signals_do_not_come(qt):
    got, box = [], qt.QSpinBox()
    box.connect("valueChanged(int)", got.append)
    before = box.blockSignals(True)
    box.value = 3
    box.blockSignals(before)
    box.value = 4
    assert got == [4]


def test_signatures_that_real_widgets_have(qt, ctk):
    import slicer

    def takes(widget, *signatures):
        return all(widget.connect(signature, lambda: None) for signature in signatures)

    assert takes(ctk.ctkSliderWidget(), "valueChanged(double)", "valueIsChanging(double)")
    assert takes(ctk.ctkRangeWidget(), "valuesChanged(double,double)")
    assert takes(ctk.ctkPathLineEdit(), "currentPathChanged(QString)")
    assert takes(ctk.ctkCollapsibleButton(), "contentsCollapsed(bool)")
    selector = slicer.qMRMLNodeComboBox()
    assert takes(selector, "currentNodeChanged(vtkMRMLNode*)", "currentNodeChanged(bool)")
    assert takes(selector, "currentNodeIDChanged(QString)", "nodeAddedByUser(vtkMRMLNode*)")
    assert takes(qt.QComboBox(), "currentIndexChanged(int)", "currentTextChanged(QString)")
    assert takes(qt.QTableWidget(), "cellClicked(int,int)", "itemSelectionChanged()")
    assert takes(qt.QProcess(), "finished(int,QProcess::ExitStatus)", "readyReadStandardOutput()")
    assert takes(qt.QProcess(), "errorOccurred(QProcess::ProcessError)")


# Timers, processes, settings, dialogs


def test_timers(qt, host):
    got, timer = [], qt.QTimer()
    timer.setSingleShot(True)
    timer.connect("timeout()", lambda: got.append("timer"))
    timer.start(1)
    assert timer.active
    assert timer.isSingleShot()
    qt.QTimer.singleShot(1, lambda: got.append("single shot"))
    host.wait(lambda: len(got) == 2)


def test_processes_give_bytes(qt, host):
    ended, process = [], qt.QProcess()
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: ended.append((code, status)))
    process.start("echo", ["word"])
    host.wait(lambda: ended)
    assert process.readAllStandardOutput().data() == b"word\n"
    assert ended == [(0, 0)]


def test_a_missing_program_does_not_start(qt):
    errors, process = [], qt.QProcess()
    process.connect("errorOccurred(QProcess::ProcessError)", errors.append)
    process.start("/no/such/program", [])
    assert process.waitForStarted(1000) is False
    assert errors == [0]


def test_settings_last_within_a_run(qt):
    import slicer

    qt.QSettings().setValue("BrainAnomaly/flag", True)
    assert slicer.util.settingsValue("BrainAnomaly/flag", False, converter=slicer.util.toBool) is True
    assert slicer.util.settingsValue("BrainAnomaly/none", 3) == 3


def test_file_dialogs_return_a_text(qt, host):
    host.answer("/data/scan.nii.gz")
    assert qt.QFileDialog.getOpenFileName(None, "Open", "", "*.nii.gz") == "/data/scan.nii.gz"
    assert "getOpenFileName" in host.record.dialogs[0]


def test_a_dialog_nobody_answers_is_a_problem(qt, host):
    assert qt.QFileDialog.getOpenFileName(None, "Open") == ""
    assert "nobody answered" in host.record.unanswered.pop()


def test_modal_dialogs_run_and_are_answered(qt, host):
    host.answer(lambda dialog: dialog.accept())
    assert qt.QDialog().exec_() == 1
    host.answer(qt.QMessageBox.Ok)
    assert qt.QMessageBox().exec_() == qt.QMessageBox.Ok


def test_delay_display_closes_by_itself(host):
    import slicer

    start = time.monotonic()
    slicer.util.delayDisplay("a moment", 450)
    assert time.monotonic() - start < 5.0


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="None cannot die from Python 3.12 on")
def test_long_waits_do_not_use_up_the_references_to_none(qt):
    assert sys.getrefcount(None) > 10**8
