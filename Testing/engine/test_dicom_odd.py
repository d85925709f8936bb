"""DICOM as hospitals send it: usable though odd is read, and nothing that looks whole passes when it is not."""

import errno
import os
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)
from Testing.helpers.ct_files import SPACING, a_ct, a_series, a_slice, compress, put_frames, read_apart, write_slices
from Testing.helpers.dicom_reading import codes, refused
from Testing.helpers.enhanced_ct import an_enhanced_ct

from pancreasseg.io.codestream import frame_size
from pancreasseg.io.dicom_pixels import read_pixels
from pancreasseg.io.dicom_slices import read_header
from pancreasseg.io.read import read_volume


def the_ct(folder: Path, **options: object) -> list[str]:
    """The codes of the findings on a folder that reads as the usual CT."""
    volume = read_volume(folder, **options)
    np.testing.assert_array_equal(volume.array, a_ct())
    return codes(volume)


# Values that would be silently wrong


@pytest.mark.parametrize("which", [0, 5, 11])
def test_a_slice_that_lost_its_intercept_is_refused(tmp_path, which) -> None:
    slices = a_series()
    del slices[which].RescaleIntercept
    error = refused(write_slices(tmp_path, slices), "dicom-mixed-rescale")
    assert "1 of 12 slices" in error.message


def test_slices_that_need_no_rescale_may_leave_it_out(tmp_path) -> None:
    slices = a_series(RescaleIntercept=0, PixelRepresentation=1)
    for data, plane in zip(slices, a_ct(), strict=True):
        data.PixelData = plane.astype("<i2").tobytes()
    del slices[3].RescaleIntercept, slices[3].RescaleSlope
    assert the_ct(write_slices(tmp_path, slices)) == []


@pytest.mark.parametrize("change", [{"RescaleSlope": 0}, {"RescaleSlope": "0.0"}])
def test_a_slope_of_zero_is_called_so(tmp_path, change) -> None:
    assert "slope of 0" in refused(write_slices(tmp_path, a_series(**change)), "not-hu").message


@pytest.mark.parametrize("value", ["1e300", "-1e300", "abc", "1\\2"])
@pytest.mark.parametrize("name", ["RescaleSlope", "RescaleIntercept"])
def test_a_rescale_that_makes_no_sense_is_refused(tmp_path, name, value) -> None:
    slices = a_series()
    with pydicom.config.disable_value_validation():
        for data in slices:
            data[name] = pydicom.DataElement(name, "LO", value)  # no DS: pydicom would not let it through
        refused(write_slices(tmp_path, slices), "dicom-damaged")


def test_slices_of_two_patients_are_refused(tmp_path) -> None:
    slices = a_series()
    slices[4].PatientID = "SECRET-4712"
    refused(write_slices(tmp_path, slices), "dicom-several-patients")


def test_a_slice_without_patient_is_that_of_the_others(tmp_path) -> None:
    slices = a_series()
    slices[4].PatientID = ""
    assert the_ct(write_slices(tmp_path, slices)) == []


def _woven(brighter: int, **late: object) -> list[Dataset]:
    """The usual series, and a second one half a step further in the same series."""
    between = [a_slice(k, plane + brighter, **late) for k, plane in enumerate(a_ct())]
    for data in between:
        data.ImagePositionPatient[2] += SPACING[2] / 2
    return a_series(AcquisitionNumber=1) + between


def test_two_acquisitions_half_a_step_apart_are_told(tmp_path) -> None:
    volume = read_volume(write_slices(tmp_path, _woven(0, AcquisitionNumber=2)))
    assert "dicom-interleaved" in codes(volume)
    assert next(f for f in volume.findings if f.code == "dicom-interleaved").severity.value == "serious"


def test_two_phases_half_a_step_apart_are_told_by_their_brightness(tmp_path) -> None:
    assert "slices-alternate" in codes(read_volume(write_slices(tmp_path, _woven(40, AcquisitionNumber=1))))


def test_acquisitions_one_after_the_other_are_one_ct(tmp_path) -> None:
    slices = a_series()
    for k, data in enumerate(slices):
        data.AcquisitionNumber = 1 + k // 4
    assert the_ct(write_slices(tmp_path, slices)) == []


