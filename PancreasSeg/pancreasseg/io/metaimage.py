"""NRRD and MetaImage files through SimpleITK, with its errors in plain sentences."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from pancreasseg.core import Geometry
from pancreasseg.io.grids import make_geometry
from pancreasseg.io.nifti import damaged, not_3d, not_grey, truncated
from pancreasseg.io.quiet import quiet_stderr

SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
_IO = {".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO", ".mha": "MetaImageIO", ".mhd": "MetaImageIO"}
_TRUNCATED = re.compile(r"could not read|unexpected end|incomplete|data read|file.*short|not read", re.IGNORECASE)


@dataclass(frozen=True)
class RawImage:
    """Stored values (K, J, I) or, with several components, (K, J, I, C), their grid and the file's key-value pairs."""

    array: np.ndarray
    geometry: Geometry
    keys: dict[str, str]


def read_image(path: Path, *, components: bool = False) -> RawImage:
    """Read a NRRD or MetaImage file.

    Args:
        path: the file.
        components: accept several values a voxel (the layers of a .seg.nrrd).

    Raises:
        InputError: truncated or damaged file, not 3D, colour, or a grid that cannot be used.
    """
    reader = sitk.ImageFileReader()
    reader.SetImageIO(_IO[path.suffix.lower()])
    reader.SetFileName(str(path))
    try:
        with quiet_stderr():
            reader.ReadImageInformation()
            dimensions = reader.GetDimension()
            if dimensions != 3:
                raise not_3d(dimensions)
            if reader.GetNumberOfComponents() > 1 and not components:
                raise not_grey()
            image = reader.Execute()
    except RuntimeError as error:  # also what SimpleITK makes of a failed allocation
        if _TRUNCATED.search(str(error)):
            raise truncated() from error
        raise damaged("its header or data are broken") from error
    if "complex" in image.GetPixelIDTypeAsString():
        raise not_grey()
    array = sitk.GetArrayFromImage(image)
    geometry = make_geometry(
        image.GetSize(), image.GetSpacing(), image.GetOrigin(), np.reshape(image.GetDirection(), (3, 3))
    )
    # A key that is no plain text (damage) cannot be asked for.
    keys = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if key.isascii()}
    return RawImage(array, geometry, keys)
