"""Fuzz targets for DICOM export: a series whose headers hold odd values, as DICOM SEG and RTSTRUCT."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.tag import Tag
from Testing.helpers.dicom_series import blobs, series_headers

from pancreasseg.core import Geometry
from pancreasseg.core.errors import InputError
from pancreasseg.export.dicom_seg import rehearse_dicom_seg
from pancreasseg.export.preflight import prepare
from pancreasseg.export.rtstruct import rehearse_rtstruct
from pancreasseg.export.segment import ExportSegment
from pancreasseg.io.dicom_slices import lenient

Target = Callable[[np.random.Generator, Path], str]
_GRID = Geometry((20, 18, 9), (0.8, 1.1, 5.0), (-31.5, 12.25, 100.75))
_ATTRIBUTES = (
    "SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize",
    "PatientWeight", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber", "IssuerOfPatientID",
    "ReferringPhysicianName", "PatientIdentityRemoved", "DeidentificationMethod", "SliceThickness", "SOPClassUID",
    "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "ClinicalTrialSubjectID",
)  # fmt: skip
_VALUES = [
    b"", b"\\", b"\\\\", b"A\\B", b"\0", b" ", b"^", b"^^^^=", b"A^B\\C^D", b"\x1b", b"\x1b$B;3ED", b"\x1b$)C\xfb\xf3",
    b"\x1b$(D", b"\xff\xfe", "Žofie".encode(), "Müller".encode("latin-1"), "山田".encode("gb18030"), b"x" * 70,
    b"x" * 2000, b"00000000", b"19500101", b"1950-01-01", b"19500230", b"99999999", b"12:00:00", b"240000",
    b"120000.1234567", b"-", b"REMOVED", b"U", b"male", b"1,5", b"5\\5", b"NaN", b"1e400", b"-1", b"0", b"9" * 400,
    b"UTF-8", b"ISO_IR 100", b"ISO 2022 IR 87", b"\\ISO 2022 IR 149", b"ISO_IR 192\\ISO 2022 IR 87", b"ISO_IR 999",
    b"hex", b"utf-16", b"utf-7", b"idna", b"unicode_escape", b"ISO_IR 13", b"GB18030", b"1.2.3", b"1.02", b"1..2",
    b"045Y", b"45Y", b"YES", b"no",
]  # fmt: skip
_REPRESENTATIONS = ("LO", "UN", "OB", "PN", "CS", "ST", "UT")


def fuzz_export(random: np.random.Generator, folder: Path) -> str:
    """A few attributes of all slices, or of one, with odd values, some under an odd value representation."""
    headers = _headers()
    for _ in range(int(random.integers(1, 6))):
        keyword = _ATTRIBUTES[int(random.integers(0, len(_ATTRIBUTES)))]
        value, vr = _value(random), dictionary_VR(keyword)
        if random.random() < 0.1:
            vr = _REPRESENTATIONS[int(random.integers(0, len(_REPRESENTATIONS)))]
        for header in headers if random.random() < 0.8 else headers[:1]:
            tag = Tag(tag_for_keyword(keyword))
            header._dict[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    with lenient():
        for k, header in enumerate(headers):
            (folder / f"{k}.dcm").write_bytes(_content(header))
    segments = [ExportSegment(blobs(_GRID))]
    try:
        prepared = prepare(folder, segments, _GRID)
    except InputError as refusal:
        return refusal.code
    rehearse_dicom_seg(prepared, segments)
    rehearse_rtstruct(prepared, segments)
    return "accepted"


def _value(random: np.random.Generator) -> bytes:
    value = _VALUES[int(random.integers(0, len(_VALUES)))]
    if random.random() < 0.3:
        value += _VALUES[int(random.integers(0, len(_VALUES)))]
    if random.random() < 0.2:
        value = random.bytes(int(random.integers(0, 20)))
    return value + b" " * (len(value) % 2)


def _content(header: pydicom.FileDataset) -> bytes:
    """A file of the elements as they lie; `save_as` would encode all texts anew, and fails by odd charsets."""
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, False
    for tag in sorted(header.keys()):
        write_data_element(file, header.get_item(tag))
    return _before(header) + file.getvalue()


def _before(header: pydicom.FileDataset) -> bytes:
    """What stands before the elements: the file meta information."""
    empty, file = pydicom.Dataset(), io.BytesIO()
    empty.file_meta = header.file_meta
    empty.save_as(file, enforce_file_format=False)
    return file.getvalue()


def _headers() -> list[pydicom.FileDataset]:
    """The headers as they lie in files, nothing decoded yet."""
    return [pydicom.dcmread(io.BytesIO(content), force=True) for content in _good()]


@cache
def _good() -> tuple[bytes, ...]:
    contents = []
    for header in series_headers(_GRID):
        file = io.BytesIO()
        header.save_as(file, enforce_file_format=False)
        contents.append(file.getvalue())
    return tuple(contents)


TARGETS: dict[str, Target] = {"DICOM export": fuzz_export}
