"""A small network that nnU-Net built and that learned from one phantom for seconds, in TotalSegmentator's own hands."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.helpers import nnunet_folders as folders
from Testing.originals import environment

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.progress import Progress
from pancreasseg.core.setup import Setup
from pancreasseg.grids.resample import to_image
from pancreasseg.inference.evidence import logits_of
from pancreasseg.inference.hardware import Hardware
from pancreasseg.models.nnunet.choices import Choices
from pancreasseg.models.nnunet.package import write_result
from pancreasseg.models.store import Store
from pancreasseg.phantom import Phantom, make_phantom
from pancreasseg.pipelines import create
from pancreasseg.pipelines.trained_stage import TrainedStage

pytestmark = pytest.mark.slow

#: TotalSegmentator's own name of its fast model, and the label that the pancreas has in it.
DATA, TRAINER, PANCREAS = "Dataset297_TotalSegmentator_total_3mm_1559subj", "nnUNetTrainer_4000epochs_NoMirroring", 7
PLANS = folders.plans((32, 32, 32), (3.0, 3.0, 3.0), channels=(5, 10, 20), reader="NibabelIOWithReorient")
DATASET: dict[str, Any] = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, **{f"organ {n}": n for n in range(1, PANCREAS)}, "pancreas": PANCREAS},
    "file_ending": ".nii.gz",
}


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(1, spacing=(3.2, 3.2, 4.0), size=(110, 84, 50))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, phantom: Phantom) -> Path:
    """A folder with the trained network and what the originals made of the phantom."""
    folder = tmp_path_factory.mktemp("trained")
    geometry = phantom.volume.geometry
    ras = {
        "array": phantom.volume.array[:, ::-1, ::-1],
        "label": phantom.pancreas[:, ::-1, ::-1] * PANCREAS,
        "spacing": geometry.spacing[::-1],
    }
    np.savez(folder / "ct.npz", **ras)
    sitk.WriteImage(to_image(phantom.volume.array, geometry), str(folder / "ct.nii.gz"))
    result = f"weights/{DATA}/{TRAINER}__nnUNetPlans__3d_fullres"
    facts = {"plans": PLANS, "dataset": DATASET, "configuration": "3d_fullres"}
    jobs = [
        {"job": "preprocess", **facts, "ct": "ct.npz", "output": "case.npz"},
        {"job": "make", "folder": result, **facts, "folds": [0], "trained": "case.npz", "steps": 80},
        {"job": "predict", "folder": result, "ct": "ct.npz", "output": "nnunet.npz"},
        {"job": "totalsegmentator", "weights": "weights", "ct": "ct.nii.gz", "output": "ts.npz", "fast": True},
    ]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    environment.run("nnunet", folder, timeout=900)
    return folder


def _stage(work: Path, tmp_path: Path, dataset: str) -> TrainedStage:
    """The trained network under the name of a data set, which tells how a CT is brought to it."""
    (tmp_path / dataset).symlink_to(work / "weights" / DATA, target_is_directory=True)
    package = write_result(tmp_path / dataset, tmp_path / "package", Choices(name="trained", role="segmenter"))
    return TrainedStage(package, package.card.networks[0], Hardware("cpu", "f32"))


def test_totalsegmentators_labels_before_its_last_resampling(work, phantom, tmp_path):
    stage = _stage(work, tmp_path, DATA)
    # Turned back to the axes of the file; ours lie as the network saw them, from right to left and back to front.
    theirs = np.load(work / "ts.npz")["labels"].transpose(2, 1, 0)[:, ::-1, ::-1] == PANCREAS
    volume = phantom.volume
    whole = Box.whole(volume.geometry)
    logits, grid = stage.look(stage.whole(volume), whole, Progress(), logits_of)
    ours = logits.argmax(axis=0) == PANCREAS
    assert ours.shape == theirs.shape
    assert theirs.sum() > 50  # seconds of training make no pancreas, but an answer that is no accident
    assert (ours == theirs)[ours | theirs].mean() >= 0.995
    assert grid.spacing == pytest.approx((3.0, 3.0, 3.0), rel=0.02)
    # The organ alone, as a run asks for it: judged by the mean logits of overlapping tiles.
    probability, _ = stage.pancreas(volume, whole, Progress())
    alone = probability >= 0.5
    assert (alone == theirs)[alone | theirs].mean() >= 0.995


def test_it_is_one_click_with_the_same_network_as_localizer(work, phantom, tmp_path):
    store = Store(tmp_path / "home")
    for name, role in (("finder", "localizer"), ("filler", "segmenter")):
        store.install(work / "weights" / DATA, choices=Choices(name=name, role=role))
    pipeline = create(Setup(model="finder+filler", device="cpu", precision="f32"), store)
    assert pipeline.name == "fast"
    around = Box.of_mask(phantom.pancreas)
    assert around is not None
    result = pipeline.segment(phantom.volume, around)
    assert result.classes[PANCREAS] == "pancreas"
    assert result.labels is not None
    np.testing.assert_array_equal(result.labels == PANCREAS, result.mask > 0)
    assert [model["name"] for model in result.provenance.models] == ["finder", "filler"]


def test_a_small_ct_of_another_orientation_is_segmented_alike(work, phantom, tmp_path):
    stage = _stage(work, tmp_path, DATA)
    around = Box.of_mask(phantom.pancreas)
    assert around is not None
    box = around.grow(12.0, phantom.volume.geometry)
    cut = Volume(phantom.volume.array[box.slices].copy(), phantom.volume.geometry.crop(box))
    image = sitk.DICOMOrient(to_image(cut.array, cut.geometry), "RAS")
    geometry = Geometry(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    turned = Volume(np.ascontiguousarray(sitk.GetArrayFromImage(image)), geometry)
    one, grid = stage.pancreas(cut, Box.whole(cut.geometry), Progress())
    other, its_grid = stage.pancreas(turned, Box.whole(turned.geometry), Progress())
    assert grid.same_grid(its_grid)
    assert ((one >= 0.5) == (other >= 0.5)).mean() > 0.999
