"""One way from a CT to what a network sees, in training and ever after."""

import numpy as np
import pytest
import torch
from Testing.helpers.model_cards import card_of, checked, network_entry, preprocessing

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.errors import ModelError
from pancreasseg.grids.body import body_box
from pancreasseg.grids.network_input import VERSION, Preprocessing
from pancreasseg.grids.resample import nearest_axes, network_grid, to_grid
from pancreasseg.lab.cohorts.grid import CaseGrid, SampleStore, resample
from pancreasseg.lab.training import recipes

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
#: Coronal slices that run from back to front, turned a little about the patient's long axis.
OBLIQUE = (0.96, 0.28, 0.0, 0.0, 0.0, 1.0, -0.28, 0.96, 0.0)
SCANS = {
    "0.8 x 0.8 x 5 mm": Geometry((83, 79, 17), (0.8, 0.8, 5.0), (-30.0, 12.0, 7.0), AXIAL),
    "0.7 x 0.7 x 1 mm": Geometry((75, 69, 37), (0.7, 0.7, 1.0), (3.0, 4.0, 5.0), AXIAL),
    "an oblique scan": Geometry((61, 43, 39), (0.9, 1.3, 2.5), (9.0, -4.0, 5.0), OBLIQUE),
}
GRIDS = {
    "2 mm": CaseGrid((2.0, 2.0, 2.0), region="pancreas", margin_mm=5.0),
    "1.5 x 1.5 x 3 mm": CaseGrid((1.5, 1.5, 3.0), region="pancreas", margin_mm=3.0),
    "every 4th voxel": CaseGrid(decimation=4, region="pancreas", margin_mm=4.0),
    "every 2nd voxel": CaseGrid(decimation=2, region="pancreas"),
    "own voxels": CaseGrid(region="pancreas", margin_mm=2.5),
    "4 mm of the body": CaseGrid((4.0, 4.0, 4.0), region="body"),
}


def scan(geometry: Geometry) -> tuple[Volume, np.ndarray]:
    """Noise, in which every other phase of block means is another picture, and the mask of a block inside it."""
    hu = np.random.default_rng(3).integers(-150, 300, geometry.shape).astype(np.int16)
    mask = np.zeros(geometry.shape, dtype=np.uint8)
    mask[tuple(slice(n // 3 + 1, n - n // 3) for n in geometry.shape)] = 1
    return Volume(hu, geometry), mask


@pytest.mark.parametrize("wanted", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("geometry", SCANS.values(), ids=SCANS)
def test_training_sees_what_the_pipelines_see(geometry, wanted):
    volume, mask = scan(geometry)
    box = Box.of_mask(mask).grow(wanted.margin_mm, geometry)
    if wanted.region == "body":
        volume.array[:3] = -1000  # air below the patient
        box = body_box(volume)
    sample = resample(volume, mask, wanted)
    entry = network_entry(
        "segmenter",
        preprocessing=preprocessing(
            spacing_mm=None if wanted.spacing_mm is None else list(wanted.spacing_mm),
            decimation=None if wanted.spacing_mm else wanted.decimation,
            window_hu=None,
            scale=1,
        ),
    )
    seen, grid = checked(card_of(entry)).networks[0].preprocessing.prepare(volume, box)
    assert grid == sample.geometry
    np.testing.assert_array_equal(np.rint(seen), sample.hu)  # training keeps whole HU


def test_the_truth_of_training_lies_on_the_same_blocks_as_its_ct():
    geometry = SCANS["0.8 x 0.8 x 5 mm"]
    _, mask = scan(geometry)
    painted = Volume(1000 * mask.astype(np.int16), geometry)
    sample = resample(painted, mask, GRIDS["every 4th voxel"])
    np.testing.assert_allclose(sample.truth / 255, sample.hu / 1000, atol=3e-3)


@pytest.mark.parametrize("geometry", SCANS.values(), ids=SCANS)
@pytest.mark.parametrize(
    "settings",
    [
        {"spacing_mm": (1.5, 1.5, 1.5)},
        {"spacing_mm": (4.0, 4.0, 4.0), "window_hu": (-100.0, 240.0), "scale": 1 / 340, "shift": 0.3},
        {"decimation": 4},
        {"size": (24, 20, 16), "orientation": "LAI", "antialias": False, "scale": 1 / 1000},
    ],
    ids=["1.5 mm", "4 mm in a window", "every 4th voxel", "one size"],
)
def test_installed_models_see_the_same_to_the_bit(geometry, settings):
    volume, mask = scan(geometry)
    box = Box.of_mask(mask)
    way = Preprocessing(**settings)
    # Written out as the models' first version did it: the box and two voxels of the network around it.
    spacing = way.spacing_mm
    if way.decimation:
        spacing = [geometry.spacing[axis] * way.decimation for axis, _ in nearest_axes(geometry)]
    grid = network_grid(geometry, box, spacing=spacing, size=way.size, orientation=way.orientation)
    rim = box.grow(2 * max(grid.spacing), geometry)
    hu = to_grid(volume.array[rim.slices], geometry.crop(rim), grid, -1024.0, antialias=way.antialias)
    inside = hu if way.window_hu is None else np.clip(hu, *way.window_hu)
    expected = np.asarray(inside * np.float32(way.scale) + np.float32(way.shift), dtype=np.float32)
    seen, on = way.prepare(volume, box)
    assert on == grid
    np.testing.assert_array_equal(seen, expected)


def test_a_tensor_and_an_array_become_the_same_network_values():
    hu = np.random.default_rng(0).normal(50, 200, 1000).astype(np.float32)
    for recipe in map(recipes.get, recipes.NAMES):
        for part in recipe.parts:
            way = part.preprocessing
            values = way.normalise(torch.from_numpy(hu))
            assert values.dtype == torch.float32
            np.testing.assert_array_equal(values.numpy(), way.normalise(hu))


def test_a_recipe_writes_the_way_its_networks_learned_on_into_the_card():
    part = recipes.get("zhao2019").parts[0]
    entry = part.card()
    assert checked(card_of(entry)).networks[0].preprocessing == part.preprocessing
    assert entry["preprocessing"]["version"] == VERSION


def test_a_card_that_says_no_version_is_of_the_first_one():
    entry = network_entry("segmenter")
    assert "version" not in entry["preprocessing"]
    assert checked(card_of(entry)).networks[0].preprocessing.version == 1


@pytest.mark.parametrize(("version", "sentence"), [(VERSION + 1, "newer way"), (0, "below 1"), ("1", "version")])
def test_a_card_of_an_unknown_way_is_refused(version, sentence):
    entry = network_entry("segmenter", preprocessing=preprocessing(version=version))
    with pytest.raises(ModelError, match=sentence):
        checked(card_of(entry))


def test_arrays_that_were_kept_in_another_way_are_made_anew(tmp_path, monkeypatch):
    volume, mask = scan(SCANS["0.7 x 0.7 x 1 mm"])
    grid = GRIDS["2 mm"]
    SampleStore(tmp_path, grid).put("0001", "same", resample(volume, mask, grid))
    assert SampleStore(tmp_path, grid).get("0001", "same") is not None
    monkeypatch.setattr("pancreasseg.lab.cohorts.grid.VERSION", VERSION + 1)
    assert SampleStore(tmp_path, grid).get("0001", "same") is None
