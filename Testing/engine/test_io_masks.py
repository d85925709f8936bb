"""Masks read onto a CT's grid: the label that is meant, in the place that it has."""

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from Testing.helpers.ct_files import DIRECTIONS, SHAPE, a_ct, a_grid, turned, write_image

from pancreasseg.core import Geometry
from pancreasseg.core.errors import InputError
from pancreasseg.grids.resample import to_image
from pancreasseg.io.labels import indicator_of
from pancreasseg.io.read import place_mask, read_labels, read_mask
from pancreasseg.io.write import write_nifti, write_seg_nrrd


def a_mask() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:8, 5:13, 4:12] = 1
    mask[3, 5, 4] = 0
    return mask


def labels() -> np.ndarray:
    values = np.zeros(SHAPE, np.int16)
    values[1:3, 2:5, 2:5] = 1
    values[a_mask() > 0] = 7
    return values


def refused(path, *arguments: object) -> InputError:
    with pytest.raises(InputError) as caught:
        read_mask(path, *arguments)
    return caught.value


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
@pytest.mark.parametrize("name", ["mask.nii.gz", "mask.nrrd", "mask.mha"])
def test_a_mask_on_the_same_grid_comes_back_voxel_for_voxel(tmp_path, name, direction) -> None:
    grid = a_grid(direction)
    mask = read_mask(write_image(tmp_path / name, a_mask(), grid), grid)
    np.testing.assert_array_equal(mask, a_mask())
    assert mask.dtype == np.uint8


def test_any_single_label_is_the_mask(tmp_path) -> None:
    np.testing.assert_array_equal(
        read_mask(write_image(tmp_path / "m.nrrd", a_mask() * 255, a_grid()), a_grid()), a_mask()
    )


def test_labels_stored_as_float_are_labels(tmp_path) -> None:
    path = write_image(tmp_path / "m.nii.gz", labels().astype(np.float32), a_grid())
    np.testing.assert_array_equal(read_mask(path, a_grid(), 7), a_mask())


def test_several_labels_need_a_choice(tmp_path) -> None:
    path = write_image(tmp_path / "m.nii.gz", labels(), a_grid())
    error = refused(path, a_grid())
    assert error.code == "several-labels"
    assert "1, 7" in error.message
    np.testing.assert_array_equal(read_mask(path, a_grid(), 7), a_mask())


@pytest.mark.parametrize("label", [3, "pancreas"])
def test_a_label_that_is_not_there_is_refused(tmp_path, label) -> None:
    assert refused(write_image(tmp_path / "m.nii.gz", labels(), a_grid()), a_grid(), label).code == "no-such-label"


@pytest.mark.parametrize("name", ["m.nii.gz", "m.nrrd"])
def test_an_empty_mask_is_allowed(tmp_path, name) -> None:
    path = write_image(tmp_path / name, np.zeros(SHAPE, np.uint8), a_grid())
    assert not read_mask(path, a_grid()).any()
    assert not read_mask(path, a_grid(turned())).any()


@pytest.mark.parametrize("values", [a_ct(), np.random.default_rng(0).random(SHAPE).astype(np.float32)])
def test_an_image_that_is_no_label_map_is_refused(tmp_path, values) -> None:
    assert refused(write_image(tmp_path / "m.nrrd", values, a_grid()), a_grid()).code == "mask-not-labels"


def test_a_folder_is_no_mask(tmp_path) -> None:
    assert refused(tmp_path, a_grid()).code == "mask-is-folder"


def test_a_mask_cropped_from_the_grid_is_put_back_exactly(tmp_path) -> None:
    grid = a_grid(DIRECTIONS["oblique, permuted, flipped"])
    origin = tuple(float(v) for v in grid.to_world((2, 3, 1)))
    crop = Geometry((12, 12, 9), grid.spacing, origin, grid.direction)
    path = write_image(tmp_path / "m.nrrd", a_mask()[1:10, 3:15, 2:14], crop)
    np.testing.assert_array_equal(read_mask(path, grid), a_mask())


def test_a_mask_in_another_axis_order_is_the_same_mask(tmp_path) -> None:
    turned_image = sitk.DICOMOrient(to_image(a_mask(), a_grid()), "SAR")
    sitk.WriteImage(turned_image, str(tmp_path / "m.nrrd"))
    assert sitk.GetArrayFromImage(turned_image).shape != SHAPE
    np.testing.assert_array_equal(read_mask(tmp_path / "m.nrrd", a_grid()), a_mask())


