"""The DICOM series of a CT, and DICOM objects that belong to it. Headers are read and objects written beside Slicer."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer

from pancreasseg.core.errors import InputError, PancreasSegError
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.worker.codec import finding_from
from pancreasseg.worker.jobs import write_export_job, write_series_job
from pancreasseg.worker.task import Task
from PancreasSegLib.Scene import Segments
from PancreasSegLib.Scene.Coordinates import geometryOfNode
from PancreasSegLib.Scene.Parameters import Parameters
from PancreasSegLib.Work import Export
from PancreasSegLib.Work.Export import Written

if TYPE_CHECKING:
    from pancreasseg.export.placing import SeriesFacts
    from pancreasseg.export.segment import ExportSegment

#: The format that Slicer has an exporter for.
SLICERS_OWN = "dicom-seg"


def filesOf(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> tuple[str, ...]:
    """The files of the CT's series, from Slicer's DICOM database or from where the volume was read.

    Raises:
        InputError: it did not come from DICOM, or some of the files are gone.
    """
    identifiers = _identifiers(volumeNode)
    if identifiers and _database() is not None:
        files = [_database().fileForInstance(identifier) for identifier in identifiers]
        gone = sum(not (file and Path(file).is_file()) for file in files)
        if gone:
            raise InputError(
                "dicom-files-gone",
                f"{gone} of the {len(files)} slices of this CT are no longer in Slicer's DICOM database.",
                "Import the series into the DICOM module again, or export NIfTI, NRRD or STL.",
            )
        return tuple(files)
    storage = volumeNode.GetStorageNode()
    files = []
    if storage is not None:
        files = [storage.GetNthFileName(n) for n in range(storage.GetNumberOfFileNames())] or [storage.GetFileName()]
    if not files or not all(_isDicom(file) for file in files):
        from pancreasseg.export.placing import not_from_dicom

        raise not_from_dicom()
    return tuple(files)


class SeriesReader:
    """Reads the headers of a series in a process of its own: a large one takes seconds. Each series is read once.

    Args:
        python: the Python of that process.
    """

    def __init__(self, python: str) -> None:
        self._python = python
        self._known: dict[tuple[str, ...], SeriesFacts | InputError] = {}
        self._files: tuple[str, ...] = ()
        self._job: _Job | None = None

    @property
    def reading(self) -> bool:
        """True while a series is being read."""
        return self._job is not None

    def facts(self, files: tuple[str, ...]) -> SeriesFacts | None:
        """What is known of a series, `SeriesFacts`; None while it is being read, which begins here.

        Raises:
            InputError: what is wrong with the series.
        """
        known = self._known.get(files)
        if isinstance(known, InputError):
            raise known
        if known is None and files != self._files:
            self.end()
            self._files = files
            self._job = _Job("series", self._python, lambda folder: write_series_job(folder, files))
        return known

    def poll(self) -> bool:
        """Called by a timer; true when there is something new.

        Raises:
            PancreasSegError: the headers could not be read, through no fault of theirs.
        """
        from pancreasseg.export.placing import SeriesFacts

        if self._job is None:
            return False
        try:
            result = self._job.poll()
        except InputError as error:
            self._known[self._files] = error
        except PancreasSegError:
            self.end()
            raise
        else:
            if result is None:
                return False
            self._known[self._files] = SeriesFacts.from_dict(result)
        self.end()
        return True

    def end(self) -> None:
        """Stop reading."""
        if self._job is not None:
            self._job.end()
        self._job, self._files = None, ()


class DicomExport:
    """One DICOM object on its way to a file, and into Slicer's database where the CT is from there.

    Slicer's own exporter writes DICOM SEG where it can; everything else is written by the engine, beside Slicer.

    Args:
        form: a format that needs a DICOM series.
        parameters: of the CT.
        path: what to write, from `Export.freePath`.
        python: the Python of the process that writes.
        facts: of the CT's series.

    Raises:
        InputError: what stands in the way, in plain words.
        RunError: the process cannot be started.
    """

    def __init__(self, form: str, parameters: Parameters, path: Path, python: str, facts: SeriesFacts) -> None:
        from pancreasseg.export.segment import check_segments

        volumeNode = parameters.volumeNode
        geometry = geometryOfNode(volumeNode)
        segments = Export.exportSegments(parameters)
        check_segments(segments, geometry)
        facts.check(geometry)
        files = filesOf(volumeNode)
        self._registers = bool(_identifiers(volumeNode)) and _database() is not None
        self._findings = tuple(Export.outdatedMargins(parameters, segments[0].mask))
        self._written: Written | None = None
        self._job: _Job | None = None
        if form == SLICERS_OWN and self._registers and self._writeBySlicer(path, parameters, segments[0]):
            self._written = Written((path,), facts.findings)
            return
        how = Export.algorithmOf(parameters)
        self._job = _Job(
            "export",
            python,
            lambda folder: write_export_job(folder, form, path, segments, geometry, files, how),
        )

    def poll(self) -> Written | None:
        """What was written, once it is; None before.

        Raises:
            PancreasSegError: why nothing was written.
        """
        if self._written is None:
            result = self._job.poll() if self._job is not None else None
            if result is None:
                return None
            findings = tuple(finding_from(it) for it in result["findings"])
            self._written = Written(tuple(Path(path) for path in result["paths"]), findings)
            self._job = None
        remarks = [remark for path in self._written.paths for remark in self._register(path)]
        return Written(self._written.paths, (*self._written.findings, *self._findings, *remarks))

    def end(self) -> None:
        """Give up."""
        if self._job is not None:
            self._job.end()
            self._job = None

    def _register(self, path: Path) -> list[Finding]:
        """Put a file into Slicer's DICOM database, beside its CT; a remark where that fails."""
        if not self._registers:
            return []
        try:
            taken = _insert(path)
        except Exception:
            logging.exception("PancreasSeg: a file could not be put into the DICOM database")
            taken = False
        if taken:
            return []
        sentence = f"{path.name} could not be put into Slicer's DICOM database; import it there by hand."
        return [Finding("not-in-database", Severity.WARNING, sentence)]

    def _writeBySlicer(self, path: Path, parameters: Parameters, pancreas: ExportSegment) -> bool:
        """Let Slicer's exporter write; false where there is none or it fails, and the engine has to."""
        try:
            import DICOMSegmentationPlugin
        except ImportError:
            return False
        node = parameters.segmentationNode
        identifiers = [parameters.segmentId, *Export.marginIds(parameters)]
        _prepareForSlicer(parameters, pancreas, identifiers)
        exporter = DICOMSegmentationPlugin.DICOMSegmentationExporter(node)
        try:
            exporter.export(str(path.parent), path.name, {"SeriesDescription": pancreas.name}, identifiers)
        except Exception:  # the exporter raises whatever dcmqi ended with
            logging.exception("PancreasSeg: Slicer's DICOM SEG exporter failed; PancreasSeg writes the object itself")
            path.unlink(missing_ok=True)
            return False
        finally:
            exporter.cleanup()
        return path.is_file()


