"""How the worker's processes end when the system asks them to."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType

#: After a SIGTERM, the main thread may end the process itself within this time.
GRACE_SECONDS = 2.0


def end_when_told() -> None:
    """End on SIGTERM and leave Ctrl-C to the client, whose terminal it may share. To be called in the main thread.

    The main thread mostly waits for a line from the client. A signal that comes just before that waiting begins, or
    that another thread receives, is not looked at until a line comes, which may be never; so a thread sees to it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    if os.name == "nt":  # where nobody sends SIGTERM
        return
    told, telling = os.pipe()
    os.set_blocking(telling, False)
    signal.set_wakeup_fd(telling, warn_on_full_buffer=False)
    threading.Thread(target=_insist, args=(told,), name="end-when-told", daemon=True).start()


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _insist(told: int) -> None:
    while signal.SIGTERM not in os.read(told, 1):
        pass
    time.sleep(GRACE_SECONDS)
    os._exit(0)
