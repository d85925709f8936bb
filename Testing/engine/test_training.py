"""Training: views of cases, the loss, a loop that can be stopped, and the export."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.losses import DiceLoss

from pancreasseg.models.package import ModelPackage
from pancreasseg.networks.load import load_networks
from pancreasseg.phantom import Anatomy
from pancreasseg.training.augment import Intensity, Spatial, jittered_box, scanner, view, whole_block
from pancreasseg.training.cases import FINE_MM, Case, case_path, localizer_case, segmenter_case
from pancreasseg.training.export import at_operating_point, export
from pancreasseg.training.loss import dice, dice_and_cross_entropy
from pancreasseg.training.trainer import Recipe, Trainer

STILL = Spatial((0.0, 0.0, 0.0), 0.0)


def ball(size: int = 24, radius: float = 6.0, noise: float = 10.0, seed: int = 0) -> Case:
    """A bright ball in fat."""
    z, y, x = np.indices((size,) * 3) - (size - 1) / 2
    inside = np.sqrt(z**2 + y**2 + x**2) < radius
    hu = np.where(inside, 100, -100) + np.random.default_rng(seed).normal(0, noise, inside.shape)
    return Case(hu.astype(np.int16), (255 * inside).astype(np.uint8))


def test_a_view_without_turn_is_the_crop_itself() -> None:
    case = ball()
    hu, share = view(case, (11.5, 10.5, 12.5), (8, 10, 12), np.random.default_rng(0), STILL, repeat_edge=True)
    np.testing.assert_allclose(hu.numpy(), case.hu[8:16, 6:16, 7:19], atol=0.01)
    np.testing.assert_allclose(share.numpy(), case.truth[8:16, 6:16, 7:19] / 255, atol=1e-4)


def test_a_turned_and_scaled_view_keeps_image_and_truth_together() -> None:
    case = ball(noise=0)
    hu, share = view(
        case, (11.5,) * 3, (24,) * 3, np.random.default_rng(3), Spatial((40, 40, 40), 0.2), repeat_edge=True
    )
    np.testing.assert_allclose(share.numpy(), (hu.numpy() + 100) / 200, atol=0.01)
    assert 0.6**3 < float(share.sum()) / (case.truth.sum() / 255) < 1.6**3


def test_outside_a_case_lies_its_edge_or_air() -> None:
    case = ball(size=8, radius=2, noise=0)
    for repeat_edge, expected in ((True, -100.0), (False, -300.0)):
        hu, _ = view(case, (3.5,) * 3, (16,) * 3, np.random.default_rng(0), STILL, repeat_edge=repeat_edge)
        assert float(hu[0, 0, 0]) == pytest.approx(expected)


def test_the_scanner_changes_brightness_but_not_shape() -> None:
    hu = torch.full((8, 8, 8), 60.0)
    seen = [scanner(hu, np.random.default_rng(n), Intensity()) for n in range(6)]
    assert all(s.shape == hu.shape and bool(torch.isfinite(s).all()) for s in seen)
    assert len({round(float(s[4, 4, 4]), 3) for s in seen}) == 6
    assert all(abs(float(s[4, 4, 4]) - 60) < 100 for s in seen)


def test_boxes_for_the_segmenter_hold_most_of_the_pancreas_and_vary() -> None:
    case = ball(size=64, radius=16)
    sizes, shares = set(), []
    for n in range(20):
        _, share = jittered_box(case, 1.5, np.random.default_rng(n), most=90_000)
        assert all(s % 8 == 0 for s in share.shape)
        assert share.numel() <= 90_000
        sizes.add(tuple(share.shape))
        shares.append(float(share.sum()) / (case.truth.sum() / 255))
    assert len(sizes) > 5
    assert np.median(shares) > 0.7


def test_the_localizers_block_has_its_size_whatever_the_case() -> None:
    hu, share = whole_block(ball(size=20), (24, 16, 32), np.random.default_rng(0))
    assert hu.shape == share.shape == (24, 16, 32)
    assert float(share.max()) > 0.9


def test_the_loss_is_dice_and_cross_entropy_as_monai_computes_them() -> None:
    torch.manual_seed(0)
    logits, share = torch.randn(2, 2, 6, 7, 8), torch.rand(2, 6, 7, 8)
    target = torch.stack((1 - share, share), dim=1)
    reference = DiceLoss(include_background=False, softmax=True, squared_pred=True, smooth_nr=20.0, smooth_dr=20.0)
    expected = reference(logits, target) + torch.nn.functional.cross_entropy(logits, target)
    assert float(dice_and_cross_entropy(logits, share)) == pytest.approx(float(expected), rel=1e-5)


def test_the_loss_prefers_the_truth_and_copes_with_an_empty_one() -> None:
    share = torch.zeros(1, 8, 8, 8)
    share[:, 2:5, 2:5, 2:5] = 1
    right = torch.stack((10 - 20 * share, 20 * share - 10), dim=1)
    assert float(dice_and_cross_entropy(right, share)) < 0.01 < float(dice_and_cross_entropy(-right, share))
    nothing = torch.zeros(1, 8, 8, 8)
    assert float(dice_and_cross_entropy(torch.stack((10 - nothing, nothing - 10), dim=1), nothing)) < 0.01


def test_the_dice_of_maps_is_cut_at_one_half() -> None:
    share = torch.tensor([0.0, 0.4, 0.6, 1.0])
    assert dice(torch.tensor([0.1, 0.9, 0.9, 0.2]), share) == pytest.approx(0.5)
    assert dice(torch.zeros(4), torch.zeros(4)) == 1.0


def _recipe(steps: int) -> Recipe:
    return Recipe(
        role="segmenter",
        network="unet3d",
        arguments={"channels": [4, 8]},
        spacing_mm=1.5,
        window_hu=(-100.0, 240.0),
        sampler=lambda case, random: view(case, (11.5,) * 3, (16,) * 3, random, Spatial(), repeat_edge=True),
        patch=(16, 16, 16),
        steps=steps,
        learning_rate=1e-2,
        averaging=0.8,
        warm_up=3,
    )


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    folder = tmp_path / "cases"
    folder.mkdir()
    for seed in range(4):
        ball(seed=seed).save(case_path(folder, "segmenter", seed))
    return folder


def test_training_learns_and_an_interrupted_run_ends_where_an_unbroken_one_does(cases: Path, tmp_path: Path) -> None:
    weights = []
    for name, stops in (("whole", (30,)), ("broken", (11, 30))):
        folder = tmp_path / name
        folder.mkdir()
        for stop in stops:  # a new trainer each time, as after a restart
            trainer = Trainer(_recipe(30), cases, folder, frozenset({3}), bf16=False)
            trainer.run(stop)
        assert trainer.finished
        assert trainer.validate() > 0.9
        lines = trainer.log.read_text().splitlines()
        assert len(lines) == 1 + len(stops)
        weights.append(trainer.average.state_dict())
    for key, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][key], msg=key)


def test_held_out_cases_are_never_trained_on(cases: Path, tmp_path: Path) -> None:
    trainer = Trainer(_recipe(2), cases, tmp_path, frozenset(range(4)), bf16=False)
    with pytest.raises(FileNotFoundError, match="no segmenter cases"):
        trainer.run(1)


def test_the_exported_package_computes_what_was_trained(cases: Path, tmp_path: Path) -> None:
    trainer = Trainer(_recipe(5), cases, tmp_path, frozenset(), bf16=False)
    trainer.run(5)
    card = {
        "name": "toy", "version": "1", "title": "Toy", "description": "", "pipeline": "single-stage",
        "contrast_phase": "portal-venous", "intended_use": "tests", "not_for": ["patients"], "training": {},
        "figures": [], "licence": "Apache-2.0", "citation": "",
    }  # fmt: skip
    export(tmp_path / "toy", card, [trainer])
    package = ModelPackage(tmp_path / "toy")
    entry = package.card.network("segmenter")
    (network,) = load_networks(package, entry)
    hu = np.random.default_rng(0).normal(0, 150, (16, 16, 16)).astype(np.float32)
    values = torch.from_numpy(entry.preprocessing.normalise(hu))
    torch.testing.assert_close(values, trainer.recipe.normalise(torch.from_numpy(hu)), atol=1e-5, rtol=0)
    with torch.inference_mode():
        torch.testing.assert_close(
            network(values[None, None]), trainer.average.eval()(values[None, None]), atol=0.03, rtol=0.03
        )
    assert replace(trainer.recipe, window_hu=(0.0, 100.0)).normalise(torch.tensor([0.0, 50.0, 999.0])).tolist() == [
        -1,
        0,
        1,
    ]


def test_the_operating_point_becomes_one_half_in_the_export(cases: Path, tmp_path: Path) -> None:
    trainer = Trainer(replace(_recipe(1), operating_point=0.2), cases, tmp_path, frozenset(), bf16=False)
    values = torch.randn(1, 1, 16, 16, 16)
    with torch.inference_mode():
        before = trainer.average.eval()(values).softmax(1)[:, 1]
        trainer.average.load_state_dict(at_operating_point(trainer))
        after = trainer.average(values).softmax(1)[:, 1]
    assert bool(((before >= 0.2) == (after >= 0.5)).all())
    assert bool((after > before).all())


def test_cases_hold_the_whole_pancreas_of_their_patient() -> None:
    seed = 12
    fine = segmenter_case(seed)
    low, high = Anatomy(seed).pancreas_bounds()
    ml = fine.truth.sum() / 255 * FINE_MM**3 / 1000
    assert fine.hu.shape == fine.truth.shape
    assert fine.hu.min() >= -300
    assert 40 <= ml <= 125
    assert all(n * FINE_MM >= e + 40 for n, e in zip(fine.hu.shape[::-1], high - low, strict=True))
    coarse = localizer_case(seed)
    assert coarse.truth.max() == 255
    assert coarse.truth.sum() / 255 * 64 / 1000 <= 1.1 * ml
    again = localizer_case(seed)
    np.testing.assert_array_equal(coarse.hu, again.hu)
