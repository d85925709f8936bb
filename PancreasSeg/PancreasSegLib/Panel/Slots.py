"""What Qt, a timer or the scene calls. Nobody hears what such a call raises: PythonQt and VTK print it and go on."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

from pancreasseg.core.errors import UnexpectedError, explain

Method = TypeVar("Method", bound=Callable[..., Any])


def slot(method: Method) -> Method:
    """A method of a section that Qt, a timer or the scene calls: what goes wrong in it becomes a sentence in the panel.

    The object says it through its ``say``. A mistake of the program also leaves its traceback in the log, for its
    makers. Arguments that the method does not take are dropped; Qt sends ``checked`` with every click.
    """
    parameters = inspect.signature(method).parameters.values()
    every = any(it.kind is it.VAR_POSITIONAL for it in parameters)
    taken = None if every else len(parameters) - 1

    @functools.wraps(method)
    def guarded(self: Any, *arguments: object) -> Any:
        try:
            return method(self, *arguments[:taken])
        except Exception as error:
            explained = explain(error)
            if isinstance(explained, UnexpectedError):
                logging.exception("PancreasSeg: a mistake in %s", method.__qualname__)
            self.say(str(explained))

    return cast(Method, guarded)
