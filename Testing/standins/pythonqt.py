"""PythonQt's habits for PySide6 classes, by subclassing them.

In PythonQt a Qt property is an attribute (``button.text = "Go"``), signals are connected by their signature
(``button.connect("clicked(bool)", f)``), a slot is not bothered with arguments it does not take, and an attribute that
the C++ class lacks is refused. PySide6's own classes stay as they are: other code, such as VTK's, uses them too.
"""

from __future__ import annotations

import inspect
from typing import Any

from PySide6 import QtCore
from Testing.standins import facts

# Virtual methods that share their name with a property: C++ calls them, so they must stay methods. `singleShot` is a
# static method of QTimer beside being a property.
VIRTUAL = {"sizeHint", "minimumSizeHint", "singleShot"}


class Habits:
    """Mixed into every stand-in before its PySide6 class."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        # PySide6 looks `connect` up in the leaf class alone.
        cls.connect = Habits.connect
        cls.disconnect = Habits.disconnect
        cls.__setattr__ = Habits.__setattr__

    def __setattr__(self, name: str, value: Any) -> None:
        native = nativeOf(type(self))
        if _hungOnByLoader(name, value):
            return
        scripted = not type(self).__module__.startswith("Testing.standins")  # a Python subclass, as PythonQt allows
        if not (name.startswith("_") or scripted or hasattr(type(self), name)):
            raise AttributeError(f"{type(self).__name__} has no attribute '{name}'")
        native.__setattr__(self, name, value)

    def connect(self, signature: str, receiver: Any) -> bool:
        """Connect a signal, given by its signature, to a callable."""
        known = facts.normalised(signature)
        if known not in signalsOf(self):
            raise ValueError(f"{type(self).__name__} has no signal {signature}")
        name, arguments = known[:-1].split("(")
        signal = getattr(self, name)
        sent = [a for a in arguments.split(",") if a]
        bound = _overload(signal, sent)
        slot = _slot(receiver, len(sent))
        bound.connect(slot)
        self.__dict__.setdefault("_connections", []).append((known, receiver, bound, slot))
        return True

    def disconnect(self, signature: str, receiver: Any) -> bool:
        """Undo `connect`; false when there was no such connection."""
        known = facts.normalised(signature)
        connections = self.__dict__.get("_connections", [])
        found = [c for c in connections if c[0] == known and c[1] == receiver]
        for connection in found:
            connection[2].disconnect(connection[3])
            connections.remove(connection)
        return bool(found)

    def className(self) -> str:
        """The C++ class."""
        return type(self).__name__

    @property
    def name(self) -> str:
        """The object's name; PythonQt's other word for objectName."""
        return QtCore.QObject.objectName(self)

    @name.setter
    def name(self, value: str) -> None:
        self.setObjectName(value)


def nativeOf(cls: type) -> type:
    """The PySide6 class that a stand-in is."""
    return next(c for c in cls.__mro__ if c.__module__.startswith("PySide6"))


def signalsOf(thing: QtCore.QObject) -> set[str]:
    """Signatures that may be connected: those of the facts where there are some, else those Qt knows."""
    for cls in type(thing).__mro__:
        if cls.__name__ in facts.facts():
            return facts.signals(cls.__name__)
    meta = thing.metaObject()
    every = (meta.method(number) for number in range(meta.methodCount()))
    return {
        bytes(m.methodSignature()).decode() for m in every if m.methodType() == QtCore.QMetaMethod.MethodType.Signal
    }


def wrap(native: type) -> type:
    """A subclass of a PySide6 class with PythonQt's habits."""
    body = {"__module__": "Testing.standins.qt", "__doc__": native.__doc__, **_asAttributes(native)}
    return type(native)(native.__name__, (Habits, native), body)


def _asAttributes(native: type) -> dict[str, property]:
    attributes = {}
    meta = native.staticMetaObject
    for number in range(meta.propertyCount()):
        it = meta.property(number)
        if it.name() not in VIRTUAL:
            attributes[it.name()] = _attribute(native, it)
    return attributes


def _attribute(native: type, it: QtCore.QMetaProperty) -> property:
    name = it.name()
    capital = name[0].upper() + name[1:]
    reader = getattr(native, name, None)
    if not callable(reader):
        reader = getattr(native, f"is{capital}", None)
    writer = getattr(native, f"set{capital}", None)

    def read(self: Any) -> Any:
        return reader(self) if callable(reader) else self.property(name)

    def write(self: Any, value: Any) -> None:
        if writer is not None:
            writer(self, value)
        else:
            self.setProperty(name, value)

    return property(read, write if it.isWritable() else None)


def _overload(signal: Any, sent: list[str]) -> Any:
    """The signal that carries these C++ types, for signals that come in several kinds."""
    try:
        return signal[",".join(sent)] if sent else signal
    except (KeyError, IndexError, TypeError):
        return signal


def _slot(receiver: Any, sent: int) -> Any:
    """Calls the receiver with as many of the sent arguments as it takes; PythonQt does not look inside a decorator."""
    wanted = sent
    parameters = inspect.signature(receiver, follow_wrapped=False).parameters.values()
    if not any(p.kind == p.VAR_POSITIONAL for p in parameters):
        wanted = min(sent, sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters))

    def slot(*arguments: Any) -> None:
        receiver(*arguments[:wanted])

    return slot


def _hungOnByLoader(name: str, value: Any) -> bool:
    """PySide6's QUiLoader sets every named child as an attribute of the root; PythonQt's does not."""
    return isinstance(value, QtCore.QObject) and QtCore.QObject.objectName(value) == name
