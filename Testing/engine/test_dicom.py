"""DICOM folders: slices by position, series told apart, and refusal of stacks that are no regular whole."""

import copy
import os
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless
from Testing.engine.ct_files import SHAPE, SPACING, a_ct, a_grid, a_series, a_slice, turned, write_slices

from pancreasseg.errors import InputError
from pancreasseg.io.read import read_volume

SECRETS = ("Doe", "Jane", "4711", "1.2.3")


def refused(folder, code: str, **options: object) -> InputError:
    with pytest.raises(InputError) as caught:
        read_volume(folder, **options)
    error = caught.value
    assert error.code == code
    assert error.message.endswith(".")
    assert not any(secret in str(error) for secret in SECRETS)
    return error


def codes(volume) -> list[str]:
    return [finding.code for finding in volume.findings]


# Whole series


def test_slices_are_sorted_by_position_not_by_name(tmp_path) -> None:
    volume = read_volume(write_slices(tmp_path, a_series()))
    np.testing.assert_array_equal(volume.array, a_ct())
    assert volume.array.dtype == np.int16
    assert volume.geometry == a_grid()
    assert volume.findings == ()
    assert volume.source == {
        "format": "DICOM",
        "modality": "CT",
        "slices": str(SHAPE[0]),
        "contrast": "unknown",
        "slice_thickness_mm": "3",
    }


def test_the_volume_lies_where_simpleitk_puts_it(tmp_path) -> None:
    axes = turned(25)
    slices = []
    for k, plane in enumerate(a_ct()):
        position = np.array([-31.5, 12.25, 100.75]) + axes[:, 2] * SPACING[2] * k
        cosines = [*axes[:, 0], *axes[:, 1]]
        slices.append(
            a_slice(
                k,
                plane,
                ImagePositionPatient=[f"{v:.10g}" for v in position],
                ImageOrientationPatient=[f"{v:.10g}" for v in cosines],
            )
        )
    volume = read_volume(write_slices(tmp_path, slices[::-1]))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()
    np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(image))
    np.testing.assert_allclose(volume.geometry.spacing, image.GetSpacing(), rtol=1e-6)
    np.testing.assert_allclose(volume.geometry.origin, image.GetOrigin(), atol=1e-6)
    np.testing.assert_allclose(volume.geometry.direction, image.GetDirection(), atol=1e-6)


def test_slices_in_subfolders_belong_together(tmp_path) -> None:
    write_slices(tmp_path / "a", a_series()[:5])
    write_slices(tmp_path / "Ordner ü" / "b", a_series()[5:])
    np.testing.assert_array_equal(read_volume(tmp_path).array, a_ct())


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian], ids=lambda s: s.name
)
def test_every_way_to_write_plain_pixels_is_read(tmp_path, syntax) -> None:
    slices = a_series()
    for data in slices:
        data.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            data.PixelData = np.frombuffer(data.PixelData, "<u2").astype(">u2").tobytes()
    np.testing.assert_array_equal(read_volume(write_slices(tmp_path, slices)).array, a_ct())


def test_files_without_the_dicom_mark_are_read(tmp_path) -> None:
    write_slices(tmp_path, a_series())
    for file in tmp_path.iterdir():
        data = pydicom.dcmread(file)
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        del data.file_meta
        data.preamble = None
        pydicom.dcmwrite(file, data, implicit_vr=True, little_endian=True)
        assert file.read_bytes()[128:132] != b"DICM"
    np.testing.assert_array_equal(read_volume(tmp_path).array, a_ct())


def test_compressed_slices_are_decoded(tmp_path) -> None:
    slices = a_series()
    for data in slices:
        data.compress(RLELossless)
    np.testing.assert_array_equal(read_volume(write_slices(tmp_path, slices)).array, a_ct())


def test_signed_values_and_bits_above_the_stored_ones_are_handled(tmp_path) -> None:
    slices = a_series()
    for data, plane in zip(slices, a_ct(), strict=True):
        data.PixelRepresentation, data.BitsStored, data.HighBit, data.RescaleIntercept = 1, 12, 11, 0
        data.PixelData = ((plane.clip(-2048, 2047).astype("<i2").view("<u2") & 0x0FFF) | 0xA000).tobytes()
    np.testing.assert_array_equal(read_volume(write_slices(tmp_path, slices)).array, a_ct())


