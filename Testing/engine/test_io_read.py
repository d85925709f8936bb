"""Reading CTs from files: exact values and places, and one plain sentence for whatever cannot be used."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from Testing.helpers.ct_files import DIRECTIONS, SHAPE, SPACING, a_ct, a_grid, read_apart, turned, write_image

from pancreasseg.core.errors import InputError
from pancreasseg.grids.resample import to_image
from pancreasseg.io.read import read_volume

RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def refused(path: Path, **options: object) -> InputError:
    with pytest.raises(InputError) as caught:
        read_volume(path, **options)
    error = caught.value
    assert error.message.endswith(".")
    assert "\n" not in str(error)
    assert "itk::" not in str(error)
    return error


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray | None = None, kind=nibabel.Nifti1Image) -> Path:
    """Write with nibabel; ``array`` is (K, J, I)."""
    affine = RAS @ a_grid().index_to_world if affine is None else affine
    nibabel.save(kind(array.T, affine), path)
    return path


# Values and grids


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.nii", "ct.nrrd", "ct.mha", "ct.mhd", "ct.nhdr"])
def test_every_format_gives_the_same_voxels_in_the_same_place(tmp_path, name, direction) -> None:
    grid = a_grid(direction)
    volume = read_volume(write_image(tmp_path / name, a_ct(), grid))
    np.testing.assert_array_equal(volume.array, a_ct())
    assert volume.array.dtype == np.int16
    assert volume.array.flags.c_contiguous
    assert volume.array.flags.writeable
    assert volume.geometry.same_grid(grid, tolerance_mm=2e-5)
    assert volume.findings == ()


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_a_nifti_lies_where_nibabel_and_simpleitk_say(tmp_path, direction, kind) -> None:
    path = write_nifti(tmp_path / "ct.nii.gz", a_ct(), RAS @ a_grid(direction).index_to_world, kind)
    geometry = read_volume(path).geometry
    np.testing.assert_allclose(geometry.index_to_world, RAS @ nibabel.load(path).affine, rtol=0, atol=1e-5)
    if kind is nibabel.Nifti1Image:
        image = sitk.ReadImage(str(path))
        np.testing.assert_allclose(geometry.index_to_world, _matrix(image), rtol=0, atol=2e-5)
        if name_is_axis_parallel(direction):
            assert geometry.spacing == image.GetSpacing()
            assert geometry.origin == image.GetOrigin()
            assert geometry.direction == image.GetDirection()


def name_is_axis_parallel(direction: np.ndarray) -> bool:
    return bool(np.isin(direction, (-1.0, 0.0, 1.0)).all())


def _matrix(image: sitk.Image) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return matrix


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_a_nifti_with_a_qform_only_lies_where_nibabel_says(tmp_path, direction) -> None:
    image = nibabel.Nifti1Image(a_ct().T, None)
    image.set_sform(None, 0)
    image.set_qform(RAS @ a_grid(direction).index_to_world, 1)
    nibabel.save(image, tmp_path / "ct.nii")
    geometry = read_volume(tmp_path / "ct.nii").geometry
    np.testing.assert_allclose(geometry.index_to_world, RAS @ image.get_qform(), rtol=0, atol=1e-4)


def test_a_nifti_without_orientation_is_placed_as_in_slicer_and_remarked_on(tmp_path) -> None:
    image = nibabel.Nifti1Image(a_ct().T, None)
    image.header.set_zooms(SPACING)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nibabel.save(image, tmp_path / "ct.nii")
    volume = read_volume(tmp_path / "ct.nii")
    np.testing.assert_allclose(volume.geometry.index_to_world, _matrix(sitk.ReadImage(str(tmp_path / "ct.nii"))))
    assert [f.code for f in volume.findings] == ["no-orientation"]


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64"]
)
@pytest.mark.parametrize("order", "<>")
def test_rescaled_nifti_values_are_those_of_nibabel(tmp_path, dtype, order) -> None:
    stored = np.random.default_rng(1).integers(0, 100, SHAPE).astype(np.dtype(dtype).newbyteorder(order))
    image = nibabel.Nifti1Image(stored.T, np.diag([*SPACING, 1.0]), nibabel.Nifti1Header(endianness=order))
    image.header.set_data_dtype(stored.dtype)
    nibabel.save(image, tmp_path / "ct.nii")
    content = bytearray((tmp_path / "ct.nii").read_bytes())
    content[112:120] = np.array([20.5, -1024.0], dtype=order + "f4").tobytes()  # slope and intercept
    (tmp_path / "ct.nii").write_bytes(content)
    volume = read_volume(tmp_path / "ct.nii", allow=("not-hu",))  # it is noise
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.array, nibabel.load(tmp_path / "ct.nii").get_fdata().T, rtol=1e-6)


def test_whole_hu_stored_as_float_come_back_as_int16(tmp_path) -> None:
    volume = read_volume(write_nifti(tmp_path / "ct.nii.gz", a_ct().astype(np.float32)))
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, a_ct())


def test_fractions_of_hu_stay_as_float32(tmp_path) -> None:
    values = a_ct() + np.float32(0.25)
    volume = read_volume(write_nifti(tmp_path / "ct.nii.gz", values))
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, values)


def test_values_beyond_int16_stay_exact(tmp_path) -> None:
    values = a_ct().astype(np.int32)
    values[3, 3, 3] = 35000
    volume = read_volume(write_nifti(tmp_path / "ct.nii.gz", values))
    assert volume.array.dtype == np.float32
    assert volume.array[3, 3, 3] == 35000


def test_a_gzip_file_in_several_members_is_read_whole(tmp_path) -> None:
    content = write_nifti(tmp_path / "ct.nii", a_ct()).read_bytes()
    (tmp_path / "ct.nii.gz").write_bytes(gzip.compress(content[:2000]) + gzip.compress(content[2000:]))
    np.testing.assert_array_equal(read_volume(tmp_path / "ct.nii.gz").array, a_ct())


def test_a_fourth_axis_of_one_is_no_obstacle(tmp_path) -> None:
    nibabel.save(nibabel.Nifti1Image(a_ct().T[..., None], np.diag([*SPACING, 1.0])), tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "ct.nii.gz").array, a_ct())


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_a_long_path_with_blanks_and_letters_of_all_kinds_is_read(tmp_path, suffix) -> None:
    folder = tmp_path / "Bäuche und Größen" / "患者 データ" / ("sehr langer Name " * 12).strip()
    folder.mkdir(parents=True)
    path = write_image(folder / f"Übersicht № 1{suffix}", a_ct(), a_grid())
    np.testing.assert_array_equal(read_volume(path).array, a_ct())


# Orientation that was rounded, and orientation that is sheared


def test_cosines_rounded_to_three_digits_are_read_and_made_orthonormal(tmp_path) -> None:
    affine = RAS @ a_grid(turned()).index_to_world
    affine[:3, :3] = np.round(affine[:3, :3], 3)
    path = write_nifti(tmp_path / "ct.nii.gz", a_ct(), affine)
    geometry = read_volume(path).geometry
    np.testing.assert_allclose(geometry.axes.T @ geometry.axes, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(geometry.index_to_world, RAS @ affine, rtol=0, atol=0.02)
    middle = (np.array(geometry.size) - 1) / 2
    np.testing.assert_allclose(geometry.to_world(middle), (RAS @ affine @ [*middle, 1])[:3], atol=1e-4)


def _sheared() -> np.ndarray:
    affine = RAS @ a_grid().index_to_world
    affine[0, 2] += 0.8
    return affine


def test_a_sheared_nifti_is_refused(tmp_path) -> None:
    image = nibabel.Nifti1Image(a_ct().T, _sheared())
    image.set_qform(None, 0)
    nibabel.save(image, tmp_path / "ct.nii.gz")
    assert refused(tmp_path / "ct.nii.gz").code == "sheared-grid"


def test_a_sheared_sform_gives_way_to_the_scanners_qform(tmp_path) -> None:
    image = nibabel.Nifti1Image(a_ct().T, _sheared())
    image.set_qform(RAS @ a_grid().index_to_world, 1)
    nibabel.save(image, tmp_path / "ct.nii.gz")
    volume = read_volume(tmp_path / "ct.nii.gz")
    assert volume.geometry.same_grid(a_grid())
    assert [f.code for f in volume.findings] == ["sheared-sform"]


def test_a_sheared_nrrd_is_refused(tmp_path) -> None:
    path = write_image(tmp_path / "ct.nrrd", a_ct(), a_grid())
    content = path.read_bytes()
    assert b"(0,0,3)" in content
    path.write_bytes(content.replace(b"(0,0,3)", b"(1,0,3)"))
    assert refused(path).code == "sheared-grid"


def _two_grids(path: Path, sform: np.ndarray, qform: np.ndarray) -> Path:
    image = nibabel.Nifti1Image(a_ct().T, sform)
    image.set_sform(sform, 2)
    image.set_qform(qform, 1)
    nibabel.save(image, path)
    return path


def test_two_grids_in_one_nifti_are_told_with_how_far_they_lie_apart(tmp_path) -> None:
    affine = RAS @ a_grid().index_to_world
    mirrored = affine @ np.diag([-1.0, 1.0, 1.0, 1.0])
    volume = read_volume(_two_grids(tmp_path / "ct.nii.gz", affine, mirrored))
    assert volume.geometry.same_grid(a_grid())
    (finding,) = volume.findings
    assert finding.code == "positions-disagree"
    assert finding.number == pytest.approx(2 * SPACING[0] * (SHAPE[2] - 1), abs=0.1)


def test_rounding_between_the_two_grids_of_a_nifti_is_no_remark(tmp_path) -> None:
    affine = RAS @ a_grid(turned()).index_to_world
    assert read_volume(_two_grids(tmp_path / "ct.nii.gz", affine, np.round(affine, 3))).findings == ()


@pytest.mark.parametrize("pixdim", [(1, 1, 1), (0, 0, 0)])
def test_a_voxel_size_that_disagrees_with_the_orientation_is_told(tmp_path, pixdim) -> None:
    path = write_nifti(tmp_path / "ct.nii", a_ct())
    content = bytearray(path.read_bytes())
    content[80:92] = np.array(pixdim, "<f4").tobytes()
    path.write_bytes(content)
    volume = read_volume(path)
    assert volume.geometry.spacing == pytest.approx(SPACING)
    assert [f.code for f in volume.findings] == ["spacing-disagrees"]


def test_an_empty_sform_gives_way_to_the_scanners_qform(tmp_path) -> None:
    path = _two_grids(tmp_path / "ct.nii", RAS @ a_grid().index_to_world, RAS @ a_grid().index_to_world)
    content = bytearray(path.read_bytes())
    content[280:328] = bytes(48)
    path.write_bytes(content)
    volume = read_volume(path)
    assert volume.geometry.same_grid(a_grid())
    assert [f.code for f in volume.findings] == ["sform-unusable"]


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_a_nifti_that_states_no_place_for_its_voxels_has_them_behind_the_header(tmp_path, kind) -> None:
    path = write_nifti(tmp_path / "ct.nii", a_ct(), kind=kind)
    content = bytearray(path.read_bytes())
    at, length = (108, 4) if kind is nibabel.Nifti1Image else (168, 8)
    content[at : at + length] = bytes(length)
    path.write_bytes(content)
    np.testing.assert_array_equal(read_volume(path).array, a_ct())


@pytest.mark.parametrize("offset", [np.nan, np.inf, -np.inf, -352, 352.5, 3e38, 100])
def test_an_impossible_place_for_the_voxels_is_refused(tmp_path, offset) -> None:
    path = write_nifti(tmp_path / "ct.nii", a_ct())
    content = bytearray(path.read_bytes())
    content[108:112] = np.array(offset, "<f4").tobytes()
    path.write_bytes(content)
    assert refused(path).code == "file-damaged"


@pytest.mark.parametrize(
    ("slope", "intercept", "code"),
    [(1, np.nan, "file-damaged"), (20.5, np.inf, "file-damaged"), (1e30, 0, "values-too-large")],
)
def test_a_rescale_of_a_nifti_that_makes_no_sense_is_refused(tmp_path, slope, intercept, code) -> None:
    path = write_nifti(tmp_path / "ct.nii", a_ct())
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([slope, intercept], "<f4").tobytes()
    path.write_bytes(content)
    assert refused(path).code == code


@pytest.mark.parametrize(
    ("spacing", "code"),
    [(3000.0, "voxels-too-large"), (1e9, "voxels-too-large"), (50.1, "voxels-too-large")],
)
def test_voxels_larger_than_those_of_any_scanner_are_refused(tmp_path, spacing, code) -> None:
    assert refused(write_nifti(tmp_path / "ct.nii", a_ct(), np.diag([spacing, 2, 2, 1]))).code == code


def test_a_volume_longer_than_any_patient_is_refused(tmp_path) -> None:
    path = write_nifti(tmp_path / "ct.nii", a_ct((12, 8, 70)), np.diag([45, 2, 2, 1]))
    assert refused(path).code == "field-of-view-too-large"


@pytest.mark.parametrize("name", ["ct.hdr", "ct.img", "CT.IMG.gz"])
def test_a_pair_of_header_and_voxels_is_called_so(tmp_path, name) -> None:
    (tmp_path / name).write_bytes(bytes(400))
    assert refused(tmp_path / name).code == "nifti-pair"


@pytest.mark.parametrize("axis", [0, 2])
def test_a_nifti_without_extent_along_an_axis_is_refused(tmp_path, axis) -> None:
    path = write_nifti(tmp_path / "ct.nii", a_ct())
    content = bytearray(path.read_bytes())
    for row in range(3):
        start = 280 + 16 * row + 4 * axis
        content[start : start + 4] = bytes(4)
    path.write_bytes(content)
    assert refused(path).code == "bad-geometry"


# Files that are not what they should be


@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.nii", "ct.nrrd", "ct.nhdr", "ct.mha", "ct.mhd", "ct.dcm", "ct"])
def test_an_empty_file_is_refused(tmp_path, name) -> None:
    (tmp_path / name).touch()
    assert refused(tmp_path / name).code == "file-empty"


@pytest.mark.parametrize("keep", [1, 100, 500, 0.3, 0.99])
@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.nii", "ct.nrrd", "ct.mha"])
def test_a_truncated_file_is_refused(tmp_path, name, keep) -> None:
    path = write_image(tmp_path / name, a_ct(), a_grid())
    content = path.read_bytes()
    path.write_bytes(content[: keep if keep >= 1 else int(len(content) * keep)])
    assert refused(path).code in ("file-truncated", "file-damaged")


@pytest.mark.parametrize("keep", [0, 0.5])
@pytest.mark.parametrize("header", ["ct.mhd", "ct.nhdr"])
def test_a_header_whose_voxels_are_cut_short_or_gone_is_refused(tmp_path, header, keep) -> None:
    path = write_image(tmp_path / header, a_ct(), a_grid())
    (data,) = tmp_path.glob("ct.*raw*")
    content = data.read_bytes()
    data.unlink()
    if keep:
        data.write_bytes(content[: int(len(content) * keep)])
    assert refused(path).code == ("file-truncated" if keep else "data-file-missing")


def test_a_damaged_gzip_stream_is_refused(tmp_path) -> None:
    path = write_nifti(tmp_path / "ct.nii.gz", a_ct())
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
    path.write_bytes(content)
    assert refused(path).code in ("file-truncated", "file-damaged")


def test_a_header_that_promises_terabytes_is_refused_at_once(tmp_path) -> None:
    path = write_nifti(tmp_path / "ct.nii", a_ct(), np.diag([0.01, 0.01, 0.01, 1]))
    content = bytearray(path.read_bytes())
    content[42:48] = np.array([30000, 30000, 30000], dtype="<i2").tobytes()
    (tmp_path / "ct.nii.gz").write_bytes(gzip.compress(bytes(content)))
    assert refused(tmp_path / "ct.nii.gz").code == "file-too-large"
    path.write_bytes(content)
    assert refused(path).code == "file-too-large"


@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.nii", "ct.nrrd", "ct.mha"])
def test_text_under_an_image_name_is_refused(tmp_path, name) -> None:
    (tmp_path / name).write_text("This is a letter, not a CT. " * 40)
    assert refused(tmp_path / name).code == "file-damaged"


@pytest.mark.parametrize(
    ("name", "start", "code"),
    [
        ("ct.zip", b"PK\x03\x04", "packed"),
        ("ct", b"PK\x03\x04", "packed"),
        ("slice", bytes(128) + b"DICM", "single-dicom-file"),
        ("slice.dcm", bytes(200), "single-dicom-file"),
        ("ct.jpg", b"\xff\xd8\xff", "unknown-format"),
    ],
)
def test_other_files_are_refused_with_what_to_do(tmp_path, name, start, code) -> None:
    (tmp_path / name).write_bytes(start + bytes(300))
    error = refused(tmp_path / name)
    assert error.code == code
    assert error.hint


def test_a_missing_file_is_refused(tmp_path) -> None:
    assert refused(tmp_path / "nothing.nii.gz").code == "no-such-file"


def test_nothing_but_the_sentence_comes_out_of_a_damaged_file(tmp_path) -> None:
    path = write_image(tmp_path / "ct.nrrd", a_ct(), a_grid())
    path.write_bytes(path.read_bytes()[:600])
    done = read_apart(path)
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert " The file" in done.stdout


@pytest.mark.parametrize("name", ["ct.nii", "ct.nrrd", "ct.mha", "ct.nii.gz"])
def test_whatever_byte_is_damaged_there_is_a_volume_or_a_sentence(tmp_path, name) -> None:
    path = write_image(tmp_path / name, a_ct(), a_grid(turned()))
    content = path.read_bytes()
    random = np.random.default_rng(0)
    refusals = 0
    for _ in range(100):
        damaged = bytearray(content)
        for place in random.integers(0, 360, 2):
            damaged[place] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            read_volume(path)
        except InputError:
            refusals += 1
    assert refusals > 0


# Images that are no CT


def test_four_dimensions_are_refused(tmp_path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.stack([a_ct().T] * 2, axis=3), np.eye(4)), tmp_path / "ct.nii.gz")
    assert refused(tmp_path / "ct.nii.gz").code == "not-3d"
    image = sitk.JoinSeries([to_image(a_ct(), a_grid())] * 2)
    sitk.WriteImage(image, str(tmp_path / "ct.nrrd"))
    assert refused(tmp_path / "ct.nrrd").code == "not-3d"


def test_a_single_slice_is_refused(tmp_path) -> None:
    nibabel.save(nibabel.Nifti1Image(a_ct()[0].T, np.eye(4)), tmp_path / "ct.nii.gz")
    assert refused(tmp_path / "ct.nii.gz").code == "not-3d"


def test_colours_are_refused(tmp_path) -> None:
    colours = np.zeros(SHAPE[::-1], dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colours, np.eye(4)), tmp_path / "ct.nii.gz")
    assert refused(tmp_path / "ct.nii.gz").code == "not-grey"
    sitk.WriteImage(sitk.Image(list(SHAPE), sitk.sitkVectorUInt8, 3), str(tmp_path / "ct.mha"))
    assert refused(tmp_path / "ct.mha").code == "not-grey"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.nrrd"])
def test_voxels_that_are_no_numbers_are_counted_and_refused(tmp_path, name, bad) -> None:
    values = a_ct().astype(np.float32)
    values[2, 3, 4:7] = bad
    error = refused(write_image(tmp_path / name, values, a_grid()))
    assert error.code == "not-finite"
    assert error.message.startswith(f"3 of {values.size} voxels")


def test_infinities_of_both_signs_are_refused(tmp_path) -> None:
    values = a_ct().astype(np.float32)
    values[0, 0, 0], values[5, 5, 5] = np.inf, -np.inf
    assert refused(write_image(tmp_path / "ct.nrrd", values, a_grid())).message.startswith("2 of")


@pytest.mark.parametrize(
    ("values", "code"),
    [
        (np.random.default_rng(0).integers(0, 1800, SHAPE).astype(np.int16), "not-hu"),  # MR, or CT without intercept
        (np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8), "not-hu"),  # a windowed picture
        (np.random.default_rng(0).normal(0, 1, SHAPE).astype(np.float32), "not-hu"),  # z-scores
        (np.random.default_rng(0).random(SHAPE).astype(np.float32), "not-hu"),  # 0 to 1
        ((np.indices(SHAPE).sum(axis=0) // 9).astype(np.uint8), "labels-not-ct"),
        (np.zeros(SHAPE, np.uint8), "labels-not-ct"),
        (np.full(SHAPE, -1000, np.int16), "air-only"),
        (np.random.default_rng(0).integers(-1024, -900, SHAPE).astype(np.int16), "air-only"),
    ],
    ids=["MR", "picture", "z-scores", "unit range", "labels", "zeros", "air", "noisy air"],
)
def test_images_that_are_no_ct_in_hu_are_refused(tmp_path, values, code) -> None:
    assert refused(write_image(tmp_path / "ct.nii.gz", values, a_grid())).code == code


def _shifted(padding: int | None) -> np.ndarray:
    stored = a_body() + 1024
    if padding is not None:
        stored[:, :4] = padding
    return stored


def a_body() -> np.ndarray:
    """int16 HU of a trunk in air: fat around organs, and bone; large enough for blocks of 4 x 4 pixels."""
    values = np.random.default_rng(1).normal(0, 12, (12, 60, 60))
    values -= 1000
    values[:, 8:52, 6:54] += 900
    values[:, 14:46, 12:48] += 150
    values[:, 36:42, 26:34] += 500
    return values.clip(-1020).astype(np.int16)


@pytest.mark.parametrize(
    "values",
    [
        _shifted(None),
        _shifted(-2000),
        _shifted(-1024),
        np.clip((a_body() - 40) / 400 * 255, -128, 127).astype(np.int16),
        np.clip((a_body() - 40) / 400 * 255, -128, 120).astype(np.int8),
        a_body().astype(np.int32) * 10,
        np.abs(np.random.default_rng(0).normal(0, 400, (12, 60, 60)) - 8).astype(np.int16) - 12,
    ],
    ids=["no intercept", "padded with -2000", "padded with -1024", "8 bits", "int8", "HU x 10", "MR below 0"],
)
def test_values_that_only_look_like_hu_are_refused(tmp_path, values) -> None:
    assert refused(write_nifti(tmp_path / "ct.nii.gz", values)).code == "not-hu"


@pytest.mark.parametrize("window", [(-1024, 3071), (-100, 240), (-200, 300), (-160, 240), (-1000, 1000)])
def test_a_ct_clipped_to_a_window_is_a_ct(tmp_path, window) -> None:
    assert read_volume(write_nifti(tmp_path / "ct.nii.gz", a_body().clip(*window))).findings == ()


def test_a_file_of_one_value_holds_no_picture(tmp_path) -> None:
    path = write_image(tmp_path / "ct.nrrd", np.zeros(SHAPE, np.int16), a_grid())
    with pytest.raises(InputError, match="no picture"):
        read_volume(path)


@pytest.mark.parametrize("bad", [40001, -40001])
def test_values_that_no_scanner_gives_are_refused_even_if_allowed(tmp_path, bad) -> None:
    values = a_body().astype(np.int32)
    values[3, 3, 3] = bad
    assert refused(write_nifti(tmp_path / "ct.nii.gz", values), allow=["not-hu"]).code == "values-too-large"


def test_a_few_hot_voxels_in_air_are_still_air(tmp_path) -> None:
    values = np.full(SHAPE, -1000, np.int16)
    values[5, 5, 5] = 3000
    assert refused(write_image(tmp_path / "ct.nii.gz", values, a_grid())).code == "air-only"


def test_three_slices_are_refused(tmp_path) -> None:
    error = refused(write_nifti(tmp_path / "ct.nii.gz", a_ct((3, 40, 40)), np.diag([1, 1, 10, 1])))
    assert error.code == "too-few-slices"
    assert "only 3 slices" in error.message


def test_a_field_of_view_of_two_millimetres_is_refused(tmp_path) -> None:
    error = refused(write_nifti(tmp_path / "ct.nii.gz", a_ct(), np.diag([0.1, 0.1, 0.1, 1])))
    assert error.code == "field-of-view-too-small"
    assert "1.2 mm" in error.message


def test_a_caller_who_knows_better_gets_a_finding_instead(tmp_path) -> None:
    values = a_ct() + 1024
    path = write_nifti(tmp_path / "ct.nii.gz", np.maximum(values, 0).astype(np.int16))
    volume = read_volume(path, allow=["not-hu"])
    assert [f.code for f in volume.findings] == ["not-hu"]


def test_thick_slices_are_remarked_on(tmp_path) -> None:
    (finding,) = read_volume(write_nifti(tmp_path / "ct.nii.gz", a_ct(), np.diag([2, 2, 7.5, 1]))).findings
    assert finding.code == "spacing-above-5-mm"
    assert finding.number == pytest.approx(7.5)


def test_five_millimetres_are_no_remark(tmp_path) -> None:
    assert read_volume(write_nifti(tmp_path / "ct.nii.gz", a_ct(), np.diag([2, 2, 5, 1]))).findings == ()


@pytest.mark.parametrize(("unit", "scale"), [("meter", 1000.0), ("micron", 0.001), ("mm", 1.0)])
def test_spacing_in_other_units_becomes_mm(tmp_path, unit, scale) -> None:
    image = nibabel.Nifti1Image(a_ct().T, np.diag([*(np.array(SPACING) / scale), 1]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "ct.nii.gz")
    np.testing.assert_allclose(read_volume(tmp_path / "ct.nii.gz").geometry.spacing, SPACING, rtol=1e-6)
