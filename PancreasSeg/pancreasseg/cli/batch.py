"""``pancreasseg batch``: many CTs, one after the other or on many workers, and one table and page of all of them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pancreasseg.batch.table import VOLUME
from pancreasseg.cli import console
from pancreasseg.cli.arguments import (
    Commands,
    UsageError,
    add_command,
    add_engine,
    add_series,
    number_from,
    series_of,
    setup_of,
)
from pancreasseg.core.errors import InputError

if TYPE_CHECKING:
    from pancreasseg.batch.case import Case, Settings
    from pancreasseg.batch.clusters import Wanted
    from pancreasseg.batch.pace import Pace
    from pancreasseg.batch.table import Row

_TIME_LIMIT = 60  # minutes; a CT with the largest models on a slow CPU takes a few
_DESCRIPTION = """\
Segment many CTs. FOLDER gets a folder for each with what 'segment' writes; cohort.csv and cohort.parquet: a row for
each CT with its measurements and findings, or with what is wrong with it; and report.html: all of it on one page for a
browser, worst first. No CT stops the others, even one that ends the process.

An INPUT is a CT (a NIfTI, NRRD or MetaImage file, or a DICOM folder), a folder of such files and folders, a DICOM tree
of many patients (each series is a CT), or a list: a CSV file with a column 'path' and, where wanted, 'id', 'series',
'reference' (a mask to compare with) and 'label' (which of its labels is the pancreas).

Stopped at any time, the same command continues: a CT that has a whole result of the same models and settings is not
segmented again, and its row says so (kept). Another CT under the same name, another series, other settings or a result
that 'segment' wrote there are made anew; masks that were changed by hand are moved aside first.

