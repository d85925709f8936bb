"""A CT as one multi-frame DICOM file, its frames in disorder."""

from __future__ import annotations

import numpy as np
import pydicom
from Testing.helpers.ct_files import SHAPE, SPACING, a_ct
from Testing.helpers.dicom_series import a_slice


def an_enhanced_ct() -> pydicom.Dataset:
    data = a_slice(0)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        del data[name]
    order = np.random.default_rng(2).permutation(SHAPE[0])
    data.NumberOfFrames = SHAPE[0]
    data.PixelData = (a_ct()[order].astype(np.int32) + 1024).astype("<u2").tobytes()

    def group(name: str, **values: object) -> pydicom.Dataset:
        inner, outer = pydicom.Dataset(), pydicom.Dataset()
        for key, value in values.items():
            setattr(inner, key, value)
        setattr(outer, name, [inner])
        return outer

    shared = group("PlaneOrientationSequence", ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    shared.update(group("PixelMeasuresSequence", PixelSpacing=[SPACING[1], SPACING[0]]))
    data.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for k in order:
        frame = group("PlanePositionSequence", ImagePositionPatient=[-31.5, 12.25, 100.75 + SPACING[2] * int(k)])
        frame.update(group("PixelValueTransformationSequence", RescaleSlope=1, RescaleIntercept=-1024))
        frames.append(frame)
    data.PerFrameFunctionalGroupsSequence = frames
    return data