def test_each_slice_is_rescaled_by_its_own_numbers(tmp_path) -> None:
    slices = a_series()
    wanted = a_ct().astype(np.float32)
    slices[4].RescaleSlope, slices[4].RescaleIntercept = 0.5, -1000.25
    wanted[4] = (wanted[4] + 1024) * 0.5 - 1000.25
    volume = read_volume(write_slices(tmp_path, slices))
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, wanted)


def test_values_beyond_int16_stay_exact(tmp_path) -> None:
    values = a_ct().astype(np.int32)
    values[7, 3, 3] = 60000
    volume = read_volume(write_slices(tmp_path, a_series(values)))
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, values)


def test_what_is_known_about_the_scan_is_kept_and_nothing_about_the_patient(tmp_path) -> None:
    folder = write_slices(
        tmp_path, a_series(ContrastBolusAgent="APPLIED", ConvolutionKernel=["Br38f", "3"], KVP=120, SliceThickness=3)
    )
    volume = read_volume(folder)
    assert volume.source["contrast"] == "yes"
    assert volume.source["kernel"] == "Br38f/3"
    assert volume.source["kvp"] == "120"
    assert not any(secret in str((volume.source, volume.findings)) for secret in SECRETS)


@pytest.mark.parametrize(("agent", "said"), [("", "no"), ("NONE", "no"), ("Iomeron 400", "yes")])
def test_the_contrast_agent_is_noted_as_the_scanner_did(tmp_path, agent, said) -> None:
    assert read_volume(write_slices(tmp_path, a_series(ContrastBolusAgent=agent))).source["contrast"] == said


# Multi-frame files


