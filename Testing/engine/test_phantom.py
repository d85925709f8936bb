"""The phantom resembles a patient, and stays the same patient on every grid."""

import numpy as np
import pytest
import SimpleITK as sitk

from pancreasseg.core import Geometry
from pancreasseg.phantom import LABELS, NAMES, PANCREAS, Anatomy, Phantom, make_phantom

OBLIQUE = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.2, -0.15, 0.1).GetMatrix()
FLIPPED = (-1.0, 0, 0, 0, -1.0, 0, 0, 0, -1.0)
SAGITTAL = (0, 0, 1.0, 1.0, 0, 0, 0, 1.0, 0)  # i runs to the back, j to the head, k to the left


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(1, spacing=(2.0, 2.0, 3.0), step=2.0)


def around_pancreas(seed: int, spacing: tuple[float, float, float], direction=None) -> Phantom:
    """A small field of view over the pancreas."""
    anatomy = Anatomy(seed)
    low, high = anatomy.pancreas_bounds()
    # A cube for turned axes; the phantom paints only what the field of view shows.
    extent = (230, 150, 160) if direction is None else (240, 240, 240)
    size = [int(e / s) for e, s in zip(extent, spacing, strict=True)]
    centre = anatomy.to_world((low + high) / 2)
    return make_phantom(seed, spacing=spacing, size=size, direction=direction, centre=centre, step=2.0)


def ml_and_centroid(phantom: Phantom) -> tuple[float, np.ndarray]:
    k, j, i = np.nonzero(phantom.pancreas)
    geometry = phantom.volume.geometry
    return k.size * geometry.voxel_ml, geometry.to_world(np.column_stack([i, j, k])).mean(axis=0)


