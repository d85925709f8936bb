"""What the command line shows: progress, tables and errors for people, JSON for programs."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from pancreasseg import pipelines
from pancreasseg.cli import streams
from pancreasseg.core.errors import OutputError, PancreasSegError, as_json
from pancreasseg.core.finding import Finding
from pancreasseg.core.progress import Progress, Update

if TYPE_CHECKING:
    from pancreasseg.batch.pace import Pace

#: Steps of commands that no pipeline knows.
_OWN = {
    "axes": "Looking how labels lie",
    "check": "Checking the cases",
    "resample": "Resampling the cases",
    "phantoms": "Making phantoms",
    "draw": "Drawing",
}


Report = Callable[[Update], None]
Notify = Callable[[Finding], None]


@contextmanager
def progress_shown(*, quiet: bool) -> Iterator[Progress]:
    """A progress that is drawn on standard error: a bar on a terminal, one line a stage elsewhere.

    Args:
        quiet: show nothing at all.
    """
    with updates_shown(quiet=quiet) as (report, notify):
        yield Progress(report=report, notify=notify)


@contextmanager
def updates_shown(*, quiet: bool) -> Iterator[tuple[Report | None, Notify | None]]:
    """What draws updates and says notices, as for `progress_shown`; for work that goes on in another process."""
    if quiet:
        yield None, None
    elif streams.is_terminal(sys.stderr):
        with _bar() as shown:
            yield shown
    else:
        yield _Lines().show, lambda finding: say(finding.sentence)


@contextmanager
def _bar() -> Iterator[tuple[Report, Notify]]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        TextColumn("{task.fields[left]:>12}"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task("Starting", total=1.0, left="")

        def show(update: Update) -> None:
            # A pipeline announces its stages as it comes to them; the bar waits rather than going back.
            reached = max(bars.tasks[task].completed, update.fraction)
            left = "" if update.seconds_left is None else f"{update.seconds_left:.0f} s left"
            bars.update(task, description=stage_title(update.stage), completed=reached, left=left)

        yield show, lambda finding: console.print(finding.sentence, markup=False)


class _Lines:
    """One line for every stage that begins."""

    def __init__(self) -> None:
        self._stage = ""

    def show(self, update: Update) -> None:
        if update.stage != self._stage:
            self._stage = update.stage
            say(f"{stage_title(update.stage)} ...")


class CohortDisplay:
    """What is shown of many cases that run at once; this one shows nothing."""

    def came(self, line: str, *, important: bool) -> None:
        """A case has come."""

    def workers(self, count: int) -> None:
        """Told every second how many workers there are."""


@contextmanager
def cohort_shown(pace: Pace, *, quiet: bool) -> Iterator[CohortDisplay]:
    """Many cases on standard error: a bar with their pace on a terminal, a line for each elsewhere."""
    if quiet:
        yield CohortDisplay()
    elif streams.is_terminal(sys.stderr):
        with _cohort_bar(pace) as shown:
            yield shown
    else:
        yield _CohortLines()


class _CohortLines(CohortDisplay):
    def __init__(self) -> None:
        self._waits = False

    def came(self, line: str, *, important: bool) -> None:  # noqa: ARG002
        self._waits = False
        say(line)

    def workers(self, count: int) -> None:
        if not count and not self._waits:
            say("Waiting for a worker ...")
        self._waits = not count


@contextmanager
def _cohort_bar(pace: Pace) -> Iterator[CohortDisplay]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[words]}"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task("Starting workers", total=pace.total, words="")

        class Bar(CohortDisplay):
            def came(self, line: str, *, important: bool) -> None:
                if important:
                    console.print(line, markup=False, highlight=False)
                self._draw("CTs")

            def workers(self, count: int) -> None:
                self._draw(f"CTs on {count} worker{'' if count == 1 else 's'}" if count else "Waiting for a worker")

            def _draw(self, what: str) -> None:
                failed = f"{pace.failed} failed, " if pace.failed else ""
                bars.update(task, description=what, completed=pace.done, words=f"{failed}{pace.words()}")

        yield Bar()


def stage_title(stage: str) -> str:
    """A stage's name for people."""
    return {**_OWN, **pipelines.words()}.get(stage, stage.capitalize())


def say(line: str) -> None:
    """A line for people, on standard error; that nobody can read it is no reason to stop."""
    streams.write(sys.stderr, f"{_harmless(line)}\n", must=False)


def show(line: str = "") -> None:
    """A line of the answer, on standard output.

    Raises:
        OutputError: it cannot be written there. That its reader has gone away (``| head``) is no error.
    """
    streams.write(sys.stdout, f"{line}\n")


def show_json(document: Mapping[str, Any] | Sequence[Any]) -> None:
    """The whole answer as one JSON document on standard output; errors as for `show`."""
    from pancreasseg.io.write import json_ready

    show(json.dumps(json_ready(document), indent=2, allow_nan=False))


def show_table(title: str, headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on standard output; columns of numbers are aligned to the right; errors as for `show`."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    body = [[_harmless(str(cell)) for cell in row] for row in rows]
    table = Table(title=Text(title, style="bold"), title_justify="left", header_style="")
    for index, header in enumerate(headers):
        numeric = all(_is_number(row[index]) for row in body)
        table.add_column(Text(header), justify="right" if numeric else "left", overflow="fold")
    for row in body:
        table.add_row(*(Text(cell) for cell in row))
    # Drawn in memory: rich ends the program with a code of its own when standard output is closed.
    terminal = streams.is_terminal(sys.stdout)
    # Without a terminal there is no width to respect: tables are cut for no reader.
    width = shutil.get_terminal_size().columns if terminal else 160
    # Old consoles of Windows know no bold letters in what is written to them as text.
    drawn = Console(file=io.StringIO(), width=width, force_terminal=terminal and sys.platform != "win32")
    with drawn.capture() as capture:
        drawn.print(table)
    show(capture.get().rstrip("\n"))


def show_findings(findings: Sequence[Finding]) -> None:
    """The quality remarks, the most serious first."""
    order = ["serious", "warning", "info"]
    for finding in sorted(findings, key=lambda finding: order.index(finding.severity.value)):
        show(_harmless(f"{finding.severity.value.capitalize()}: {finding.sentence}"))


def show_error(error: PancreasSegError, *, as_document: bool) -> None:
    """One sentence and what to do, on standard error; for programs also an object on standard output."""
    say(f"Error: {error.message}" + (f"\n{error.hint}" if error.hint else ""))
    if as_document:
        with suppress(OutputError):
            show(json.dumps({"error": as_json(error)}, indent=2))


def _harmless(text: str) -> str:
    """Text without what steers a terminal or turns the writing direction: names in files come from anywhere."""
    return "".join(letter if letter.isprintable() or letter in "\n\t\u3000\xa0" else " " for letter in text)


def _is_number(text: str) -> bool:
    try:
        float(text.replace("≥", "").strip() or "0")
    except ValueError:
        return False
    return True
