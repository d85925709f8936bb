"""``make model``: from the public data's own layouts to a package that runs, with everything made tiny."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from pancreasseg.lab.axial import __main__ as lab
from pancreasseg.lab.axial import augmentation, crossvalidation, public
from pancreasseg.lab.axial.cases import PANCREAS, SliceCase
from pancreasseg.lab.axial.training import Plan
from pancreasseg.models.package import ModelPackage

TINY = Plan(steps=2, rate=1e-2, warm_up=1, batch=2, averaging=0.5, channels=(16, 32))
#: Organs as boxes (slices, rows, columns) in a body of 40 x 70 x 90 voxels.
ORGANS = {
    "spleen": (slice(20, 30), slice(40, 55), slice(65, 80)),
    "pancreas": (slice(14, 26), slice(28, 38), slice(35, 60)),
    "kidney_left": (slice(8, 20), slice(45, 58), slice(58, 70)),
    "kidney_right": (slice(8, 20), slice(45, 58), slice(18, 30)),
    "liver": (slice(15, 36), slice(12, 45), slice(8, 34)),
    "stomach": (slice(22, 34), slice(10, 26), slice(50, 75)),
}
SHAPE = (40, 70, 90)


def put(path: Path, array: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))


def body(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """HU 0 to 255 and the pancreas, of a patient whose pancreas lies a little elsewhere."""
    rng = np.random.default_rng(seed)
    hu = np.zeros(SHAPE, np.uint8)
    hu[:, 4:-4, 4:-4] = 80
    mask = np.zeros(SHAPE, np.uint8)
    slices, rows, columns = ORGANS["pancreas"]
    shift = int(rng.integers(-4, 5))
    mask[slices, rows.start + shift : rows.stop + shift, columns] = 1
    hu[mask > 0] = 180
    return hu, mask


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The four folders of the public data."""
    facts = {}
    for number in range(1, 7):
        name, (hu, mask) = f"PANCREAS_{number:04d}", body(number)
        chosen = [15, 17, 19, 24]
        put(tmp_path / "nih-sparse" / f"{name}.nii.gz", hu[chosen])
        put(tmp_path / "nih-sparse" / f"{name}_mask.nii.gz", mask[chosen])
        facts[name] = {
            "z_mm": [float(k - 15) for k in chosen],
            "valid_xyxy": [[0, 0, SHAPE[2], SHAPE[1]]] * len(chosen),
            "native_spacing_mm": [1.0 if number == 1 else 0.7, 1.0, 1.0],
        }
    (tmp_path / "nih-sparse" / "index.json").write_text(json.dumps(facts))
    for number in (1, 2):
        hu, mask = body(10 + number)
        put(tmp_path / "msd-slabs" / f"pancreas_{number:03d}_ct.nii.gz", hu[10:30].astype(np.int16), (1.0, 1.0, 2.5))
        put(tmp_path / "msd-slabs" / f"pancreas_{number:03d}_mask.nii.gz", mask[10:30] * 2, (1.0, 1.0, 2.5))
    (tmp_path / "msd-slabs" / "index.json").write_text(json.dumps({"pancreas_001": {}, "pancreas_002": {}}))
    whole, gibson = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    for value, place in enumerate(ORGANS.values(), start=1):
        whole[place] = value
    for value, name in ((1, "spleen"), (3, "kidney_left"), (6, "liver"), (7, "stomach")):
        gibson[ORGANS[name]] = value
    gibson[body(1)[1] > 0] = PANCREAS
    put(tmp_path / "labels" / "totalseg" / "s0001.nii.gz", whole[:, ::-1, ::-1], (1.5, 1.5, 1.5))
    with (tmp_path / "labels" / "totalseg" / "s0001.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("value", "structure"), *((n, name) for n, name in enumerate(ORGANS, start=1))])
    put(tmp_path / "labels" / "gibson" / "7.nii.gz", gibson[::-1, ::-1])
    put(tmp_path / "labels" / "gibson" / "50.nii.gz", gibson[::-1, ::-1])  # of a BTCV patient: left alone
    put(tmp_path / "unlabelled" / "one_ct.nii.gz", body(20)[0].astype(np.int16))
    return tmp_path


def labelled(path: Path) -> SliceCase:
    """In place of OBELISK-Net, which is not installed here."""
    hu, mask = body(20)
    case = SliceCase("one", hu, np.where(mask > 0, PANCREAS, 254).astype(np.uint8), np.arange(SHAPE[0], dtype=float))
    assert path.name == "one_ct.nii.gz"
    return case


def test_one_command_leads_from_the_public_data_to_a_package_and_its_report(data, tmp_path, monkeypatch):
    torch.set_num_threads(1)
    for module, names in ((lab, ("FIRST", "SECOND", "LAST")), (crossvalidation, ("ABROAD", "FOLD"))):
        for name in names:
            monkeypatch.setattr(module, name, TINY)
    monkeypatch.setattr(lab, "PHANTOMS", 0)
    monkeypatch.setattr(lab, "pseudo_labelled", labelled)
    monkeypatch.setattr(augmentation, "SIZE", (48, 64))
    work, folder = tmp_path / "work", tmp_path / "pancreas-ct"
    call = ["model", "--data", str(data), "--work", str(work), "--package", str(folder)]
    assert lab.main(call) == 0
    package = ModelPackage(folder)
    package.verify()
    assert package.card.licence == "CC BY-SA 4.0"
    assert {figure.cases for figure in package.card.figures}
    assert package.card.expected_overlap is not None
    assert public.gibson_numbers(data / "labels" / "gibson") == [7]
    assert sorted(path.stem for path in (work / "maps").glob("*.npz")) == ["gibson7", "s0001"]
    assert json.loads((work / "places.json").read_text())["7"]["patient"] == "PANCREAS_0001"
    shown = {path.name for path in (work / "report").iterdir()}
    assert {"first-scores.csv", "folds-scores.csv", "msd-to-nih-scores.csv"} <= shown
    assert {"worst-pancreas_001.png", "worst-pancreas_002.png"} <= shown
    assert sum(name.startswith("worst-PANCREAS") for name in shown) in (1, 2, 3)
    weights = package.card.weights.sha256
    stamps = {path: path.stat().st_mtime_ns for path in work.glob("*.pt")}
    assert lab.main(call) == 0, "everything goes on where it stopped"
    assert ModelPackage(folder).card.weights.sha256 == weights
    assert {path: path.stat().st_mtime_ns for path in work.glob("*.pt")} == stamps, "nothing is trained again"
