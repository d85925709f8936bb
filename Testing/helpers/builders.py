"""CTs, masks and transforms for the scene tests: small, without symmetry, in every direction."""

import numpy as np
import slicer.util

from pancreasseg.core import Geometry, Volume


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """3x3 rotation by degrees about x, then y, then z."""
    matrix = np.eye(3)
    for (a, b), degrees in zip(((1, 2), (2, 0), (0, 1)), (x, y, z), strict=True):
        turn = np.eye(3)
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turn[a, a], turn[b, b], turn[a, b], turn[b, a] = c, c, -s, s
        matrix = turn @ matrix
    return matrix


AXIAL = np.eye(3)
FLIPPED = np.diag([-1.0, 1.0, -1.0])
MIRRORED = np.diag([1.0, 1.0, -1.0])  # left-handed
SAGITTAL = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
OBLIQUE = rotation(12, -7, 23)
OBLIQUE_MIRRORED = rotation(12, -7, 23) @ np.diag([-1.0, 1.0, 1.0])
DIRECTIONS = {
    "axial": AXIAL,
    "flipped": FLIPPED,
    "mirrored": MIRRORED,
    "sagittal": SAGITTAL,
    "oblique": OBLIQUE,
    "oblique-mirrored": OBLIQUE_MIRRORED,
}


def aGeometry(axes=AXIAL, size=(40, 36, 20), spacing=(0.8, 0.75, 5.0), origin=(-31.7, 12.3, -104.9)) -> Geometry:
    return Geometry(size, spacing, origin, tuple(float(n) for n in np.asarray(axes).ravel()))


def aCt(geometry: Geometry, seed: int = 1) -> Volume:
    """Noise in HU on a grid; enough wherever only places matter."""
    random = np.random.default_rng(seed)
    return Volume(random.integers(-150, 250, geometry.shape, dtype=np.int16), geometry)


def aMask(geometry: Geometry, seed: int = 2) -> np.ndarray:
    """A ragged blob without symmetry, away from the borders: any flip, shift or transposition shows."""
    random = np.random.default_rng(seed)
    mask = np.zeros(geometry.shape, np.uint8)
    k, j, i = geometry.shape
    part = mask[k // 4 : k // 2 + 2, j // 3 : j // 2 + 4, i // 5 : i // 2 + 1]
    part[:] = random.random(part.shape) > 0.4
    return mask


def aTransform(scene, name="Patient position", matrix=None):
    if matrix is None:
        matrix = np.eye(4)
        matrix[:3, :3] = rotation(5, 31, -17)
        matrix[:3, 3] = [63.0, -41.5, 220.25]
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    slicer.util.updateTransformMatrixFromArray(node, matrix)
    return node


def aBendingTransform(scene):
    node = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "Bend")
    grid = slicer.vtkOrientedGridTransform()
    node.SetAndObserveTransformToParent(grid)
    return node
