"""VTK reports errors on an output window instead of raising them; here they are collected, so that a test can look."""

from __future__ import annotations

import vtk


class VtkMessages:
    """Collects what VTK objects report with vtkErrorMacro and vtkWarningMacro, for the whole process."""

    def __init__(self) -> None:
        self._window = vtk.vtkStringOutputWindow()
        self._seen = 0
        vtk.vtkOutputWindow.SetInstance(self._window)

    def text(self) -> str:
        """Everything reported since the last `clear`."""
        return self._window.GetOutput()[self._seen :].strip()

    def clear(self) -> None:
        """Forget what was reported so far."""
        self._seen = len(self._window.GetOutput())
