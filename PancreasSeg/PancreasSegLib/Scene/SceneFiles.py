"""Saving a scene as one file."""

from __future__ import annotations

from pathlib import Path

import slicer

from pancreasseg.core.errors import OutputError


def saveScene(scene: slicer.vtkMRMLScene, path: Path) -> None:
    """Save everything as a scene bundle (.mrb); the file appears whole or not at all.

    Args:
        scene: the vtkMRMLScene.
        path: ends with ".mrb"; its folder must exist.

    Raises:
        OutputError: the file cannot be written.
    """
    path = Path(path)
    # VTK names the folder inside the bundle after the file, so the draft bears the right name in a folder of its own.
    draft = path.parent / f".{path.stem}.partial" / path.name
    messages = slicer.vtkMRMLMessageCollection()
    try:
        draft.parent.mkdir()
        if not scene.WriteToMRB(str(draft), None, messages):
            raise OSError(messages.GetAllMessagesAsString().strip() or "the scene was not written")
        draft.replace(path)
    except OSError as error:
        raise OutputError(
            "scene-not-saved",
            f"The scene could not be saved to {path.name}.",
            "Check that the folder exists, can be written and has space left.",
        ) from error
    finally:
        draft.unlink(missing_ok=True)
        if draft.parent.is_dir():
            draft.parent.rmdir()
