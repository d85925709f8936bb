"""DICOM SEG and RTSTRUCT, read back by readers that know nothing of the code that wrote them."""

import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from Testing.helpers.ct_files import write_slices
from Testing.helpers.dicom_series import (
    FRAME,
    ORIENTATIONS,
    SERIES,
    STUDY,
    a_series_grid,
    blobs,
    polygon_ml,
    read_rtstruct,
    read_seg,
    series_headers,
    write_series,
)

from pancreasseg.core import Geometry
from pancreasseg.core.errors import InputError, OutputError, RunError
from pancreasseg.core.finding import Severity
from pancreasseg.export.dicom_seg import write_dicom_seg
from pancreasseg.export.preflight import blocks, check_dicom_export
from pancreasseg.export.rtstruct import write_rtstruct
from pancreasseg.export.segment import Algorithm, ExportSegment
from pancreasseg.io.read import read_mask, read_volume


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def reordered(mask: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, Geometry]:
    """The same voxels stored with other axes: (i, j, k) become (k, -i, j)."""
    x, y, z = (float(v) for v in geometry.to_world((geometry.size[0] - 1, 0, 0)))
    axes = np.stack([geometry.axes[:, 2], -geometry.axes[:, 0], geometry.axes[:, 1]], axis=1)
    size = (geometry.size[2], geometry.size[0], geometry.size[1])
    spacing = (geometry.spacing[2], geometry.spacing[0], geometry.spacing[1])
    stored = mask.transpose(1, 2, 0)[:, ::-1, :]
    return np.ascontiguousarray(stored), Geometry(size, spacing, (x, y, z), tuple(float(v) for v in axes.ravel()))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_seg_comes_back_voxel_for_voxel(tmp_path: Path, orientation: str) -> None:
    geometry = a_series_grid(orientation)
    source = write_series(tmp_path / "ct", geometry)
    mask = blobs(geometry)
    write_dicom_seg(tmp_path / "seg.dcm", [ExportSegment(mask)], geometry, source)
    assert np.array_equal(read_seg(tmp_path / "seg.dcm", geometry)[1], mask)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_rtstruct_comes_back_voxel_for_voxel(tmp_path: Path, orientation: str) -> None:
    geometry = a_series_grid(orientation)
    source = write_series(tmp_path / "ct", geometry)
    mask = blobs(geometry)
    write_rtstruct(tmp_path / "rt.dcm", [ExportSegment(mask)], geometry, source)
    back = read_rtstruct(tmp_path / "rt.dcm", source, geometry)["Pancreas"]
    assert np.array_equal(back, mask)


@pytest.mark.parametrize("orientation", ["axial", "oblique"])
def test_a_mask_with_other_axes_or_cropped_lands_on_the_same_voxels(tmp_path: Path, orientation: str) -> None:
    geometry = a_series_grid(orientation)
    source = write_series(tmp_path / "ct", geometry)
    mask = blobs(geometry)
    stored, other = reordered(mask, geometry)
    assert not other.same_grid(geometry)
    write_dicom_seg(tmp_path / "turned.dcm", [ExportSegment(stored)], other, source)
    assert np.array_equal(read_seg(tmp_path / "turned.dcm", geometry)[1], mask)

    corner = tuple(float(v) for v in geometry.to_world((3, 2, 1)))
    part = mask[1:8, 2:16, 3:20]
    crop = Geometry(part.shape[::-1], geometry.spacing, corner, geometry.direction)
    write_rtstruct(tmp_path / "part.dcm", [ExportSegment(part)], crop, source)
    expected = np.zeros_like(mask)
    expected[1:8, 2:16, 3:20] = part
    assert np.array_equal(read_rtstruct(tmp_path / "part.dcm", source, geometry)["Pancreas"], expected)


