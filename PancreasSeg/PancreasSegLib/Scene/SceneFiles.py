"""Saving a scene as one file."""

from __future__ import annotations

from pathlib import Path

import slicer

from pancreasseg.core.errors import OutputError
from pancreasseg.io.atomic import staged


def saveScene(scene: slicer.vtkMRMLScene, path: Path) -> None:
    """Save everything as a scene bundle (.mrb); the file appears whole or not at all.

    Args:
        scene: the vtkMRMLScene.
        path: ends with ".mrb"; its folder must exist.

    Raises:
        OutputError: the file cannot be written.
    """
    path = Path(path)
    messages = slicer.vtkMRMLMessageCollection()
    try:
        if not path.parent.is_dir():
            raise FileNotFoundError(path.parent)
        # VTK names the folder inside the bundle after the file, so the draft must bear the right name.
        with staged(path.parent) as stage:
            if not scene.WriteToMRB(str(stage.new / path.name), None, messages):
                raise OSError(messages.GetAllMessagesAsString().strip() or "the scene was not written")
            stage.commit([path.name])
    except (OSError, OutputError) as error:
        raise OutputError(
            "scene-not-saved",
            f"The scene could not be saved to {path.name}.",
            "Check that the folder exists, can be written and has space left.",
        ) from error
