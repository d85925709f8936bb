"""What the parameters of each request must look like; whatever else comes is answered by the error "protocol"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pancreasseg.core.errors import RunError
from pancreasseg.worker.protocol import Request

Kind = Callable[[Any], bool]
_INDEX, _LARGEST = 1 << 31, 1e300


def check_parameters(request: Request) -> None:
    """See that the parameters of a request are there and of the right types.

    Raises:
        RunError: they are not.
    """
    for name, kind in _KINDS[request.name].items():
        if not kind(request.parameters.get(name)):
            raise malformed(request.name)


def malformed(request: str) -> RunError:
    """The error of a request that lacks something or has something of another type."""
    return RunError(
        "protocol",
        f"The segmentation process was sent a {request!r} request that lacks something, or has another thing for it.",
        "The extension and the pancreasseg package are probably of different versions; update both.",
    )


def is_number(value: Any) -> bool:
    """A number that float can hold, and no truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -_LARGEST < value < _LARGEST


def is_whole(value: Any) -> bool:
    """A whole number that an index can be."""
    return isinstance(value, int) and not isinstance(value, bool) and -_INDEX < value < _INDEX


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _anything(_value: Any) -> bool:
    return True


def _list(kind: Kind, *lengths: int) -> Kind:
    return lambda value: (
        isinstance(value, (list, tuple)) and (not lengths or len(value) in lengths) and all(kind(v) for v in value)
    )


def _or_null(kind: Kind) -> Kind:
    return lambda value: value is None or kind(value)


def _geometry(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    return (
        _list(lambda edge: is_whole(edge) and edge > 0, 3)(value.get("size"))
        and _list(lambda edge: is_number(edge) and edge > 0, 3)(value.get("spacing"))
        and _list(is_number, 3)(value.get("origin"))
        and _list(is_number, 9)(value.get("direction"))
    )


_RUN: dict[str, Kind] = {
    "volume": _or_null(_text),
    "pipeline": _or_null(_text),
    "model": _or_null(_text),
    "device": _or_null(_text),
    "precision": _or_null(_text),
    "options": _or_null(_mapping),
}
_BOX = _list(is_whole, 6)
_KINDS: dict[str, dict[str, Kind]] = {
    "hello": {"folder": _anything, "protocol": _anything},
    "load": {
        "file": _text,
        "geometry": _geometry,
        "source": _or_null(_mapping),
        "allow": _or_null(_list(_text)),
    },
    "localize": _RUN,
    "segment": {**_RUN, "box": _or_null(_BOX)},
    "attention": {**_RUN, "box": _BOX, "maps": _or_null(_list(_text))},
    "measure": {"mask": _text, "hu": _text, "reference": _or_null(_text), "geometry": _geometry},
    "unload": {},
    "cancel": {"target": _or_null(is_whole)},
    "shutdown": {},
}
