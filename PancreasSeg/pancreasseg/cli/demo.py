"""``pancreasseg demo``: the whole way on a made-up CT, without any data or download."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from pancreasseg.cli import console
from pancreasseg.cli.arguments import Commands, add_command, add_engine
from pancreasseg.cli.segment import segment_to_folder, show_result

#: Bundled; it has seen phantoms, which other models for patients have not.
MODEL = "pancreas-ct"

_DESCRIPTION = """\
Make a phantom CT (a computed abdomen, no patient), segment it like any other CT and compare the result with the
phantom's own pancreas. Shows that the installation works.
"""


def add_to(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    command = add_command(commands, "demo", [common], "try everything on a made-up CT", _DESCRIPTION)
    command.add_argument(
        "--output", metavar="FOLDER", type=Path, help="where the files go (default: a new temporary folder)"
    )
    command.add_argument("--seed", metavar="N", type=int, default=1, help="which made-up patient (default: 1)")
    add_engine(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    import SimpleITK as sitk

    from pancreasseg.grids.resample import to_image
    from pancreasseg.io.atomic import prepare_folder
    from pancreasseg.io.write import write_nifti
    from pancreasseg.phantom import PANCREAS, make_phantom

    folder = options.output or Path(tempfile.mkdtemp(prefix="pancreasseg-demo-"))
    prepare_folder(folder)
    if not options.json:
        console.say(f"Making a phantom CT (patient {options.seed}) ...")
    phantom = make_phantom(options.seed)
    ct, truth = folder / "phantom-ct.nii.gz", folder / "phantom-pancreas.nii.gz"
    sitk.WriteImage(to_image(phantom.volume.array, phantom.volume.geometry), str(ct))
    write_nifti(truth, (phantom.labels == PANCREAS).astype(np.uint8), phantom.volume.geometry)
    call = {
        "model": options.model or MODEL,
        "input": ct,
        "output": folder,
        "reference": truth,
        "reference_label": None,
        "box": None,
        "attention": False,
        "structures": False,
    }
    document, outcome = segment_to_folder(argparse.Namespace(**{**vars(options), **call, "series": None, "allow": []}))
    if options.json:
        console.show_json(document)
        return
    show_result(outcome, document["files"], folder)
    console.show(f"The phantom and its true pancreas are there too: {ct.name}, {truth.name}")
    console.show(f"DSC against the phantom's truth: {document['dsc']:.3f}")
