"""The segment as Slicer's .seg.nrrd."""

from __future__ import annotations

from pancreasseg.export.format import Format, Order
from pancreasseg.export.segment import ExportSegment


def encode(segment: ExportSegment, order: Order) -> bytes:
    """The mask with name, colour, terminology, and how it was made."""
    from pancreasseg.io.seg_nrrd import encode_seg_nrrd

    return encode_seg_nrrd(
        (segment.mask != 0).astype("uint8"),
        order.geometry,
        algorithm=order.algorithm,
        algorithm_type=segment.algorithm.value,
        name=segment.name,
        colour=segment.colour,
        terminology=segment.terminology,
    )


DECLARATIONS = (
    Format(
        name="nrrd",
        title="NRRD",
        file="pancreas.seg.nrrd",
        ending=".seg.nrrd",
        words="with name, colour and terminology, for 3D Slicer",
        encode=encode,
        states_origin=True,
        place=40,
    ),
)