def test_a_mask_drawn_on_a_finer_grid_keeps_its_volume(tmp_path) -> None:
    grid = a_grid()
    fine = Geometry(
        tuple(2 * n for n in grid.size),
        tuple(s / 2 for s in grid.spacing),
        tuple(float(v) for v in grid.to_world((-0.25, -0.25, -0.25))),
        grid.direction,
    )
    path = write_image(tmp_path / "m.nrrd", a_mask().repeat(2, 0).repeat(2, 1).repeat(2, 2), fine)
    np.testing.assert_array_equal(read_mask(path, grid), a_mask())


def test_a_mask_on_a_turned_grid_covers_the_same_place(tmp_path) -> None:
    grid = a_grid()
    other = Geometry((60, 60, 60), (1.0, 1.0, 1.0), (-50.0, -10.0, 90.0), tuple(turned(30).ravel()))
    centre, radius = grid.to_world((8, 9, 5)), 11.0
    ball = _ball(other, centre, radius)
    found = read_mask(write_image(tmp_path / "m.nrrd", ball, other), grid)
    wanted = _ball(grid, centre, radius)
    dsc = 2 * np.count_nonzero(found & wanted) / (found.sum() + wanted.sum())
    assert dsc > 0.95


def _ball(grid: Geometry, centre: np.ndarray, radius: float) -> np.ndarray:
    k, j, i = np.indices(grid.shape)
    distance = np.linalg.norm(grid.to_world(np.stack([i, j, k], axis=-1)) - centre, axis=-1)
    return (distance <= radius).astype(np.uint8)


def test_a_mask_of_another_place_is_refused(tmp_path) -> None:
    grid = a_grid()
    far = Geometry(grid.size, grid.spacing, (5000.0, 0.0, 0.0))
    assert refused(write_image(tmp_path / "m.nrrd", a_mask(), far), grid).code == "mask-elsewhere"


@pytest.mark.parametrize("whole", [True, False])
def test_a_mask_whose_file_lost_its_origin_or_orientation_is_refused(tmp_path, whole) -> None:
    grid = a_grid()
    lost = Geometry(grid.size, grid.spacing, (0.0, 0.0, 0.0)) if whole else a_grid(np.diag([-1.0, -1.0, 1.0]))
    error = refused(write_image(tmp_path / "m.nii.gz", a_mask(), lost), grid)
    assert error.code == "mask-elsewhere"
    assert "does not overlap" in error.message


@pytest.mark.parametrize(("slices", "severity"), [(1, "serious"), (0, None)])
def test_the_part_of_a_mask_outside_the_ct_is_told(tmp_path, slices, severity) -> None:
    grid = a_grid()
    path = write_image(tmp_path / "m.nrrd", a_mask(), grid)
    cut = Geometry(
        (*grid.size[:2], 8 - slices), grid.spacing, grid.origin, grid.direction
    )  # the mask ends with slice 7
    placed = place_mask(path, cut)
    np.testing.assert_array_equal(placed.array, a_mask()[: 8 - slices])
    if severity is None:
        assert placed.findings == ()
    else:
        (finding,) = placed.findings
        assert (finding.code, finding.severity.value) == ("mask-outside", severity)
        assert finding.number == pytest.approx(1 - a_mask()[:7].sum() / a_mask().sum())


def test_what_is_odd_about_a_masks_file_is_told(tmp_path) -> None:
    image = nibabel.Nifti1Image(a_mask().T, None)
    image.header.set_zooms(a_grid().spacing)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nibabel.save(image, tmp_path / "m.nii")
    placed = place_mask(tmp_path / "m.nii", Geometry(a_grid().size, a_grid().spacing))
    (finding,) = placed.findings
    assert finding.code == "mask-no-orientation"
    assert "CT" not in finding.sentence
    assert finding.sentence.startswith("The mask's file")


@pytest.mark.parametrize("value", [0.9999, 255 * np.float32(1 / 255), 0.5, 1e-6, 3.7])
def test_a_mask_of_one_value_is_a_mask_whatever_the_value(tmp_path, value) -> None:
    path = write_image(tmp_path / "m.nrrd", (a_mask() * value).astype(np.float32), a_grid())
    np.testing.assert_array_equal(read_mask(path, a_grid()), a_mask())


