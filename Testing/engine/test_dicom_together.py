"""Slices of one series that do not belong together are told; what merely looks so is read."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, RLELossless, generate_uid
from Testing.helpers.ct_files import SPACING, a_ct, a_series, a_slice, write_slices
from Testing.helpers.dicom_reading import SECRETS, codes, refused
from Testing.helpers.enhanced_ct import an_enhanced_ct

from pancreasseg.io.read import read_volume


def the_ct(folder) -> list[str]:
    """The codes of the findings on a folder that reads as the usual CT."""
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.array, a_ct())
    return codes(volume)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PatientName", "Doe^John", "patient's name"),
        ("PatientBirthDate", "19500102", "date of birth"),
        ("PatientSex", "M", "sex"),
        ("StudyInstanceUID", "1.2.3.99", "study"),
        ("FrameOfReferenceUID", "1.2.3.98", "frame of reference"),
    ],
)
def test_slices_that_disagree_on_whose_they_are_are_told_without_saying_whose(tmp_path, name, value, words) -> None:
    slices = a_series(
        PatientName="Doe^Jane", PatientBirthDate="19500101", PatientSex="F", FrameOfReferenceUID="1.2.3.97"
    )
    setattr(slices[4], name, value)
    volume = read_volume(write_slices(tmp_path, slices))
    assert codes(volume) == ["dicom-slices-disagree"]
    assert words in volume.findings[0].sentence
    assert not any(secret in volume.findings[0].sentence for secret in (*SECRETS, "1950"))


@pytest.mark.parametrize("name", ["PatientName", "StudyInstanceUID", "FrameOfReferenceUID"])
def test_what_one_slice_leaves_open_is_no_disagreement(tmp_path, name) -> None:
    slices = a_series(FrameOfReferenceUID="1.2.3.97")
    setattr(slices[4], name, "")
    assert the_ct(write_slices(tmp_path, slices)) == []


def test_a_slice_that_lost_a_slope_other_than_one_is_refused(tmp_path) -> None:
    slices = a_series(RescaleSlope=2)
    del slices[5].RescaleSlope
    assert "1 of 12 slices" in refused(write_slices(tmp_path, slices), "dicom-mixed-rescale").message


def test_a_slice_with_an_intercept_of_its_own_is_told(tmp_path) -> None:
    slices = a_series()
    slices[5].RescaleIntercept = 0
    assert "dicom-rescales-differ" in codes(read_volume(write_slices(tmp_path, slices)))


def _woven(**late: object) -> list[Dataset]:
    """The usual series, and a second one half a step further in the same series, in the order of their acquisition."""
    slices = []
    for k, plane in enumerate(a_ct()):
        slices += [a_slice(k, plane, AcquisitionTime=f"1000{k:02d}"), a_slice(k, plane, AcquisitionTime=f"1005{k:02d}")]
        slices[-1].ImagePositionPatient[2] += SPACING[2] / 2
        for name, value in late.items():
            setattr(slices[-1], name, value)
    return slices


def test_slices_whose_times_go_back_and_forth_are_of_two_acquisitions(tmp_path) -> None:
    assert codes(read_volume(write_slices(tmp_path, _woven()))) == ["dicom-interleaved"]


def test_times_with_a_date_are_times(tmp_path) -> None:
    slices = _woven()
    for data in slices:
        data.AcquisitionDateTime = f"20200101{data.AcquisitionTime}.25+0100"
        del data.AcquisitionTime
    assert codes(read_volume(write_slices(tmp_path, slices))) == ["dicom-interleaved"]


@pytest.mark.parametrize(
    "late",
    [
        {"KVP": 140},
        {"TemporalPositionIdentifier": 2},
        {"ConvolutionKernel": "B70f"},
        {"SeriesDescription": "venous"},
        {"NominalPercentageOfCardiacPhase": 70},
    ],
)
def test_slices_that_alternate_in_how_they_were_made_are_of_two_acquisitions(tmp_path, late) -> None:
    slices = _woven(**late)
    for data in slices:
        del data.AcquisitionTime
    assert codes(read_volume(write_slices(tmp_path, slices))) == ["dicom-interleaved"]


def test_slices_of_one_run_have_their_times_in_order(tmp_path) -> None:
    slices = a_series()
    for k, data in enumerate(slices):
        data.AcquisitionTime = f"1000{59 - k // 2:02d}.5"  # from the feet up, two at a time
    assert the_ct(write_slices(tmp_path, slices)) == []


def test_two_acquisitions_less_than_half_a_step_apart_are_no_missing_slices(tmp_path) -> None:
    slices = _woven()
    for data in slices[1::2]:
        data.ImagePositionPatient[2] -= 0.12 * SPACING[2]
    refused(write_slices(tmp_path, slices), "dicom-irregular-spacing")


def test_phases_of_the_frames_of_an_enhanced_ct_that_alternate_are_told(tmp_path) -> None:
    data = an_enhanced_ct()
    by_place = sorted(
        data.PerFrameFunctionalGroupsSequence, key=lambda f: f.PlanePositionSequence[0].ImagePositionPatient[2]
    )
    for k, frame in enumerate(by_place):
        content = Dataset()
        content.TemporalPositionIndex = k % 2 + 1
        frame.FrameContentSequence = [content]
    assert codes(read_volume(write_slices(tmp_path, [data]))) == ["dicom-interleaved"]


@pytest.mark.parametrize("frames", [1, 11, 13])
def test_a_file_that_describes_other_frames_than_it_holds_is_refused(tmp_path, frames) -> None:
    data = an_enhanced_ct()
    data.NumberOfFrames = frames
    refused(write_slices(tmp_path, [data]), "dicom-frames-disagree")


def test_an_enhanced_ct_that_states_its_rescale_for_the_whole_file_is_read(tmp_path) -> None:
    data = an_enhanced_ct()
    for frame in data.PerFrameFunctionalGroupsSequence:
        del frame.PixelValueTransformationSequence
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    assert the_ct(write_slices(tmp_path, [data])) == []


@pytest.mark.parametrize("bits", [(12, 15, 4), (12, 13, 2), (12, 11, 0)])
def test_run_lengths_keep_values_in_the_upper_bits(tmp_path, bits) -> None:
    stored, high, shift = bits
    slices = a_series(BitsStored=stored, HighBit=high)
    for data, plane in zip(slices, a_ct(), strict=True):
        data.PixelData = ((plane.astype("<u2") + 1024) << shift).astype("<u2").tobytes()
        data.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    assert the_ct(write_slices(tmp_path, slices)) == []


def _copied_otherwise(data: Dataset) -> Dataset:
    copy = Dataset()
    copy.update(data)
    copy.file_meta = pydicom.dataset.FileMetaDataset()
    copy.file_meta.update(data.file_meta)
    copy.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    copy.SOPInstanceUID = copy.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    copy.InstitutionName = "elsewhere"
    return copy


def test_copies_that_were_written_in_another_way_are_left_aside(tmp_path) -> None:
    slices = a_series()
    write_slices(tmp_path, slices)
    write_slices(tmp_path, [_copied_otherwise(data) for data in slices], "copy")
    assert the_ct(tmp_path) == ["dicom-files-left-aside"]


def test_another_picture_at_the_same_place_is_no_copy(tmp_path) -> None:
    write_slices(tmp_path, a_series())
    write_slices(tmp_path, a_series(a_ct() + 1), "late")
    refused(tmp_path, "dicom-duplicate-slices")


def test_slices_with_a_study_and_a_series_each_are_put_together(tmp_path) -> None:
    slices = a_series()
    for k, data in enumerate(slices):
        data.StudyInstanceUID, data.SeriesInstanceUID = f"1.2.3.7.{k}", f"1.2.3.8.{k}"
    assert set(the_ct(write_slices(tmp_path, slices))) == {"dicom-slices-disagree", "dicom-series-split"}


@pytest.mark.parametrize("unit", ["H.U.", "[HU]", "HU\\HU", "Hounsfield Unit (HU)", "hounsfield"])
def test_hounsfield_units_are_known_by_any_spelling(tmp_path, unit) -> None:
    slices = a_series()
    for data in slices:
        data.RescaleType = unit
    assert the_ct(write_slices(tmp_path, slices)) == []


def test_a_unit_that_is_said_to_be_unspecified_is_remarked_on(tmp_path) -> None:
    assert the_ct(write_slices(tmp_path, a_series(RescaleType="UNSPECIFIED"))) == ["unit-not-stated"]


@pytest.mark.parametrize("change", [{"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, {"Modality": None}])
def test_slices_that_lost_what_they_are_called_are_known_by_what_they_say(tmp_path, change) -> None:
    assert the_ct(write_slices(tmp_path, a_series(**change))) == []


@pytest.mark.parametrize("term", [b"rot13 ", b"hex ", b"utf-16", b"idna", b"undefined "])
def test_a_character_set_that_is_none_keeps_no_slice_from_being_read(tmp_path, term) -> None:
    write_slices(tmp_path, a_series(RescaleType="HU", SpecificCharacterSet="ISO_IR 100"))
    stated = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100"
    for file in tmp_path.iterdir():
        content = file.read_bytes()
        assert stated in content
        replaced = b"\x08\x00\x05\x00CS" + len(term).to_bytes(2, "little") + term
        file.write_bytes(content.replace(stated, replaced))
    assert the_ct(tmp_path) == []


def test_a_folder_of_other_images_says_which_file_to_give(tmp_path) -> None:
    (tmp_path / "ct.nii.gz").write_bytes(b"anything")
    assert "NIfTI" in refused(tmp_path, "no-dicom").hint


@pytest.mark.parametrize("name", ["SeriesNumber", "AcquisitionNumber", "NumberOfFrames"])
def test_a_number_that_is_none_keeps_no_slice_from_being_read(tmp_path, name) -> None:
    slices = a_series()
    with pydicom.config.disable_value_validation():
        for data in slices:
            data[name] = pydicom.DataElement(name, "LO", "9" * 400)
        write_slices(tmp_path, slices)
    if name == "NumberOfFrames":
        refused(tmp_path, "dicom-truncated")
    else:
        assert the_ct(tmp_path) == []
