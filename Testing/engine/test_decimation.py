"""Networks that see every R-th voxel of the CT's own grid, as Zhao 2019 trains them."""

import numpy as np
import pytest
from Testing.helpers.model_samples import CARD, card, tensors

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.errors import ModelError
from pancreasseg.inference.hardware import Hardware
from pancreasseg.lab.cohorts.grid import CaseGrid, resample
from pancreasseg.models.card import Card
from pancreasseg.models.package import write_package
from pancreasseg.pipelines.base import Stage

#: Sagittal slices: i points back, j up, k to the right.
SAGITTAL = (0.0, 0.0, -1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def with_preprocessing(**changes):
    network = CARD["networks"][0]
    return card(networks=[{**network, "preprocessing": {**network["preprocessing"], **changes}}])


@pytest.mark.parametrize("decimation", [1, 4])
def test_the_pipeline_sees_exactly_what_training_sees(decimation, tmp_path):
    data = with_preprocessing(spacing_mm=None, decimation=decimation)
    package = write_package(tmp_path / "toy", data, tensors())
    entry = package.card.networks[0]
    assert entry.preprocessing.decimation == decimation
    stage = Stage(package, entry, Hardware("cpu", "f32"))
    hu = np.random.default_rng(0).integers(-200, 300, (9, 30, 17)).astype(np.int16)
    volume = Volume(hu, Geometry((17, 30, 9), (0.7, 0.9, 2.0), (3.0, 4.0, 5.0), SAGITTAL))
    array, grid = stage.prepare(volume, Box.whole(volume.geometry))
    sample = resample(volume, np.zeros(hu.shape, dtype=np.uint8), CaseGrid(decimation=decimation))
    assert grid.same_grid(sample.geometry)
    assert grid.spacing == pytest.approx((2.0 * decimation, 0.7 * decimation, 0.9 * decimation))
    # Training keeps whole HU.
    np.testing.assert_allclose(
        array, entry.preprocessing.normalise(sample.hu), atol=0.51 * entry.preprocessing.scale + 1e-6
    )


def test_a_card_gives_one_of_spacing_size_and_decimation():
    weights = {"format": 1, "weights": {"file": "w", "sha256": "0" * 64, "size": 1}}
    for wrong in ({"decimation": 2}, {"spacing_mm": None}, {"spacing_mm": None, "size": [8, 8, 8], "decimation": 2}):
        with pytest.raises(ModelError, match="exactly one"):
            Card.from_dict({**with_preprocessing(**wrong), **weights})
    with pytest.raises(ModelError, match="below 1"):
        Card.from_dict({**with_preprocessing(spacing_mm=None, decimation=0), **weights})
