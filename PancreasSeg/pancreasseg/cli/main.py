"""``pancreasseg``: parse, run, and turn whatever goes wrong into one sentence and an exit code."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from pancreasseg import __version__
from pancreasseg.cli import (
    batch,
    console,
    data,
    demo,
    evaluate,
    export,
    finetune,
    localize,
    measure,
    models,
    segment,
    serve,
    streams,
    train,
    worker,
)
from pancreasseg.cli.arguments import CommandParser
from pancreasseg.core.errors import Cancelled, OutputError, PancreasSegError, UnexpectedError, explain

_DESCRIPTION = """\
Segment the pancreas in an abdominal CT.

  pancreasseg demo                               try it on a made-up CT
  pancreasseg segment CT --output FOLDER         a CT file or DICOM folder in, mask, numbers and report out
  pancreasseg batch CT CT ... --output FOLDER    the same for many, and one table of all of them
  pancreasseg models list                        what is installed, and what can be
"""
_EPILOG = """\
Exit codes: 0 done, 2 wrong usage, 3 the input cannot be used, 4 a model is unknown or damaged, 5 the output cannot be
written, 6 the computation failed, 70 a mistake in the program, 130 cancelled.

This is research software: it is not a medical device.
"""
_COMMANDS = (segment, batch, localize, measure, export, models, data, train, finetune, evaluate, demo, serve, worker)

#: What importing torch makes stays as long as the process: to look for garbage in it after every 700 objects is idle.
_OBJECTS_BETWEEN_COLLECTIONS = 100_000


def program() -> NoReturn:
    """The command as a process of its own; ends it with the exit code."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    code = main()
    gc.freeze()  # the system takes the memory back; taking torch apart before would cost half a second
    sys.exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    streams.open_all()
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_document, debug = "--json" in words, "--debug" in words
    try:
        code = _run(words)
    except KeyboardInterrupt:
        error: PancreasSegError = Cancelled()
    except BrokenPipeError:
        return 0  # the program at the other end of a pipe has gone: nothing left to do
    except Exception as caught:
        if debug:
            raise
        error = explain(caught)
        if isinstance(error, UnexpectedError):
            error.hint = "Run again with --debug to see where, and report it."
    else:
        return code
    console.show_error(error, as_document=as_document)
    with suppress(OutputError):
        streams.flush()
    return error.exit_code


def _run(words: Sequence[str]) -> int:
    try:
        options = parser().parse_args(words)
        code: int | None = options.run(options)
    except SystemExit as told:  # --help and --version have said what they have to say
        if told.code:
            raise
        code = 0
    streams.flush()
    return code or 0


def parser() -> CommandParser:
    """The whole command line."""
    whole = CommandParser(
        prog="pancreasseg",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action="version", version=f"pancreasseg {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON document on standard output, nothing else")
    common.add_argument("--debug", action="store_true", help="show the traceback of an unexpected error")
    commands = whole.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_to(commands, common)
    return whole
