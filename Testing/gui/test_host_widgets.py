"""The host's stand-ins behave as real ctk and qMRML widgets were seen to do, and bind to parameters as in Slicer."""

import enum
import pathlib
from typing import Annotated

import numpy as np
import pytest
import slicer


@pytest.fixture
def qt(host):
    import qt

    return qt


@pytest.fixture
def ctk(host):
    import ctk

    return ctk


def volume(name="scan", kind="vtkMRMLScalarVolumeNode"):
    return slicer.mrmlScene.AddNewNodeByClass(kind, name)


@pytest.fixture
def selector(host):
    made = slicer.qMRMLNodeComboBox()
    made.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    return made


# ctk


def test_slider_defaults_and_clamping(ctk):
    slider = ctk.ctkSliderWidget()
    assert (slider.minimum, slider.maximum, slider.decimals) == (0.0, 99.99, 2)
    slider.value = 200
    assert slider.value == 99.99
    slider.decimals = 1
    slider.value = 0.26
    assert slider.value == 0.3


def test_slider_range_moves_the_value_along(ctk):
    got, slider = [], ctk.ctkSliderWidget()
    slider.value = 50
    slider.connect("valueChanged(double)", got.append)
    slider.maximum = 10
    assert (slider.value, got) == (10.0, [10.0])


def test_range_defaults(ctk):
    box = ctk.ctkRangeWidget()
    assert (box.minimum, box.maximum, box.minimumValue, box.maximumValue) == (0.0, 99.0, 0.0, 99.0)


def test_path_edit(ctk, host):
    got, edit = [], ctk.ctkPathLineEdit()
    edit.connect("currentPathChanged(QString)", got.append)
    host.type(edit, "/a")
    assert got == ["/", "/a"]
    edit.nameFilters = ("*.nii.gz",)
    assert edit.nameFilters == ("*.nii.gz",)
    assert (ctk.ctkPathLineEdit.Dirs, ctk.ctkPathLineEdit.Files) == (1, 2)


def test_collapsible_button_hides_its_content(ctk, qt, host):
    got, section = [], ctk.ctkCollapsibleButton()
    qt.QFormLayout(section).addRow(qt.QLabel("content"))
    section.connect("contentsCollapsed(bool)", got.append)
    section.resize(200, 100)
    section.show()
    host.click(section)
    assert section.collapsed
    assert got == [True]
    assert not section.findChild(qt.QLabel).visible


def test_collapsible_button_takes_what_its_content_would_like(ctk, qt, host):
    """Its policy is Minimum: wrapped text, which could be narrow, makes the panel wide; ignored text does not."""
    section = ctk.ctkCollapsibleButton()
    label = qt.QLabel("a sentence of many words that could be broken into several lines of text")
    label.wordWrap = True
    panel = qt.QWidget()
    qt.QVBoxLayout(section).addWidget(label)
    qt.QVBoxLayout(panel).addWidget(section)
    panel.show()
    host.process_events()
    wanted = label.sizeHint.width()
    assert host.narrowest(panel) > wanted > label.minimumSizeHint.width()
    label.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Preferred)
    host.process_events()
    assert host.narrowest(panel) < wanted


def test_what_was_hidden_by_itself_stays_hidden_when_a_section_is_opened(ctk, qt, host):
    section = ctk.ctkCollapsibleButton()
    layout, labels = qt.QVBoxLayout(section), [qt.QLabel(name) for name in ("before", "meanwhile", "shown")]
    for label in labels:
        layout.addWidget(label)
    section.show()
    labels[0].visible = False
    section.collapsed = True
    labels[1].visible = False
    labels[2].visible = True
    assert not any(label.visible for label in labels)
    section.collapsed = False
    assert [label.visible for label in labels] == [False, False, True]


# qMRMLNodeComboBox


def test_nodes_that_the_filter_hides_are_not_offered(selector):
    first, second = volume("first"), volume("second")
    selector.setMRMLScene(slicer.mrmlScene)
    selector.sortFilterProxyModel().hiddenNodeIDs = [first.GetID()]
    assert [selector.nodeFromIndex(index) for index in range(selector.nodeCount())] == [second]
    assert tuple(selector.sortFilterProxyModel().hiddenNodeIDs) == (first.GetID(),)


def test_selector_is_disabled_until_it_has_a_scene(selector):
    volume()
    assert not selector.enabled
    assert selector.currentNode() is None
    selector.setMRMLScene(slicer.mrmlScene)
    assert selector.enabled


def test_without_none_the_first_node_is_selected_with_none_no_node(selector):
    first = volume()
    selector.setMRMLScene(slicer.mrmlScene)
    assert selector.currentNode() is first
    other = slicer.qMRMLNodeComboBox()
    other.nodeTypes, other.noneEnabled = ["vtkMRMLScalarVolumeNode"], True
    other.setMRMLScene(slicer.mrmlScene)
    assert other.currentNode() is None


def test_nodes_added_later_are_not_selected(selector):
    selector.setMRMLScene(slicer.mrmlScene)
    volume()
    assert selector.nodeCount() == 1
    assert selector.currentNode() is None