def test_an_enhanced_ct_of_electron_densities_is_refused(tmp_path) -> None:
    data = an_enhanced_ct()
    for frame in data.PerFrameFunctionalGroupsSequence:
        frame.PixelValueTransformationSequence[0].RescaleType = "ED"
    assert "ED" in refused(write_slices(tmp_path, [data]), "not-hu").message


def test_gaps_between_the_frames_of_an_enhanced_ct_are_remarked_on(tmp_path) -> None:
    data = an_enhanced_ct()
    data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness = 1
    assert the_ct(write_slices(tmp_path, [data])) == ["slice-gap"]


def test_values_in_the_upper_bits_are_read_as_the_header_says(tmp_path) -> None:
    slices = a_series(PixelRepresentation=1, BitsStored=12, HighBit=15, RescaleIntercept=0)
    for data, plane in zip(slices, a_ct(), strict=True):
        data.PixelData = (plane.astype("<i2") * 16 + 9).tobytes()
    assert the_ct(write_slices(tmp_path, slices)) == []


@pytest.mark.parametrize(("padding", "stated"), [(65535, 65535), (63536, -2000)])
def test_padding_that_would_be_brighter_than_any_ct_is_air(tmp_path, padding, stated) -> None:
    slices = a_series()
    for data in slices:
        stored = np.full((data.Rows, data.Columns), 1024)
        stored[:3] = padding
        data.PixelData, data.PixelRepresentation = stored.astype("<u2").tobytes(), 0
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit = 15
        data.add_new("PixelPaddingValue", "SS" if stated < 0 else "US", stated)
    (path,) = write_slices(tmp_path, slices[:1]).iterdir()
    (ct,) = read_pixels(path, read_header(path).slices)
    assert (ct[:3] == -1024).all()
    assert (ct[3:] == 0).all()


def test_a_full_disk_is_no_damaged_slice(tmp_path, monkeypatch) -> None:
    slices = a_series()
    for data in slices:
        data.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)

    def full(*_words: object, **_more: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_slices(tmp_path, slices)
    monkeypatch.setattr("pydicom.dataset.Dataset.save_as", full)
    with pytest.raises(OSError, match="space"):
        read_volume(tmp_path)


@pytest.mark.parametrize("high", [5, 31])
def test_bits_that_do_not_fit_are_refused(tmp_path, high) -> None:
    refused(write_slices(tmp_path, a_series(BitsStored=12, HighBit=high)), "dicom-damaged")


@pytest.mark.parametrize("wanted", [2, "2"])
def test_a_number_is_the_place_in_the_list_before_it_is_a_name(tmp_path, wanted) -> None:
    write_slices(tmp_path, a_series(SeriesDescription="2"), "a")
    late = a_series(a_ct() + 7, series="1.2.3.5", SeriesDescription="late", SeriesNumber=3)
    write_slices(tmp_path, late, "b")
    np.testing.assert_array_equal(read_volume(tmp_path, series=wanted).array, a_ct() + 7)


# Usable though odd


@pytest.mark.parametrize("unit", ["HU", "hu", "HOUNSFIELD", "Houndsfield Unit", "Hounsfield Units", "HU_MOD", ""])
def test_hu_by_any_name_are_hu(tmp_path, unit) -> None:
    with pydicom.config.disable_value_validation():
        assert the_ct(write_slices(tmp_path, a_series(RescaleType=unit))) == []


@pytest.mark.parametrize("step", [0.625, 0.75, 1.25, 2.97])
def test_positions_rounded_to_a_tenth_of_a_millimetre_are_a_grid(tmp_path, step) -> None:
    slices = a_series(np.repeat(a_ct(), 4, axis=0))
    for k, data in enumerate(slices):
        data.ImagePositionPatient = [-31.5, 12.25, round(100.75 + step * k, 1)]
        data.SliceThickness = step
    volume = read_volume(write_slices(tmp_path, slices))
    assert volume.geometry.spacing[2] == pytest.approx(step, abs=0.1 / 46)
    assert set(codes(volume)) <= {"slice-jitter"}


def test_positions_rounded_to_whole_millimetres_are_a_grid(tmp_path) -> None:
    slices = a_series(np.repeat(a_ct(), 4, axis=0))
    for k, data in enumerate(slices):
        data.ImagePositionPatient = [-31.5, 12.25, round(100.75 + 2.5 * k)]
    volume = read_volume(write_slices(tmp_path, slices))
    assert volume.geometry.spacing[2] == pytest.approx(2.5, abs=1 / 46)
    assert set(codes(volume)) <= {"slice-jitter"}


def _without_preamble(file: Path, *, meta: bool) -> None:
    """Cut the preamble and perhaps the head of a file off, so that it begins with group 2 or with its SOP class."""
    data = pydicom.dcmread(file)
    if meta:
        file.write_bytes(file.read_bytes()[132:])
        return
    data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    del data.ImageType
    pydicom.dcmwrite(file, data, enforce_file_format=True)
    content = file.read_bytes()
    file.write_bytes(content[144 + int.from_bytes(content[140:144], "little") :])


@pytest.mark.parametrize("meta", [True, False])
def test_files_without_preamble_are_read(tmp_path, meta) -> None:
    write_slices(tmp_path, a_series())
    for file in tmp_path.iterdir():
        _without_preamble(file, meta=meta)
        assert file.read_bytes()[:4] == (b"\x02\0\0\0" if meta else b"\x08\0\x16\0")
    assert the_ct(tmp_path) == []


def test_slices_with_a_series_identifier_of_their_own_are_put_together(tmp_path) -> None:
    slices = [a_slice(k, series=f"1.2.3.4.{k}") for k in range(len(a_ct()))]
    assert the_ct(write_slices(tmp_path, slices)) == ["dicom-series-split"]


def test_copies_of_slices_are_left_aside(tmp_path) -> None:
    write_slices(tmp_path, a_series())
    for file in list(tmp_path.iterdir())[:3]:
        (tmp_path / f"{file.name}_copy").write_bytes(file.read_bytes())
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, a_ct())
    (finding,) = volume.findings
    assert "3 x copy of a slice" in finding.sentence


