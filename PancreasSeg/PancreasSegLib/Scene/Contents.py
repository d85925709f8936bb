"""The voxels of a segment as a text that is saved with the scene, and a short name for them."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib

import numpy as np

from pancreasseg.core import Box, Geometry
from PancreasSegLib.Scene.Segments import Content


def keyOf(content: Content, geometry: Geometry) -> str:
    """A name for the voxels: the same voxels in the same place have the same; empty where there are none.

    A left-handed CT comes back from a saved scene with its voxels in another order; the name stays.
    """
    if content.box is None:
        return ""
    start, mask = _turned(content, geometry)
    digest = hashlib.sha256(json.dumps([start, mask.shape]).encode())
    digest.update(np.packbits(mask).tobytes())
    return digest.hexdigest()[:32]


def pack(content: Content, geometry: Geometry) -> str:
    """The voxels as a text: a pancreas takes some kilobytes."""
    start, mask = _turned(content, geometry)
    head = json.dumps([start, mask.shape]).encode()
    return base64.b64encode(zlib.compress(head + b"\n" + np.packbits(mask).tobytes())).decode()


def unpack(text: str, geometry: Geometry) -> Content:
    """The inverse of `pack`, on a grid with the same voxels in whatever order."""
    head, bits = zlib.decompress(base64.b64decode(text)).split(b"\n", 1)
    start, shape = json.loads(head)
    mask = np.unpackbits(np.frombuffer(bits, np.uint8), count=int(np.prod(shape))).reshape(shape)
    box = Box(tuple(start), tuple(a + n for a, n in zip(start, shape[::-1], strict=True)))
    turned = Content(box, mask)
    start, mask = _turned(turned, geometry)
    box = Box(tuple(start), tuple(a + n for a, n in zip(start, mask.shape[::-1], strict=True)))
    return Content(box, np.ascontiguousarray(mask))


def _turned(content: Content, geometry: Geometry) -> tuple[list[int], np.ndarray]:
    """First voxel (i, j, k) and mask (K, J, I), along those directions of the axes that point forward in the world.

    Doing it twice changes nothing.
    """
    start, mask = [], content.mask != 0
    for axis in range(3):
        column = geometry.axes[:, axis]
        backward = column[np.abs(column).argmax()] < 0
        a, b = content.box.start[axis], content.box.stop[axis]
        start.append(int(geometry.size[axis] - b if backward else a))
        if backward:
            mask = np.flip(mask, 2 - axis)
    return start, mask
