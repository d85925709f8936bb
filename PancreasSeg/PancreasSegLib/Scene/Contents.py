"""The voxels of a segment as a text that is saved with the scene, and a short name for them."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Sequence

import numpy as np

from pancreasseg.core import Box, Geometry
from PancreasSegLib.Scene.Segments import Content


def keyOf(content: Content, geometry: Geometry) -> str:
    """A name for the voxels: the same voxels in the same place have the same; empty where there are none.

    A left-handed CT comes back from a saved scene with its voxels in another order; the name stays.
    """
    if content.box is None:
        return ""
    start, mask = _turned(content.box, content.mask, geometry)
    digest = hashlib.sha256(json.dumps([start, mask.shape]).encode())
    digest.update(np.packbits(mask).tobytes())
    return digest.hexdigest()[:32]


def pack(content: Content, geometry: Geometry) -> str:
    """The voxels, of which there must be some, as a text: a pancreas takes some kilobytes."""
    if content.box is None:
        raise ValueError("there are no voxels")
    start, mask = _turned(content.box, content.mask, geometry)
    head = json.dumps([start, mask.shape]).encode()
    return base64.b64encode(zlib.compress(head + b"\n" + np.packbits(mask).tobytes())).decode()


def unpack(text: str, geometry: Geometry) -> Content:
    """The inverse of `pack`, on a grid with the same voxels in whatever order."""
    head, bits = zlib.decompress(base64.b64decode(text)).split(b"\n", 1)
    start, shape = json.loads(head)
    mask = np.unpackbits(np.frombuffer(bits, np.uint8), count=int(np.prod(shape))).reshape(shape)
    start, mask = _turned(_around(start, mask), mask, geometry)
    return Content(_around(start, mask), np.ascontiguousarray(mask))


def _around(start: Sequence[int], mask: np.ndarray) -> Box:
    """The box of a mask (K, J, I) whose first voxel is ``start`` (i, j, k)."""
    return Box.between(start, (a + n for a, n in zip(start, mask.shape[::-1], strict=True)))


def _turned(box: Box, mask: np.ndarray, geometry: Geometry) -> tuple[list[int], np.ndarray]:
    """First voxel (i, j, k) and mask (K, J, I), along those directions of the axes that point forward in the world.

    Doing it twice changes nothing.
    """
    start, turned = [], np.asarray(mask != 0)
    for axis in range(3):
        column = geometry.axes[:, axis]
        backward = column[np.abs(column).argmax()] < 0
        a, b = box.start[axis], box.stop[axis]
        start.append(int(geometry.size[axis] - b if backward else a))
        if backward:
            turned = np.flip(turned, 2 - axis)
    return start, turned