class _Job:
    """A task with a private folder for what it works on."""

    def __init__(self, name: str, python: str, prepare: Callable[[Path], Path]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pancreasseg-")
        try:
            self._task = Task([name, str(prepare(Path(self._folder.name)))], python)
        except BaseException:
            self._folder.cleanup()
            raise

    def poll(self) -> dict | None:
        """The result; None while there is none."""
        try:
            result = next((it for it in self._task.poll() if isinstance(it, dict)), None)
        except PancreasSegError:
            self._folder.cleanup()
            raise
        if result is not None:
            self._folder.cleanup()
        return result

    def end(self) -> None:
        """Stop."""
        self._task.end()
        self._folder.cleanup()


def _prepareForSlicer(parameters: Parameters, pancreas: ExportSegment, identifiers: list[str]) -> None:
    """Write onto the segments what Slicer's exporter reads there."""
    from pancreasseg.export.segment import Algorithm

    segmentation = parameters.segmentationNode.GetSegmentation()
    segment = segmentation.GetSegment(parameters.segmentId)
    if pancreas.algorithm is Algorithm.MANUAL:
        Segments.setAlgorithmType(segment, Algorithm.MANUAL.value)
    else:
        Segments.setAlgorithm(segment, pancreas.algorithm.value, Export.algorithmOf(parameters)["algorithm_name"])
    for identifier in identifiers:
        Segments.nameScalars(segmentation.GetSegment(identifier))


def _insert(path: Path) -> bool:
    """Put a copy of a file into the database; true when it is there. The database itself only logs what goes wrong."""
    from pydicom.filereader import read_file_meta_info

    database = _database()
    database.prepareInsert()  # something may have been deleted there since the last time
    database.insert(str(path))
    database.updateDisplayedFields()  # else the DICOM browser shows the new series without a name
    return bool(database.fileForInstance(str(read_file_meta_info(path).MediaStorageSOPInstanceUID)))


def _database() -> Any:
    return getattr(slicer, "dicomDatabase", None)


def _identifiers(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> list[str]:
    return (volumeNode.GetAttribute("DICOM.instanceUIDs") or "").split()


def _isDicom(file: str | None) -> bool:
    """True for a DICOM file; told by its content, because they often have no extension."""
    path = Path(file or "")
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        stream.seek(128)
        return stream.read(4) == b"DICM"