def test_seg_says_what_it_is_and_where_it_belongs(tmp_path: Path) -> None:
    geometry = a_series_grid()
    source = write_series(tmp_path / "ct", geometry)
    pancreas = ExportSegment(blobs(geometry), algorithm=Algorithm.SEMIAUTOMATIC)
    margin = ExportSegment.margin(np.ones(geometry.shape, dtype=np.uint8), "Margin 10 mm", Algorithm.MANUAL)
    write_dicom_seg(
        tmp_path / "seg.dcm", [pancreas, margin], geometry, source, algorithm_name="two-stage", algorithm_version="1.2"
    )
    data = pydicom.dcmread(tmp_path / "seg.dcm")
    assert (data.Modality, data.SegmentationType) == ("SEG", "BINARY")
    assert (data.StudyInstanceUID, data.FrameOfReferenceUID) == (STUDY, FRAME)
    assert data.SeriesInstanceUID != SERIES
    assert (data.PatientName, data.PatientID) == ("Doe^Jane", "SECRET-4711")
    referenced = data.ReferencedSeriesSequence[0]
    assert referenced.SeriesInstanceUID == SERIES
    instances = {pydicom.dcmread(f).SOPInstanceUID for f in source.iterdir()}
    assert {r.ReferencedSOPInstanceUID for r in referenced.ReferencedInstanceSequence} == instances

    first, second = data.SegmentSequence
    assert first.SegmentLabel == "Pancreas"
    assert first.SegmentAlgorithmType == "SEMIAUTOMATIC"
    code = first.SegmentedPropertyTypeCodeSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("15776009", "SCT")
    assert first.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "123037004"
    algorithm = first.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("two-stage", "1.2")
    assert (second.SegmentLabel, second.SegmentAlgorithmType) == ("Margin 10 mm", "MANUAL")
    assert "SegmentationAlgorithmIdentificationSequence" not in second
    back = read_seg(tmp_path / "seg.dcm", geometry)
    assert np.array_equal(back[1], pancreas.mask)
    assert back[2].all()


def test_seg_frames_name_the_slice_they_lie_on(tmp_path: Path) -> None:
    geometry = a_series_grid("oblique")
    source = write_series(tmp_path / "ct", geometry)
    write_dicom_seg(tmp_path / "seg.dcm", [ExportSegment(blobs(geometry))], geometry, source)
    corners = {h.SOPInstanceUID: h.ImagePositionPatient for h in map(pydicom.dcmread, source.iterdir())}
    for groups in pydicom.dcmread(tmp_path / "seg.dcm").PerFrameFunctionalGroupsSequence:
        image = groups.DerivationImageSequence[0].SourceImageSequence[0]
        stated = groups.PlanePositionSequence[0].ImagePositionPatient
        assert np.allclose(stated, corners[image.ReferencedSOPInstanceUID], atol=1e-4)


def test_seg_opens_in_highdicom(tmp_path: Path) -> None:
    import highdicom

    geometry = a_series_grid("oblique")
    source = write_series(tmp_path / "ct", geometry)
    mask = blobs(geometry)
    write_dicom_seg(tmp_path / "seg.dcm", [ExportSegment(mask)], geometry, source)
    seg = highdicom.seg.segread(tmp_path / "seg.dcm")
    volume = seg.get_volume(combine_segments=True)
    assert np.count_nonzero(volume.array) == np.count_nonzero(mask)


def test_rtstruct_says_what_it_is_and_where_it_belongs(tmp_path: Path) -> None:
    geometry = a_series_grid()
    source = write_series(tmp_path / "ct", geometry)
    margin = ExportSegment.margin(np.ones(geometry.shape, dtype=np.uint8), "Margin 10 mm", Algorithm.SEMIAUTOMATIC)
    write_rtstruct(tmp_path / "rt.dcm", [ExportSegment(blobs(geometry)), margin], geometry, source)
    data = pydicom.dcmread(tmp_path / "rt.dcm")
    assert (data.Modality, data.ApprovalStatus) == ("RTSTRUCT", "UNAPPROVED")
    assert (data.StudyInstanceUID, data.PatientID) == (STUDY, "SECRET-4711")
    frame = data.ReferencedFrameOfReferenceSequence[0]
    assert frame.FrameOfReferenceUID == FRAME
    series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == SERIES
    assert len(series.ContourImageSequence) == geometry.size[2]
    assert [r.ROIGenerationAlgorithm for r in data.StructureSetROISequence] == ["AUTOMATIC", "SEMIAUTOMATIC"]
    assert [o.RTROIInterpretedType for o in data.RTROIObservationsSequence] == ["ORGAN", ""]
    assert list(data.ROIContourSequence[0].ROIDisplayColor) == [249, 180, 111]
    assert read_rtstruct(tmp_path / "rt.dcm", source, geometry)["Margin 10 mm"].all()


