"""``pancreasseg export``: a mask as files for planning systems and archives, with margins in mm."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pancreasseg.cli import console
from pancreasseg.cli.arguments import Commands, add_command, add_series, series_of
from pancreasseg.core.errors import InputError, PancreasSegError, as_json, explain
from pancreasseg.core.text import number_or_name
from pancreasseg.export.formats import export, formats

if TYPE_CHECKING:
    from pancreasseg.core import Volume
    from pancreasseg.core.finding import Finding
    from pancreasseg.export.segment import ExportSegment

_DESCRIPTION = """\
Write a mask for planning systems and archives, with margins in mm around it:

{formats}

A DICOM file holds the pancreas and its margins; in the other formats each of them is a file of its own. Files of the
same names are replaced. A format that cannot be written keeps none of the others from being written.
"""
_MADE = ("automatic", "semiautomatic", "manual")


def add_to(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    command = add_command(commands, "export", [common], "write a mask for planning systems and archives", _DESCRIPTION)
    command.late = {"{formats}": _listed}
    command.add_argument("mask", metavar="MASK", type=Path, help="a NIfTI, NRRD, .seg.nrrd or MetaImage file")
    command.add_argument("--volume", metavar="CT", type=Path, required=True, help="the CT: a file or DICOM folder")
    add_series(command)
    command.add_argument(
        "--label", metavar="N|NAME", help="which label of MASK is the pancreas (number or segment name)"
    )
    where = command.add_mutually_exclusive_group(required=True)
    where.add_argument("--output", metavar="FOLDER", type=Path, help="where the files go; made if it is not there")
    where.add_argument("--check", action="store_true", help="say what stands in the way of DICOM, and write nothing")
    command.add_argument(
        "--format",
        metavar="FORMAT",
        type=_format,
        action="append",
        help="may be repeated (default: all that the CT allows)",
    )
    command.add_argument(
        "--margin",
        metavar="MM",
        type=_margin,
        action="append",
        default=[],
        help="add a margin: one number, or three as X,Y,Z towards right and left, front and back, head and feet "
        "(may be repeated)",
    )
    command.add_argument("--ring", metavar="MM", type=float, help="add a ring of this width around the pancreas")
    command.add_argument(
        "--outside-body", action="store_true", help="let margins leave the body instead of ending at the skin"
    )
    command.add_argument("--smooth", metavar="MM", type=float, default=0.0, help="smooth the surface (STL only)")
    command.add_argument(
        "--made",
        choices=_MADE,
        help="how the mask was made, for the formats that state it: by the program, by the program and corrected, or "
        "by hand (default: what a .seg.nrrd says)",
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; returns 0, or the exit code of the first format that could not be written."""
    from pancreasseg.findings.result import review_ct, review_given
    from pancreasseg.io.atomic import prepare_folder
    from pancreasseg.io.read import read_volume

    source = options.volume if os.path.isdir(options.volume) else None  # noqa: PTH112  # never raises
    possible = [name for name, each in formats().items() if source is not None or not each.needs_series]
    chosen = list(dict.fromkeys(options.format or possible))
    stated = not options.check and any(formats()[form].states_origin for form in chosen)
    if options.output is not None:
        prepare_folder(options.output)
    with console.progress_shown(quiet=options.json) as progress:
        progress.plan([("read", 1.0), ("measure", 1.0), ("write", 2.0)])
        with progress.stage("read"):
            volume = read_volume(options.volume, series=series_of(options), allow=options.allow)
            pancreas, algorithm, remarks = _read_pancreas(options, volume, stated=stated)
        with progress.stage("measure"):
            segments = [pancreas, *_margins(options, pancreas, volume)]
        findings = [*volume.findings, *review_ct(volume, volume.findings), *remarks]
        findings += review_given(pancreas.mask, volume)
        if options.check or any(formats()[form].needs_series for form in chosen):
            findings += _preflight(segments, volume, source, options)
        with progress.stage("write"):
            written, refused = _write([] if options.check else chosen, segments, volume, source, options, algorithm)
    if refused and not written:
        raise next(iter(refused.values()))
    _show(options, written, refused, findings)
    return next((error.exit_code for error in refused.values()), 0)


def _write(
    chosen: Sequence[str],
    segments: Sequence[ExportSegment],
    volume: Volume,
    source: Path | None,
    options: argparse.Namespace,
    algorithm: str,
) -> tuple[list[str], dict[str, PancreasSegError]]:
    """The names of the files written, and for each format that could not be written why."""
    written: list[str] = []
    refused: dict[str, PancreasSegError] = {}
    for form in chosen:
        try:
            paths, _ = export(
                form,
                options.output / formats()[form].file,
                segments,
                volume.geometry,
                source,
                series=series_of(options),
                algorithm_name=algorithm,
                smoothing_mm=options.smooth,
            )
        except Exception as error:  # whatever it is, the other formats are written
            if options.debug:
                raise
            refused[form] = explain(error)
        else:
            written += [path.name for path in paths]
    return written, refused


