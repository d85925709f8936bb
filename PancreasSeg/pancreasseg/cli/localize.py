"""``pancreasseg localize``: where the pancreas is."""

from __future__ import annotations

import argparse

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

_DESCRIPTION = """\
Find the box around the pancreas and print it as I0 I1 J0 J1 K0 K1: voxels of the CT from I0 up to, not including,
I1, and so on. 'pancreasseg segment --box' takes the same numbers.
"""


def add_to(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    command = add_command(commands, "localize", [common], "find the box around the pancreas", _DESCRIPTION)
    add_input(command)
    add_engine(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    from pancreasseg.findings.result import review_ct

    check_input(options)
    with console.progress_shown(quiet=options.json) as progress:
        progress.plan([("read", 1.0), ("models", 2.0)])
        volume = read_input(options, progress)
        pipeline = load_pipeline(options, progress)
        found = pipeline.localize(volume, progress)
    findings = (*volume.findings, *review_ct(volume, volume.findings), *found.findings)
    box, size = found.box.bounds(), found.box.extent_mm(volume.geometry)
    if options.json:
        console.show_json(
            {
                "box": box,
                "size_mm": [round(s, 1) for s in size],
                "score": found.score,
                "candidates": [candidate.bounds() for candidate in found.candidates],
                "findings": [finding.as_dict() for finding in findings],
                "timings": progress.timings,
                "models": pipeline.provenance(found.box).models,
            }
        )
        return
    console.show_findings(findings)
    console.show(f"Box:   {' '.join(str(bound) for bound in box)}")
    console.show(f"Size:  {' x '.join(f'{s:.0f}' for s in size)} mm")
    console.show(f"Score: {found.score:.2f}")
