"""DICOM folders: slices by position, series told apart, whole series read exactly."""

import shutil
import zipfile

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from Testing.helpers.ct_files import SHAPE, SPACING, a_ct, a_grid, a_series, a_slice, compress, turned, write_slices
from Testing.helpers.dicom_reading import SECRETS, codes, refused
from Testing.helpers.enhanced_ct import an_enhanced_ct

from pancreasseg.io.read import read_volume

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
    values[7, 3, 3] = 35000
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


def test_an_enhanced_ct_in_one_file_is_read_frame_by_frame(tmp_path) -> None:
    volume = read_volume(write_slices(tmp_path, [an_enhanced_ct()]))
    np.testing.assert_array_equal(volume.array, a_ct())
    assert volume.geometry == a_grid()


def test_an_enhanced_ct_compressed_by_run_lengths_is_read(tmp_path) -> None:
    data = an_enhanced_ct()
    data.compress(RLELossless)
    np.testing.assert_array_equal(read_volume(write_slices(tmp_path, [data])).array, a_ct())


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_slices_that_gdcm_compressed_are_decoded(tmp_path, compressor) -> None:
    slices = [compress(data, compressor) for data in a_series()]
    np.testing.assert_array_equal(read_volume(write_slices(tmp_path, slices)).array, a_ct())


def test_an_enhanced_ct_in_jpeg_2000_is_read_frame_by_frame(tmp_path) -> None:
    folder = write_slices(tmp_path / "series", [compress(an_enhanced_ct(), "JPEG2000")])
    np.testing.assert_array_equal(read_volume(folder).array, a_ct())


# Real series


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
