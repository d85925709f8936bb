"""The losses: against MONAI where it has them, by their properties where it has not."""

import pytest
import torch
from monai.losses import DeepSupervisionLoss, DiceCELoss, DiceLoss
from torch.nn import functional as F  # noqa: N812

from pancreasseg.lab.training.losses import (
    center_loss,
    center_weight,
    centers,
    class_weights,
    cross_entropy,
    dice_cross_entropy,
    soft_dice,
    supervised,
    weighted_cross_entropy,
    zhao,
)


def hard(classes: int = 3, shape: tuple[int, int, int, int] = (2, 4, 5, 7), seed: int = 0) -> torch.Tensor:
    labels = torch.randint(classes, shape, generator=torch.Generator().manual_seed(seed))
    return F.one_hot(labels, classes).movedim(-1, 1).float()


def logits(classes: int = 3, shape: tuple[int, int, int, int] = (2, 4, 5, 7), seed: int = 1) -> torch.Tensor:
    return torch.randn(shape[0], classes, *shape[1:], generator=torch.Generator().manual_seed(seed))


def square(row: int, column: int, size: int = 20, edge: int = 4, slices: int = 3) -> torch.Tensor:
    mask = torch.zeros(1, slices, size, size)
    mask[..., row : row + edge, column : column + edge] = 1
    return mask


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("soft", [False, True])
def test_the_dice_loss_is_monais(background, soft):
    truth = logits(seed=5).softmax(1) if soft else hard()
    theirs = DiceLoss(include_background=background, softmax=True, smooth_nr=1e-5, smooth_dr=1e-5)
    torch.testing.assert_close(soft_dice(logits(), truth, background=background), theirs(logits(), truth))


def test_dice_and_cross_entropy_together_are_monais():
    theirs = DiceCELoss(include_background=False, softmax=True, smooth_nr=1e-5, smooth_dr=1e-5)
    torch.testing.assert_close(dice_cross_entropy(logits(), hard()), theirs(logits(), hard()))


def test_weighted_cross_entropy_is_monais():
    weights = torch.tensor([0.1, 0.7, 0.2])
    theirs = DiceCELoss(softmax=True, lambda_dice=0.0, weight=weights)
    soft = logits(seed=5).softmax(1)
    torch.testing.assert_close(cross_entropy(logits(), soft, weights=weights), theirs(logits(), soft))


def test_an_absent_class_that_is_not_predicted_costs_nothing():
    truth = torch.zeros(1, 2, 4, 4, 4)
    truth[:, 0] = 1
    assert float(soft_dice(40 * (2 * truth - 1), truth)) == pytest.approx(0, abs=1e-4)


def test_class_weights_are_roths():
    truth = torch.zeros(1, 3, 1, 1, 10)
    truth[0, 0, ..., :7], truth[0, 1, ..., 7:9], truth[0, 2, ..., 9:] = 1, 1, 1
    torch.testing.assert_close(class_weights(truth), torch.tensor([0.3, 0.8, 0.9]) / 2)
    assert float(class_weights(hard()).sum()) == pytest.approx(1)


def test_voxels_without_truth_do_not_count():
    truth, where = hard(), torch.zeros(2, 1, 4, 5, 7)
    where[0, 0, 1:3, 2:4, 3:6] = 1
    inside = (slice(0, 1), slice(None), slice(1, 3), slice(2, 4), slice(3, 6))
    expected = cross_entropy(logits()[inside], truth[inside], weights=class_weights(truth[inside]))
    torch.testing.assert_close(weighted_cross_entropy(logits(), truth * where), expected)
    assert float(weighted_cross_entropy(logits(), torch.zeros_like(truth))) == 0


def test_centers_are_mass_weighted_means():
    mask = torch.zeros(1, 1, 8, 10)
    mask[0, 0, 2, 4], mask[0, 0, 6, 9] = 3, 1
    torch.testing.assert_close(centers(mask)[0, 0], torch.tensor([3 / 8, 5.25 / 10]), atol=1e-5, rtol=0)