def test_the_same_seed_gives_the_same_arrays_and_another_seed_another_patient() -> None:
    first, again, other = (around_pancreas(seed, (4.0, 4.0, 6.0)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.volume.array, again.volume.array)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert first.volume.array.shape != other.volume.array.shape or (first.labels != other.labels).any()


def test_volume_and_labels_lie_on_the_grid_that_was_asked_for() -> None:
    phantom = make_phantom(2, spacing=(5.0, 4.0, 6.0), size=(60, 50, 20), direction=FLIPPED, centre=(7.0, -3.0, 5.0))
    geometry = phantom.volume.geometry
    assert phantom.volume.array.shape == phantom.labels.shape == (20, 50, 60)
    assert phantom.volume.array.dtype == np.int16
    assert phantom.labels.dtype == np.uint8
    assert (geometry.size, geometry.spacing, geometry.direction) == ((60, 50, 20), (5.0, 4.0, 6.0), FLIPPED)
    np.testing.assert_allclose(geometry.to_world([29.5, 24.5, 9.5]), (7.0, -3.0, 5.0))


@pytest.mark.parametrize(
    ("spacing", "direction"),
    [((1.0, 1.0, 5.0), None), ((2.0, 2.0, 2.0), OBLIQUE), ((2.5, 1.5, 2.0), FLIPPED), ((2.0, 2.0, 1.5), SAGITTAL)],
    ids=["thick slices", "oblique", "flipped", "sagittal"],
)
def test_the_pancreas_is_the_same_on_every_grid(spacing, direction) -> None:
    expected_ml, expected_centroid = ml_and_centroid(around_pancreas(5, (1.5, 1.5, 1.5)))
    ml, centroid = ml_and_centroid(around_pancreas(5, spacing, direction))
    assert ml == pytest.approx(expected_ml, rel=0.03)
    np.testing.assert_allclose(centroid, expected_centroid, atol=0.8)


def test_the_pancreas_is_one_piece_of_plausible_size_in_every_patient() -> None:
    volumes = []
    for seed in range(10, 17):
        phantom = around_pancreas(seed, (2.0, 2.0, 2.0))
        ml, _ = ml_and_centroid(phantom)
        pieces = sitk.RelabelComponent(
            sitk.ConnectedComponent(sitk.GetImageFromArray(phantom.pancreas.astype(np.uint8)), True)
        )
        sizes = np.bincount(sitk.GetArrayViewFromImage(pieces).ravel())[1:]
        assert sizes[0] >= 0.98 * sizes.sum(), f"seed {seed} has pieces of {sizes} voxels"
        volumes.append(ml)
    assert min(volumes) >= 35
    assert max(volumes) <= 125
    assert np.std(volumes) >= 8  # patients differ


def test_every_organ_is_there_and_its_hu_are_near_those_of_the_portal_venous_phase(phantom: Phantom) -> None:
    expected = {
        "pancreas": (95, 25),
        "liver": (110, 25),
        "spleen": (120, 25),
        "left kidney": (165, 35),
        "right kidney": (165, 35),
        "aorta": (155, 35),
        "portal and splenic vein": (158, 35),
        "inferior vena cava": (140, 40),
        "gallbladder": (10, 40),
        "muscle": (58, 20),
        "visceral fat": (-100, 30),
        "subcutaneous fat": (-104, 25),
        "lung": (-840, 80),
    }
    assert set(np.unique(phantom.labels)) == {0, *NAMES}
    for name, (hu, tolerance) in expected.items():
        found = float(np.median(phantom.volume.array[phantom.labels == LABELS[name]]))
        assert found == pytest.approx(hu, abs=tolerance), name
    assert np.percentile(phantom.volume.array[phantom.labels == LABELS["bone"]], 75) > 200
    assert (phantom.volume.array[phantom.labels == LABELS["stomach"]] < -500).any()  # gas
    assert np.median(phantom.volume.array[phantom.labels == 0]) < -900  # air around the body


def test_organs_lie_where_they_belong(phantom: Phantom) -> None:
    def centroid(name: str) -> np.ndarray:
        k, j, i = np.nonzero(phantom.labels == LABELS[name])
        return phantom.volume.geometry.to_world(np.column_stack([i, j, k])).mean(axis=0)

    x, y, z = 0, 1, 2  # to the left, to the back, to the head
    pancreas, liver, spleen = (centroid(name) for name in ("pancreas", "liver", "spleen"))
    assert liver[x] < pancreas[x] < spleen[x]
    assert centroid("right kidney")[x] < centroid("left kidney")[x]
    assert pancreas[y] < centroid("aorta")[y] < centroid("bone")[y]
    assert centroid("lung")[z] > liver[z]


def test_the_pancreas_lies_inside_the_body_and_touches_neighbours_of_its_own_brightness(phantom: Phantom) -> None:
    mask = phantom.pancreas
    grown = sitk.GetArrayFromImage(sitk.BinaryDilate(sitk.GetImageFromArray(mask.astype(np.uint8)), [1, 1, 1])) > 0
    neighbours = set(np.unique(phantom.labels[grown & ~mask]))
    assert 0 not in neighbours
    assert {LABELS["portal and splenic vein"], LABELS["visceral fat"], LABELS["duodenum"]} <= neighbours


def test_a_crop_beyond_the_patient_is_air_around_the_same_patient() -> None:
    anatomy = Anatomy(6)
    wide = make_phantom(6, spacing=(8.0, 8.0, 8.0), size=(80, 80, 50), noise=0, step=4.0)
    corner = np.concatenate([wide.volume.array[:, :6].ravel(), wide.volume.array[:, :, :6].ravel()])
    assert (corner <= -930).all()
    assert wide.pancreas.any()
    inside = wide.volume.geometry.to_index(anatomy.to_world(np.zeros(3)))
    assert all(0 < c < n for c, n in zip(inside, wide.volume.geometry.size, strict=True))


def test_a_field_of_view_beside_the_patient_is_air() -> None:
    phantom = make_phantom(1, spacing=(4.0, 4.0, 4.0), size=(20, 20, 10), centre=(0.0, 0.0, 900.0), noise=0, step=4.0)
    assert (phantom.volume.array == -1000).all()
    assert not phantom.labels.any()


def test_noise_is_as_strong_as_asked_for() -> None:
    quiet, loud = (make_phantom(7, spacing=(4.0, 4.0, 8.0), noise=level, step=4.0) for level in (0, 20))
    difference = loud.volume.array.astype(float) - quiet.volume.array
    assert difference[quiet.labels == LABELS["liver"]].std() == pytest.approx(20, rel=0.1)


@pytest.mark.parametrize(
    "arguments",
    [
        {"spacing": (1.0, 0.0, 1.0)},
        {"size": (0, 10, 10)},
        {"direction": (1, 1, 0, 0, 1, 0, 0, 0, 1)},
    ],
    ids=["no spacing", "no voxels", "skewed axes"],
)
def test_a_grid_that_is_none_is_refused(arguments) -> None:
    with pytest.raises(ValueError, match=r"must be positive|orthonormal"):
        make_phantom(1, **{"size": (8, 8, 8), **arguments})


def test_world_and_patient_frames_are_inverse() -> None:
    anatomy = Anatomy(8)
    points = np.array([[0.0, 0, 0], [50, -20, 80]])
    np.testing.assert_allclose(anatomy.to_patient(anatomy.to_world(points)), points, atol=1e-9)
    assert isinstance(make_phantom(8, spacing=(9.0, 9.0, 9.0), step=4.0).volume.geometry, Geometry)
    assert NAMES[PANCREAS] == "pancreas"