@pytest.mark.filterwarnings("ignore")  # rt-utils and OpenCV are no part of the product
def test_rtstruct_opens_in_rt_utils(tmp_path: Path) -> None:
    from rt_utils import RTStructBuilder

    geometry = Geometry((18, 18, 9), (0.8, 0.8, 5.0), (-31.5, 12.25, 100.75))  # square: all that rt-utils places right
    source = write_series(tmp_path / "ct", geometry)
    mask = np.zeros(geometry.shape, dtype=np.uint8)
    mask[2:6, 3:13, 4:15] = 1
    write_rtstruct(tmp_path / "rt.dcm", [ExportSegment(mask)], geometry, source)
    opened = RTStructBuilder.create_from(dicom_series_path=str(source), rt_struct_path=str(tmp_path / "rt.dcm"))
    assert opened.get_roi_names() == ["Pancreas"]
    back = np.moveaxis(opened.get_roi_mask_by_name("Pancreas"), -1, 0)
    # It rounds points to pixels and counts the line itself as inside, so its masks are up to a pixel larger.
    larger = np.zeros_like(back)
    larger[2:6, 2:14, 3:16] = True
    assert back[mask > 0].all()
    assert not back[~larger].any()


def test_every_structure_is_closed_and_holes_need_no_second_contour(tmp_path: Path) -> None:
    geometry = a_series_grid()
    mask = np.zeros(geometry.shape, dtype=np.uint8)
    mask[4, 3:14, 3:18] = 1
    mask[4, 6:11, 6:10] = mask[4, 5:8, 12:15] = 0
    source = write_series(tmp_path / "ct", geometry)
    write_rtstruct(tmp_path / "rt.dcm", [ExportSegment(mask)], geometry, source)
    (contour,) = pydicom.dcmread(tmp_path / "rt.dcm").ROIContourSequence[0].ContourSequence
    assert contour.ContourGeometricType == "CLOSED_PLANAR"
    assert np.array_equal(read_rtstruct(tmp_path / "rt.dcm", source, geometry)["Pancreas"], mask)


def test_non_latin_names_survive(tmp_path: Path) -> None:
    geometry = a_series_grid()
    source = write_series(tmp_path / "ct", geometry, SpecificCharacterSet="ISO_IR 192", PatientName="Müller^Žofie")
    segment = ExportSegment(blobs(geometry), name="Bauchspeicheldrüse")
    write_rtstruct(tmp_path / "rt.dcm", [segment], geometry, source)
    write_dicom_seg(tmp_path / "seg.dcm", [segment], geometry, source)
    structures, seg = pydicom.dcmread(tmp_path / "rt.dcm"), pydicom.dcmread(tmp_path / "seg.dcm")
    assert str(structures.PatientName) == str(seg.PatientName) == "Müller^Žofie"
    assert structures.StructureSetROISequence[0].ROIName == seg.SegmentSequence[0].SegmentLabel == segment.name


def test_a_complete_series_has_nothing_to_remark(tmp_path: Path) -> None:
    geometry = a_series_grid()
    source = write_series(tmp_path / "ct", geometry)
    assert check_dicom_export(source, [ExportSegment(blobs(geometry))], geometry) == []
    assert check_dicom_export(sorted(source.iterdir()), [ExportSegment(blobs(geometry))], geometry) == []


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"StudyInstanceUID": ""}, "dicom-uids-empty"),
        ({"SeriesInstanceUID": ""}, "dicom-uids-empty"),
        ({"SOPInstanceUID": "1.2.3"}, "dicom-uids-repeated"),
        ({"Modality": "MR"}, "not-ct"),
    ],
)
def test_a_series_that_cannot_be_referred_to_blocks(tmp_path: Path, values: dict[str, object], code: str) -> None:
    geometry = a_series_grid()
    source = write_series(tmp_path / "ct", geometry, **values)
    segments = [ExportSegment(blobs(geometry))]
    findings = check_dicom_export(source, segments, geometry)
    assert blocks(findings)
    assert code in [f.code for f in findings]
    with pytest.raises(InputError) as refusal:
        write_rtstruct(tmp_path / "rt.dcm", segments, geometry, source)
    assert refusal.value.code == code
    assert refusal.value.hint
    assert not (tmp_path / "rt.dcm").exists()


