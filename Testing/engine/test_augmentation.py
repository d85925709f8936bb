"""Augmented views: exact where nothing is random, plausible where something is, the same for the same seed."""

from dataclasses import replace
from typing import ClassVar

import monai.transforms
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from skimage.io import imread
from Testing.helpers.easy_cohort import easy_cohort

from pancreasseg.cli.main import main
from pancreasseg.core import Box, Geometry
from pancreasseg.grids.resample import to_image
from pancreasseg.lab.cohorts import Sample
from pancreasseg.lab.training import augmentation as module
from pancreasseg.lab.training.augmentation import (
    Augmentation,
    BoxJitter,
    blurred,
    coarsened,
    jittered_box,
    scanned,
    view,
    with_gamma,
)
from pancreasseg.lab.training.augmentation_sheet import parts

NONE = Augmentation.none()
SPACING = (1.0, 1.5, 2.5)


def a_sample(shape=(14, 22, 30), seed=0) -> Sample:
    """Smooth HU without symmetry, and an ellipsoid."""
    random = np.random.default_rng(seed)
    noise = sitk.GetArrayFromImage(
        sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(random.normal(0, 300, shape)), 1.5)
    )
    k, j, i = np.indices(shape)
    away = ((k - 6) / 4) ** 2 + ((j - 10) / 6) ** 2 + ((i - 17) / 8) ** 2
    return Sample(noise.astype(np.int16), (255 * (away < 1)).astype(np.uint8), Geometry(shape[::-1], SPACING))


def rng(seed=3):
    return np.random.default_rng(seed)


def test_without_augmentation_a_view_is_the_block_itself():
    sample = a_sample()
    hu, share = view(sample, (5.5, 10.0, 14.5), (6, 9, 12), NONE, rng())
    part = (slice(3, 9), slice(6, 15), slice(9, 21))
    np.testing.assert_allclose(hu, sample.hu[part], atol=0.02)
    np.testing.assert_allclose(share, sample.truth[part] / 255, atol=1e-4)


def test_outside_the_scan_there_is_air_and_no_pancreas():
    sample = a_sample()
    hu, share = view(sample, (6.5, 10.5, 14.5), (20, 30, 40), NONE, rng())
    np.testing.assert_allclose(hu[3:17, 4:26, 5:35], sample.hu, atol=0.02)
    hu[3:17, 4:26, 5:35] = -1024
    assert (hu + 1024).abs().max() < 0.01
    far, share = view(sample, (500.0, -500.0, 0.0), (4, 4, 4), Augmentation(), rng())
    assert share.max() == 0
    assert far.max() < -800


def test_turns_are_in_mm_and_agree_with_itk(monkeypatch):
    sample = a_sample((20, 30, 36))
    angles, scale = np.deg2rad([10.0, -7.0, 14.0]), np.array([0.9, 1.1, 1.05])
    euler = sitk.Euler3DTransform((0.0, 0.0, 0.0), *angles)
    matrix = np.reshape(euler.GetMatrix(), (3, 3)) * scale
    monkeypatch.setattr(module, "matrix_of", lambda *_: matrix)
    centre, size = (9.0, 14.0, 17.0), (7, 9, 11)
    hu, _ = view(sample, centre, size, replace(NONE, scale=0.1), rng())
    spacing = np.array(SPACING)
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(matrix.ravel().tolist())
    affine.SetCenter((np.array(centre[::-1]) * spacing).tolist())
    origin = ((np.array(centre[::-1]) - (np.array(size[::-1]) - 1) / 2) * spacing).tolist()
    image = to_image(sample.hu.astype(np.float32), sample.geometry)
    reference = sitk.Resample(
        image, list(size[::-1]), affine, sitk.sitkLinear, origin, list(SPACING), list(np.eye(3).ravel()), -1024.0
    )
    np.testing.assert_allclose(hu, sitk.GetArrayFromImage(reference), atol=0.1)


@pytest.mark.parametrize(
    "part", [part for _, part in parts(Augmentation())], ids=[name for name, _ in parts(Augmentation())]
)
def test_every_part_alone_changes_the_picture_and_repeats_with_its_seed(part):
    sample = a_sample()
    plain, _ = view(sample, (6.5, 10.5, 14.5), (10, 16, 20), NONE, rng())
    first, share = view(sample, (6.5, 10.5, 14.5), (10, 16, 20), part, rng())
    again, _ = view(sample, (6.5, 10.5, 14.5), (10, 16, 20), part, rng())
    others = [view(sample, (6.5, 10.5, 14.5), (10, 16, 20), part, rng(seed))[0] for seed in range(4, 9)]
    assert torch.equal(first, again)
    assert (first - plain).abs().mean() > 0.5
    assert max(float((first - other).abs().mean()) for other in others) > 0.1
    assert first.isfinite().all()
    assert 0 <= float(share.min()) <= float(share.max()) <= 1 + 1e-5


def test_everything_together_keeps_pancreas_on_its_tissue():
    sample = a_sample()
    hu = np.where(sample.truth > 0, 100, 0).astype(np.int16)
    quiet = Augmentation(noise_hu=0.0, elastic_probability=1.0)
    for seed in range(5):
        seen, share = view(Sample(hu, sample.truth, sample.geometry), (6.0, 10.0, 17.0), (8, 12, 16), quiet, rng(seed))
        bright = np.corrcoef(seen.numpy().ravel(), share.numpy().ravel())[0, 1]
        assert bright > 0.85


