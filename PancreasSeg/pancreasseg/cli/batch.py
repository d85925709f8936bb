"""``pancreasseg batch``: many CTs with one model in memory, and one table of all of them."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pancreasseg.cli import console
from pancreasseg.cli.arguments import Commands, add_command, add_engine, add_series, load_pipeline, read_input, setup_of
from pancreasseg.core.errors import Cancelled, InputError, OutputError, PancreasSegError
from pancreasseg.core.measurement import Code, Measurement

if TYPE_CHECKING:
    from pancreasseg.pipelines.base import Pipeline

TABLE = "cohort.csv"
#: Files that are CTs, by how their names end.
_CTS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
_DESCRIPTION = """\
Segment many CTs. FOLDER gets a folder for each with what 'segment' writes, and cohort.csv: a row for each CT with its
measurements and findings, or with what is wrong with it. One bad CT does not stop the others.

An INPUT is a CT (a NIfTI, NRRD or MetaImage file, or a DICOM folder), or a folder of such files and folders.

Stopped at any time, the same command continues: CTs with a result of the same models are not segmented again.
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
    from pancreasseg.core.progress import Progress
    from pancreasseg.io.atomic import prepare_folder
    from pancreasseg.pipelines import choose

    cts = find_cts(options.inputs)
    choose(setup_of(options))
    prepare_folder(options.output)
    pipeline = load_pipeline(options, Progress())
    rows: list[dict[str, Any]] = []
    for number, (name, path) in enumerate(cts.items(), start=1):
        console.say(f"{number} of {len(cts)}: {name}")
        try:
            document = _kept(options.output / name, pipeline) or _segment(options, path, pipeline, name)
            rows.append(_row(name, path, document))
        except (Cancelled, OutputError):
            raise
        except PancreasSegError as error:
            console.say(f"Error: {error}")
            rows.append({"ct": name, "input": str(path), "state": "failed", "code": error.code, "message": str(error)})
        _write(options.output / TABLE, rows)
    failed = any(row["state"] == "failed" for row in rows)
    if options.json:
        console.show_json({"table": str(options.output / TABLE), "cts": rows})
    else:
        shown = [
            (
                row["ct"],
                row["state"],
                f"{row['volume (ml)']:.1f}" if row["state"] == "done" else "",
                row.get("message", ""),
            )
            for row in rows
        ]
        console.show_table("CTs", ("CT", "state", "volume, ml", "what is wrong"), shown)
        console.show(f"Written to {options.output}: {TABLE}, and a folder for each CT")
    return InputError.exit_code if failed else 0


def find_cts(inputs: Sequence[Path]) -> dict[str, Path]:
    """The CTs behind what the person named: the name of each, and where it is.

    Raises:
        InputError: there is no such file or folder, or two CTs have one name.
    """
    paths: list[Path] = []
    for path in inputs:
        if not path.exists():
            raise InputError("no-such-file", f"There is no file or folder {path}.", "Check the path.")
        inside = sorted(p for p in path.iterdir() if not p.name.startswith(".")) if path.is_dir() else []
        files = [p for p in inside if p.is_file() and p.name.lower().endswith(_CTS)]
        folders = [p for p in inside if p.is_dir()]
        # DICOM series have files of their own; a folder without any, or with CT files, holds several CTs.
        several = bool(files) or (bool(folders) and not any(p.is_file() for p in inside))
        paths += [*files, *folders] if several else [path]
    named: dict[str, Path] = {}
    for path in paths:
        name = path.resolve().name
        ending = next((end for end in _CTS if path.is_file() and name.lower().endswith(end)), "")
        name = name[: len(name) - len(ending)] or "ct"
        if name in named:
            raise InputError(
                "same-name",
                f"The results of {named[name]} and {path} would have the same name, {name}.",
                "Rename one of them, or use another output folder for it.",
            )
        named[name] = path
    return named


def _segment(options: argparse.Namespace, path: Path, pipeline: Pipeline, name: str) -> dict[str, Any]:
    from pancreasseg.runs.run import complete, segment, write

    with console.progress_shown(quiet=options.json) as progress:
        progress.plan([("read", 1.0), ("measure", 1.0), ("write", 1.0)])
        volume = read_input(argparse.Namespace(input=path, series=options.series, allow=options.allow), progress)
        segmentation = segment(volume, pipeline, None, progress)
        with progress.stage("measure"):
            outcome = complete(volume, segmentation)
        with progress.stage("write"):
            return write(options.output / name, outcome, progress.timings)


def _kept(folder: Path, pipeline: Pipeline) -> dict[str, Any] | None:
    """What result.json of an earlier run says, when the same models made it; None when there is none."""
    from pancreasseg.io.write import read_result

    document = read_result(folder)
    if document is None:
        return None
    try:
        made = document["provenance"]
        same = made["pipeline"] == pipeline.name and [m["sha256"] for m in made["models"]] == [
            package.card.weights.sha256 for package in pipeline.models
        ]
    except (KeyError, TypeError):
        return None  # not ours: it is made anew
    return document if same else None


def _row(name: str, path: Path, document: dict[str, Any]) -> dict[str, Any]:
    findings = [f["code"] for f in document["findings"] if f["severity"] != "info"]
    numbers = {}
    for entry in document["measurements"]:
        measurement = Measurement(**{**entry, "code": Code(**entry["code"])})
        unit = f" ({measurement.unit_text})" if measurement.unit_text else ""
        numbers[f"{measurement.name}{unit}"] = measurement.value
    state = {"ct": name, "input": str(path), "state": "done", "code": "", "message": ""}
    return {**state, "findings": " ".join(findings), **numbers}


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    from pancreasseg.io.atomic import atomic_write

    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8", newline="")
