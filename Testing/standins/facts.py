"""What Slicer's and CTK's widgets offer: properties, signals and slots, read from their public headers."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets


@functools.cache
def facts() -> dict[str, Any]:
    """By class name: header, base, properties, signals, slots, invokable (public methods)."""
    return json.loads(Path(__file__).with_name("facts.json").read_text(encoding="utf-8"))["classes"]


def lineage(name: str) -> list[str]:
    """The classes from ``name`` up to the first one of Qt itself, which comes last."""
    names = [name]
    while names[-1] in facts():
        names.append(facts()[names[-1]]["base"])
    return names


def qtClass(name: str) -> type:
    """PySide6's class of this name.

    Raises:
        LookupError: Qt has no such class.
    """
    for module in (QtWidgets, QtGui, QtCore):
        if hasattr(module, name):
            return getattr(module, name)
    raise LookupError(name)


def properties(name: str) -> set[str]:
    """Names of all properties of a widget class, inherited ones too."""
    *own, native = lineage(name)
    meta = qtClass(native).staticMetaObject
    found = {meta.property(number).name() for number in range(meta.propertyCount())}
    return found.union(*[{p["name"] for p in facts()[c]["properties"]} for c in own])


def signals(name: str) -> set[str]:
    """Normalised signatures of all signals, inherited ones too."""
    *own, native = lineage(name)
    found = {s for c in own for s in map(normalised, facts()[c]["signals"])}
    return found | _native(native, QtCore.QMetaMethod.MethodType.Signal)


def slots(name: str) -> set[str]:
    """Normalised signatures of all slots, inherited ones too."""
    *own, native = lineage(name)
    found = {s for c in own for s in map(normalised, facts()[c]["slots"])}
    return found | _native(native, QtCore.QMetaMethod.MethodType.Slot)


def methods(name: str) -> set[str]:
    """Names of everything that can be called on a widget of this class."""
    *own, native = lineage(name)
    called = {method for c in own for method in facts()[c]["invokable"]}
    called |= {signature.split("(")[0] for signature in slots(name)}
    return called | {n for n in dir(qtClass(native)) if not n.startswith("_")}


def normalised(signature: str) -> str:
    """As Qt compares signatures: ``valueChanged(const QString& text = x)`` is ``valueChanged(QString)``."""
    name, arguments = re.match(r"(\w+)\((.*)\)", signature.strip()).groups()
    types = [re.sub(r"\s*=.*", "", a).strip() for a in arguments.split(",")]
    return f"{name}({','.join(_type(t) for t in types if t)})"


def _type(text: str) -> str:
    text = re.sub(r"\bconst\b", "", text).replace("&", " ").replace("*", "* ").strip()
    words = text.split()
    pointer = "*" if any(w.endswith("*") for w in words) else ""
    words = [w.rstrip("*") for w in words]
    return ("unsigned int" if words[0] == "unsigned" else words[0]) + pointer


def _native(name: str, kind: QtCore.QMetaMethod.MethodType) -> set[str]:
    meta = qtClass(name).staticMetaObject
    all_methods = (meta.method(number) for number in range(meta.methodCount()))
    return {bytes(m.methodSignature()).decode() for m in all_methods if m.methodType() == kind}