def test_a_folder_that_holds_a_link_to_the_series_is_the_series(tmp_path) -> None:
    write_slices(tmp_path / "elsewhere", a_series())
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "series").symlink_to(tmp_path / "elsewhere")
    assert the_ct(tmp_path / "links") == []


def test_links_that_lead_round_in_circles_end(tmp_path) -> None:
    write_slices(tmp_path / "series", a_series())
    (tmp_path / "series" / "up").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "series")
    assert the_ct(tmp_path) == []


def test_a_link_to_a_folder_above_brings_no_other_series(tmp_path) -> None:
    write_slices(tmp_path / "other", a_series(a_ct() + 40))
    (write_slices(tmp_path / "series", a_series()) / "up").symlink_to(tmp_path)
    assert the_ct(tmp_path / "series") == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_beside_the_slices_is_never_opened(tmp_path) -> None:
    os.mkfifo(write_slices(tmp_path, a_series()) / "pipe")
    assert the_ct(tmp_path) == []


def test_a_whole_disk_is_no_series(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("pancreasseg.io.dicom_folder.MOST_FILES", 11)
    refused(write_slices(tmp_path, a_series()), "folder-too-large")


# Sentences that say what it is


def test_a_compression_that_cannot_be_undone_is_named(tmp_path) -> None:
    slices = a_series()
    for data in slices:
        data.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f" + bytes(200)])
        data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"
    error = refused(write_slices(tmp_path, slices), "dicom-compression-unknown")
    assert "High-Throughput JPEG 2000" in error.message


def test_a_few_slices_far_away_are_no_hundreds_of_missing_ones(tmp_path) -> None:
    slices = a_series()
    slices[-1].ImagePositionPatient[2] += 1500
    error = refused(write_slices(tmp_path, slices), "dicom-irregular-spacing")
    assert "missing" not in error.message


def test_a_stack_that_changes_its_spacing_misses_no_slices(tmp_path) -> None:
    slices = a_series()
    for k, data in enumerate(slices):
        data.ImagePositionPatient[2] = 100 + 3 * k - 1.5 * max(k - 5, 0)
    error = refused(write_slices(tmp_path, slices), "dicom-irregular-spacing")
    assert "1.50 mm apart, some 3.00 mm" in error.message


def test_a_folder_with_an_archive_says_to_unpack_it(tmp_path) -> None:
    (tmp_path / "CT.zip").write_bytes(b"PK\x03\x04")
    assert "Unpack" in refused(tmp_path, "no-dicom").hint


# Files that would take over the process, or its memory


def _deflated(data: Dataset, extra: int) -> bytes:
    """A deflated file, with a private element of zeros before and pixel data longer than its header says."""
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.PixelData += bytes(extra)
    buffer = pydicom.filebase.DicomBytesIO()
    pydicom.dcmwrite(buffer, data, enforce_file_format=True)
    content = buffer.getvalue()
    head = 144 + int.from_bytes(content[140:144], "little")
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    meta = pydicom.filebase.DicomBytesIO()
    pydicom.filewriter.write_file_meta_info(meta, data.file_meta)
    packer = zlib.compressobj(9, wbits=-15)
    return content[:132] + meta.getvalue() + packer.compress(content[head:]) + packer.flush()


def test_a_deflated_slice_is_not_unpacked_beyond_its_picture(tmp_path) -> None:
    write_slices(tmp_path, a_series())
    victim = next(tmp_path.glob("image_*_5"))
    victim.write_bytes(_deflated(a_slice(5), 0))
    assert the_ct(tmp_path) == []
    victim.write_bytes(_deflated(a_slice(5), 100_000_000))
    assert victim.stat().st_size < 200_000
    assert "unpacks to far more" in refused(tmp_path, "dicom-damaged").message


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
@pytest.mark.parametrize(("place", "value"), [(0, 0xBD), (2, 99), (4, 1), (5, 3)])
def test_a_frame_that_states_another_picture_than_its_header_is_not_decoded(tmp_path, compressor, place, value) -> None:
    """A precision of 189 bits ended the process; a larger size would be written beyond the picture."""
    slices = a_series()
    data = compress(slices[5], compressor)
    frame = bytearray(get_frame(data.PixelData, 0, number_of_frames=1))
    if compressor == "JPEG":
        start = frame.index(b"\xff\xc3") + 4 + place
    else:  # precision, height, width, components
        start = frame.index(b"\xff\x4f\xff\x51") + 4 + {0: 38, 2: 11, 4: 7, 5: 37}[place]
    frame[start] = value if compressor == "JPEG" else {0: 0x7F}.get(place, value)
    put_frames(data, [bytes(frame)])
    done = read_apart(write_slices(tmp_path, slices))
    assert done.stdout.startswith("dicom-damaged ")
    assert done.stderr == ""


@pytest.mark.parametrize(
    "frame", [b"", b"\xff\xd8", b"\xff\xd8\xff\xda" + bytes(90), b"\xff\x4f\xff\x51", b"text" * 30]
)
def test_frames_that_state_nothing_have_no_size(frame) -> None:
    assert frame_size(frame) is None


def _nested(depth: int) -> bytes:
    """Sequences within sequences, deeper than Python's stack."""
    start = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return start * depth


def test_whatever_pydicom_stumbles_over_becomes_a_sentence(tmp_path, monkeypatch) -> None:
    folder = write_slices(tmp_path / "nested", a_series())
    victim = next(folder.glob("image_*_5"))
    content = victim.read_bytes()
    place = content.index(b"\x28\x00\x02\x00US")
    victim.write_bytes(content[:place] + _nested(3000) + content[place:])
    refused(folder, "dicom-damaged")
    import struct

    for kind in (zlib.error, struct.error, RecursionError, OSError, OverflowError, AssertionError):

        def fail(*arguments: object, kind: type[Exception] = kind, **options: object) -> None:
            raise kind("of a damaged file")

        with monkeypatch.context() as patched:
            patched.setattr("pancreasseg.io.dicom_slices.read_file", fail)
            refused(folder, "dicom-damaged")


@pytest.mark.parametrize("change", [{"Rows": 0}, {"Columns": 0}, {"NumberOfFrames": -3}])
def test_pictures_without_extent_are_refused(tmp_path, change) -> None:
    refused(write_slices(tmp_path, a_series(**change)), "dicom-damaged")


def test_no_identifier_reaches_a_terminal(tmp_path) -> None:
    slices = a_series(SOPInstanceUID=generate_uid())
    folder = write_slices(tmp_path, slices)
    victim = next(folder.glob("image_*_5"))
    content = victim.read_bytes()
    victim.write_bytes(content.replace(b"1.2.3.4\0", b"1.2.03.X").replace(b"SECRET-4711", b"SECRET\xff\x1b[1"))
    done = read_apart(folder)
    assert done.stderr == ""
