"""DICOM series on any grid, and readers for what was exported on them that know nothing of the exporting code."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from skimage.draw import polygon2mask
from Testing.helpers.ct_files import a_slice, turned, write_slices

from pancreasseg.core import Geometry

STUDY, SERIES, FRAME = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2", "1.2.826.0.1.3680043.8.498.3"
SIZE = (22, 18, 9)
SPACING = (0.8, 1.1, 5.0)

#: Directions of rows, columns and slices, the last always along row x column as a series is read.
ORIENTATIONS = {
    "axial": np.eye(3),
    "feet first": np.diag([-1.0, 1.0, -1.0]),
    "coronal": np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]),
    "oblique": turned(),
}


def a_series_grid(orientation: str = "axial") -> Geometry:
    direction = ORIENTATIONS[orientation]
    return Geometry(SIZE, SPACING, (-31.5, 12.25, 100.75), tuple(float(v) for v in direction.ravel()))


def series_headers(geometry: Geometry, **values: object) -> list[Dataset]:
    """The slices of a series on ``geometry``; ``values`` replace what the headers say."""
    pixels = np.full((geometry.size[1], geometry.size[0]), -1000, dtype=np.int16)
    pixels[4:-4, 4:-4] = 40
    defaults = {
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": SERIES,
        "FrameOfReferenceUID": FRAME,
        "PixelSpacing": [geometry.spacing[1], geometry.spacing[0]],
        "ImageOrientationPatient": [f"{v:.10g}" for v in geometry.axes[:, :2].T.ravel()],
        "SliceThickness": geometry.spacing[2],
    }
    stated = {**defaults, **values}
    if stated["FrameOfReferenceUID"] is None:
        del stated["FrameOfReferenceUID"]
    positions = [[f"{v:.10g}" for v in geometry.to_world((0, 0, k))] for k in range(geometry.size[2])]
    return [a_slice(k, pixels, ImagePositionPatient=position, **stated) for k, position in enumerate(positions)]


def write_series(folder: Path, geometry: Geometry, **values: object) -> Path:
    return write_slices(folder, series_headers(geometry, **values))


def blobs(geometry: Geometry, seed: int = 0) -> np.ndarray:
    """A mask without any symmetry: pieces, holes, single voxels, corners that touch, voxels at the border."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(geometry.shape, dtype=np.uint8)
    mask[2:6, 3:14, 4:17] = 1
    mask[3:5, 6:10, 7:12] = 0
    mask[3:5, 7, 9] = 1
    mask[4] |= (rng.random(mask.shape[1:]) > 0.6).astype(np.uint8)
    mask[7, 0, :3] = 1
    return mask


def read_seg(path: Path, geometry: Geometry) -> dict[int, np.ndarray]:
    """The segments of a DICOM SEG by number, each frame placed by what itself says about its plane."""
    data = pydicom.dcmread(path)
    rows, columns = data.Rows, data.Columns
    bits = np.unpackbits(np.frombuffer(data.PixelData, dtype=np.uint8), bitorder="little")
    frames = bits[: data.NumberOfFrames * rows * columns].reshape(-1, rows, columns)
    shared = data.SharedFunctionalGroupsSequence[0]
    masks = {int(s.SegmentNumber): np.zeros(geometry.shape, dtype=np.uint8) for s in data.SegmentSequence}
    for frame, groups in zip(frames, data.PerFrameFunctionalGroupsSequence, strict=True):

        def of_frame(name: str, groups: Dataset = groups) -> Dataset:
            return (groups if name in groups else shared)[name][0]

        number = int(of_frame("SegmentIdentificationSequence").ReferencedSegmentNumber)
        corner = of_frame("PlanePositionSequence").ImagePositionPatient
        orientation = of_frame("PlaneOrientationSequence").ImageOrientationPatient
        spacing = of_frame("PixelMeasuresSequence").PixelSpacing
        _fill(masks[number], geometry, np.argwhere(frame), corner, orientation, spacing)
    return masks


def read_rtstruct(path: Path, source: Path, geometry: Geometry) -> dict[str, np.ndarray]:
    """The structures of an RTSTRUCT by name; pixel centres within an odd number of polygons are inside."""
    images = {}
    for file in source.iterdir():
        header = pydicom.dcmread(file, stop_before_pixels=True, force=True)
        images[header.get("SOPInstanceUID") or header.file_meta.MediaStorageSOPInstanceUID] = header
    masks = {}
    for name, contours in _contours_by_name(pydicom.dcmread(path)):
        masks[name] = np.zeros(geometry.shape, dtype=np.uint8)
        planes: dict[str, np.ndarray] = {}
        for contour in contours:
            uid = contour.ContourImageSequence[0].ReferencedSOPInstanceUID
            polygon = _pixels_of(contour, images[uid])
            plane = planes.setdefault(uid, np.zeros((images[uid].Rows, images[uid].Columns), dtype=bool))
            plane ^= polygon2mask(plane.shape, polygon)
        for uid, plane in planes.items():
            header = images[uid]
            _fill(
                masks[name],
                geometry,
                np.argwhere(plane),
                header.ImagePositionPatient,
                header.ImageOrientationPatient,
                header.PixelSpacing,
            )
    return masks


def polygon_ml(path: Path) -> float:
    """Volume as planning systems compute it: areas of the polygons of the first structure times the slice distance."""
    _, contours = next(_contours_by_name(pydicom.dcmread(path)))
    area, depths = 0.0, set()
    for contour in contours:
        points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
        area += np.linalg.norm(np.cross(points, np.roll(points, -1, axis=0)).sum(axis=0)) / 2
        depths.add(round(float(points[0, 2]), 3))
    return area * float(np.diff(sorted(depths)).min()) / 1000


def _contours_by_name(data: Dataset) -> Iterator[tuple[str, list[Dataset]]]:
    for roi, contours in zip(data.StructureSetROISequence, data.ROIContourSequence, strict=True):
        assert roi.ROINumber == contours.ReferencedROINumber
        yield str(roi.ROIName), list(contours.ContourSequence)


def _pixels_of(contour: Dataset, header: Dataset) -> np.ndarray:
    """(row, column) of a contour's points, which must lie in the slice's plane."""
    points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
    assert len(points) == contour.NumberOfContourPoints >= 4
    axes = np.array(header.ImageOrientationPatient, dtype=float).reshape(2, 3)
    away = points - np.array(header.ImagePositionPatient, dtype=float)
    assert np.abs(away @ np.cross(*axes)).max() < 1e-3
    between_rows, between_columns = header.PixelSpacing
    return np.stack([away @ axes[1] / between_rows, away @ axes[0] / between_columns], axis=1)


def _fill(
    mask: np.ndarray, geometry: Geometry, pixels: np.ndarray, corner: object, orientation: object, spacing: object
) -> None:
    """Set the voxels of ``mask`` in which the pixels (row, column) of a plane lie."""
    along_row, along_column = np.array(orientation, dtype=float).reshape(2, 3)
    between_rows, between_columns = np.array(spacing, dtype=float)
    world = (
        np.array(corner, dtype=float)
        + pixels[:, 1:] * along_row * between_columns
        + pixels[:, :1] * along_column * between_rows
    )
    index = geometry.to_index(world)
    assert np.abs(index - np.rint(index)).max(initial=0) < 0.05
    i, j, k = np.rint(index).astype(int).T
    mask[k, j, i] = 1
