"""The patients of a list in one table, and in files of one folder."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import slicer
import slicer.util
import vtk

from pancreasseg.core.errors import PancreasSegError
from pancreasseg.export.formats import formats
from PancreasSegLib.Work import Dicom, Export
from PancreasSegLib.Work.Patients import Patient
from PancreasSegLib.Work.Sentences import sentenceOf

TABLE_NAME = "Pancreas of several patients"
LEADING = ("CT", "State", "Remark")


def rowsOf(patients: Sequence[Patient]) -> list[list[str]]:
    """Titles, then a row for each patient: name, state, remark and every measurement; numbers as plain text."""
    titles: dict[str, str] = {}
    for patient in patients:
        for measurement in patient.measurements:
            unit = f" [{measurement.unit_text}]" if measurement.unit_text else ""
            titles.setdefault(measurement.name, measurement.title + unit)
    rows = [[*LEADING, *titles.values()]]
    for patient in patients:
        texts = {measurement.name: measurement.value_text for measurement in patient.measurements}
        rows.append([patient.name, patient.state, patient.message, *(texts.get(name, "") for name in titles)])
    return rows


def csvOf(patients: Sequence[Patient]) -> str:
    """The same as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rowsOf(patients))
    return text.getvalue()


def showTable(patients: Sequence[Patient]) -> slicer.vtkMRMLTableNode:
    """The same in a table node of the scene, always the same one; returns it."""
    scene = slicer.mrmlScene
    node = scene.GetFirstNodeByName(TABLE_NAME)
    if node is None or not node.IsA("vtkMRMLTableNode"):
        node = scene.AddNewNodeByClass("vtkMRMLTableNode", TABLE_NAME)
    titles, *rows = rowsOf(patients)
    with slicer.util.NodeModify(node):
        node.RemoveAllColumns()
        for number, title in enumerate(titles):
            column = vtk.vtkStringArray()
            column.SetName(title)
            for row in rows:
                column.InsertNextValue(row[number])
            node.AddColumn(column)
        node.SetUseColumnTitleAsColumnHeader(True)
        node.SetLocked(True)
    return node


class ExportOfAll:
    """Writes the segments of all patients into one folder, one after the other; what fails stops no other.

    Args:
        kind: a key of `pancreasseg.export.formats.formats`.
        patients: those of the list.
        folder: must exist.
        python: the Python of the processes that read and write DICOM.

    Attributes:
        written: how many patients' segments are in files.
        troubles: what could not be written, as "name: why".
    """

    def __init__(self, kind: str, patients: Sequence[Patient], folder: str, python: str) -> None:
        self._kind = kind
        self._folder = folder
        self._python = python
        self._waiting = [patient for patient in patients if patient.parameters is not None]
        self._reader = Dicom.SeriesReader(python)
        self._writing: Dicom.DicomExport | None = None
        self.written = 0
        self.troubles: list[str] = []

    @property
    def left(self) -> int:
        """How many are still to be written."""
        return len(self._waiting)

    def poll(self) -> bool:
        """Do the next piece; true when all is done."""
        if not self._waiting:
            return True
        patient = self._waiting[0]
        try:
            written = self._write(patient)
        except Exception as error:
            self._writing = None
            self.troubles.append(f"{patient.name}: {sentenceOf(error)}")
            self._waiting.pop(0)
        else:
            if written is not None:
                self._writing = None
                self.written += 1
                self._waiting.pop(0)
        return not self._waiting

    def end(self) -> None:
        """Give up what is not written yet."""
        self._waiting = []
        self._reader.end()
        if self._writing is not None:
            self._writing.end()

    def _write(self, patient: Patient) -> Export.Written | None:
        """What was written for one patient; None while that goes on."""
        parameters = patient.parameters
        if self._writing is not None:
            return self._writing.poll()
        if parameters is None:
            raise PancreasSegError("segment-gone", "The segment is no longer in the scene.")
        stem = _stem(patient.name)
        if not formats()[self._kind].needs_series:
            return Export.write(self._kind, parameters, self._folder, stem)
        self._reader.poll()
        facts = self._reader.facts(Dicom.filesOf(parameters.volumeNode))
        if facts is not None:
            path: Path = Export.freePath(self._folder, self._kind, stem)
            self._writing = Dicom.DicomExport(self._kind, parameters, path, self._python, facts)
        return None


def _stem(name: str) -> str:
    """What the files of a CT are called: its name in letters that every disk takes."""
    letters = re.sub(r"[^\w-]+", "-", name).strip("-")
    return f"{letters or 'CT'}-pancreas"
