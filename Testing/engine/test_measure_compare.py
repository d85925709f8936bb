"""DSC, surface distances and box recall: against SimpleITK, MONAI, analytic bodies and their definitions."""

import math

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pancreasseg.core import Box, Geometry
from pancreasseg.core.errors import InputError
from pancreasseg.grids.resample import to_image
from pancreasseg.measure import compare, dice
from pancreasseg.measure.boxes import compare_boxes, iou, recall
from pancreasseg.measure.surface_distance import surface, surface_distances

SPACING = (0.8, 0.7, 2.5)
OVERLAPS = ("dsc", "iou", "precision", "recall")
DISTANCES = ("hd", "hd95", "msd")
NSDS = ("nsd_1mm", "nsd_2mm")


def compared(mask, reference, spacing=SPACING):
    k, j, i = mask.shape
    return {row.name: row.value for row in compare(mask, reference, Geometry((i, j, k), spacing))}


def blob(seed, shape=(14, 22, 26)):
    """A smooth random body that does not fill its array."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.5)
    mask = noise > np.quantile(noise, 0.8)
    mask[0] = mask[-1] = False
    return mask


PAIRS = [(blob(n), blob(n + 50) | np.roll(blob(n), (1, 2, -1), (0, 1, 2))) for n in range(4)]


@pytest.mark.parametrize(("mask", "reference"), PAIRS)
def test_overlaps_equal_those_of_simpleitk(mask, reference) -> None:
    ours = compared(mask, reference)
    theirs = sitk.LabelOverlapMeasuresImageFilter()
    # SimpleITK calls the first image the source (truth): false negatives are target voxels without source.
    theirs.Execute(sitk.GetImageFromArray(reference.astype(np.uint8)), sitk.GetImageFromArray(mask.astype(np.uint8)))
    assert ours["dsc"] == pytest.approx(theirs.GetDiceCoefficient())
    assert ours["iou"] == pytest.approx(theirs.GetJaccardCoefficient())
    common = np.count_nonzero(mask & reference)
    assert ours["precision"] == pytest.approx(common / mask.sum())
    assert ours["recall"] == pytest.approx(common / reference.sum())
    assert ours["volume_difference"] == pytest.approx((int(mask.sum()) - int(reference.sum())) * 0.8 * 0.7 * 2.5 / 1000)
    assert ours["volume_difference_percent"] == pytest.approx((mask.sum() / reference.sum() - 1) * 100)


@pytest.mark.parametrize(("mask", "reference"), PAIRS)
def test_hausdorff_distance_equals_simpleitks_between_the_surfaces(mask, reference) -> None:
    # SimpleITK measures between the voxel sets it is given; ours is defined between surfaces.
    geometry = Geometry(mask.shape[::-1], SPACING)
    images = [to_image(surface(m), geometry) for m in (mask, reference)]
    filter_ = sitk.HausdorffDistanceImageFilter()
    filter_.Execute(*images)
    ours = compared(mask, reference)
    assert ours["hd"] == pytest.approx(filter_.GetHausdorffDistance(), rel=1e-5)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI's call of itself
@pytest.mark.parametrize(("mask", "reference"), PAIRS)
def test_distances_equal_those_of_monai(mask, reference) -> None:
    torch = pytest.importorskip("torch")
    from monai import metrics

    tensors = [torch.from_numpy(m[None, None].astype(np.float32)) for m in (mask, reference)]
    options = {"include_background": True, "spacing": SPACING[::-1]}
    theirs = {
        "dsc": metrics.compute_dice(*tensors),
        "hd": metrics.compute_hausdorff_distance(*tensors, **options),
        "hd95": metrics.compute_hausdorff_distance(*tensors, percentile=95, **options),
        "msd": metrics.compute_average_surface_distance(*tensors, symmetric=True, **options),
        "nsd_1mm": metrics.compute_surface_dice(*tensors, class_thresholds=[1.0], **options),
        "nsd_2mm": metrics.compute_surface_dice(*tensors, class_thresholds=[2.0], **options),
    }
    ours = compared(mask, reference)
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(float(value), rel=1e-5), name


@pytest.mark.parametrize(("mask", "reference"), PAIRS)
def test_surface_distances_equal_a_distance_map(mask, reference) -> None:
    there, back = surface_distances(mask, reference, SPACING)
    for found, ours, theirs in ((there, mask, reference), (back, reference, mask)):
        field = ndimage.distance_transform_edt(~surface(theirs), SPACING[::-1])
        np.testing.assert_allclose(np.sort(found), np.sort(field[surface(ours)]), rtol=1e-5)


def test_two_cubes_at_a_known_distance() -> None:
    mask, reference = np.zeros((20, 20, 30), bool), np.zeros((20, 20, 30), bool)
    mask[5:10, 5:10, 5:10] = True
    reference[5:10, 5:10, 15:20] = True
    ours = compared(mask, reference, (2.0, 1.0, 3.0))
    assert ours["hd"] == 10 * 2.0
    assert ours["dsc"] == ours["nsd_2mm"] == 0
    assert ours["volume_difference"] == 0


def test_concentric_balls_are_apart_by_the_difference_of_their_radii() -> None:
    z, y, x = np.indices((60, 60, 60)) - 29.5
    inner, outer = (np.sqrt(x**2 + y**2 + z**2) <= r for r in (20, 24))
    ours = compared(inner, outer, (1.0, 1.0, 1.0))
    for name in DISTANCES:
        assert ours[name] == pytest.approx(4, abs=0.75)
    assert ours["nsd_2mm"] == 0
    assert ours["dsc"] == pytest.approx(2 * 20**3 / (20**3 + 24**3), abs=0.01)
    assert ours["precision"] == 1


def test_a_tolerance_that_is_met_exactly_counts() -> None:
    mask = np.zeros((9, 9, 9), bool)
    mask[3:6, 3:6, 3:6] = True
    shifted = np.roll(mask, 2, axis=2)
    # 0.1 mm voxels are not exact in binary: 10 of them have to count as 1 mm.
    ours = compared(mask, shifted, (0.1 * 5, 0.1, 0.1))
    assert ours["nsd_1mm"] == 1


@given(st.integers(0, 10_000), st.tuples(*[st.integers(0, 3)] * 3))
@settings(max_examples=25, deadline=None)
def test_distances_are_symmetric_and_know_no_place(seed, shift) -> None:
    mask, reference = blob(seed, (8, 9, 10)), blob(seed + 1, (8, 9, 10))
    ours, swapped = compared(mask, reference), compared(reference, mask)
    for name in ("dsc", "iou", *DISTANCES, *NSDS):
        assert swapped[name] == pytest.approx(ours[name])
    assert swapped["precision"] == ours["recall"]
    assert swapped["volume_difference"] == -ours["volume_difference"]
    assert 0 <= ours["msd"] <= ours["hd95"] <= ours["hd"]
    k, j, i = shift
    moved = [np.pad(m, ((k, 3), (j, 2), (i, 1))) for m in (mask, reference)]
    assert compared(*moved) == pytest.approx(ours)


@given(st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_a_mask_agrees_with_itself(seed) -> None:
    mask = blob(seed, (8, 9, 10))
    ours = compared(mask, mask)
    assert all(ours[name] == 1 for name in (*OVERLAPS, *NSDS))
    assert all(ours[name] == 0 for name in (*DISTANCES, "volume_difference", "volume_difference_percent"))


EMPTY, FULL = np.zeros((4, 4, 4), np.uint8), np.ones((4, 4, 4), np.uint8)


def test_two_empty_masks_agree_by_definition_and_say_so() -> None:
    rows = compare(EMPTY, EMPTY, Geometry((4, 4, 4)))
    values = {row.name: row.value for row in rows}
    assert all(values[name] == 1 for name in (*OVERLAPS, *NSDS))
    assert all(values[name] == 0 for name in (*DISTANCES, "volume_difference", "volume_difference_percent"))
    assert all(row.note == "both masks are empty: full agreement by definition" for row in rows)


@pytest.mark.parametrize(("mask", "reference", "percent"), [(EMPTY, FULL, -100.0), (FULL, EMPTY, math.inf)])
def test_one_empty_mask_is_infinitely_far_and_says_so(mask, reference, percent) -> None:
    rows = compare(mask, reference, Geometry((4, 4, 4)))
    values = {row.name: row.value for row in rows}
    assert all(values[name] == 0 for name in (*OVERLAPS, *NSDS))
    assert all(values[name] == math.inf for name in DISTANCES)
    assert values["volume_difference_percent"] == percent
    assert abs(values["volume_difference"]) == pytest.approx(0.064)
    assert all("empty" in row.note for row in rows)


def test_rows_are_the_same_and_in_one_order_whatever_is_empty() -> None:
    geometry = Geometry((4, 4, 4))
    names = [[row.name for row in compare(a, b, geometry)] for a in (EMPTY, FULL) for b in (EMPTY, FULL)]
    assert names == [names[0]] * 4


def test_dice_of_empty_masks_is_defined() -> None:
    assert dice(EMPTY, EMPTY) == 1
    assert dice(EMPTY, FULL) == 0
    assert dice(FULL, FULL > 0) == 1


def test_a_reference_of_another_grid_is_refused() -> None:
    with pytest.raises(InputError, match="The reference has 4 x 4 x 3 voxels, the volume 4 x 4 x 4"):
        compare(FULL, FULL[1:], Geometry((4, 4, 4)))


def test_recall_of_a_box_is_the_covered_share_of_the_true_box() -> None:
    true, box = Box((0, 0, 0), (10, 10, 10)), Box((5, 0, 0), (20, 10, 10))
    assert recall(box, true) == 0.5
    assert iou(box, true) == 500 / (1500 + 1000 - 500)
    assert recall(Box((-5, -5, -5), (30, 30, 30)), true) == 1


def test_recall_and_iou_equal_those_of_the_boxes_as_masks() -> None:
    random = np.random.default_rng(2)
    for _ in range(20):
        first, second = np.sort(random.integers(0, 9, (2, 2, 3)), axis=1)
        a, b = (Box(tuple(map(int, c[0])), tuple(map(int, c[1] + 1))) for c in (first, second))
        painted = []
        for box in (a, b):
            mask = np.zeros((12, 12, 12), bool)
            mask[box.slices] = True
            painted.append(mask)
        ours = compared(painted[0], painted[1])
        assert recall(a, b) == ours["recall"]
        assert iou(a, b) == ours["iou"]


def test_boxes_without_voxels_have_defined_results() -> None:
    nothing, box = Box((3, 3, 3), (3, 5, 5)), Box((0, 0, 0), (2, 2, 2))
    assert recall(nothing, nothing) == iou(nothing, nothing) == 1
    assert recall(nothing, box) == iou(nothing, box) == 0
    assert recall(box, nothing) == iou(box, nothing) == 0
    assert recall(Box((4, 4, 4), (6, 6, 6)), box) == 0
    assert [row.name for row in compare_boxes(box, box)] == ["box_recall", "box_iou"]
