"""An installation beside the panel whose news the test gives."""

from typing import ClassVar


class HeldTask:
    """An installation whose news the test gives."""

    started: ClassVar[list[list[str]]] = []

    def __init__(self, arguments, python) -> None:
        self.news: list = []
        self.ended = self.cancelled = False
        HeldTask.started.append(list(arguments))
        HeldTask.last = self

    def poll(self) -> list:
        news, self.news = self.news, []
        for it in news:
            if isinstance(it, Exception):
                raise it
        return news

    def cancel(self) -> None:
        self.cancelled = True

    def end(self) -> None:
        self.ended = True
