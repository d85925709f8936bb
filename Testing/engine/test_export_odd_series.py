"""DICOM export on series whose headers are not as DICOM has them: written, repaired, and said beforehand."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import EnhancedCTImageStorage
from Testing.helpers.ct_files import a_grid
from Testing.helpers.dicom_series import a_series_grid, blobs, read_rtstruct, read_seg, series_headers
from Testing.helpers.enhanced_ct import an_enhanced_ct

from pancreasseg.core.errors import InputError
from pancreasseg.core.finding import Finding
from pancreasseg.export.dicom_seg import rehearse_dicom_seg, write_dicom_seg
from pancreasseg.export.identity import read_identity
from pancreasseg.export.preflight import check_dicom_export
from pancreasseg.export.rtstruct import rehearse_rtstruct, write_rtstruct
from pancreasseg.export.segment import ExportSegment
from pancreasseg.io.dicom_slices import lenient

GEOMETRY = a_series_grid()
MASK = blobs(GEOMETRY)
REHEARSE = (rehearse_dicom_seg, rehearse_rtstruct)
YAMADA = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"
HONG = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"


def odd(header: Dataset, **values: bytes | str | None) -> Dataset:
    """Put bytes into a header as they are, or take an attribute out (None)."""
    for keyword, value in values.items():
        tag, vr = Tag(tag_for_keyword(keyword)), dictionary_VR(keyword)
        header.pop(tag, None)
        if value is not None:
            content = value.encode("latin-1") if isinstance(value, str) else value
            content += (b"\0" if vr == "UI" else b" ") * (len(content) % 2)
            header._dict[tag] = RawDataElement(tag, vr, len(content), content, 0, False, True)
    return header


def write(folder: Path, **values: bytes | str | None) -> Path:
    folder.mkdir()
    with lenient():
        for k, header in enumerate(series_headers(GEOMETRY)):
            odd(header, **values).save_as(folder / f"{k}.dcm", enforce_file_format=True)
    return folder


def identity(**values: bytes | str | None) -> tuple[Dataset, list[Finding]]:
    """What an export states of a CT with odd values, once through a file, and what is remarked."""
    with lenient():
        stated, findings = read_identity([odd(header, **values) for header in series_headers(GEOMETRY)[:2]])
        stated.save_as(content := BytesIO(), implicit_vr=True, little_endian=True)
    content.seek(0)
    return pydicom.dcmread(content, force=True), findings  # without a warning: what is stated is valid


def exported(tmp_path: Path, **values: bytes | str | None) -> tuple[Dataset, Dataset, list[Finding]]:
    """DICOM SEG and RTSTRUCT of a series with odd values, whole, and what the check said before."""
    source, segments = write(tmp_path / "ct", **values), [ExportSegment(MASK)]
    findings = check_dicom_export(source, segments, GEOMETRY, rehearse=REHEARSE)
    seg, structures = tmp_path / "seg.dcm", tmp_path / "rt.dcm"
    assert list(write_dicom_seg(seg, segments, GEOMETRY, source)) == findings
    assert list(write_rtstruct(structures, segments, GEOMETRY, source)) == findings
    with lenient():
        assert np.array_equal(read_seg(seg, GEOMETRY)[1], MASK)
        assert np.array_equal(read_rtstruct(structures, source, GEOMETRY)["Pancreas"], MASK)
        return pydicom.dcmread(seg), pydicom.dcmread(structures), findings


@pytest.mark.parametrize(
    "values",
    [
        {"SpecificCharacterSet": r"\ISO 2022 IR 87", "PatientName": YAMADA},
        {"SpecificCharacterSet": r"\ISO 2022 IR 149", "PatientName": HONG},
        {"SpecificCharacterSet": "UTF-8", "PatientName": "Žofie".encode(), "StudyDescription": "CT\\ABDOMEN"},
        {"PatientSex": "U", "PatientBirthDate": "00000000", "StudyDate": "REMOVED", "StudyTime": "12:00:00"},
        {"PatientName": "A^B\\C^D", "PatientID": "12\\34", "ReferringPhysicianName": "A^B\\C^D"},
        {"PatientSex": "male", "PatientBirthDate": "1950", "StudyTime": "240000", "PatientWeight": "70,5"},
        {"SpecificCharacterSet": None, "PatientName": None, "PatientID": None, "StudyDate": None, "StudyTime": None},
    ],
)
def test_a_series_with_odd_headers_is_exported_whole_and_says_whose_it_is(
    tmp_path: Path, values: dict[str, bytes | str | None]
) -> None:
    seg, structures, findings = exported(tmp_path, **values)
    stated, remarks = identity(**values)
    assert findings == remarks
    for element in stated:
        assert str(seg[element.tag].value) == str(structures[element.tag].value) == str(element.value)


@pytest.mark.parametrize(
    ("terms", "name", "read", "code"),
    [
        (r"\ISO 2022 IR 87", YAMADA, "Yamada^Tarou=山田^太郎", None),
        (r"ISO 2022 IR 6\ISO 2022 IR 87", YAMADA, "Yamada^Tarou=山田^太郎", None),
        (r"\ISO 2022 IR 149", HONG, "Hong^Gildong=洪^吉洞", None),
        ("ISO_IR 192", "Müller^Žofie".encode(), "Müller^Žofie", None),
        ("GB18030", "王^小明".encode("gb18030"), "王^小明", None),
        ("", b"Doe^Jane", "Doe^Jane", None),
        ("ISO_IR 6", b"Doe^Jane", "Doe^Jane", None),
        ("ISO 2022 IR 6", b"Doe^Jane", "Doe^Jane", None),
        ("ISO-IR 100", "Müller".encode("latin-1"), "Müller", "dicom-charset-odd"),
        ("ISO_IR_101", "Žofie".encode("iso8859-2"), "Žofie", "dicom-charset-odd"),
        ("UTF-8", "Žofie".encode(), "Žofie", "dicom-charset-odd"),
        ("windows-1251", "Иван".encode("cp1251"), "Иван", "dicom-charset-odd"),
        ("no such thing", b"Doe^Jane", "Doe^Jane", "dicom-charset-odd"),
        ("no such thing", "Žofie".encode(), "Žofie", "dicom-charset-guessed"),
        ("", "Müller".encode("latin-1"), "Müller", "dicom-charset-guessed"),
        ("ISO_IR 192", "Müller".encode("latin-1"), "Müller", "dicom-charset-guessed"),
        ("", YAMADA, "Yamada^Tarou=山田^太郎", "dicom-charset-guessed"),
    ],
)
def test_names_in_any_character_set_come_back_as_they_were(
    terms: str, name: bytes, read: str, code: str | None
) -> None:
    stated, findings = identity(SpecificCharacterSet=terms, PatientName=name)
    assert str(stated.PatientName) == read
    assert [finding.code for finding in findings] == ([] if code is None else [code])


@pytest.mark.parametrize(
    ("keyword", "value", "repaired"),
    [
        ("PatientSex", "U", ""), ("PatientSex", "male", "M"), ("PatientSex", "m", "M"), ("PatientSex", "N/A", ""),
        ("PatientSex", "FEMALE", "F"), ("PatientSex", "0", ""),
        ("PatientBirthDate", "00000000", ""), ("PatientBirthDate", "1950-01-01", "19500101"),
        ("PatientBirthDate", "1950.01.01", "19500101"), ("PatientBirthDate", "1950", ""),
        ("PatientBirthDate", "ANON", ""), ("PatientBirthDate", "19500231", ""), ("PatientBirthDate", "01/02/1950", ""),
        ("StudyDate", "2020-01-01", "20200101"), ("StudyDate", "REMOVED", ""),
        ("StudyTime", "12:00:00", "120000"), ("StudyTime", "240000", ""), ("StudyTime", "-", ""),
        ("StudyTime", "120000.1234567", "120000.123456"), ("StudyTime", "REMOVED", ""), ("StudyTime", "12", "12"),
        ("PatientAge", "45Y", "045Y"), ("PatientAge", "old", None), ("PatientAge", "045Y", "045Y"),
        ("PatientWeight", "70,5", None), ("PatientWeight", "70.5", 70.5), ("PatientSize", "NaN", None),
        ("PatientSize", "1e400", None), ("PatientIdentityRemoved", "yes", "YES"),
        ("StudyID", b"1\x00\x002", "12"), ("AccessionNumber", b"A\r\n1", "A1"),
    ],
)  # fmt: skip
def test_values_that_dicom_does_not_let_be_are_corrected_or_emptied_and_named(
    keyword: str, value: str | bytes, repaired: object
) -> None:
    stated, findings = identity(**{keyword: value})
    found = stated.get(keyword)
    assert (list(found) if isinstance(repaired, list) else found) == repaired
    text = value if isinstance(value, str) else ""
    assert [finding.code for finding in findings] == (["dicom-values-repaired"] if str(repaired) != text else [])
    for finding in findings:
        assert pydicom.datadict.dictionary_description(keyword) in finding.sentence
        assert f" {value}" not in finding.sentence, "a finding holds no value of the patient's"


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientID", "12\\34"), ("PatientName", "A^B\\C^D"), ("StudyDescription", "CT\\ABDOMEN"),
        ("StudyID", "a number of more than 16 letters"), ("AccessionNumber", "A1\\A2\\"),
        ("ReferringPhysicianName", "A^B\\C^D"), ("PatientID", "x" * 80),
    ],
)  # fmt: skip
def test_values_by_which_an_archive_files_are_the_cts_own(keyword: str, value: str) -> None:
    with lenient():
        stated, findings = identity(**{keyword: value})
        said = stated[keyword].value
    assert (said if isinstance(said, str) else "\\".join(map(str, said))) == value
    assert [finding.code for finding in findings] == ["dicom-values-odd"]


@pytest.mark.parametrize("value", [None, "", "1,5", "thin", "0", "-2", "1e400", "NaN", "5\\5"])
def test_a_missing_or_odd_slice_thickness_becomes_the_distance_of_the_slices(tmp_path: Path, value: str | None) -> None:
    seg, _, findings = exported(tmp_path, SliceThickness=value)
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SliceThickness == GEOMETRY.spacing[2]
    assert [finding.code for finding in findings] == ["dicom-no-slice-thickness"]


@pytest.mark.parametrize("value", ["1.2.3.4", "", None, "CT", EnhancedCTImageStorage])
def test_slices_of_a_replaced_class_are_referred_to_as_ct(tmp_path: Path, value: str | None) -> None:
    seg, structures, findings = exported(tmp_path, SOPClassUID=value)
    stated = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPClassUID
    image = structures.ROIContourSequence[0].ContourSequence[0].ContourImageSequence[0]
    expected = value if value == EnhancedCTImageStorage else pydicom.uid.CTImageStorage
    assert stated == image.ReferencedSOPClassUID == expected
    codes = [finding.code for finding in findings]
    assert codes == ([] if not value or value == expected else ["dicom-class-repaired"])


@pytest.mark.parametrize("value", ["ANON-17", "1.02.3", "1." + "2" * 70])
def test_identifiers_that_are_none_are_referred_to_as_they_are(tmp_path: Path, value: str) -> None:
    keywords = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
    seg, structures, _ = exported(tmp_path, **dict.fromkeys(keywords, value))
    with lenient():
        for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
            assert str(seg[keyword].value) == str(structures[keyword].value) == value


def test_slices_of_several_patients_are_refused_and_lost_patient_ids_taken_from_the_others(tmp_path: Path) -> None:
    headers = series_headers(GEOMETRY)
    for name in ("lost", "mixed"):
        (tmp_path / name).mkdir()
        odd(headers[0], PatientID="" if name == "lost" else "another")
        for k, header in enumerate(headers):
            header.save_as(tmp_path / name / f"{k}.dcm", enforce_file_format=True)
    write_rtstruct(tmp_path / "rt.dcm", [ExportSegment(MASK)], GEOMETRY, tmp_path / "lost")
    assert pydicom.dcmread(tmp_path / "rt.dcm").PatientID == "SECRET-4711"
    with pytest.raises(InputError, match="2 different patients"):
        write_rtstruct(tmp_path / "rt.dcm", [ExportSegment(MASK)], GEOMETRY, tmp_path / "mixed")


def test_slices_in_series_of_their_own_are_all_referred_to(tmp_path: Path) -> None:
    source = write(tmp_path / "ct")
    for k, file in enumerate(sorted(source.iterdir())):
        header = pydicom.dcmread(file)
        header.SeriesInstanceUID = f"1.2.3.4.{k}"
        header.save_as(file)
    told = check_dicom_export(source, [ExportSegment(MASK)], GEOMETRY, rehearse=REHEARSE)
    assert [(it.code, it.severity.value) for it in told] == [("dicom-several-series", "warning")]
    write_dicom_seg(tmp_path / "seg.dcm", [ExportSegment(MASK)], GEOMETRY, source)
    write_rtstruct(tmp_path / "rtstruct.dcm", [ExportSegment(MASK)], GEOMETRY, source)
    np.testing.assert_array_equal(read_seg(tmp_path / "seg.dcm", GEOMETRY)[1], MASK)
    np.testing.assert_array_equal(read_rtstruct(tmp_path / "rtstruct.dcm", source, GEOMETRY)["Pancreas"], MASK)
    of_seg = pydicom.dcmread(tmp_path / "seg.dcm").ReferencedSeriesSequence
    frame = pydicom.dcmread(tmp_path / "rtstruct.dcm").ReferencedFrameOfReferenceSequence[0]
    of_rtstruct = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    where = {str(h.SOPInstanceUID): str(h.SeriesInstanceUID) for h in map(pydicom.dcmread, source.iterdir())}
    for series, images in ((of_seg, "ReferencedInstanceSequence"), (of_rtstruct, "ContourImageSequence")):
        assert {str(i.ReferencedSOPInstanceUID): str(s.SeriesInstanceUID) for s in series for i in s[images]} == where


def test_frames_of_one_file_are_referred_to_by_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "ct").mkdir()
    ct, geometry = an_enhanced_ct(), a_grid()
    ct.FrameOfReferenceUID = "1.2.3"
    ct.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness = "2.5"
    ct.save_as(tmp_path / "ct" / "ct.dcm", enforce_file_format=True)
    segment = ExportSegment(np.zeros(geometry.shape, np.uint8))
    segment.mask[3:8, 5:13, 4:12] = 1
    assert not check_dicom_export(tmp_path / "ct", [segment], geometry, rehearse=REHEARSE)
    write_dicom_seg(tmp_path / "seg.dcm", [segment], geometry, tmp_path / "ct")
    write_rtstruct(tmp_path / "rt.dcm", [segment], geometry, tmp_path / "ct")
    assert np.array_equal(read_seg(tmp_path / "seg.dcm", geometry)[1], segment.mask)
    seg, structures = pydicom.dcmread(tmp_path / "seg.dcm"), pydicom.dcmread(tmp_path / "rt.dcm")

    def height(image: Dataset) -> float:
        assert (image.ReferencedSOPInstanceUID, image.ReferencedSOPClassUID) == (ct.SOPInstanceUID, ct.SOPClassUID)
        frame = ct.PerFrameFunctionalGroupsSequence[image.ReferencedFrameNumber - 1]
        return float(frame.PlanePositionSequence[0].ImagePositionPatient[2])

    for groups in seg.PerFrameFunctionalGroupsSequence:
        (source,) = groups.DerivationImageSequence[0].SourceImageSequence
        assert height(source) == groups.PlanePositionSequence[0].ImagePositionPatient[2]
    (whole,) = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert whole.ReferencedSOPInstanceUID == ct.SOPInstanceUID
    for contour in structures.ROIContourSequence[0].ContourSequence:
        assert height(contour.ContourImageSequence[0]) == contour.ContourData[2]
    assert len(structures.ROIContourSequence[0].ContourSequence) == 5


def test_a_frame_of_reference_that_some_slices_lost_is_that_of_the_others(tmp_path: Path) -> None:
    source = write(tmp_path / "ct")
    first = min(source.iterdir())
    header = pydicom.dcmread(first)
    known, header.FrameOfReferenceUID = header.FrameOfReferenceUID, ""
    header.save_as(first)
    findings = write_rtstruct(tmp_path / "rtstruct.dcm", [ExportSegment(MASK)], GEOMETRY, source)
    assert [it.code for it in findings] == ["dicom-frame-of-reference-repaired"]
    assert pydicom.dcmread(tmp_path / "rtstruct.dcm").FrameOfReferenceUID == known


@pytest.mark.parametrize("term", ["idna", "punycode", "utf-16", "rot13", "hex", "unicode_escape"])
def test_codecs_that_are_no_character_set_are_not_used(term: str) -> None:
    stated, findings = identity(SpecificCharacterSet=term, PatientName=b"M\xfcller^Eva")
    assert stated.PatientName == "Müller^Eva"
    assert [it.code for it in findings] == ["dicom-charset-guessed"]


def test_years_keep_their_four_digits() -> None:
    assert identity(PatientBirthDate="00010101")[0].PatientBirthDate == "00010101"


def test_a_slice_thickness_of_no_scanner_becomes_the_distance_of_the_slices(tmp_path: Path) -> None:
    seg, _, findings = exported(tmp_path, SliceThickness="1e30")
    assert seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness == GEOMETRY.spacing[2]
    assert "dicom-no-slice-thickness" in [it.code for it in findings]