def test_missing_slices_and_several_series_block(tmp_path: Path) -> None:
    geometry = a_series_grid()
    segments = [ExportSegment(blobs(geometry))]
    headers = series_headers(geometry)
    gap = write_slices(tmp_path / "gap", headers[:4] + headers[5:])
    assert [f.code for f in check_dicom_export(gap, segments, geometry)] == ["dicom-missing-slices"]
    both = write_slices(tmp_path / "both", headers)
    write_slices(both, series_headers(geometry, SeriesInstanceUID=SERIES + ".9", SeriesDescription="Thin"), "thin")
    assert [f.code for f in check_dicom_export(both, segments, geometry)] == ["dicom-several-series"]
    assert not blocks(check_dicom_export(both, segments, geometry, series="thin"))


def test_slices_of_several_studies_or_positions_block(tmp_path: Path) -> None:
    geometry = a_series_grid()
    segments = [ExportSegment(blobs(geometry))]
    for name, code in (("StudyInstanceUID", "dicom-several-series"), ("FrameOfReferenceUID", "dicom-several-frames")):
        headers = series_headers(geometry)
        setattr(headers[3], name, "1.2.3.4.5")
        source = write_slices(tmp_path / name, headers)
        assert [f.code for f in check_dicom_export(source, segments, geometry)] == [code]


@pytest.mark.parametrize("source", [None, []])
def test_a_ct_that_is_not_from_dicom_blocks(source: object) -> None:
    geometry = a_series_grid()
    (finding,) = check_dicom_export(source, [ExportSegment(blobs(geometry))], geometry)
    assert (finding.code, finding.severity) == ("not-from-dicom", Severity.SERIOUS)
    assert "NIfTI" in finding.sentence


def test_empty_and_equally_named_segments_block(tmp_path: Path) -> None:
    geometry = a_series_grid()
    source = write_series(tmp_path / "ct", geometry)
    empty = ExportSegment(np.zeros(geometry.shape, dtype=np.uint8))
    assert [f.code for f in check_dicom_export(source, [empty], geometry)] == ["segment-empty"]
    assert [f.code for f in check_dicom_export(source, [], geometry)] == ["nothing-to-export"]
    twice = [ExportSegment(blobs(geometry))] * 2
    assert [f.code for f in check_dicom_export(source, twice, geometry)] == ["segments-same-name"]


@pytest.mark.parametrize("change", ["shift", "spacing", "turn", "larger"])
def test_a_mask_on_another_grid_blocks(tmp_path: Path, change: str) -> None:
    geometry = a_series_grid()
    source = write_series(tmp_path / "ct", geometry)
    x, y, z = geometry.origin
    changed = {
        "shift": Geometry(geometry.size, geometry.spacing, (x + 0.4, y, z), geometry.direction),
        "spacing": Geometry(geometry.size, (0.9, 1.1, 5.0), geometry.origin, geometry.direction),
        "turn": Geometry(geometry.size, geometry.spacing, geometry.origin, a_series_grid("oblique").direction),
        "larger": Geometry((22, 18, 10), geometry.spacing, geometry.origin, geometry.direction),
    }[change]
    segment = ExportSegment(np.ones(changed.shape, dtype=np.uint8))
    assert [f.code for f in check_dicom_export(source, [segment], changed)] == ["mask-not-on-series"]


def test_a_missing_frame_of_reference_is_made_once_for_all_exports(tmp_path: Path) -> None:
    geometry = a_series_grid()
    source = write_series(tmp_path / "ct", geometry, FrameOfReferenceUID=None)
    segments = [ExportSegment(blobs(geometry))]
    (finding,) = write_dicom_seg(tmp_path / "seg.dcm", segments, geometry, source)
    assert (finding.code, finding.severity) == ("dicom-no-frame-of-reference", Severity.WARNING)
    write_rtstruct(tmp_path / "rt.dcm", segments, geometry, source)
    structures = pydicom.dcmread(tmp_path / "rt.dcm").ReferencedFrameOfReferenceSequence[0]
    assert pydicom.dcmread(tmp_path / "seg.dcm").FrameOfReferenceUID == structures.FrameOfReferenceUID


def test_empty_slice_uids_are_taken_from_the_head_of_the_file(tmp_path: Path) -> None:
    geometry = a_series_grid()
    source = write_series(tmp_path / "ct", geometry)
    for file in source.iterdir():
        data = pydicom.dcmread(file)
        data.SOPInstanceUID = ""
        data.save_as(file)
    mask = blobs(geometry)
    (finding,) = write_rtstruct(tmp_path / "rt.dcm", [ExportSegment(mask)], geometry, source)
    assert (finding.code, finding.number) == ("dicom-slice-uids-repaired", geometry.size[2])
    assert np.array_equal(read_rtstruct(tmp_path / "rt.dcm", source, geometry)["Pancreas"], mask)


