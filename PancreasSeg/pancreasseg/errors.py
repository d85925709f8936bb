"""Errors that reach people: one plain sentence each, and what to do about it."""

from __future__ import annotations


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