def test_bending_moves_nothing_further_than_asked_and_never_folds():
    block, spacing = np.array([20, 40, 50]), np.array([2.5, 1.5, 1.0])
    a = Augmentation(elastic_mm=12.0, elastic_grid_mm=40.0)
    control = module.bending(block, spacing, a, rng())
    field = module.upsampled(control, block, spacing, a, torch.device("cpu"))[0].numpy()
    assert field.shape == (20, 40, 50, 3)
    assert np.abs(field).max() <= 12
    for axis in range(3):  # along k, j, i, which are z, y, x
        assert np.diff(field[..., 2 - axis], axis=axis).min() > -spacing[axis]
    ones = module.upsampled(np.ones_like(control), block, spacing, a, torch.device("cpu"))
    np.testing.assert_allclose(ones, 1, atol=1e-5)  # a spline through one value is that value everywhere


@pytest.mark.parametrize(("flip", "axis"), [((1.0, 0.0, 0.0), 2), ((0.0, 1.0, 0.0), 1), ((0.0, 0.0, 1.0), 0)])
def test_flips_are_along_the_axis_named(flip, axis):
    sample = a_sample()
    plain, share = view(sample, (6.0, 10.0, 14.0), (7, 9, 11), NONE, rng())
    mirrored, mirrored_share = view(sample, (6.0, 10.0, 14.0), (7, 9, 11), replace(NONE, flip=flip), rng())
    assert torch.equal(mirrored, plain.flip(axis))
    assert torch.equal(mirrored_share, share.flip(axis))


def test_gamma_agrees_with_monai():
    hu = torch.linspace(-160, 240, 1000).reshape(10, 10, 10)
    theirs = monai.transforms.AdjustContrast(gamma=1.3)(hu)
    np.testing.assert_allclose(with_gamma(hu, 1.3), theirs, atol=0.01)
    outside = torch.tensor([-1000.0, 500.0])
    assert torch.equal(with_gamma(outside, 1.3), outside)


def test_blur_agrees_with_monai_and_keeps_plain_areas_plain():
    hu = torch.zeros(17, 19, 21)
    hu[8, 9, 10] = 1000
    theirs = monai.transforms.GaussianSmooth(sigma=(0.8, 1.1, 1.4), approx="sampled")(hu[None])[0]
    np.testing.assert_allclose(blurred(hu, (0.8, 1.1, 1.4)), theirs, atol=1.0)
    plain = torch.full((5, 6, 7), -150.0)
    torch.testing.assert_close(blurred(plain, (1.0, 1.0, 1.0)), plain)


def test_low_resolution_loses_detail_but_not_the_mean():
    hu = torch.from_numpy(rng().normal(0, 100, (16, 16, 16)).astype(np.float32))
    coarse = coarsened(hu, (2.0, 2.0, 2.0))
    assert coarse.shape == hu.shape
    assert coarse.std() < 0.6 * hu.std()
    assert float(coarse.mean()) == pytest.approx(float(hu.mean()), abs=2)
    torch.testing.assert_close(coarsened(hu, (1.0, 1.0, 1.0)), hu)


def test_noise_is_no_stronger_than_asked():
    hu = torch.zeros(30, 30, 30)
    strengths = [
        float(scanned(hu, SPACING, replace(NONE, noise_hu=14.0, noise_probability=1.0), rng(s)).std())
        for s in range(30)
    ]
    assert max(strengths) < 14.5
    assert min(strengths) < 3


def test_only_the_part_that_a_view_needs_is_read():
    sample = a_sample((60, 80, 90))

    class Watched(np.ndarray):
        asked: ClassVar[list] = []

        def __getitem__(self, key):
            self.asked.append(key)
            return super().__getitem__(key)

    view(replace(sample, hu=sample.hu.view(Watched)), (30.0, 40.0, 45.0), (8, 8, 8), Augmentation(), rng())
    assert Watched.asked
    assert all(s.stop - s.start < 40 for s in Watched.asked[0])


def test_jittered_boxes_are_about_the_true_one_in_mm():
    box, spacing = Box((40, 30, 20), (80, 60, 40)), (1.0, 2.0, 4.0)
    jitter = BoxJitter(10.0, (0.85, 1.2))
    boxes = [jittered_box(box, spacing, jitter, rng(seed)) for seed in range(300)]
    middles = np.array([(np.array(b.start) + b.stop) / 2 for b in boxes]) - (60, 45, 30)
    assert (np.abs(middles * spacing) <= 10 + np.array(spacing)).all()
    assert np.abs(middles * spacing).max(axis=0).min() > 8
    sizes = np.array([b.size for b in boxes]) / box.size
    assert sizes.min() >= 0.85
    assert (sizes <= 1.2 + 2 / np.array(box.size)).all()
    assert jittered_box(box, spacing, BoxJitter(0.0, (1.0, 1.0)), rng()) == box


@pytest.mark.parametrize(
    "wrong",
    [
        {"noise_hu": -1.0},
        {"flip": (2.0, 0, 0)},
        {"low_resolution": 0.5},
        {"elastic_mm": 30.0},
        {"gamma_probability": 1.1},
    ],
)
def test_settings_without_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=r"augmentation|fold"):
        Augmentation(**wrong)


def test_the_sheet_shows_a_row_for_every_case(tmp_path, capsys):
    cohort = easy_cohort(tmp_path, 3, folds=2)
    path = tmp_path / "pictures" / "sheet.png"
    assert main(["data", "sheet", str(cohort.folder), "--output", str(path), "--spacing", "4"]) == 0
    assert "sheet.png" in capsys.readouterr().out
    picture = imread(path)[..., :3].astype(float)
    assert picture.std() > 20
    one = tmp_path / "one.png"
    arguments = ["data", "sheet", str(cohort.folder), "--output", str(one), "--spacing", "4", "--case", "case1"]
    assert main(arguments) == 0
    assert imread(one).shape[0] < 0.5 * picture.shape[0]
    assert main([*arguments[:-1], "case9"]) == 3
    assert "no case 'case9'" in capsys.readouterr().err