def test_255_with_a_slope_of_a_255th_is_a_mask(tmp_path) -> None:
    image = nibabel.Nifti1Image((a_mask() * 255).T, np.diag([*a_grid().spacing, 1]))
    nibabel.save(image, tmp_path / "m.nii")
    content = bytearray((tmp_path / "m.nii").read_bytes())
    content[112:120] = np.array([1 / 255, 0], "<f4").tobytes()
    (tmp_path / "m.nii").write_bytes(content)
    array, _, _ = read_labels(tmp_path / "m.nii")
    np.testing.assert_array_equal(indicator_of(array, {}), a_mask())


def test_a_mask_of_one_value_below_0_is_a_mask(tmp_path) -> None:
    path = write_image(tmp_path / "m.nrrd", -a_mask().astype(np.int8), a_grid())
    np.testing.assert_array_equal(read_mask(path, a_grid()), a_mask())


def test_a_mask_with_voxels_that_are_no_numbers_says_so(tmp_path) -> None:
    path = write_image(tmp_path / "m.nrrd", np.where(a_mask() > 0, 1, np.nan).astype(np.float32), a_grid())
    assert "NaN" in refused(path, a_grid()).message


def test_labels_that_a_program_rounded_are_labels(tmp_path) -> None:
    path = write_image(tmp_path / "m.nrrd", labels().astype(np.float32) * np.float32(0.99999), a_grid())
    np.testing.assert_array_equal(read_mask(path, a_grid(), 7), a_mask())


def test_our_own_files_read_back_as_masks(tmp_path) -> None:
    grid = a_grid(turned())
    write_seg_nrrd(tmp_path / "p.seg.nrrd", a_mask(), grid)
    write_nifti(tmp_path / "p.nii.gz", a_mask(), grid)
    for name in ("p.seg.nrrd", "p.nii.gz"):
        np.testing.assert_array_equal(read_mask(tmp_path / name, grid), a_mask())


def _segmentation(path, image: sitk.Image, segments: list[tuple[str, int, int]]):
    for n, (name, value, layer) in enumerate(segments):
        image.SetMetaData(f"Segment{n}_ID", f"Segment_{n}")
        image.SetMetaData(f"Segment{n}_Name", name)
        image.SetMetaData(f"Segment{n}_LabelValue", str(value))
        image.SetMetaData(f"Segment{n}_Layer", str(layer))
    sitk.WriteImage(image, str(path))
    return path


def test_the_segment_named_pancreas_is_found_by_itself(tmp_path) -> None:
    path = _segmentation(tmp_path / "p.seg.nrrd", to_image(labels(), a_grid()), [("Liver", 1, 0), (" pancreas", 7, 0)])
    np.testing.assert_array_equal(read_mask(path, a_grid()), a_mask())
    np.testing.assert_array_equal(read_mask(path, a_grid(), "LIVER"), labels() == 1)
    np.testing.assert_array_equal(read_mask(path, a_grid(), 7), a_mask())
    error = refused(path, a_grid(), "spleen")
    assert error.code == "no-such-label"
    assert "Liver" in error.message


def test_segments_without_a_pancreas_need_a_choice(tmp_path) -> None:
    path = _segmentation(tmp_path / "p.seg.nrrd", to_image(labels(), a_grid()), [("Liver", 1, 0), ("Gland", 7, 0)])
    error = refused(path, a_grid())
    assert error.code == "several-labels"
    assert "Liver, Gland" in error.message


def test_overlapping_segments_in_layers_are_told_apart(tmp_path) -> None:
    layers = sitk.Compose([to_image(np.ones(SHAPE, np.uint8), a_grid()), to_image(a_mask(), a_grid())])
    path = _segmentation(tmp_path / "p.seg.nrrd", layers, [("Body", 1, 0), ("Pancreas", 1, 1)])
    np.testing.assert_array_equal(read_mask(path, a_grid()), a_mask())


@pytest.mark.parametrize("value", ["", "one"])
def test_a_segmentation_with_damaged_labels_is_refused(tmp_path, value) -> None:
    path = _segmentation(tmp_path / "p.seg.nrrd", to_image(a_mask(), a_grid()), [("Pancreas", 1, 0)])
    content = path.read_bytes().replace(b"Segment0_Layer:=0", b"Segment0_Layer:=" + value.encode())
    path.write_bytes(content)
    assert refused(path, a_grid()).code == "mask-damaged"


