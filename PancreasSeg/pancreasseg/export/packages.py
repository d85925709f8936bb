"""Packages that only some exports need."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from pancreasseg.core.errors import RunError


def needed(name: str, purpose: str) -> ModuleType:
    """Import a package that is not always installed.

    Raises:
        RunError: it is missing; says what to install.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise RunError(
            "package-missing",
            f"{purpose} needs the Python package {error.name}, which is not installed.",
            f"Install it for the Python that runs PancreasSeg, e.g. with: pip install {name}",
        ) from error
