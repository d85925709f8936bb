"""A cohort of phantoms in the layout of NIH Pancreas-CT, to try the whole path without any patient's data.

Layout of the download: a folder of DICOM slices a case, and one folder of gzipped NIfTI labels whose headers state rows
that run the other way than those of the DICOM series, and no place.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from pancreasseg.core import Geometry
from pancreasseg.core.errors import InputError
from pancreasseg.core.progress import Progress
from pancreasseg.io.atomic import atomic_write, output_errors, prepare_folder
from pancreasseg.io.nifti import encode_nifti
from pancreasseg.lab.cohorts.folds import NIH_DUPLICATES, NIH_FOLDS
from pancreasseg.lab.cohorts.organs import FOLDER, NAMES_FILE, SEVEN
from pancreasseg.phantom import Phantom, make_phantom
from pancreasseg.phantom.parts import LABELS as PARTS

CTS = "Pancreas-CT"
LABELS = "TCIA_pancreas_labels-02-05-2017"
ALL = len([n for numbers in NIH_FOLDS for n in numbers])
#: The patients of these cohorts; those of the bundled model and of its evaluation have other seeds.
FIRST_SEED = 800_000
#: What of the phantom's anatomy is which of Roth's organs.
_ANATOMY = {
    "artery": ("aorta", "arteries"),
    "vein": ("inferior vena cava", "portal and splenic vein"),
    **{name: (name,) for name in SEVEN[2:]},
}
_README = """\
This is a made-up cohort: phantoms computed by PancreasSeg in the layout of NIH Pancreas-CT. No patient is in it.
Case n is the synthetic patient of seed {seed} + n.
"""


def case_numbers(count: int) -> tuple[int, ...]:
    """Case numbers of a cohort of ``count`` phantoms, spread over the standard folds.

    Up to 80 cases leave out the duplicates 25 and 70, as the present release does; 82 repeat case 2 as the first did.

    Raises:
        InputError: the layout has no place for so many.
    """
    if count == ALL:
        return tuple(range(1, ALL + 1))
    single = [n for numbers in NIH_FOLDS for n in numbers if n not in NIH_DUPLICATES]
    if not 1 <= count <= len(single):
        raise InputError(
            "bad-case-count",
            f"A cohort in the layout of NIH Pancreas-CT has 1 to {len(single)} cases, or {ALL} with its duplicates; "
            f"{count} do not fit.",
            "Give another number of cases.",
        )
    return tuple(single[round(place)] for place in np.linspace(0, len(single) - 1, count))


def write_phantoms(
    folder: Path,
    numbers: Sequence[int],
    *,
    spacing: Sequence[float] = (0.8, 0.8, 2.5),
    step: float = 1.5,
    seed: int = FIRST_SEED,
    organs: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write a cohort of phantoms. Stopped at any time, the same call continues.

    Args:
        folder: made if it is not there.
        numbers: case numbers; 25 and 70 repeat the scan of case 2.
        spacing: mm along i, j, k of every scan.
        step: mm; how finely the anatomy is painted, see `make_phantom`.
        seed: case n is the patient of ``seed + n``.
        organs: also write label maps of Roth's seven organs into the folder ``organ_labels``, which NIH's data do not
            have.
        progress: one step a case, stage "phantoms".

    Raises:
        OutputError: the folder cannot be written to.
    """
    progress = progress or Progress()
    prepare_folder(folder)
    cts, labels = prepare_folder(folder / CTS), prepare_folder(folder / LABELS)
    with atomic_write(folder / "README.txt") as partial:
        partial.write_text(_README.format(seed=seed), encoding="utf-8")
    if organs:
        with atomic_write(prepare_folder(folder / FOLDER) / NAMES_FILE) as partial:
            partial.write_text(json.dumps({name: n for n, name in enumerate(SEVEN, start=1)}), encoding="utf-8")
    with progress.stage("phantoms", len(numbers)):
        for number in numbers:
            path = labels / f"label{number:04d}.nii.gz"
            apart = folder / FOLDER / path.name
            if not path.exists() or (organs and not apart.exists()):  # written last, so the CT is there when it is
                original = NIH_DUPLICATES.get(number, number)
                phantom = make_phantom(seed + original, spacing=spacing, step=step)
                write_series(cts, number, phantom)
                if organs:
                    with atomic_write(apart) as partial:
                        partial.write_bytes(encode_nifti(seven(phantom), phantom.volume.geometry))
                with atomic_write(path) as partial:
                    partial.write_bytes(encode_nifti(phantom.pancreas.astype(np.uint8), label_header(phantom)))
            progress.advance()


