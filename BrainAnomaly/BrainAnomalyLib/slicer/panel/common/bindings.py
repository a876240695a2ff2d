"""Which widget of a panel shows which parameter."""

from __future__ import annotations

from typing import Any


def parameter_widgets(ui: Any) -> dict[str, Any]:
    """Widgets of a loaded .ui by the parameter that their dynamic property ``SlicerParameterName`` names.

    For ``connectParametersToGui``, which returns the tag that ``disconnectGui`` needs; ``connectGui`` loses it.
    """
    named = ((widget.property("SlicerParameterName"), widget) for widget in vars(ui).values())
    return {name: widget for name, widget in named if name}
