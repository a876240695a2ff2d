"""Both panels let go of a parameter node: what the user chooses next goes to the new one only."""

import pytest
import slicer

# How to let go of the parameters, and a widget with the parameter it shows.
CASES = {
    "BrainAnomaly": (lambda widget: widget.panel.unbindParameters(), "minimumSizeSpinBox", "minimumMm3"),
    "BrainAnomalyTraining": (lambda widget: widget.panel.close(), "stepsSpinBox", "steps"),
}


@pytest.mark.parametrize("module", CASES)
def test_parameters_that_were_let_go_are_not_written(host, module):
    let_go, name, parameter = CASES[module]
    widget = host.open(module)
    node, box = widget.logic.getParameterNode().parameterNode, getattr(widget.ui, name)
    box.value = 31
    assert node.GetParameter(parameter).startswith("31")
    let_go(widget)
    box.value = 47
    assert node.GetParameter(parameter).startswith("31")


@pytest.mark.parametrize("module", CASES)
def test_a_closed_scene_leaves_the_panel_bound_to_what_the_scene_holds(host, module):
    _, name, parameter = CASES[module]
    widget = host.open(module)
    slicer.mrmlScene.Clear(0)
    widget.enter()
    getattr(widget.ui, name).value = 53
    assert widget.logic.getParameterNode().parameterNode.GetParameter(parameter).startswith("53")
