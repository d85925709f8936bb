"""Work in small pieces, so that Slicer answers in between."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import qt

# For Slicer's own events, from the end of one piece to the next.
BREATH_MILLISECONDS = 5


class Turns:
    """Does pieces of work one after the other, each in a turn of the event loop of its own.

    A piece must look by itself whether what it works on is still there: anything can happen between two turns.
    """

    def __init__(self) -> None:
        self._pieces: deque[Callable[[], None]] = deque()
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(BREATH_MILLISECONDS)
        self._timer.connect("timeout()", self._next)

    @property
    def pending(self) -> bool:
        """True while pieces are waiting."""
        return bool(self._pieces)

    def add(self, piece: Callable[[], None]) -> None:
        """Do a piece of work after those that are waiting."""
        self._pieces.append(piece)
        if not self._timer.active:
            self._timer.start()

    def clear(self) -> None:
        """Forget what is waiting."""
        self._pieces.clear()
        self._timer.stop()

    def _next(self) -> None:
        piece = self._pieces.popleft()
        try:
            piece()
        finally:
            if self._pieces:
                self._timer.start()