def seven(phantom: Phantom) -> np.ndarray:
    """Label map of Roth's seven organs, uint8 (K, J, I); value n is the n-th of `organs.SEVEN`."""
    value = np.zeros(256, dtype=np.uint8)
    for number, name in enumerate(SEVEN, start=1):
        value[[PARTS[part] for part in _ANATOMY[name]]] = number
    return value[phantom.labels]


def label_header(phantom: Phantom) -> Geometry:
    """What the header of a label states: size and spacing of the CT, rows the other way, and no place."""
    geometry = phantom.volume.geometry
    flipped = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)
    return Geometry(geometry.size, geometry.spacing, (0.0, 0.0, 0.0), flipped)


def write_series(folder: Path, number: int, phantom: Phantom) -> Path:
    """Write a phantom as ``PANCREAS_nnnn/<study>/<series>/1-001.dcm`` and so on; the whole folder or nothing.

    Returns:
        The folder of the case.
    """
    case = folder / f"PANCREAS_{number:04d}"
    partial = folder / f".pancreasseg-partial-{secrets.token_hex(6)}"
    series = partial / f"11-24-2015-PANCREAS{number:04d}-Pancreas-{10_000 + number}" / f"Pancreas-{60_000 + number}"
    with output_errors(case):
        try:
            series.mkdir(parents=True)
            for k in range(phantom.volume.geometry.size[2]):
                pydicom.dcmwrite(series / f"1-{k + 1:03d}.dcm", _slice(phantom, number, k), enforce_file_format=True)
            if case.exists():
                shutil.rmtree(case)
            partial.rename(case)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return case


def _slice(phantom: Phantom, number: int, k: int) -> Dataset:
    """One axial CT slice, stored unsigned with an intercept of -1024."""
    geometry, pixels = phantom.volume.geometry, phantom.volume.array[k]
    name = ["PancreasSeg phantom", phantom.volume.source["seed"], str(number)]
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = CTImageStorage
    data.SOPInstanceUID = generate_uid(entropy_srcs=[*name, "instance", str(k)])
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.StudyInstanceUID = generate_uid(entropy_srcs=[*name, "study"])
    data.SeriesInstanceUID = generate_uid(entropy_srcs=[*name, "series"])
    data.FrameOfReferenceUID = generate_uid(entropy_srcs=[*name, "frame"])
    data.PatientName = data.PatientID = f"PANCREAS_{number:04d}"
    data.Manufacturer, data.ManufacturerModelName = "PancreasSeg", "phantom: not a patient"
    data.Modality, data.ImageType = "CT", ["DERIVED", "PRIMARY", "AXIAL"]
    data.StudyDescription = data.SeriesDescription = "Pancreas"
    data.SeriesNumber, data.InstanceNumber = 1, k + 1
    data.KVP, data.SliceThickness = "120", f"{geometry.spacing[2]:.6g}"
    data.ContrastBolusAgent = "portal-venous (computed)"
    data.Rows, data.Columns = pixels.shape
    data.PixelSpacing = [f"{geometry.spacing[1]:.6g}", f"{geometry.spacing[0]:.6g}"]
    data.ImagePositionPatient = [f"{v:.9g}" for v in geometry.to_world((0, 0, k))]
    data.ImageOrientationPatient = [f"{v:.9g}" for v in geometry.axes[:, :2].T.ravel()]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.RescaleSlope, data.RescaleIntercept, data.RescaleType = 1, -1024, "HU"
    data.PixelData = (pixels.astype(np.int32) + 1024).astype("<u2").tobytes()
    return data
