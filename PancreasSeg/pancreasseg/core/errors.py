"""Errors that reach people: one plain sentence each, and what to do about it."""

from __future__ import annotations

import errno
from typing import Any


class PancreasSegError(Exception):
    """An error a person can act on.

    Args:
        code: short stable identifier for programs, e.g. ``"box-outside-volume"``.
        message: one plain sentence that says what is wrong.
        hint: what the person can do about it; may be empty.
    """

    exit_code = 1

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InputError(PancreasSegError):
    """The CT (or reference, or box) cannot be used as given."""

    exit_code = 3


class ModelError(PancreasSegError):
    """A model package is unknown, damaged or does not fit the request."""

    exit_code = 4


class OutputError(PancreasSegError):
    """A result could not be written."""

    exit_code = 5


class RunError(PancreasSegError):
    """The computation failed: out of memory, worker lost, device missing."""

    exit_code = 6


class Cancelled(PancreasSegError):
    """The person pressed Cancel."""

    exit_code = 130

    def __init__(self) -> None:
        super().__init__("cancelled", "The run was cancelled.")


class UnexpectedError(PancreasSegError):
    """A mistake in the program itself, wrapped so that the person still reads a sentence."""

    exit_code = 70


DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def explain(error: BaseException) -> PancreasSegError:
    """What a person reads about any exception that ended a run.

    Errors that already speak plainly are returned as they are; anything unforeseen becomes an `UnexpectedError` whose
    sentence holds only the exception's type, because its text could hold a patient's data.
    """
    if isinstance(error, PancreasSegError):
        return error
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("pancreasseg"):
        return RunError(
            "package-missing",
            f"The Python package {error.name} is not installed.",
            f"Install it for the Python that runs PancreasSeg, e.g. with: pip install {error.name}",
        )
    if isinstance(error, MemoryError):
        return RunError(
            "out-of-memory",
            "There is not enough memory for this volume.",
            "Close other programs, or choose a smaller box.",
        )
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return OutputError("disk-full", "The disk is full.", "Free some space, or choose a folder on another disk.")
    return UnexpectedError("unexpected", f"Something went wrong that should not have ({type(error).__name__}).")


def as_json(error: PancreasSegError) -> dict[str, Any]:
    """For programs: code, message, hint."""
    return {"code": error.code, "message": error.message, "hint": error.hint}
