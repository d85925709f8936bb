"""What is selected in Slicer's DICOM browser, and how it is loaded."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from pancreasseg.core.errors import InputError

MODALITY, SERIES_UID, DESCRIPTION, NUMBER = "0008,0060", "0020,000e", "0008,103e", "0020,0011"


def selectedSeries() -> list[tuple[str, str]]:
    """The CT series that are selected in the DICOM browser, as (UID, name).

    The name is number and description of the series, never the patient's.

    Raises:
        InputError: there is no DICOM module, its browser was not opened yet, or no CT is selected there.
    """
    widget = getattr(slicer.modules, "DICOMWidget", None)
    browser = getattr(widget, "browserWidget", None)
    database = getattr(slicer, "dicomDatabase", None)
    if browser is None or database is None:
        raise InputError(
            "no-dicom-browser",
            _("The DICOM browser was not opened yet."),
            _("Open the module DICOM, select patients, studies or series there, and click again."),
        )
    found = []
    for files in browser.fileLists:
        if files and database.fileValue(files[0], MODALITY) == "CT":
            words = [database.fileValue(files[0], tag) for tag in (NUMBER, DESCRIPTION)]
            name = ": ".join(word for word in words if word) or _("CT series")
            found.append((database.fileValue(files[0], SERIES_UID), name))
    if not found:
        raise InputError(
            "no-ct-selected",
            _("No CT series is selected in the DICOM browser."),
            _("Select patients, studies or series there, and click again."),
        )
    return found


def load(series: str) -> slicer.vtkMRMLScalarVolumeNode:
    """Load a series from the database as the DICOM module does; returns its volume node.

    Raises:
        InputError: nothing in it is a volume.
    """
    from DICOMLib import DICOMUtils

    nodes = [slicer.mrmlScene.GetNodeByID(identifier) for identifier in DICOMUtils.loadSeriesByUID([series]) or ()]
    volumes = [node for node in nodes if node is not None and node.IsA("vtkMRMLScalarVolumeNode")]
    if not volumes:
        raise InputError(
            "series-not-loaded",
            _("The series could not be loaded as a volume."),
            _("Load it in the module DICOM to see why."),
        )
    return volumes[0]
