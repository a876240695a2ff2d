"""Functions that PythonQt gives another form than PySide6, and modal windows that a test answers beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from .proxies import METHODS
from .record import RECORD
from .signals import guarded
from .values import call, unwrap, wrap

_WATCHDOG_MS = 10_000


def replaces(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function for ``"QClass.name"`` entries."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            METHODS[tuple(name.split("."))] = function  # type: ignore[index]
        return function

    return register


def _asks(name: str, default: Any) -> None:
    def ask(_qt: Any, *arguments: Any) -> Any:
        words = [str(argument) for argument in arguments if isinstance(argument, str)]
        return RECORD.answer(f"{name}({', '.join(words)})", default)

    METHODS[tuple(name.split("."))] = ask  # type: ignore[index]


for _name in ("getOpenFileName", "getSaveFileName", "getExistingDirectory"):
    _asks(f"QFileDialog.{_name}", "")
_asks("QFileDialog.getOpenFileNames", ())
for _name, _default in {"getText": "", "getItem": "", "getInt": 0, "getDouble": 0.0, "getMultiLineText": ""}.items():
    _asks(f"QInputDialog.{_name}", _default)
for _name in ("question", "information", "warning", "critical"):
    _asks(f"QMessageBox.{_name}", 0)
_asks("QMenu.exec_", None)
_asks("QMenu.exec", None)


@replaces("QDialog.exec_", "QDialog.exec")
def execute(dialog: QtWidgets.QDialog) -> Any:
    """Run a modal dialog: a queued number is its result, a queued function is called with it once it is open."""
    title = f"{dialog.metaObject().className()} '{dialog.windowTitle()}' {_text(dialog)}"
    if not RECORD.answers and not _closes_itself(dialog):
        RECORD.answer(title, None)
        return 0
    RECORD.dialogs.append(title)
    answer = RECORD.answers.popleft() if RECORD.answers else None
    if isinstance(answer, int):
        return answer
    if callable(answer):
        QtCore.QTimer.singleShot(0, lambda: guarded(answer)(dialog))
    dialog.was_executed = True
    watchdog = QtCore.QTimer()
    watchdog.setSingleShot(True)
    watchdog.timeout.connect(lambda: (RECORD.unanswered.append(f"still open: {title}"), dialog.reject()))
    watchdog.start(_WATCHDOG_MS)
    result = wrap(dialog.exec())
    if getattr(dialog, "delete_after_execution", False):
        dialog.deleteLater()
    return result


@replaces("QDialog.deleteLater")
def delete_later(dialog: QtWidgets.QDialog) -> None:
    """In the application a main loop runs already, so deleteLater() before exec_() waits until the dialog is closed."""
    if getattr(dialog, "was_executed", False):
        dialog.deleteLater()
    else:
        dialog.delete_after_execution = True


@replaces("QTimer.singleShot")
def single_shot(_qt: Any, milliseconds: int, slot: Callable[..., Any]) -> None:
    """The static function, not the property. The slot gets no arguments."""
    QtCore.QTimer.singleShot(int(milliseconds), guarded(slot))


@replaces("QDesktopServices.openUrl")
def open_url(_qt: Any, url: Any) -> bool:
    """Remembers the address instead of opening a browser."""
    RECORD.opened_urls.append(unwrap(url).toString())
    return True


@replaces("QSettings.value")
def settings_value(settings: QtCore.QSettings, key: str, default: Any = None) -> Any:
    """A stored value, or the default."""
    return wrap(settings.value(key, unwrap(default))) if settings.contains(key) else default


@replaces("QApplication.clipboard", "QGuiApplication.clipboard")
def clipboard(_qt: Any) -> Any:
    """The clipboard of the offscreen platform."""
    return wrap(QtGui.QGuiApplication.clipboard())


@replaces("QComboBox.itemData")
def item_data(box: QtWidgets.QComboBox, index: int, role: int = 0x100) -> Any:
    """User data of an entry."""
    return wrap(box.itemData(int(index), QtCore.Qt.ItemDataRole(int(role))))


@replaces("QWidget.setProperty", "QObject.setProperty")
def set_property(qobject: QtCore.QObject, name: str, value: Any) -> bool:
    """Set a property or add a dynamic one."""
    return bool(qobject.setProperty(name, unwrap(value)))


@replaces("QMenu.addAction")
def add_action(menu: QtWidgets.QMenu, *arguments: Any) -> Any:
    """An action by its text, its icon and text, or itself."""
    return call(menu.addAction, "addAction", arguments)


def _closes_itself(dialog: QtWidgets.QDialog) -> bool:
    """Pop-ups of slicer.util.delayDisplay have no button and a timer that closes them."""
    return type(dialog) is QtWidgets.QDialog and not dialog.findChildren(QtWidgets.QAbstractButton)


def _text(dialog: QtWidgets.QDialog) -> str:
    text = getattr(dialog, "text", None)
    return str(text()) if callable(text) else str(dialog.property("text") or "")