def test_slices_that_are_not_axial_are_exported_with_a_warning(tmp_path: Path) -> None:
    geometry = a_series_grid("oblique")
    source = write_series(tmp_path / "ct", geometry)
    (finding,) = check_dicom_export(source, [ExportSegment(blobs(geometry))], geometry)
    assert (finding.code, finding.severity) == ("slices-not-axial", Severity.WARNING)
    assert finding.number == pytest.approx(np.degrees(np.arccos(geometry.axes[2, 2])))


def test_a_missing_patient_id_is_said(tmp_path: Path) -> None:
    geometry = a_series_grid()
    source = write_series(tmp_path / "ct", geometry, PatientID=None)
    (finding,) = write_dicom_seg(tmp_path / "seg.dcm", [ExportSegment(blobs(geometry))], geometry, source)
    assert (finding.code, finding.severity) == ("dicom-no-patient-id", Severity.INFO)
    assert pydicom.dcmread(tmp_path / "seg.dcm").PatientID == ""


@pytest.mark.parametrize("write", [write_dicom_seg, write_rtstruct])
def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path, write: object) -> None:
    geometry = a_series_grid()
    source = write_series(tmp_path / "ct", geometry)
    with pytest.raises(OutputError, match="cannot be written"):
        write(tmp_path / "nowhere" / "x.dcm", [ExportSegment(blobs(geometry))], geometry, source)


def test_a_failed_export_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    geometry = a_series_grid()
    source = write_series(tmp_path / "ct", geometry)
    target = tmp_path / "rt.dcm"
    target.write_bytes(b"earlier")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pydicom.dataset.FileDataset, "save_as", full)
    with pytest.raises(OutputError) as refusal:
        write_rtstruct(target, [ExportSegment(blobs(geometry))], geometry, source)
    assert refusal.value.code == "disk-full"
    assert target.read_bytes() == b"earlier"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ct", "rt.dcm"]


def test_without_highdicom_the_person_reads_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("pancreasseg.export.packages.import_module", missing)
    geometry = a_series_grid()
    with pytest.raises(RunError) as refusal:
        write_dicom_seg(tmp_path / "seg.dcm", [ExportSegment(blobs(geometry))], geometry, tmp_path)
    assert refusal.value.code == "package-missing"
    assert "highdicom" in refusal.value.message
    assert "pip install highdicom" in refusal.value.hint


@pytest.fixture(scope="module")
def ircadb(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ircadb17")
    with zipfile.ZipFile(real_data / "data" / "ircadb17" / "dicom.zip") as archive:
        archive.extractall(folder)
    return folder


@pytest.mark.real_data
def test_a_real_series_comes_back_voxel_for_voxel(ircadb: Path, real_data: Path, tmp_path: Path) -> None:
    geometry = read_volume(ircadb).geometry
    mask = read_mask(real_data / "data" / "ircadb17" / "obelisk_reference.nii.gz", geometry, label=2)
    segments = [ExportSegment(mask)]
    findings = write_dicom_seg(tmp_path / "seg.dcm", segments, geometry, ircadb)
    assert [f.code for f in findings] == ["dicom-no-frame-of-reference", "dicom-no-patient-id"]
    assert np.array_equal(read_seg(tmp_path / "seg.dcm", geometry)[1], mask)
    write_rtstruct(tmp_path / "rt.dcm", segments, geometry, ircadb)
    back = read_rtstruct(tmp_path / "rt.dcm", ircadb / "dicom", geometry)["Pancreas"]
    assert dice(back, mask) == 1.0
    voxel_ml = np.count_nonzero(mask) * geometry.voxel_ml
    assert polygon_ml(tmp_path / "rt.dcm") == pytest.approx(voxel_ml, rel=0.005)


@pytest.mark.real_data
def test_a_real_series_with_empty_uids_is_refused_in_words(real_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(real_data / "data" / "totalseg-example" / "dicom-empty-uids.zip") as archive:
        archive.extractall(tmp_path)
    geometry = read_volume(tmp_path).geometry
    segment = ExportSegment(np.ones(geometry.shape, dtype=np.uint8))
    (finding,) = check_dicom_export(tmp_path, [segment], geometry)
    assert (finding.code, finding.severity) == ("dicom-uids-empty", Severity.SERIOUS)
    assert "study identifier" in finding.sentence