def test_removing_the_current_node_selects_another(selector):
    first, second = volume("first"), volume("second")
    selector.setMRMLScene(slicer.mrmlScene)
    got = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", got.append)
    slicer.mrmlScene.RemoveNode(first)
    assert selector.currentNode() is second
    assert got == [second]


def test_no_node_can_be_set_even_without_none(selector):
    volume()
    selector.setMRMLScene(slicer.mrmlScene)
    selector.setCurrentNode(None)
    assert selector.currentNode() is None
    assert selector.currentNodeID == ""


def test_label_maps_are_scalar_volumes_unless_hidden(selector):
    label_map = volume("labels", "vtkMRMLLabelMapVolumeNode")
    selector.setMRMLScene(slicer.mrmlScene)
    assert selector.currentNode() is label_map
    selector.hideChildNodeTypes = ["vtkMRMLLabelMapVolumeNode"]
    assert selector.nodeCount() == 0


def test_the_user_chooses_by_name_after_renaming(selector, host):
    volume("first")
    second = volume("second")
    selector.setMRMLScene(slicer.mrmlScene)
    second.SetName("renamed")
    host.choose(selector, "renamed")
    assert selector.currentNode() is second


def test_creating_a_node_tells_who_did_it(selector):
    got = []
    selector.setMRMLScene(slicer.mrmlScene)
    selector.connect("nodeAddedByUser(vtkMRMLNode*)", got.append)
    node = selector.addNode()
    assert got == [node]
    assert selector.currentNode() is node


def test_scene_close_leaves_no_node(selector):
    volume()
    selector.setMRMLScene(slicer.mrmlScene)
    slicer.mrmlScene.Clear(0)
    assert (selector.currentNode(), selector.nodeCount()) == (None, 0)


# parameterNodeWrapper


class Device(enum.Enum):
    CPU = 1
    CUDA = 2


@pytest.fixture
def wrapper(host):
    """A function that makes a wrapper of a class with these annotations, on a new parameter node."""
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    def make(hints, **defaults):
        kind = parameterNodeWrapper(type("Parameters", (), {"__annotations__": hints, **defaults}))
        return kind(volume("parameters", "vtkMRMLScriptedModuleNode"))

    return make


def bound(widget, name):
    widget.objectName = name
    widget.setProperty("SlicerParameterName", name)
    return type("Ui", (), {})(), widget, name


def connect(parameters, widget, name):
    ui, widget, name = bound(widget, name)
    setattr(ui, name, widget)
    assert parameters.connectGui(ui) is None


def test_values_are_kept_in_the_node_of_the_scene(wrapper):
    parameters = wrapper({"count": int, "scan": slicer.vtkMRMLScalarVolumeNode, "device": Device, "path": pathlib.Path})
    scan = volume()
    parameters.count, parameters.scan, parameters.device = 3, scan, Device.CUDA
    again = type(parameters)(parameters.parameterNode)
    assert (again.count, again.scan, again.device) == (3, scan, Device.CUDA)
    assert str(again.path) == "."
    slicer.mrmlScene.RemoveNode(scan)
    assert again.scan is None


def test_wrong_types_and_values_are_refused(wrapper):
    from slicer.parameterNodeWrapper import WithinRange

    parameters = wrapper({"scan": slicer.vtkMRMLScalarVolumeNode, "level": Annotated[float, WithinRange(0, 1)]})
    with pytest.raises(TypeError):
        parameters.scan = volume("model", "vtkMRMLModelNode")
    with pytest.raises(ValueError, match="range"):
        parameters.level = 2.0
    with pytest.raises(TypeError):
        parameters.level = "a"


def test_choice_without_default_is_a_value_error(wrapper):
    from slicer.parameterNodeWrapper import Choice

    with pytest.raises(ValueError, match="one of"):
        wrapper({"model": Annotated[str, Choice(["a", "b"])]})


def test_range_bounds_without_default_fail_as_in_slicer(wrapper):
    from slicer.parameterNodeWrapper import FloatRange, RangeBounds

    with pytest.raises(AttributeError, match="'int' object has no attribute 'minimum'"):
        wrapper({"window": Annotated[FloatRange, RangeBounds(0, 10)]})


def test_an_unbounded_slider_cannot_be_connected(wrapper, ctk):
    parameters = wrapper({"level": float})
    with pytest.raises(RuntimeError, match="Cannot have a connection to ctkSliderWidget where the float types is unbo"):
        connect(parameters, ctk.ctkSliderWidget(), "level")


def test_a_name_that_is_no_parameter_is_a_value_error(wrapper, qt):
    with pytest.raises(ValueError, match="Cannot find a param"):
        connect(wrapper({"level": float}), qt.QDoubleSpinBox(), "levle")


@pytest.mark.parametrize("widget", ["QPlainTextEdit", "QListWidget", "QTableWidget"])
def test_widgets_without_connector_are_refused(wrapper, qt, widget):
    with pytest.raises(RuntimeError):
        connect(wrapper({"text": str}), getattr(qt, widget)(), "text")


