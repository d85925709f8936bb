"""The hierarchical pipeline: the body, the candidate region, tiles with their surroundings."""

from pathlib import Path

import numpy as np
import pytest
import torch
from Testing.helpers.bright_model import a_patient, outside, write_bright_model
from Testing.helpers.model_samples import CARD, card

from pancreasseg.core import Box, Volume
from pancreasseg.core.progress import Progress
from pancreasseg.core.setup import Setup
from pancreasseg.grids.body import eroded_body
from pancreasseg.models.package import write_package
from pancreasseg.models.store import Store
from pancreasseg.networks import build
from pancreasseg.pipelines import create
from pancreasseg.pipelines.hierarchical import HierarchicalPipeline


@pytest.fixture
def store(tmp_path: Path) -> Store:
    write_bright_model(tmp_path)
    return Store(tmp_path)


def made(store: Store, **options) -> HierarchicalPipeline:
    pipeline = create(Setup("hierarchical", model="bright", device="cpu", precision="f32", options=options), store)
    assert isinstance(pipeline, HierarchicalPipeline)
    return pipeline


def test_the_body_mask_drops_the_table_and_fills_the_bowel():
    hu = np.full((6, 60, 60), -1000)
    hu[:, 10:40, 10:50] = 40
    hu[:, 20:26, 20:26] = -800  # gas, closed in every slice
    hu[:, 48:50] = 100  # a table, thinner than the erosion
    mask = eroded_body(hu)
    assert mask[:, 12:38, 12:48].all()
    assert not mask[:, 46:].any()
    assert not mask[:, :, :8].any()
    assert not eroded_body(np.full((3, 20, 20), -1000)).any()


def test_both_networks_find_the_organ(store):
    volume, truth = a_patient()
    pipeline = made(store)
    region = pipeline.localize(volume)
    true_box = Box.of_mask(truth)
    assert region.box.intersect(true_box) == true_box
    assert region.score > 0.9
    result = pipeline.segment(volume, region)
    assert 2 * (result.mask & truth).sum() / (result.mask.sum() + truth.sum()) > 0.95
    assert result.provenance.pipeline == "hierarchical"


def test_only_the_candidate_region_is_looked_at(store):
    volume, _ = a_patient()
    bright = volume.array.copy()
    region = made(store).localize(volume)
    k0, j0, i0 = (s.start for s in region.box.slices)
    bright[k0 : k0 + 2, j0 : j0 + 3, i0 : i0 + 3] = 300  # in the box's corner, but far from the organ
    pipeline = made(store, candidate_steps=2)
    near = pipeline.localize(volume)
    result = pipeline.segment(Volume(bright, volume.geometry), near)
    assert result.second_largest == 0


def test_less_is_computed_inside_the_body_than_everywhere(store):
    volume, _ = a_patient()
    pipeline = made(store, tile=(8, 8, 8), overlap=False)
    array, _ = pipeline.segmenter.prepare(volume, Box.whole(volume.geometry))
    counts = []
    for where in (np.ones(array.shape, dtype=bool), np.zeros(array.shape, dtype=bool)):
        calls = []
        progress = Progress(report=calls.append)
        with progress.stage("fine"):
            pipeline.tiled(pipeline.segmenter, array, where, progress, overlap=False)
        counts.append(len(calls))
    assert counts[0] > 100 > counts[1] == 1


def test_a_persons_box_is_obeyed_and_nothing_found_is_said(store):
    volume, truth = a_patient()
    pipeline = made(store)
    box = Box((38, 25, 15), (80, 70, 22))
    result = pipeline.segment(volume, box)
    assert not outside(result.mask, box).any()
    assert (result.mask & truth).sum() > 0.9 * truth[box.slices].sum()
    dull = Volume(np.where(volume.array > 100, 40, volume.array).astype(np.int16), volume.geometry)
    region = pipeline.localize(dull)
    assert [finding.code for finding in region.findings] == ["no-pancreas"]
    assert not pipeline.segment(dull, region).mask.any()


def test_tiles_of_valid_convolutions_fit_together_without_seams(tmp_path):
    torch.manual_seed(0)
    network = build("fcn3d", channels=[2, 3])
    network.train()
    network(torch.randn(2, 1, 28, 28, 28))
    entry = {**CARD["networks"][0], "network": "fcn3d", "arguments": {"channels": [2, 3]}, "members": ["net"]}
    entry["preprocessing"] = {**entry["preprocessing"], "spacing_mm": [3, 3, 3]}
    data = card(
        pipeline="hierarchical",
        networks=[{**entry, "role": "localizer", "members": ["one"]}, {**entry, "members": ["two"]}],
    )
    tensors = {f"{m}.{k}": v for m in ("one", "two") for k, v in network.state_dict().items()}
    write_package(tmp_path / "models" / data["name"], data, tensors)
    volume, _ = a_patient()
    maps = []
    for tile in ((12, 12, 12), (400, 400, 400)):
        pipeline = create(
            Setup(model=data["name"], device="cpu", precision="f32", options={"tile": tile, "overlap": False}),
            Store(tmp_path),
        )
        assert isinstance(pipeline, HierarchicalPipeline)
        array, _ = pipeline.segmenter.prepare(volume, Box.whole(volume.geometry))
        array = array[:24, :36, :36]
        maps.append(
            pipeline.tiled(pipeline.segmenter, array, np.ones(array.shape, dtype=bool), Progress(), overlap=False)
        )
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-5)
    assert maps[0].std() > 0.001
