"""Arguments that several commands share, and what follows from them before torch is loaded."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

from pancreasseg import pipelines
from pancreasseg.core.errors import InputError, PancreasSegError
from pancreasseg.core.setup import AUTO, DEVICES, PRECISIONS, Setup
from pancreasseg.core.text import number_or_name, printable

if TYPE_CHECKING:
    from pancreasseg.core import Volume
    from pancreasseg.core.progress import Progress
    from pancreasseg.pipelines.base import Pipeline

Commands = Any  # argparse keeps the type of subparsers to itself


class UsageError(PancreasSegError):
    """The command line was not understood."""

    exit_code = 2


class CommandParser(argparse.ArgumentParser):
    """A command, or all of them.

    Attributes:
        late: words of the help that take long to find out, by what stands in their place.
    """

    late: Mapping[str, Callable[[], str]] = MappingProxyType({})

    def format_help(self) -> str:
        """The help, with its late words."""
        text = super().format_help()
        for place, words in self.late.items():
            text = text.replace(place, words())
        return text

    def error(self, message: str) -> NoReturn:
        """Raise a `UsageError`."""
        raise UsageError(
            "usage", f"{message[:1].upper()}{message[1:]}.", f"'{self.prog} --help' explains how to use it."
        )


def add_command(
    commands: Commands, name: str, parents: list[argparse.ArgumentParser], summary: str, description: str
) -> CommandParser:
    """A command with its help texts."""
    command: CommandParser = commands.add_parser(
        name,
        parents=parents,
        help=summary,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return command


def add_input(command: argparse.ArgumentParser) -> None:
    """The CT."""
    command.add_argument(
        "input",
        metavar="INPUT",
        type=Path,
        help="the CT: a NIfTI, NRRD or MetaImage file, or a folder with one DICOM series",
    )
    add_series(command)


def add_series(command: argparse.ArgumentParser) -> None:
    """Which of several series, and what to accept of it."""
    command.add_argument(
        "--series",
        metavar="NUMBER|NAME",
        help="which series of a DICOM folder that holds several; without it, an error lists them",
    )
    command.add_argument(
        "--allow",
        metavar="CODE",
        action="append",
        default=[],
        help="go on although the CT looks implausible; CODE is the one that the refusal has with --json, "
        "e.g. too-few-slices (may be repeated)",
    )


def add_engine(command: argparse.ArgumentParser) -> None:
    """Pipeline, model, device, precision."""
    command.add_argument(
        "--pipeline",
        metavar="NAME",
        help=f"one of {', '.join(pipelines.names())}; by default the one that the model is made for",
    )
    command.add_argument(
        "--model",
        metavar="NAME",
        help="an installed model (see 'pancreasseg models list'); by default the best one. LOCALIZER+NAME: the box is "
        "found by another one; LOCALIZER+: for the best one; NAME,OTHER: segmenters that vote",
    )
    command.add_argument(
        "--device",
        choices=(AUTO, *DEVICES),
        default=AUTO,
        help="where to compute (default: a GPU if there is one)",
    )
    command.add_argument(
        "--precision",
        choices=(AUTO, *PRECISIONS),
        default=AUTO,
        help="number format (default: the fastest that the device is good at)",
    )
    command.add_argument(
        "--set",
        metavar="NAME=VALUE",
        dest="settings",
        action="append",
        default=[],
        help="change a setting of the pipeline, e.g. threshold=0.4, or scales=[0.87,1.33] and shifts_hu=[-15,15] to "
        "average over several looks (may be repeated)",
    )


def number_from(least: int, most: int = 10_000) -> Callable[[str], int]:
    """A type of arguments: a whole number between two, both included; more is a slip of the finger."""

    def number(text: str) -> int:
        value = number_or_name(text)
        if isinstance(value, str) or not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{printable(text)!r} is no number from {least} to {most}")
        return value

    return number


def setup_of(options: argparse.Namespace) -> Setup:
    """What the person chose with the arguments of `add_engine`."""
    settings = dict(_setting(text) for text in options.settings)
    return Setup(options.pipeline, options.model, options.device, options.precision, settings)


def _setting(text: str) -> tuple[str, Any]:
    """A setting of a pipeline as it is typed; the value is JSON, or a word."""
    name, given, value = text.partition("=")
    if not given or not name:
        raise UsageError("usage", f"{text!r} is no setting.", "Write --set NAME=VALUE, e.g. --set threshold=0.4.")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value


def read_input(options: argparse.Namespace, progress: Progress) -> Volume:
    """Read the CT that the person named.

    Raises:
        InputError: it cannot be used.
    """
    from pancreasseg.io.read import read_volume

    with progress.stage("read"):
        return read_volume(options.input, series=series_of(options), allow=options.allow)


def series_of(options: argparse.Namespace) -> int | str | None:
    """The series as a number where it is one."""
    return None if options.series is None else number_or_name(options.series)


def check_input(options: argparse.Namespace) -> None:
    """Refuse what is quickly seen to be wrong, before seconds are spent: a missing CT, an unknown pipeline or model.

    Raises:
        InputError: there is no such file or folder.
        ModelError: no such pipeline or model.
    """
    if not os.path.exists(options.input):  # noqa: PTH110  # never raises, whatever the path is
        raise InputError("no-such-file", f"There is no file or folder {options.input}.", "Check the path.")
    pipelines.choose(setup_of(options))


def load_pipeline(options: argparse.Namespace, progress: Progress) -> Pipeline:
    """The pipeline that the person chose, with its networks in memory.

    Raises:
        ModelError: unknown, damaged or not fitting.
        RunError: the device is not there, or torch is not installed.
    """
    with progress.stage("models"):
        pipeline = pipelines.create(setup_of(options))
        if getattr(options, "structures", False):
            pipeline.ask_for_structures()
        from pancreasseg.inference.hardware import use_cores

        use_cores()
    return pipeline
