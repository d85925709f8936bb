"""Small CTs and the files that they come in, for the tests of reading and writing."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from pancreasseg.core import Geometry
from pancreasseg.grids.resample import to_image

SHAPE = (12, 20, 18)
SPACING = (2.0, 2.5, 3.0)


def a_ct(shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> np.ndarray:
    """int16 HU: a noisy body of 40 HU in air, without symmetry, from -1024 up."""
    values = np.random.default_rng(seed).normal(0, 15, shape) - 1000
    middle = tuple(slice(n // 6, n - n // 6) for n in shape)
    values[middle] += 1040
    return values.clip(-1024).astype(np.int16)


def turned(degrees: float = 20.0, about: tuple[float, float, float] = (1.0, 2.0, 3.0)) -> np.ndarray:
    """A 3x3 rotation matrix."""
    x, y, z = np.asarray(about) / np.linalg.norm(about)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


DIRECTIONS = {
    "identity": np.eye(3),
    "flipped": np.diag([-1.0, 1.0, -1.0]),
    "left-handed": np.diag([1.0, 1.0, -1.0]),
    "permuted": np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]),
    "oblique": turned(),
    "oblique, permuted, flipped": turned(17, (3, -1, 2))
    @ np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]),
    "half turn": np.diag([-1.0, -1.0, 1.0]),
}


def a_grid(direction: np.ndarray | None = None, shape: tuple[int, int, int] = SHAPE) -> Geometry:
    axes = np.eye(3) if direction is None else direction
    return Geometry(shape[::-1], SPACING, (-31.5, 12.25, 100.75), tuple(float(v) for v in np.ravel(axes)))


def write_image(path: Path, array: np.ndarray, geometry: Geometry, *, packed: bool = False) -> Path:
    """Write with SimpleITK, in the format of the name."""
    import SimpleITK as sitk

    sitk.WriteImage(to_image(array, geometry), str(path), useCompression=packed)
    return path


def a_slice(k: int = 0, array: np.ndarray | None = None, *, series: str = "1.2.3.4", **values: object) -> Dataset:
    """One axial CT slice at z = 3k mm, stored unsigned with an intercept of -1024; ``values`` replace what it says."""
    pixels = a_ct()[k] if array is None else array
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = CTImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.SeriesInstanceUID, data.StudyInstanceUID = series, "1.2.3"
    data.PatientName, data.PatientID = "Doe^Jane", "SECRET-4711"
    data.Modality, data.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.SeriesDescription, data.SeriesNumber, data.InstanceNumber = "Abdomen 3.0", 2, k + 1
    data.Rows, data.Columns = pixels.shape
    data.PixelSpacing = [SPACING[1], SPACING[0]]
    data.ImagePositionPatient = [-31.5, 12.25, 100.75 + SPACING[2] * k]
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.SliceThickness = SPACING[2]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.RescaleSlope, data.RescaleIntercept, data.RescaleType = 1, -1024, "HU"
    data.PixelData = (pixels.astype(np.int32) + 1024).clip(0, 65535).astype("<u2").tobytes()
    for name, value in values.items():
        if value is None:
            del data[name]
        else:
            setattr(data, name, value)
    return data


def a_series(array: np.ndarray | None = None, **values: object) -> list[Dataset]:
    whole = a_ct() if array is None else array
    return [a_slice(k, plane, **values) for k, plane in enumerate(whole)]


def write_slices(folder: Path, slices: list[Dataset], prefix: str = "image") -> Path:
    """Write slices under names that do not sort by position."""
    folder.mkdir(parents=True, exist_ok=True)
    for n, data in enumerate(slices):
        pydicom.dcmwrite(folder / f"{prefix}_{(n * 7) % 101}_{n}", data, enforce_file_format=True)
    return folder


def compress(data: Dataset, compressor: str) -> Dataset:
    """Compress the frames of a slice or multi-frame file in place, one by one, as GDCM does ("JPEG", "JPEG2000")."""
    import SimpleITK as sitk

    packed = []
    with tempfile.TemporaryDirectory() as folder:
        for frame in np.frombuffer(data.PixelData, "<u2").reshape(-1, data.Rows, data.Columns):
            writer = sitk.ImageFileWriter()
            writer.SetImageIO("GDCMImageIO")
            writer.SetFileName(f"{folder}/one.dcm")
            writer.UseCompressionOn()
            writer.SetCompressor(compressor)
            writer.Execute(sitk.GetImageFromArray(frame))
            one = pydicom.dcmread(f"{folder}/one.dcm")
            packed.append(get_frame(one.PixelData, 0, number_of_frames=1))
    data.file_meta.TransferSyntaxUID = one.file_meta.TransferSyntaxUID
    return put_frames(data, packed)


def put_frames(data: Dataset, frames: list[bytes]) -> Dataset:
    """Give a data set compressed frames."""
    data.PixelData = encapsulate(frames)
    data["PixelData"].is_undefined_length = True
    return data


def read_apart(path: Path) -> subprocess.CompletedProcess[str]:
    """Read a CT in a process of its own, which prints the error's code and sentence.

    Libraries write to the process's stderr behind Python's back; only so can a test see that they are kept quiet.
    """
    code = (
        "import sys\nfrom pancreasseg.core.errors import InputError\nfrom pancreasseg.io.read import read_volume\n"
        "try:\n    read_volume(sys.argv[1])\nexcept InputError as error:\n    print(error.code, error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", code, str(path)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
