"""Work that goes on beside other work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def beside(work: Callable[[], T]) -> Future[T]:
    """Start a piece of work in a thread of its own.

    A process that is to end meanwhile does not wait for it, as an executor would: a Ctrl-C in the middle of an import
    can leave that thread waiting for ever.

    Args:
        work: called at once in the other thread.

    Returns:
        What it returns or raises, from ``result()``.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # whoever asks for the result gets it
            future.set_exception(error)

    threading.Thread(target=run, name="beside", daemon=True).start()
    return future