def _show(
    options: argparse.Namespace, written: list[str], refused: dict[str, PancreasSegError], findings: list[Finding]
) -> None:
    if options.json:
        failed = [{"format": form, **as_json(error)} for form, error in refused.items()]
        console.show_json({"files": written, "failed": failed, "findings": [finding.as_dict() for finding in findings]})
        return
    console.show_findings(findings)
    for form, error in refused.items():
        console.say(f"Error: {form} was not written. {error}")
    if options.check:
        console.show("Nothing stands in the way of DICOM export.")
    else:
        console.show(f"Written to {options.output}: {', '.join(written)}")


def _listed() -> str:
    """The formats for the help, one a line."""
    return "\n".join(f"  {each.name:<11} {each.file:<23} {each.words}" for each in formats().values())


def _format(text: str) -> str:
    if text not in formats():
        raise argparse.ArgumentTypeError(f"{text!r} is no format; choose one of {', '.join(formats())}")
    return text


def _margin(text: str) -> tuple[float, float, float]:
    """One number for all directions, or three."""
    try:
        parts = [float(part) for part in text.split(",")]
        x, y, z = parts * 3 if len(parts) == 1 else parts
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither one number nor three with commas between") from error
    return x, y, z


def _read_pancreas(
    options: argparse.Namespace, volume: Volume, *, stated: bool
) -> tuple[ExportSegment, str, tuple[Finding, ...]]:
    """The mask on the CT's grid, the name of what made it, and remarks on where it lies.

    Raises:
        InputError: it cannot be read, or has to be ``stated`` how it was made and neither file nor person says so.
    """
    from pancreasseg.export.segment import Algorithm, ExportSegment
    from pancreasseg.io.labels import segment_names
    from pancreasseg.io.read import place_mask
    from pancreasseg.io.seg_nrrd import SEGMENT_NAME, tags_of

    label = None if options.label is None else number_or_name(options.label)
    placed = place_mask(options.mask, volume.geometry, label)
    keys = placed.keys
    names = segment_names(keys)
    name = options.label if isinstance(label, str) else names[0] if len(names) == 1 else SEGMENT_NAME
    tags = tags_of(keys, name)
    made = (options.made or tags.get("DICOM.SegmentAlgorithmType", "")).upper()
    if not stated:
        made = made or Algorithm.MANUAL.value
    if made not in Algorithm.__members__:
        raise InputError(
            "origin-unknown",
            f"{options.mask.name} does not say how the mask was made, which DICOM and NRRD state.",
            f"Say it with --made {', '.join(_MADE[:-1])} or {_MADE[-1]}.",
        )
    made_by = tags.get("DICOM.SegmentAlgorithmName") or "PancreasSeg"
    return ExportSegment(placed.array, algorithm=Algorithm(made)), made_by, placed.findings


def _margins(options: argparse.Namespace, pancreas: ExportSegment, volume: Volume) -> list[ExportSegment]:
    from pancreasseg.export.margins import body_of, margin_segment, ring
    from pancreasseg.export.segment import ExportSegment

    if not options.margin and options.ring is None:
        return []
    within = None if options.outside_body else body_of(volume)
    found = [margin_segment(pancreas, volume.geometry, sides, within=within) for sides in options.margin]
    if options.ring is not None:
        around = ring(pancreas.mask, volume.geometry, options.ring, within=within)
        found.append(ExportSegment.margin(around, f"Ring {options.ring:g} mm", pancreas.algorithm))
    return found


def _preflight(
    segments: Sequence[ExportSegment], volume: Volume, source: Path | None, options: argparse.Namespace
) -> list[Finding]:
    """What should be known about DICOM; what stands in its way is said by the writers, unless only that is asked.

    Raises:
        InputError: ``--check``, and what stands in the way, all of it.
    """
    from pancreasseg.core.finding import Severity
    from pancreasseg.export.preflight import check_dicom_export

    asked = [each for each in formats().values() if options.check and each.name in (options.format or formats())]
    rehearse = [each.rehearse for each in asked if each.rehearse is not None]
    findings = check_dicom_export(source, segments, volume.geometry, series=series_of(options), rehearse=rehearse)
    serious = [finding for finding in findings if finding.severity is Severity.SERIOUS]
    if serious and options.check:
        raise InputError(serious[0].code, " ".join(finding.sentence for finding in serious))
    return [finding for finding in findings if finding not in serious]
