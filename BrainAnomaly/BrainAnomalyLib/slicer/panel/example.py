"""The first start: three steps while there is no scan in the scene, and an example to try them on."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from ...errors import ScanError
from ...resources import resources_folder
from .common.connections import Connections
from .common.messages import Messages

# One person with a chronic stroke; see the README and the license beside it.
_EXAMPLE = ("Example", "FLAIR.nii.gz")
_NAME = "Example FLAIR"


class ExampleStart:
    """The three steps and the button below them."""

    def __init__(self, ui: Any, messages: Messages, connections: Connections) -> None:
        self._ui, self._messages = ui, messages
        connections.of(ui.exampleButton).connect("clicked()", self.onExample)

    def show(self, shown: bool) -> None:
        """Show the steps, or make room where they are not needed."""
        self._ui.startBox.visible = shown

    def onExample(self) -> None:
        """Load the example and choose it; it comes with the extension."""
        with self._messages.action():
            path = resources_folder().joinpath(*_EXAMPLE)
            if not path.is_file():
                raise ScanError("The example is missing.", "Install BrainAnomaly again, or load a scan of your own.")
            node = slicer.util.loadVolume(str(path), properties={"name": _NAME})
            self._ui.inputSelector.setCurrentNode(node)
            self._messages.say(_("The example is loaded. Press 'Detect anomalies'."))
