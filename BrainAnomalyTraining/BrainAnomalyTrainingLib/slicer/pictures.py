"""Pictures of the run folder in labels of the panel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt

# What is left of a panel 400 pixels wide.
_WIDTH = 310


def show_picture(label: Any, path: Path | None, hint: str) -> bool:
    """Show the picture, at most as wide as the panel; ``hint`` when there is none. Whether it is shown."""
    pixmap = qt.QPixmap(str(path)) if path is not None and path.is_file() else qt.QPixmap()
    if pixmap.isNull():
        label.text = hint
        return False
    if pixmap.width() > _WIDTH:
        pixmap = pixmap.scaledToWidth(_WIDTH, qt.Qt.SmoothTransformation)
    label.setPixmap(pixmap)
    return True