Without --workers, --scheduler or --slurm the CTs run one after the other in one process. The others need the packages
of 'pip install pancreasseg[cohort]'. Whoever can reach a Dask scheduler can run code on its workers: --workers keeps to
this computer (127.0.0.1); use --scheduler and --slurm in networks you trust, or with Dask's TLS.
"""


def add_to(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    command = add_command(commands, "batch", [common], "segment many CTs into one table", _DESCRIPTION)
    command.add_argument("inputs", metavar="INPUT", type=Path, nargs="+", help="CTs, folders, DICOM trees or CSV lists")
    command.add_argument("--output", metavar="FOLDER", type=Path, required=True, help="where the results go")
    command.add_argument(
        "--format",
        metavar="FORMAT,...",
        type=_formats,
        default=(),
        help="also export each CT's mask, into a folder 'export' beside it; see 'pancreasseg export --help'",
    )
    command.add_argument(
        "--time-limit",
        metavar="MINUTES",
        type=number_from(0),
        default=_TIME_LIMIT,
        help=f"give a CT up that takes longer (default: {_TIME_LIMIT}; 0: never)",
    )
    add_series(command)
    add_engine(command)
    _add_workers(command)
    command.set_defaults(run=run)


def _add_workers(command: argparse.ArgumentParser) -> None:
    where = command.add_argument_group("many workers")
    where.add_argument("--workers", metavar="N", type=number_from(1), help="processes on this computer, or SLURM jobs")
    where.add_argument("--memory", metavar="SIZE", help="of each process, e.g. 4GB (default: its share of all)")
    where.add_argument("--scheduler", metavar="ADDRESS", help="a Dask scheduler that is running, e.g. tcp://host:8786")
    where.add_argument(
        "--slurm",
        metavar="KEY=VALUE",
        type=_pair,
        action="append",
        help="run in SLURM jobs: queue, account, walltime, memory, cores, interface, directive (a line for #SBATCH), "
        "prologue (a line before the worker starts); may be repeated, and --workers says how many jobs",
    )
    where.add_argument(
        "--retries",
        metavar="N",
        type=number_from(0),
        default=1,
        help="how often a CT whose worker died is tried again by itself at the end (default: 1)",
    )


@dataclass(frozen=True)
class _Cohort:
    """All cases of one command, and how far they are."""

    options: argparse.Namespace
    cases: list[Case]
    settings: Settings
    identity: dict[str, Any]
    pace: Pace

    @property
    def table(self) -> Path:
        from pancreasseg.batch.table import TABLE

        output: Path = self.options.output
        return output / TABLE

    @property
    def quiet(self) -> bool:
        return bool(self.options.json)

    @property
    def time_limit(self) -> float | None:
        return 60.0 * self.options.time_limit if self.options.time_limit else None


def run(options: argparse.Namespace) -> int:
    """Run the command; returns 0, or the exit code of an input that cannot be used when some could not."""
    from pancreasseg.batch.case import Settings
    from pancreasseg.batch.cases import find_cases
    from pancreasseg.batch.pace import Pace
    from pancreasseg.io.atomic import prepare_folder

    wanted = _wanted(options)
    cases = find_cases(
        options.inputs,
        options.output,
        every_series=options.series is None,
        looking=lambda folders: console.say(f"Looking for DICOM series in {folders} folder{'s' * (folders > 1)} ..."),
    )
    settings = Settings(setup_of(options), series_of(options), tuple(options.allow), options.format)
    cohort = _Cohort(options, cases, settings, settings.identity(), Pace(len(cases)))
    prepare_folder(options.output)
    with _one_after_the_other(cohort) if wanted is None else _on_cluster(cohort, wanted) as coming:
        rows = list(coming)
    order = {case.name: number for number, case in enumerate(cases)}
    rows.sort(key=lambda row: order[row["ct"]])
    written = _write_all(rows, cohort)
    _show(rows, written, options)
    return InputError.exit_code if any(row["state"] == "failed" or row.get("not exported") for row in rows) else 0


@contextmanager
def _one_after_the_other(cohort: _Cohort) -> Iterator[Iterator[Row]]:
    """The rows as they come from one process."""
    from pancreasseg.batch.apart import Apart
    from pancreasseg.batch.loop import run_all

    def segment(case: Case) -> dict[str, Any]:
        words = cohort.pace.words()
        console.say(f"{cohort.pace.done + 1} of {len(cohort.cases)}: {case.name}" + (f" ({words})" if words else ""))
        with console.updates_shown(quiet=cohort.quiet) as (report, notify):
            return apart.run(case, report, notify)

    def told(rows: Iterator[Row]) -> Iterator[Row]:
        for row in rows:
            _count(cohort.pace, row)
            if row["state"] == "failed" or row["kept"] == "yes":
                console.say(_words(row, cohort.pace))
            yield row

    with Apart(cohort.settings, debug=cohort.options.debug, time_limit=cohort.time_limit) as apart:
        yield told(run_all(cohort.cases, cohort.settings, cohort.identity, segment, cohort.table))


@contextmanager
def _on_cluster(cohort: _Cohort, wanted: Wanted) -> Iterator[Iterator[Row]]:
    """The rows as they come from many workers."""
    from pancreasseg.batch.clusters import connected

    with connected(wanted) as client, console.cohort_shown(cohort.pace, quiet=cohort.quiet) as shown:
        from pancreasseg.batch.cluster import run_on_cluster
        from pancreasseg.batch.on_worker import Job
        from pancreasseg.batch.watch import PATIENCE_SECONDS

        if not cohort.quiet:
            console.say(f"Dashboard: {client.dashboard_link}")
        rows = run_on_cluster(
            cohort.cases,
            Job(cohort.settings, cohort.identity, wanted.threads, cohort.options.debug, cohort.time_limit),
            client,
            cohort.table,
            retries=cohort.options.retries,
            waiting=shown.workers,
            patience=PATIENCE_SECONDS if wanted.here else None,
        )

        def told() -> Iterator[Row]:
            for row in rows:
                _count(cohort.pace, row)
                shown.came(_words(row, cohort.pace), important=row["state"] == "failed")
                yield row

        yield told()


def _count(pace: Pace, row: Row) -> None:
    pace.count(failed=row["state"] == "failed", kept=row["kept"] == "yes")


def _words(row: Row, pace: Pace) -> str:
    """A row as one line."""
    if row["state"] == "failed":
        what = f"Error: {row['message']}"
    elif row["kept"] == "yes":
        what = "kept, as CT, models and settings are the same"
    else:
        what = "no pancreas" if row.get(VOLUME) is None else f"{row[VOLUME]:.1f} ml"
    left = pace.words()
    return f"{pace.done} of {pace.total}: {row['ct']}: {what}" + (f" ({left})" if left else "")


def _write_all(rows: Sequence[Row], cohort: _Cohort) -> list[str]:
    """The table as Parquet and the page, of all rows that have come. Returns the names of the files."""
    from pancreasseg.batch.page import PAGE, write_page
    from pancreasseg.batch.table import PARQUET, TABLE, write_parquet

    output = cohort.options.output
    if not rows:
        return []
    written = [TABLE]
    if write_parquet(output / PARQUET, rows):
        written.append(PARQUET)
    write_page(output / PAGE, rows, {case.name: case.folder for case in cohort.cases})
    return [*written, PAGE]


def _show(rows: Sequence[Row], written: Sequence[str], options: argparse.Namespace) -> None:
    if options.json:
        files = {name.rpartition(".")[2]: str(options.output / name) for name in written}
        console.show_json(
            {"table": files.get("csv"), "parquet": files.get("parquet"), "page": files.get("html"), "cts": rows}
        )
        return
    shown = [
        (
            row["ct"],
            row["state"] + (" (kept)" if row["kept"] == "yes" else ""),
            "" if row.get(VOLUME) is None else f"{row[VOLUME]:.1f}",
            row["message"] or row.get("not exported", ""),
        )
        for row in rows
    ]
    console.show_table("CTs", ("CT", "state", "volume, ml", "what is wrong"), shown)
    console.show(f"Written to {options.output}: {', '.join(written)}, and a folder for each CT")


def _wanted(options: argparse.Namespace) -> Wanted | None:
    """Where to run; None for one after the other."""
    if options.scheduler is not None and (options.slurm is not None or options.workers is not None):
        raise UsageError(
            "usage", "A scheduler has its own workers.", "Leave --workers and --slurm out beside --scheduler."
        )
    if options.memory is not None and (options.workers is None or options.slurm is not None):
        raise UsageError("usage", "--memory is for --workers alone.", "SLURM jobs have --slurm memory=16GB.")
    if options.workers is None and options.scheduler is None and options.slurm is None:
        return None
    from pancreasseg.batch.clusters import Wanted

    slurm: dict[str, list[str]] | None = None if options.slurm is None else {}
    for key, value in options.slurm or ():
        assert slurm is not None  # noqa: S101 - there is an option
        slurm.setdefault(key, []).append(value)
    return Wanted(options.workers, options.scheduler, options.memory, slurm)


def _formats(text: str) -> tuple[str, ...]:
    from pancreasseg.export.formats import formats

    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = next((name for name in names if name not in formats()), None)
    if unknown is not None:
        raise argparse.ArgumentTypeError(f"{unknown!r} is no format; choose of {', '.join(formats())}")
    return names


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form KEY=VALUE")
    return key, value
