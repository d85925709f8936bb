"""``pancreasseg segment``: from a CT to mask, numbers and report."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pancreasseg.cli import console
from pancreasseg.cli.arguments import (
    Commands,
    add_command,
    add_engine,
    add_input,
    check_input,
    load_pipeline,
    read_input,
)
from pancreasseg.core.beside import beside
from pancreasseg.core.errors import PancreasSegError
from pancreasseg.core.progress import Progress
from pancreasseg.core.text import number_or_name

if TYPE_CHECKING:
    import numpy as np

    from pancreasseg.core import Box, Volume
    from pancreasseg.core.finding import Finding
    from pancreasseg.core.measurement import Measurement
    from pancreasseg.findings.result import CtLook
    from pancreasseg.runs.run import FinishedRun

_DESCRIPTION = """\
Segment the pancreas in a CT and write into FOLDER:

  pancreas.seg.nrrd   the segment with name, colour and terminology; opens in 3D Slicer
  pancreas.nii.gz     the mask (0 and 1) on the grid of the CT
  statistics.csv      the measurements
  result.json         measurements, findings, timings and how the result was made
  report.png          three planes, the surface and the numbers
  structures/         with --structures: what else the model knows (organs, vessels, tumour), and a table of it
  attention/          with --attention: where the network looked, level-1-mean.nii.gz and so on, and maps.png

All files appear together, or none does.
"""


def add_to(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    command = add_command(commands, "segment", [common], "segment the pancreas in a CT", _DESCRIPTION)
    add_input(command)
    command.add_argument(
        "--output", metavar="FOLDER", type=Path, required=True, help="where the results go; made if it is not there"
    )
    add_engine(command)
    command.add_argument(
        "--box",
        metavar=("I0", "I1", "J0", "J1", "K0", "K1"),
        nargs=6,
        type=int,
        help="segment inside this box only: voxels of the CT from I0 up to, not including, I1, and so on "
        "(default: the box is found automatically)",
    )
    add_reference(command)
    command.add_argument(
        "--structures",
        action="store_true",
        help="also write the other structures that the model knows, each as a segment of its own, with a table of "
        "volumes and HU; none for a model that knows the pancreas alone",
    )
    command.add_argument(
        "--attention",
        action="store_true",
        help="also write where the network looked: the coefficients (0 to 1) of its attention gates around the "
        "pancreas; for models with the network attention-unet",
    )
    command.set_defaults(run=run)


def add_reference(command: argparse.ArgumentParser) -> None:
    """A mask to compare with."""
    command.add_argument(
        "--reference",
        metavar="FILE",
        type=Path,
        help="a mask drawn by a person, to compare the result with (DSC, distances)",
    )
    command.add_argument(
        "--reference-label",
        metavar="N|NAME",
        help="which label of the reference is the pancreas: its number, or a segment's name",
    )


def label_of(options: argparse.Namespace) -> int | str | None:
    """The reference's label as a number where it is one."""
    return None if options.reference_label is None else number_or_name(options.reference_label)


def of_reference(findings: Sequence[Finding]) -> list[Finding]:
    """The remarks on a reference, told from those on a mask."""
    return [
        replace(
            finding,
            code=finding.code.replace("mask-", "reference-"),
            sentence=finding.sentence.replace("the mask", "the reference").replace("The mask", "The reference"),
        )
        for finding in findings
    ]


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    document, outcome = segment_to_folder(options)
    if options.json:
        console.show_json(document)
        return
    show_result(outcome, document["files"], options.output)
    if options.structures and outcome.segmentation.labels is None:
        console.show("The model knows the pancreas alone; there are no other structures.")


def segment_to_folder(options: argparse.Namespace) -> tuple[dict[str, Any], FinishedRun]:
    """Do what the options say; returns what result.json holds, and the result itself.

    Raises:
        PancreasSegError: the input, the model or the output is not right; nothing is written then.
    """
    from pancreasseg.export.structures import write_structures
    from pancreasseg.io.atomic import prepare_folder
    from pancreasseg.pipelines.attention import attention_maps, gated_stage
    from pancreasseg.runs.run import complete, segment, write

    check_input(options)
    prepare_folder(options.output)
    with console.progress_shown(quiet=options.json) as progress:
        progress.plan([("read", 1.0), ("models", 2.0), ("measure", 1.0), ("write", 1.0)])
        given = beside(lambda: _read(options))  # unpacks the CT and looks at it while torch is imported
        try:
            pipeline = load_pipeline(options, progress)
        except PancreasSegError:
            given.result()  # what is wrong with the CT is told first
            raise
        with progress.stage("read"):
            volume, look, region, reference = given.result()
        gates = gated_stage(pipeline) if options.attention else None
        segmentation = segment(volume, pipeline, region, progress, look)
        attention = None if gates is None else attention_maps(gates, volume, segmentation.box, progress)
        with progress.stage("measure"):
            outcome = complete(volume, segmentation, reference)
        with progress.stage("write"):
            document = write(options.output, outcome, progress.timings, attention)
            if options.structures:
                written = write_structures(options.output, volume, segmentation)
                document["files"] = [*document["files"], *(str(path.relative_to(options.output)) for path in written)]
    return document, outcome


def _read(options: argparse.Namespace) -> tuple[Volume, CtLook, Box | None, np.ndarray | None]:
    """The CT, what is to be said of it, the box in it, and the mask to compare with."""
    from pancreasseg.core import Box
    from pancreasseg.findings.result import CtLook
    from pancreasseg.io.read import place_mask

    volume = read_input(options, Progress())
    region = None if options.box is None else Box.checked(options.box, volume.geometry)
    look = CtLook.at(volume)
    if options.reference is None:
        return volume, look, region, None
    placed = place_mask(options.reference, volume.geometry, label_of(options))
    told = replace(volume, findings=(*volume.findings, *of_reference(placed.findings)))
    return told, look, region, placed.array


def show_result(outcome: FinishedRun, files: Sequence[str], folder: Path) -> None:
    """The findings, measurements and files for a person."""
    console.show_findings(outcome.segmentation.findings)
    show_measurements("Pancreas", outcome.measurements)
    console.show(f"Written to {folder}: {', '.join(files)}")


def show_measurements(title: str, measurements: Sequence[Measurement]) -> None:
    """A table of measurements for a person."""
    rows = [(entry.title, entry.value_text, entry.unit_text, entry.note) for entry in measurements]
    console.show_table(title, ("measurement", "value", "unit", "note"), rows)