def an_enhanced_ct() -> pydicom.Dataset:
    data = a_slice(0)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        del data[name]
    order = np.random.default_rng(2).permutation(SHAPE[0])
    data.NumberOfFrames = SHAPE[0]
    data.PixelData = (a_ct()[order].astype(np.int32) + 1024).astype("<u2").tobytes()

    def group(name: str, **values: object) -> pydicom.Dataset:
        inner, outer = pydicom.Dataset(), pydicom.Dataset()
        for key, value in values.items():
            setattr(inner, key, value)
        setattr(outer, name, [inner])
        return outer

    shared = group("PlaneOrientationSequence", ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    shared.update(group("PixelMeasuresSequence", PixelSpacing=[SPACING[1], SPACING[0]]))
    data.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for k in order:
        frame = group("PlanePositionSequence", ImagePositionPatient=[-31.5, 12.25, 100.75 + SPACING[2] * int(k)])
        frame.update(group("PixelValueTransformationSequence", RescaleSlope=1, RescaleIntercept=-1024))
        frames.append(frame)
    data.PerFrameFunctionalGroupsSequence = frames
    return data


def test_an_enhanced_ct_in_one_file_is_read_frame_by_frame(tmp_path) -> None:
    volume = read_volume(write_slices(tmp_path, [an_enhanced_ct()]))
    np.testing.assert_array_equal(volume.array, a_ct())
    assert volume.geometry == a_grid()


def test_a_compressed_enhanced_ct_is_refused_with_what_to_do(tmp_path) -> None:
    data = an_enhanced_ct()
    data.compress(RLELossless)
    assert "uncompressed" in refused(write_slices(tmp_path, [data]), "dicom-compressed-frames").hint


# Folders with more, or less, than one series


def test_an_empty_folder_is_refused(tmp_path) -> None:
    refused(tmp_path, "folder-empty")


def test_a_folder_without_dicom_is_refused(tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("no pictures here")
    (tmp_path / "empty.dcm").touch()
    refused(tmp_path, "no-dicom")


def test_an_mr_is_refused_by_its_modality(tmp_path) -> None:
    error = refused(write_slices(tmp_path, a_series(Modality="MR")), "not-ct")
    assert "12 x MR image" in error.message


def test_several_series_are_listed_and_one_can_be_chosen(tmp_path) -> None:
    write_slices(tmp_path, a_series(), "a")
    late = [a_slice(k, plane + 5, series="1.2.3.5") for k, plane in enumerate(a_ct()[:7])]
    for data in late:
        data.SeriesDescription, data.SeriesNumber = "Late 3.0", 3
    write_slices(tmp_path, late, "b")
    error = refused(tmp_path, "dicom-several-series")
    assert "1: Abdomen 3.0, 12 slices; 2: Late 3.0, 7 slices" in error.message
    for choice in (2, "2", "late 3.0"):
        np.testing.assert_array_equal(read_volume(tmp_path, series=choice).array, a_ct()[:7] + 5)
    np.testing.assert_array_equal(read_volume(tmp_path, series=1).array, a_ct())
    for wrong in (0, 3, "arterial"):
        assert "2: Late 3.0" in refused(tmp_path, "dicom-no-such-series", series=wrong).message


def test_a_choice_of_two_series_of_the_same_name_needs_the_number(tmp_path) -> None:
    write_slices(tmp_path, a_series(), "a")
    write_slices(tmp_path, a_series(series="1.2.3.5"), "b")
    assert "2 CT series" in refused(tmp_path, "dicom-no-such-series", series="Abdomen 3.0").message


def test_a_series_of_a_few_slices_beside_the_ct_is_left_aside(tmp_path) -> None:
    write_slices(tmp_path, a_series(), "a")
    write_slices(tmp_path, [a_slice(0, series="1.2.3.9")], "b")
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, a_ct())
    assert codes(volume) == ["dicom-files-left-aside"]


def test_localizers_captures_and_other_objects_are_left_aside_and_named(tmp_path) -> None:
    write_slices(tmp_path, a_series(), "a")
    localizer = a_slice(0, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    capture = a_slice(0, SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    report = a_slice(0, Modality="SR", Rows=None, Columns=None, PixelData=None)
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.67"  # dose report
    write_slices(tmp_path, [localizer, capture, report], "b")
    (tmp_path / "README.txt").write_text("from the archive")
    (tmp_path / "DICOMDIR").write_bytes(b"list")
    (tmp_path / ".DS_Store").write_bytes(b"hidden")
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, a_ct())
    (finding,) = volume.findings
    assert finding.code == "dicom-files-left-aside"
    assert finding.number == 4
    for what in ("localizer", "screen capture", "SR object", "no DICOM"):
        assert what in finding.sentence


@pytest.mark.parametrize("name", ["image_x", "1.2.840.7"])
def test_an_empty_file_named_as_a_slice_is_refused(tmp_path, name) -> None:
    write_slices(tmp_path, a_series())
    (tmp_path / name).touch()
    assert "1 of the files" in refused(tmp_path, "dicom-empty-file").message


def test_an_empty_file_of_another_kind_is_a_warning(tmp_path) -> None:
    write_slices(tmp_path, a_series())
    (tmp_path / "copying.lock").touch()
    (finding,) = read_volume(tmp_path).findings
    assert (finding.code, finding.severity.value) == ("dicom-files-left-aside", "warning")


def test_a_link_that_leads_nowhere_is_refused(tmp_path) -> None:
    write_slices(tmp_path, a_series())
    (tmp_path / "image_gone").symlink_to(tmp_path / "not there")
    refused(tmp_path, "file-unreadable")


def test_three_slices_are_refused(tmp_path) -> None:
    refused(write_slices(tmp_path, a_series()[:3]), "too-few-slices")


def test_one_slice_is_refused(tmp_path) -> None:
    refused(write_slices(tmp_path, a_series()[:1]), "too-few-slices")


# Stacks that are no regular whole


def test_missing_slices_are_refused_with_their_place(tmp_path) -> None:
    slices = a_series()
    del slices[4:6], slices[7]
    error = refused(write_slices(tmp_path, slices), "dicom-missing-slices")
    assert "3 slices of 12 are missing" in error.message
    assert "between 109.8 and 118.8 mm" in error.message


def test_one_missing_slice_is_refused(tmp_path) -> None:
    slices = a_series()
    del slices[5]
    assert "1 slice of 12 is missing" in refused(write_slices(tmp_path, slices), "dicom-missing-slices").message


def test_a_slice_that_is_there_twice_is_refused(tmp_path) -> None:
    slices = a_series()
    error = refused(write_slices(tmp_path, [*slices, copy.deepcopy(slices[3])]), "dicom-duplicate-slices")
    assert "1 slice lies" in error.message
    assert "109.8 mm" in error.message


def test_two_phases_in_one_series_are_refused(tmp_path) -> None:
    assert "12 slices lie" in refused(write_slices(tmp_path, a_series() * 2), "dicom-duplicate-slices").message


def test_uneven_slices_are_refused_and_slightly_uneven_ones_noted(tmp_path) -> None:
    slices = a_series()
    slices[5].ImagePositionPatient[2] += 0.09  # 3 % of a step
    volume = read_volume(write_slices(tmp_path / "slightly", slices))
    (finding,) = volume.findings
    assert finding.code == "slice-jitter"
    assert finding.number == pytest.approx(0.03, abs=1e-6)
    assert volume.geometry.spacing[2] == pytest.approx(3.0)
    slices[5].ImagePositionPatient[2] += 0.3
    refused(write_slices(tmp_path / "badly", slices), "dicom-irregular-spacing")


def test_a_gantry_tilt_is_refused_with_its_angle(tmp_path) -> None:
    slices = a_series()
    for k, data in enumerate(slices):
        data.ImagePositionPatient[1] += 0.8 * k
    error = refused(write_slices(tmp_path, slices), "dicom-gantry-tilt")
    assert f"{np.degrees(np.arctan2(0.8, 3)):.1f} degrees" in error.message


def test_a_table_that_moved_sideways_is_refused(tmp_path) -> None:
    slices = a_series()
    for data in slices[6:8]:
        data.ImagePositionPatient[0] += 4
    refused(write_slices(tmp_path, slices), "dicom-shifted-slices")


def test_a_drift_below_half_a_pixel_is_rounding(tmp_path) -> None:
    slices = a_series()
    for k, data in enumerate(slices):
        data.ImagePositionPatient[0] += 0.05 * k
    np.testing.assert_array_equal(read_volume(write_slices(tmp_path, slices)).array, a_ct())


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "dicom-mixed-orientations"),
        ({"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}, "dicom-mixed-orientations"),
        ({"PixelSpacing": [2.5, 2.2]}, "dicom-mixed-spacing"),
        ({"ImagePositionPatient": None}, "dicom-no-positions"),
        ({"PixelSpacing": None}, "dicom-no-positions"),
        ({"ImageOrientationPatient": [1, 0, 0]}, "dicom-no-positions"),
    ],
)
def test_one_slice_that_does_not_fit_the_others_is_refused(tmp_path, change, code) -> None:
    slices = a_series()
    slices[5] = a_slice(5, **change)
    refused(write_slices(tmp_path, slices), code)


def test_slices_of_different_sizes_are_refused(tmp_path) -> None:
    slices = a_series()
    slices[5] = a_slice(5, np.zeros((16, 16), np.int16))
    assert "16 x 16" in refused(write_slices(tmp_path, slices), "dicom-mixed-sizes").message


def test_an_orientation_without_area_is_refused(tmp_path) -> None:
    folder = write_slices(tmp_path, a_series(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]))
    refused(folder, "dicom-bad-orientation")


