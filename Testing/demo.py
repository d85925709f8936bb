"""From a CT to an MRML scene with box, segment and statistics, headless, by the code that the Slicer module calls.

    python -m Testing.demo --output demo-output [--ct FILE_OR_DICOM_FOLDER]

Without ``--ct`` it makes a phantom CT and compares the result with the phantom's own pancreas.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from Testing.slicer_boot import boot

from pancreasseg.cli import console
from pancreasseg.cli.segment import show_result
from pancreasseg.core import Volume
from pancreasseg.core.errors import PancreasSegError
from pancreasseg.core.progress import Update
from pancreasseg.io.read import read_volume
from pancreasseg.io.write import prepare_folder
from pancreasseg.phantom import PANCREAS, make_phantom
from pancreasseg.runs.run import complete, write
from pancreasseg.worker.client import WorkerClient
from PancreasSegLib.Scene import SceneFiles, Segments, VolumeNodes
from PancreasSegLib.Scene.Parameters import Parameters
from PancreasSegLib.Work.Run import Outcome
from PancreasSegLib.Work.Workflow import Workflow

PHANTOM_MODEL = "pancreas-ct"  # bundled; it has seen phantoms, too
ROOT = Path(__file__).resolve().parents[1]
SCENE = "scene.mrb"
VIEWS = "views.png"


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder for the files")
    parser.add_argument("--ct", type=Path, help="a NIfTI, NRRD or MHA file, or a DICOM folder; a phantom without it")
    parser.add_argument("--seed", type=int, default=1, help="which phantom")
    parser.add_argument("--model", help="an installed model; by default the best one")
    parser.add_argument("--pipeline", help="by default the one that the model is made for")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    options = parser.parse_args(arguments)
    try:
        _run(options)
    except PancreasSegError as error:
        console.say(str(error))
        return error.exit_code
    return 0


def _run(options: argparse.Namespace) -> None:
    started = time.monotonic()
    prepare_folder(options.output)
    volume, truth = _input(options)
    seconds = {"reading the CT" if options.ct else "making the phantom": time.monotonic() - started}

    headless = boot()
    volumeNode = VolumeNodes.addVolumeNode(headless.scene, volume, "CT" if options.ct else "Phantom CT")
    parameters = Parameters.forVolume(volumeNode)
    parameters.model = options.model or ("" if options.ct else PHANTOM_MODEL)
    parameters.pipeline, parameters.device = options.pipeline or "", options.device
    clock = time.monotonic()
    outcome = _segment(volumeNode)
    seconds["from volume node to result in the scene"] = time.monotonic() - clock

    # The files hold what is in the scene, not what the engine returned: that the two are the same is the point.
    mask = Segments.readMask(parameters.segmentationNode, parameters.segmentId, volumeNode)
    findings = tuple(dict.fromkeys((*volume.findings, *outcome.findings)))
    segmentation = replace(outcome.segmentation, mask=mask, findings=findings)
    result = complete(volume, segmentation, truth)
    document = write(options.output, result, {"total": sum(seconds.values())})
    SceneFiles.saveScene(headless.scene, options.output / SCENE)
    drawn = _draw(options.output)

    files = [*document["files"], SCENE, *([VIEWS] if drawn else [])]
    show_result(result, files, options.output)
    for what, value in seconds.items():
        console.show(f"{value:6.1f} s  {what}")
    if truth is not None:
        console.show(f"DSC against the phantom's truth: {document['dsc']:.3f}")


def _input(options: argparse.Namespace) -> tuple[Volume, np.ndarray | None]:
    """The CT, and the true mask of a phantom."""
    if options.ct is not None:
        console.say("Reading the CT ...")
        return read_volume(options.ct), None
    console.say(f"Making a phantom CT (patient {options.seed}) ...")
    phantom = make_phantom(options.seed)
    return phantom.volume, (phantom.labels == PANCREAS).astype(np.uint8)


def _segment(volumeNode: object) -> Outcome:
    """One run as the panel makes it, with a line for every stage."""
    stages: list[str] = []

    def show(update: Update) -> None:
        if update.stage not in stages:
            stages.append(update.stage)
            console.say(f"{console.stage_title(update.stage)} ...")

    with WorkerClient() as client:
        workflow = Workflow(client, onProgress=show, onNotice=lambda finding: console.say(finding.sentence))
        return workflow.run(volumeNode)


def _draw(folder: Path) -> bool:
    """Open the saved scene in Slicer's views and take a picture; False where nothing can be drawn off screen."""
    command = [
        sys.executable,
        "-m",
        "Testing.slicer_boot.views",
        *(str((folder / name).resolve()) for name in (SCENE, VIEWS)),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        console.say(
            "There is no picture of the views: this computer cannot draw off screen (EGL or OSMesa is missing)."
        )
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
