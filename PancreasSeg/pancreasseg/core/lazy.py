"""Large libraries that are loaded when they are first used: reading a register, or --help, costs nothing of them."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Library:
    """A library by name; it is imported when something of it is first asked for.

    Modules that are read for what they declare import the large ones so (in place of ``import SimpleITK as sitk``)::

        if TYPE_CHECKING:
            import SimpleITK as sitk
        else:
            sitk = Library("SimpleITK")
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, item: str) -> Any:
        return getattr(import_module(self._name), item)
