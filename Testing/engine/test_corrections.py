"""Corrections kept for training: what is on disk, that it is read back, and that it makes a cohort."""

import json

import numpy as np
import pytest

from pancreasseg.core import Box, Volume
from pancreasseg.core.errors import InputError
from pancreasseg.io.corrections import corrections, keep_correction
from pancreasseg.io.nifti import encode_nifti
from pancreasseg.io.read import read_mask, read_volume
from pancreasseg.lab.cohorts.prepare import Preparation, prepare
from pancreasseg.phantom import make_phantom


@pytest.fixture(scope="module")
def patient():
    found = make_phantom(910001, size=(100, 80, 40), spacing=(4.0, 4.0, 6.0), step=4.0)
    return found.volume, found.pancreas.astype(np.uint8)


def test_what_is_kept_is_the_mask_the_box_and_where_the_ct_is(tmp_path, patient):
    volume, mask = patient
    ct = tmp_path / "ct.nii.gz"
    ct.write_bytes(encode_nifti(volume.array, volume.geometry))
    box = Box.of_mask(mask)
    kept = keep_correction(tmp_path / "kept", volume, mask, ct=ct, box=box)
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [
        f"{kept.name}.json",
        f"{kept.name}_mask.nii.gz",
    ]
    assert set(json.loads((tmp_path / "kept" / f"{kept.name}.json").read_text())) == {
        "format",
        "ct",
        "mask",
        "scan",
        "box",
    }
    assert corrections(tmp_path / "kept") == [kept]
    assert kept.ct == ct
    assert kept.box == box
    np.testing.assert_array_equal(read_mask(kept.mask, volume.geometry), mask)


@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_a_ct_that_is_no_file_is_kept_as_voxels(tmp_path, patient, kind):
    volume, mask = patient
    volume = Volume(volume.array.astype(kind), volume.geometry)
    kept = keep_correction(tmp_path, volume, mask)
    again = read_volume(kept.ct)
    np.testing.assert_array_equal(again.array, volume.array)
    assert again.geometry.same_grid(volume.geometry, 1e-3)


def test_the_last_word_on_a_ct_replaces_the_one_before(tmp_path, patient):
    volume, mask = patient
    keep_correction(tmp_path, volume, mask)
    smaller = mask.copy()
    smaller[: len(mask) // 2] = 0
    kept = keep_correction(tmp_path, volume, smaller if smaller.any() else mask)
    assert len(corrections(tmp_path)) == 1
    np.testing.assert_array_equal(read_mask(kept.mask, volume.geometry), smaller)


def test_an_empty_mask_teaches_nothing(tmp_path, patient):
    volume, mask = patient
    with pytest.raises(InputError, match="empty"):
        keep_correction(tmp_path, volume, np.zeros_like(mask))
    with pytest.raises(InputError, match="another size"):
        keep_correction(tmp_path, volume, mask[1:])
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 9}', '{"format": 1, "ct": "x"}', '"x"'])
def test_a_damaged_correction_is_a_sentence(tmp_path, text):
    (tmp_path / "correction-1.json").write_text(text)
    with pytest.raises(InputError, match=r"correction-1\.json cannot be read"):
        corrections(tmp_path)


def test_kept_corrections_are_a_cohort(tmp_path, patient):
    volume, mask = patient
    ct = tmp_path / "elsewhere" / "ct.nii.gz"
    ct.parent.mkdir()
    ct.write_bytes(encode_nifti(volume.array, volume.geometry))
    kept = keep_correction(tmp_path / "kept", volume, mask, ct=ct)
    other = Volume(np.where(volume.array > -500, volume.array + 5, volume.array), volume.geometry)
    beside = keep_correction(tmp_path / "kept", other, mask)
    cohort = prepare("corrections", tmp_path / "kept", tmp_path / "cohort", Preparation(folds=2))
    assert {case.id for case in cohort.cases} == {kept.name, beside.name}
    assert {case.fold for case in cohort.cases} == {1, 2}
    case = cohort.case(kept.name)
    np.testing.assert_array_equal(cohort.volume(case).array, volume.array)
    ct.unlink()
    with pytest.raises(InputError):
        prepare("corrections", tmp_path / "kept", tmp_path / "again")
    with pytest.raises(InputError, match="holds no kept corrections"):
        prepare("corrections", ct.parent, tmp_path / "none")
