"""``pancreasseg measure``: the numbers of a mask that exists already."""

from __future__ import annotations

import argparse
from pathlib import Path

from pancreasseg.cli import console
from pancreasseg.cli.arguments import Commands, add_command, add_series, series_of
from pancreasseg.cli.segment import add_reference, label_of, of_reference, show_measurements
from pancreasseg.core.text import number_or_name

_DESCRIPTION = """\
Measure a mask on its CT: volume, HU, shape; and against a reference: DSC, IoU, surface distances. Masks that lie on
another grid than the CT are resampled to it. What should be known about the CT is said with the numbers.
"""


def add_to(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    command = add_command(commands, "measure", [common], "measure a mask, and compare it with another", _DESCRIPTION)
    command.add_argument(
        "mask", metavar="MASK", type=Path, help="a NIfTI, NRRD, .seg.nrrd or MetaImage file with labels"
    )
    command.add_argument("--volume", metavar="CT", type=Path, required=True, help="the CT: a file or DICOM folder")
    add_series(command)
    command.add_argument(
        "--label", metavar="N|NAME", help="which label of MASK is the pancreas (number or segment name)"
    )
    add_reference(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    from pancreasseg.findings.result import review_ct, review_given
    from pancreasseg.io.read import place_mask, read_volume
    from pancreasseg.runs.run import dsc_among, measurements_of

    volume = read_volume(options.volume, series=series_of(options), allow=options.allow)
    label = None if options.label is None else number_or_name(options.label)
    mask = place_mask(options.mask, volume.geometry, label)
    reference = None
    findings = [*volume.findings, *review_ct(volume, volume.findings), *mask.findings]
    findings += review_given(mask.array, volume)
    if options.reference is not None:
        placed = place_mask(options.reference, volume.geometry, label_of(options))
        reference, findings = placed.array, [*findings, *of_reference(placed.findings)]
    measurements = measurements_of(mask.array, volume, reference)
    if options.json:
        document: dict[str, object] = {
            "measurements": [entry.as_dict() for entry in measurements],
            "findings": [finding.as_dict() for finding in findings],
        }
        if reference is not None:
            document["dsc"] = dsc_among(measurements)
        console.show_json(document)
        return
    console.show_findings(findings)
    show_measurements(options.mask.name, measurements)
