"""Tiles blend without seams, memory failures go down the ladder, cancel takes effect between patches."""

import itertools

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import nn

from pancreasseg.core.errors import Cancelled, RunError
from pancreasseg.core.progress import Progress
from pancreasseg.inference.hardware import Hardware, choose
from pancreasseg.inference.predictor import Predictor, starts

CPU = Hardware("cpu", "f32")


class Contrast(nn.Module):
    """Two classes from the value of each voxel and its neighbours."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.blur: nn.Module = nn.AvgPool3d(3, 1, 1, count_include_pad=False)
        self.gain = gain

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        value = self.blur(image) * self.gain
        return torch.cat([-value, value], dim=1)


class Hungry(Contrast):
    """Runs out of memory above a number of voxels, as a GPU would."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.blur = nn.Identity()  # every voxel for itself, so that tiles must give the very same result
        self.limit = limit
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(image.shape[2:]))
        if image[0, 0].numel() > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(image)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_one_piece_gives_the_softmax_of_the_network() -> None:
    array = noise(9, 10, 11)
    expected = Contrast()(torch.from_numpy(array)[None, None]).softmax(1)[0].numpy()
    np.testing.assert_allclose(Predictor([Contrast()], CPU).probabilities(array), expected, atol=1e-6)


def test_an_ensemble_is_the_mean_of_its_members() -> None:
    array = noise(8, 8, 8)
    both = Predictor([Contrast(1), Contrast(3)], CPU)
    single = [Predictor([Contrast(gain)], CPU).probabilities(array) for gain in (1, 3)]
    np.testing.assert_allclose(both.probabilities(array), np.mean(single, axis=0), atol=1e-6)
    np.testing.assert_allclose(both.probabilities(array, members=[1]), single[1], atol=1e-6)


def test_tiles_agree_with_monais_sliding_window() -> None:
    array = noise(40, 36, 33)
    ours = Predictor([Contrast()], CPU).probabilities(array, patch=(24, 24, 24))
    theirs = sliding_window_inference(
        torch.from_numpy(array)[None, None],
        (24, 24, 24),
        1,
        lambda piece: Contrast()(piece).softmax(1),
        overlap=0.5,
        mode="gaussian",
    )[0].numpy()
    np.testing.assert_allclose(ours.sum(axis=0), 1, atol=1e-5)
    # MONAI places its windows at other starts, so only the rims of the tiles may differ a little.
    assert np.abs(ours - theirs).mean() < 2e-3


def test_tiles_cover_every_voxel_and_overlap() -> None:
    for length in range(1, 60):
        corners = starts(length, 16)
        covered = np.zeros(length, dtype=int)
        for corner in corners:
            covered[corner : corner + 16] += 1
        assert covered.min() >= 1
        assert corners[-1] + 16 >= length
        assert all(b - a <= 8 for a, b in itertools.pairwise(corners))


def test_running_out_of_memory_goes_on_in_tiles_and_says_so() -> None:
    network = Hungry(limit=115**3)
    progress = Progress()
    array = noise(1, 120, 120, 120)
    result = Predictor([network], CPU).probabilities(array, progress)
    assert max(np.prod(shape) for shape in network.shapes[1:]) <= 115**3
    assert [finding.code for finding in progress.notices] == ["out-of-memory"]
    assert "tiles of 112 voxels" in progress.notices[0].sentence
    np.testing.assert_allclose(result, Predictor([Hungry(limit=10**9)], CPU).probabilities(array), atol=1e-5)


def test_the_next_run_stays_on_the_lower_rung() -> None:
    network = Hungry(limit=115**3)
    predictor = Predictor([network], CPU)
    predictor.probabilities(noise(120, 120, 120))
    network.shapes.clear()
    predictor.probabilities(noise(120, 120, 120))
    assert max(np.prod(shape) for shape in network.shapes) <= 115**3


def test_no_memory_at_all_is_one_plain_sentence() -> None:
    with pytest.raises(RunError, match="not enough memory") as caught:
        Predictor([Hungry(limit=0)], CPU).probabilities(noise(16, 16, 16))
    assert caught.value.code == "out-of-memory"
    assert caught.value.hint


def test_a_network_that_must_see_everything_is_never_cut_into_tiles() -> None:
    network = Hungry(limit=115**3)
    with pytest.raises(RunError, match="not enough memory"):
        Predictor([network], CPU, tiles=False).probabilities(noise(120, 120, 120))
    assert set(network.shapes) == {(120, 120, 120)}


def test_other_faults_of_a_network_are_not_taken_for_missing_memory() -> None:
    class Broken(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        Predictor([Broken()], CPU).probabilities(noise(8, 8, 8))


def test_cancel_takes_effect_between_patches() -> None:
    seen: list[int] = []

    class Counting(Contrast):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            seen.append(1)
            return super().forward(image)

    with pytest.raises(Cancelled):
        Predictor([Counting()], CPU).probabilities(
            noise(64, 16, 16), Progress(cancelled=lambda: len(seen) >= 2), patch=(16, 16, 16)
        )
    assert len(seen) == 2


def test_cancel_takes_effect_within_a_pass() -> None:
    passed: list[int] = []

    class Layer(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            passed.append(1)
            return image

    network = nn.Sequential(*(Layer() for _ in range(5)), Contrast())
    with pytest.raises(Cancelled):
        Predictor([network], CPU).probabilities(noise(8, 8, 8), Progress(cancelled=lambda: len(passed) >= 2))
    assert len(passed) == 2
    network(torch.zeros(1, 1, 8, 8, 8))  # what would have cancelled it is gone


def test_bf16_agrees_with_f32_but_for_rounding() -> None:
    array = noise(16, 16, 16)
    half = Predictor([Contrast()], Hardware("cpu", "bf16")).probabilities(array)
    np.testing.assert_allclose(half, Predictor([Contrast()], CPU).probabilities(array), atol=0.02)


def test_a_gpu_that_is_not_there_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RunError, match="finds none"):
        choose("cuda")
    assert choose("auto").device == "cpu"


def test_unknown_devices_and_precisions_are_refused() -> None:
    with pytest.raises(RunError):
        choose("tpu")
    with pytest.raises(RunError):
        choose("cpu", "fp16")