def test_a_text_parameter_does_not_fit_a_path_edit(wrapper, ctk):
    with pytest.raises(RuntimeError):
        connect(wrapper({"path": str}), ctk.ctkPathLineEdit(), "path")


def test_subclasses_do_not_connect(wrapper, qt):
    class Own(qt.QSpinBox):
        pass

    with pytest.raises(RuntimeError):
        connect(wrapper({"count": int}), Own(), "count")


def test_widget_and_parameter_follow_each_other(wrapper, ctk):
    from slicer.parameterNodeWrapper import WithinRange

    parameters = wrapper({"level": Annotated[float, WithinRange(0, 5)]}, level=2.0)
    slider = ctk.ctkSliderWidget()
    connect(parameters, slider, "level")
    assert (slider.value, slider.maximum) == (2.0, 5.0)
    slider.value = 3.0
    assert parameters.level == 3.0
    parameters.level = 4.0
    assert slider.value == 4.0


def test_only_connect_parameters_gives_the_tag_to_disconnect(wrapper, qt):
    parameters, boxes = wrapper({"count": int}), [qt.QSpinBox(), qt.QSpinBox()]
    connect(parameters, boxes[0], "count")
    tag = parameters.connectParametersToGui({"count": boxes[1]})
    parameters.disconnectGui(None)
    parameters.disconnectGui(tag)
    boxes[1].value = 5
    assert parameters.count == 0
    boxes[0].value = 6
    assert parameters.count == 6
    assert boxes[1].value == 5


def test_choices_overwrite_the_items_of_a_combo_box(wrapper, qt):
    parameters, box = wrapper({"device": Device}), qt.QComboBox()
    box.addItem("from the .ui")
    connect(parameters, box, "device")
    assert [box.itemText(index) for index in range(box.count)] == ["CPU", "CUDA"]
    box.currentIndex = 1
    assert parameters.device is Device.CUDA


def test_connecting_a_selector_overwrites_its_node_types(wrapper, selector):
    parameters = wrapper({"scan": slicer.vtkMRMLVolumeNode})
    connect(parameters, selector, "scan")
    assert selector.nodeTypes == ("vtkMRMLVolumeNode",)


def test_a_path_parameter_rewrites_what_is_set(wrapper, ctk):
    edit = ctk.ctkPathLineEdit()
    parameters = wrapper({"path": pathlib.Path})
    connect(parameters, edit, "path")
    assert edit.currentPath == "."
    edit.currentPath = "/data/"
    assert edit.currentPath == "/data"


# Views and logics


def test_slice_views_draw_the_volumes_of_the_scene(host):
    array = np.zeros((20, 20, 20))
    array[:, :, 10:] = 100.0
    node = slicer.util.addVolumeFromArray(array)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    pixels = host.slice_view("Red").draw()
    assert slicer.app.layoutManager().sliceViewNames() == ("Red", "Green", "Yellow")
    # Column 10 and above are bright; x grows to the right of the patient, who looks at us from the left of the view.
    assert pixels[200, 150].mean() > 200
    assert pixels[200, 250].mean() < 50


def test_a_layout_of_our_own_makes_its_slice_views(host):
    manager = slicer.app.layoutManager()
    description = "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag="{name}">'
        '<property name="orientation" action="default">Axial</property></view></item>'
        for name in ("Before", "After")
    )
    node = manager.layoutLogic().GetLayoutNode()
    node.AddLayoutDescription(777, f'<layout type="horizontal">{description}</layout>')
    manager.setLayout(777)
    assert manager.sliceViewNames() == ("Before", "After")
    assert manager.sliceWidget("Before").mrmlSliceNode().GetOrientation() == "Axial"


def test_views_of_a_new_layout_have_their_size_once_events_were_handled(host):
    manager = slicer.app.layoutManager()
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutCompareView)
    view = manager.sliceWidget("Compare1").mrmlSliceNode()
    assert tuple(view.GetDimensions())[:2] == (328, 595)
    host.process_events()
    assert tuple(view.GetDimensions())[:2] == (400, 400)


def test_segments_are_drawn_from_arrays(host):
    node = slicer.util.addVolumeFromArray(np.zeros((10, 10, 10)))
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "findings")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(node)
    identifier = segmentation.GetSegmentation().AddEmptySegment("finding")
    mask = np.zeros((10, 10, 10), dtype=np.uint8)
    mask[4:6, 4:6, 4:6] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, identifier, node)
    assert slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, identifier, node).sum() == 8


def test_nodes_are_saved_and_loaded(host, tmp_path):
    node = slicer.util.addVolumeFromArray(np.arange(24.0).reshape(2, 3, 4))
    assert slicer.util.saveNode(node, str(tmp_path / "scan.nii.gz"))
    loaded = slicer.util.loadVolume(str(tmp_path / "scan.nii.gz"))
    assert np.array_equal(slicer.util.arrayFromVolume(loaded), slicer.util.arrayFromVolume(node))
