"""The structures beside the pancreas: names and codes, over the pipe, and as files."""

import csv

import numpy as np
import pytest
from Testing.helpers.ct_files import SHAPE, a_ct, a_grid

from pancreasseg.core import Box, Volume
from pancreasseg.core.results import Provenance, Segmentation
from pancreasseg.core.structures import structure
from pancreasseg.export.structures import cut_by_box, structures_of, write_structures
from pancreasseg.io.read import read_mask
from pancreasseg.worker.codec import SegmentationReader, segmentation_fields
from pancreasseg.worker.folder import ExchangeFolder


@pytest.mark.parametrize(
    ("name", "title", "code"),
    [
        ("spleen", "Spleen", "78961009"),
        ("kidney_left", "Left kidney", "18639004"),
        ("Portal vein and splenic vein", "Portal vein and splenic vein", "32764006"),
        ("tumor", "Tumour", "108369006"),
        ("PDAC lesion", "Tumour", "108369006"),
        ("hepatic_thing", "Hepatic thing", "123037004"),
        ("", "Structure", "123037004"),
    ],
)
def test_classes_are_known_by_whatever_name_their_authors_gave_them(name, title, code):
    assert (structure(name).title, structure(name).code) == (title, code)


CLASSES = ("background", "spleen", "pancreas", "left kidney", "tumor")


def a_result() -> tuple[Volume, Segmentation]:
    labels = np.zeros(SHAPE, np.uint8)
    labels[1, 1:4, 1:4], labels[3:6, 5:9, 4:9], labels[7, 2:5, 2:4] = 1, 2, 4
    box = Box.whole(a_grid())
    blank = np.zeros(box.shape, np.float32)
    made = Provenance("whole-volume", (), "cpu", "f32", box.bounds(), "0")
    mask = (labels == 2).astype(np.uint8)
    result = Segmentation(mask, box, blank, blank, (), {}, made, labels=labels, classes=CLASSES)
    return Volume(a_ct(), a_grid()), result


def test_a_structure_with_voxels_is_a_segment_and_the_pancreas_stands_for_itself():
    _, result = a_result()
    found = {segment.name: segment for segment in structures_of(result)}
    assert list(found) == ["Spleen", "Tumour"], "the left kidney has no voxels"
    assert found["Tumour"].category.value == "49755003"
    assert "SCT^78961009^Spleen" in found["Spleen"].terminology
    np.testing.assert_array_equal(found["Spleen"].mask, result.labels == 1)


def test_names_of_the_classes_cross_the_pipe():
    volume, result = a_result()
    folder = ExchangeFolder.create()
    try:
        reader = SegmentationReader(segmentation_fields(result, folder, 1), volume.geometry, folder)
        assert reader.advance()
        again = reader.result()
    finally:
        folder.remove()
    assert again.classes == CLASSES
    np.testing.assert_array_equal(again.labels, result.labels)


def test_structures_are_files_with_a_table(tmp_path):
    volume, result = a_result()
    files = write_structures(tmp_path, volume, result)
    names = {"spleen.nii.gz", "spleen.seg.nrrd", "tumour.nii.gz", "tumour.seg.nrrd", "structures.csv"}
    assert {path.name for path in files} == names
    for ending in ("nii.gz", "seg.nrrd"):
        spleen = read_mask(tmp_path / "structures" / f"spleen.{ending}", volume.geometry)
        np.testing.assert_array_equal(spleen, result.labels == 1)
    with (tmp_path / "structures" / "structures.csv").open(newline="") as file:
        rows = {row["structure"]: row for row in csv.DictReader(file)}
    assert float(rows["Spleen"]["volume ml"]) == pytest.approx(9 * volume.geometry.voxel_ml, abs=0.01)
    assert {name: row["extent"] for name, row in rows.items()} == {"Spleen": "whole", "Tumour": "whole"}
    assert float(rows["Tumour"]["mean HU"]) == pytest.approx(volume.array[result.labels == 4].mean(), abs=0.1)


def test_a_model_that_knows_the_pancreas_alone_writes_nothing(tmp_path):
    volume, result = a_result()
    alone = Segmentation(result.mask, result.box, result.probability, result.agreement, (), {}, result.provenance)
    assert write_structures(tmp_path, volume, alone) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("start", "stop", "cut"),
    [
        ((2, 2, 2), (5, 5, 5), False),
        ((1, 2, 2), (5, 5, 5), True),
        ((2, 2, 2), (5, 5, 9), True),
        ((0, 2, 2), (5, 5, 5), False),
    ],
    ids=["inside", "at the low face", "at the high face", "beyond"],
)
def test_what_ends_at_the_box_alone_is_cut_off_by_it(start, stop, cut):
    mask = np.zeros((12, 11, 10), np.uint8)
    mask[Box(start, stop).slices] = 1
    assert cut_by_box(mask, Box((1, 1, 1), (9, 9, 9))) is cut


def test_a_network_of_several_organs_tells_them_in_its_box_on_request(tmp_path):
    """The command line asks for it; the same run without does not pay for it."""
    from pancreasseg.core.setup import Setup
    from pancreasseg.phantom import make_phantom
    from pancreasseg.pipelines import create
    from pancreasseg.runs.run import segment

    volume = make_phantom(3, spacing=(3.0, 3.0, 6.0), step=3.0).volume
    pipeline = create(Setup(model="pancreas-ct", device="cpu", precision="f32"))
    alone = segment(volume, pipeline)
    assert alone.labels is None
    pipeline.ask_for_structures()
    more = segment(volume, pipeline)
    np.testing.assert_array_equal(more.mask, alone.mask)
    names = {segment.name for segment in structures_of(more)}
    assert names & {"Liver", "Stomach", "Duodenum", "Left kidney", "Spleen"}
    assert "Pancreas" not in names
    outside = more.labels.copy()
    outside[more.box.slices] = 0
    assert not outside.any(), "nothing is told of what nobody looked at"