def test_a_truncated_mask_is_refused(tmp_path) -> None:
    nibabel.save(nibabel.Nifti1Image(a_mask().T, np.eye(4)), tmp_path / "m.nii")
    (tmp_path / "m.nii").write_bytes((tmp_path / "m.nii").read_bytes()[:-10])
    assert refused(tmp_path / "m.nii", a_grid()).code == "file-truncated"


@pytest.mark.real_data
def test_a_real_mask_in_another_axis_order_lies_on_its_dicom_series(real_data, tmp_path) -> None:
    """TotalSegmentator's own pair: 20 slices of a CT, and the pancreas on four of them in another axis order."""
    import zipfile

    from pancreasseg.io.read import read_volume

    zipfile.ZipFile(real_data / "data/totalseg-example/dicom-empty-uids.zip").extractall(tmp_path)
    volume = read_volume(tmp_path)
    path = real_data / "data/totalseg-example/example_seg_dicom.nii.gz"
    mask = read_mask(path, volume.geometry, 7)
    assert mask.sum() == np.count_nonzero(nibabel.load(path).get_fdata() == 7)
    assert -100 < np.median(volume.array[mask > 0]) < 200


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mask.nrrd", b"NRRD0004\ntype: uchar\n"),
        ("mask.mha", b"ObjectType = Image\nNDims = 2\nDimSize = 4 4\n"),
        ("mask.dcm", b"anything"),
        ("mask.hdr", b"anything"),
    ],
)
def test_what_is_wrong_with_a_mask_is_told_of_the_mask_and_asks_for_one(tmp_path, name, content) -> None:
    (tmp_path / name).write_bytes(content)
    error = refused(tmp_path / name, a_grid())
    assert error.message.startswith("The mask")
    assert "CT" not in error.hint
    assert "series" not in error.hint


def _changed(tmp_path, *changes: tuple[bytes, bytes], more: bytes = b""):
    path = tmp_path / "mask.seg.nrrd"
    write_seg_nrrd(path, a_mask(), a_grid())
    content = path.read_bytes()
    for old, new in changes:
        assert old in content
        content = content.replace(old, new, 1)
    end = content.index(b"\n\n") + 1
    path.write_bytes(content[:end] + more + content[end:])
    return path


@pytest.mark.parametrize(
    "change",
    [
        (b"LabelValue:=1", b"LabelValue:=0"),
        (b"LabelValue:=1", b"LabelValue:=-1"),
        (b"LabelValue:=1", b"LabelValue:=2"),
        (b"Layer:=0", b"Layer:=-1"),
    ],
)
def test_a_segmentation_that_says_wrongly_where_its_segment_is_gives_no_mask(tmp_path, change) -> None:
    assert refused(_changed(tmp_path, change), a_grid()).code == "mask-damaged"


def test_an_empty_segment_beside_another_one_is_empty(tmp_path) -> None:
    more = b"Segment1_ID:=s\nSegment1_Name:=Spleen\nSegment1_LabelValue:=1\n"
    path = _changed(tmp_path, (b"Segment0_LabelValue:=1", b"Segment0_LabelValue:=2"), more=more)
    assert not read_mask(path, a_grid()).any()
    assert read_mask(path, a_grid(), "Spleen").any()


def test_segments_behind_a_missing_number_are_segments(tmp_path) -> None:
    more = b"Segment2_ID:=s\nSegment2_Name:=Pancreas\nSegment2_LabelValue:=1\n"
    path = _changed(tmp_path, (b"Name:=Pancreas", b"Name:=Liver"), (b"LabelValue:=1", b"LabelValue:=2"), more=more)
    np.testing.assert_array_equal(read_mask(path, a_grid()), a_mask())


def test_of_two_segments_of_one_name_none_is_taken_but_by_its_number(tmp_path) -> None:
    path = _changed(tmp_path, more=b"Segment1_ID:=s\nSegment1_Name:=PANCREAS \nSegment1_LabelValue:=2\n")
    assert refused(path, a_grid()).code == "segments-same-name"
    np.testing.assert_array_equal(read_mask(path, a_grid(), 1), a_mask())


def test_names_of_segments_do_not_steer_the_terminal(tmp_path) -> None:
    path = _changed(tmp_path, (b"Segment0_Name:=Pancreas", b"Segment0_Name:=\x1b[31mPancreas"))
    assert "\x1b" not in refused(path, a_grid(), "Liver").message
