"""``pancreasseg batch``: many CTs with one model in memory, and one table of all of them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pancreasseg.cli import console
from pancreasseg.cli.arguments import Commands, add_command, add_engine, add_series, series_of, setup_of
from pancreasseg.core.errors import InputError

if TYPE_CHECKING:
    from pancreasseg.batch.apart import Apart
    from pancreasseg.batch.case import Case
    from pancreasseg.batch.table import Row

_DESCRIPTION = """\
Segment many CTs. FOLDER gets a folder for each with what 'segment' writes, and cohort.csv: a row for each CT with its
measurements and findings, or with what is wrong with it. No CT stops the others, even one that ends the process.

An INPUT is a CT (a NIfTI, NRRD or MetaImage file, or a DICOM folder), or a folder of such files and folders.

Stopped at any time, the same command continues: a CT that has a whole result of the same models and settings is not
segmented again, and its row says so (kept). Another CT under the same name, another series, other settings or a result
that 'segment' wrote there are made anew; masks that were changed by hand are moved aside first.
"""


def add_to(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    command = add_command(commands, "batch", [common], "segment many CTs into one table", _DESCRIPTION)
    command.add_argument("inputs", metavar="INPUT", type=Path, nargs="+", help="CTs, or folders of CTs")
    command.add_argument("--output", metavar="FOLDER", type=Path, required=True, help="where the results go")
    add_series(command)
    add_engine(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; returns 0, or the exit code of an input that cannot be used when some could not."""
    from pancreasseg.batch.apart import Apart
    from pancreasseg.batch.case import Case, Settings
    from pancreasseg.batch.inputs import find_cts
    from pancreasseg.batch.loop import run_all
    from pancreasseg.batch.table import TABLE
    from pancreasseg.io.atomic import prepare_folder

    cts = find_cts(options.inputs, options.output)
    settings = Settings(setup_of(options), series_of(options), tuple(options.allow))
    identity = settings.identity()
    prepare_folder(options.output)
    cases = [Case(name, path, options.output / name, options.output) for name, path in cts.items()]
    rows: list[Row] = []
    with Apart(settings, debug=options.debug) as apart:

        def segment(case: Case) -> dict[str, Any]:
            console.say(f"{len(rows) + 1} of {len(cases)}: {case.name}")
            return _shown(apart, case, quiet=options.json)

        for row in run_all(cases, identity, segment, options.output / TABLE):
            rows.append(row)
            _say(row, len(rows), len(cases))
    _show(rows, options)
    return InputError.exit_code if any(row["state"] == "failed" for row in rows) else 0


def _shown(apart: Apart, case: Case, *, quiet: bool) -> dict[str, Any]:
    with console.updates_shown(quiet=quiet) as (report, notify):
        return apart.run(case, report, notify)


def _say(row: Row, number: int, of: int) -> None:
    if row["kept"] == "yes":
        console.say(f"{number} of {of}: {row['ct']}: kept, as CT, models and settings are the same")
    elif row["state"] == "failed":
        console.say(f"Error: {row['message']}")


def _show(rows: Sequence[Row], options: argparse.Namespace) -> None:
    from pancreasseg.batch.table import TABLE

    if options.json:
        console.show_json({"table": str(options.output / TABLE), "cts": rows})
        return
    shown = [
        (
            row["ct"],
            row["state"] + (" (kept)" if row["kept"] == "yes" else ""),
            "" if row.get("volume (ml)") is None else f"{row['volume (ml)']:.1f}",
            row["message"],
        )
        for row in rows
    ]
    console.show_table("CTs", ("CT", "state", "volume, ml", "what is wrong"), shown)
    console.show(f"Written to {options.output}: {TABLE}, and a folder for each CT")