def test_gaps_between_thin_slices_are_remarked_on(tmp_path) -> None:
    (finding,) = read_volume(write_slices(tmp_path, a_series(SliceThickness=1))).findings
    assert finding.code == "slice-gap"
    assert finding.number == pytest.approx(2.0)


def test_empty_identifiers_are_remarked_on(tmp_path) -> None:
    slices = a_series(SeriesInstanceUID="", SOPInstanceUID="", SOPClassUID="")
    folder = write_slices(tmp_path, slices)
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.array, a_ct())
    assert codes(volume) == ["dicom-empty-uids"]


# Values


@pytest.mark.parametrize("unit", ["Z_EFF", "ED"])
def test_maps_in_other_units_are_refused(tmp_path, unit) -> None:
    assert unit in refused(write_slices(tmp_path, a_series(RescaleType=unit)), "not-hu").message


def test_an_unspecified_unit_is_remarked_on(tmp_path) -> None:
    assert codes(read_volume(write_slices(tmp_path, a_series(RescaleType="US")))) == ["unit-not-stated"]


def test_a_ct_that_lost_its_rescale_is_refused(tmp_path) -> None:
    refused(write_slices(tmp_path, a_series(RescaleSlope=None, RescaleIntercept=None)), "not-hu")


# Damaged files


