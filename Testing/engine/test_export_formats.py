"""One door to every format, and contours that give back any slice."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.draw import polygon2mask
from Testing.helpers.dicom_series import a_series_grid, blobs, read_rtstruct, read_seg, write_series

from pancreasseg.core.errors import InputError, OutputError
from pancreasseg.export.contours import signed_area, slice_contours
from pancreasseg.export.formats import export, formats
from pancreasseg.export.segment import Algorithm, ExportSegment
from pancreasseg.io.seg_nrrd import TERMINOLOGY


@settings(max_examples=150, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 1)))
def test_any_slice_comes_back_from_its_contours(mask: np.ndarray) -> None:
    polygons = slice_contours(mask)
    odd = np.zeros(mask.shape, dtype=bool)
    united = np.zeros(mask.shape, dtype=bool)
    for polygon in polygons:
        inside = polygon2mask(mask.shape, polygon)
        odd ^= inside
        united |= inside
    assert np.array_equal(odd, mask > 0)
    assert np.array_equal(united, mask > 0)


@settings(max_examples=80, deadline=None)
@given(arrays(np.uint8, (8, 9), elements=st.integers(0, 1)))
def test_the_area_is_the_pixels_less_half_a_pixel_a_piece_plus_half_a_hole(mask: np.ndarray) -> None:
    pieces, count = ndimage.label(mask)
    holes = 0
    for number in range(1, count + 1):
        around = np.pad(pieces != number, 1, constant_values=True)
        holes += ndimage.label(around, np.ones((3, 3)))[1] - 1
    areas = [signed_area(polygon) for polygon in slice_contours(mask)]
    assert len(areas) == count
    assert len(set(np.sign(areas))) <= 1
    assert abs(sum(areas)) == pytest.approx(mask.sum() - 0.5 * count + 0.5 * holes)


def test_straight_lines_have_no_points_in_between() -> None:
    mask = np.zeros((20, 20), dtype=np.uint8)
    mask[3:15, 4:18] = 1
    (polygon,) = slice_contours(mask)
    assert len(polygon) == 8


@pytest.mark.parametrize("form", formats())
def test_every_format_holds_the_segment(tmp_path: Path, form: str) -> None:
    geometry = a_series_grid("oblique")
    source = write_series(tmp_path / "ct", geometry)
    mask = blobs(geometry)
    (path,), _ = export(form, tmp_path / "pancreas", [ExportSegment(mask)], geometry, source)
    assert path.name == "pancreas" + formats()[form].ending
    if form == "dicom-seg":
        assert np.array_equal(read_seg(path, geometry)[1], mask)
    elif form == "rtstruct":
        assert np.array_equal(read_rtstruct(path, source, geometry)["Pancreas"], mask)
    elif form == "nifti":
        assert np.array_equal(np.asarray(nibabel.load(path).dataobj).transpose(2, 1, 0), mask)
    elif form == "nrrd":
        assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(path)), mask)
    else:
        assert path.read_bytes()[:80].rstrip().endswith(b"SPACE=LPS")


def test_several_segments_become_several_files_with_their_own_names_and_codes(tmp_path: Path) -> None:
    geometry = a_series_grid()
    pancreas = ExportSegment(blobs(geometry), algorithm=Algorithm.MANUAL)
    margin = ExportSegment.margin(np.ones(geometry.shape, dtype=np.uint8), "Margin 5/10 mm")
    paths, findings = export("nrrd", tmp_path / "case.seg.nrrd", [pancreas, margin], geometry)
    assert [p.name for p in paths] == ["case-Pancreas.seg.nrrd", "case-Margin-5-10-mm.seg.nrrd"]
    assert findings == ()
    first, second = (sitk.ReadImage(p) for p in paths)
    assert first.GetMetaData("Segment0_Name") == "Pancreas"
    assert TERMINOLOGY in first.GetMetaData("Segment0_Tags")
    assert "SegmentAlgorithmType:MANUAL" in first.GetMetaData("Segment0_Tags")
    assert second.GetMetaData("Segment0_Name") == "Margin 5/10 mm"
    assert "99PANCREASSEG^margin" in second.GetMetaData("Segment0_Tags")
    assert sitk.GetArrayFromImage(second).all()


def test_names_that_look_alike_in_file_names_do_not_overwrite_each_other(tmp_path: Path) -> None:
    geometry = a_series_grid()
    segments = [ExportSegment(blobs(geometry), name=name) for name in ("a b", "a/b", "../")]
    paths, _ = export("nifti", tmp_path / "x.nii.gz", segments, geometry)
    assert [p.name for p in paths] == ["x-a-b.nii.gz", "x-a-b-2.nii.gz", "x-segment.nii.gz"]
    assert all(p.parent == tmp_path and p.exists() for p in paths)


def test_unknown_formats_missing_folders_and_empty_segments_are_one_sentence(tmp_path: Path) -> None:
    geometry = a_series_grid()
    segments = [ExportSegment(blobs(geometry))]
    with pytest.raises(InputError, match="no export format 'docx'"):
        export("docx", tmp_path / "x", segments, geometry)
    with pytest.raises(OutputError):
        export("stl", tmp_path / "nowhere" / "x", segments, geometry)
    with pytest.raises(InputError, match="no voxels"):
        export("stl", tmp_path / "x", [ExportSegment(np.zeros(geometry.shape, dtype=np.uint8))], geometry)
    with pytest.raises(InputError, match="not loaded from DICOM"):
        export("dicom-seg", tmp_path / "x", segments, geometry)
    assert list(tmp_path.iterdir()) == []
