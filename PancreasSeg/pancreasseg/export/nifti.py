"""The mask as NIfTI."""

from __future__ import annotations

from pancreasseg.export.format import Format, Order
from pancreasseg.export.segment import ExportSegment


def encode(segment: ExportSegment, order: Order) -> bytes:
    """0 and 1 on the grid of the CT."""
    from pancreasseg.io.nifti import encode_nifti

    return encode_nifti((segment.mask != 0).astype("uint8"), order.geometry)


DECLARATIONS = (
    Format(
        name="nifti",
        title="NIfTI",
        file="pancreas.nii.gz",
        ending=".nii.gz",
        words="0 and 1 on the grid of the CT",
        encode=encode,
        place=30,
    ),
)