@pytest.mark.parametrize("lost", [1, 50, 700])
def test_a_truncated_slice_is_refused(tmp_path, lost) -> None:
    folder = write_slices(tmp_path, a_series())
    victim = next(folder.glob("image_*_5"))
    victim.write_bytes(victim.read_bytes()[:-lost])
    refused(folder, "dicom-truncated")


@pytest.mark.parametrize("keep", [140, 400, 800])
@pytest.mark.parametrize("which", [0, 5, 11])
def test_a_slice_cut_within_its_header_is_no_silent_gap(tmp_path, which, keep) -> None:
    folder = write_slices(tmp_path, a_series())
    victim = next(folder.glob(f"image_*_{which}"))
    victim.write_bytes(victim.read_bytes()[:keep])
    with pytest.raises(InputError):
        read_volume(folder)


def test_whatever_byte_is_damaged_there_is_a_volume_or_a_sentence(tmp_path) -> None:
    folder = write_slices(tmp_path, a_series())
    victim = next(folder.glob("image_*_5"))
    content = victim.read_bytes()
    random = np.random.default_rng(0)
    outcomes = set()
    for _ in range(150):
        damaged = bytearray(content)
        for place in random.integers(128, 1100, 2):
            damaged[place] = random.integers(0, 256)
        victim.write_bytes(damaged)
        try:
            read_volume(folder)
            outcomes.add("volume")
        except InputError as error:
            outcomes.add(error.code)
    assert {"volume", "dicom-damaged", "dicom-missing-slices"} <= outcomes


def test_pixels_of_an_odd_kind_are_refused(tmp_path) -> None:
    refused(write_slices(tmp_path, a_series(BitsAllocated=12)), "dicom-damaged")


def test_values_that_are_no_numbers_do_not_surface(tmp_path) -> None:
    folder = write_slices(tmp_path, a_series())
    victim = next(folder.glob("image_*_5"))
    victim.write_bytes(victim.read_bytes().replace(b"-31.5", b"Doe^J"))
    refused(folder, "dicom-no-positions")


def test_nothing_but_the_sentence_comes_out_of_a_damaged_picture(tmp_path) -> None:
    """Codecs write to the process's stderr behind Python's back, so only a process of its own can tell."""
    slices = a_series()
    for data in slices:
        data.compress(RLELossless)
    folder = write_slices(tmp_path, slices)
    victim = next(folder.glob("image_*_5"))
    content = victim.read_bytes()
    victim.write_bytes(content[:-300] + b"\x7f" * 300)
    code = (
        "import sys\nfrom pancreasseg.errors import InputError\nfrom pancreasseg.io.read import read_volume\n"
        "try:\n    read_volume(sys.argv[1])\nexcept InputError as error:\n    print(error.code)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stderr == ""
    assert done.stdout.strip() == "dicom-damaged"


@pytest.mark.real_data
def test_a_real_series_is_its_nifti_voxel_for_voxel(real_data, tmp_path) -> None:
    with zipfile.ZipFile(real_data / "data/ircadb17/dicom.zip") as archive:
        archive.extractall(tmp_path)
    series = read_volume(tmp_path)
    nifti = read_volume(real_data / "data/ircadb17/ct.nii.gz")
    np.testing.assert_array_equal(series.array, nifti.array)
    assert series.array.dtype == nifti.array.dtype == np.int16
    assert series.geometry.same_grid(nifti.geometry, tolerance_mm=1e-9)
    assert series.findings == nifti.findings == ()
    shutil.rmtree(tmp_path)


@pytest.mark.real_data
def test_a_real_series_with_empty_identifiers_and_compressed_slices_is_read_with_a_remark(real_data, tmp_path) -> None:
    with zipfile.ZipFile(real_data / "data/totalseg-example/dicom-empty-uids.zip") as archive:
        archive.extractall(tmp_path)
    volume = read_volume(tmp_path)
    assert codes(volume) == ["dicom-empty-uids"]
    assert volume.geometry.size == (512, 512, 20)
    assert volume.source["contrast"] == "yes"