def test_the_center_loss_is_zero_for_equal_centers_whatever_the_shapes():
    assert float(center_loss(square(5, 6), square(5, 6))) == pytest.approx(0, abs=1e-10)
    assert float(center_loss(square(4, 5, edge=6), square(5, 6, edge=4))) == pytest.approx(0, abs=1e-10)
    assert float(center_loss(0.2 * square(5, 6), square(5, 6))) == pytest.approx(0, abs=1e-10)


def test_the_center_loss_is_the_squared_shift_and_blind_to_a_common_one():
    apart = center_loss(square(5, 6), square(8, 2))
    assert float(apart) == pytest.approx((3 / 20) ** 2 + (4 / 20) ** 2, rel=1e-4)
    torch.testing.assert_close(center_loss(square(9, 11), square(12, 7)), apart)


def test_the_center_loss_leaves_out_slices_without_true_mask():
    truth, found = square(5, 6), square(8, 6)
    truth[:, 1] = 0
    found[:, 1] = torch.rand(20, 20)
    assert float(center_loss(found, truth)) == pytest.approx((3 / 20) ** 2, rel=1e-4)
    found.requires_grad_()
    nothing = center_loss(found, torch.zeros_like(truth))
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert float(found.grad.abs().max()) == 0


def test_an_empty_prediction_has_a_finite_center_loss_and_gradient():
    found = torch.zeros(1, 3, 20, 20, requires_grad=True)
    center_loss(found, square(5, 6)).backward()
    assert bool(torch.isfinite(found.grad).all())


def test_the_gradient_of_the_center_loss_is_that_of_finite_differences():
    found = torch.rand(1, 2, 5, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    truth = torch.rand(1, 2, 5, 6, generator=torch.Generator().manual_seed(1))
    center_loss(found, truth).backward()
    step = 1e-2
    for place in ((0, 0, 0, 0), (0, 1, 4, 2), (0, 1, 2, 5)):
        values = []
        for sign in (1, -1):
            moved = found.detach().clone()
            moved[place] += sign * step
            values.append(float(center_loss(moved, truth)))
        slope = (values[0] - values[1]) / (2 * step)
        assert float(found.grad[place]) == pytest.approx(slope, rel=0.02, abs=1e-6)


def test_the_center_weight_is_fixed_for_fifty_epochs_then_zero():
    assert [center_weight(epoch) for epoch in (0, 49, 50, 500)] == [0.1, 0.1, 0.0, 0.0]
    assert center_weight(3, weight=2.0, epochs=3) == 0


def test_zhaos_loss_is_dice_plus_the_weighted_center_loss():
    truth, found = hard(2), logits(2)
    plain = zhao(found, truth, 0.0)
    torch.testing.assert_close(plain, soft_dice(found, truth))
    more = zhao(found, truth, 0.5) - plain
    torch.testing.assert_close(more, 0.5 * center_loss(found.softmax(1)[:, 1], truth[:, 1]))


def test_deep_supervision_weighs_the_levels_as_monai_does():
    outputs = [logits(shape=(2, 8, 8, 8)), logits(shape=(2, 4, 4, 4), seed=2), logits(shape=(2, 2, 2, 2), seed=3)]
    truth = hard(shape=(2, 2, 2, 2)).repeat_interleave(4, 2).repeat_interleave(4, 3).repeat_interleave(4, 4)
    theirs = DeepSupervisionLoss(lambda a, b: soft_dice(a, b), weights=[1 / 1.75, 0.5 / 1.75, 0.25 / 1.75])
    torch.testing.assert_close(supervised(soft_dice, outputs, truth), theirs(outputs, truth))
    torch.testing.assert_close(supervised(soft_dice, outputs[0], truth), soft_dice(outputs[0], truth))
    with pytest.raises(ValueError, match="weights"):
        supervised(soft_dice, outputs, truth, weights=(1.0,))
