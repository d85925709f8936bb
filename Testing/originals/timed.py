"""How long nnU-Net's and TotalSegmentator's own code take for a CT, and how much memory.

    python -m Testing.originals.timed FOLDER THREADS

FOLDER holds ``timed.json``, the arguments of one function below and its name as ``job``; paths are relative to it.
Prints seconds and megabytes as JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from Testing.originals import nnunet as lets_torchvision_import  # noqa: F401


def nnunet(folder: str, ct: str, step: float) -> None:
    """Labels of a CT (``array`` z, y, x and ``spacing``) by nnU-Net's predictor, on the whole of it."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        tile_step_size=step, use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"),
        allow_tqdm=False,
    )  # fmt: skip
    predictor.initialize_from_trained_model_folder(folder, use_folds=None)
    given = np.load(ct)
    properties = {"spacing": [float(s) for s in given["spacing"]]}
    predictor.predict_single_npy_array(given["array"].astype(np.float32)[None], properties)


def totalsegmentator(weights: str, ct: str, *, fast: bool = False, pancreas: str = "") -> None:
    """Labels of a NIfTI file by TotalSegmentator.

    ``pancreas`` names a mask on the same grid: then the pancreas alone is asked for, with ``roi_subset``. The coarse
    pass that finds it runs as always; its random weights find nothing, so the mask stands in for what it finds.
    """
    os.environ["TOTALSEG_WEIGHTS_PATH"] = str(Path(weights).resolve())
    os.environ["TOTALSEG_HOME_DIR"] = str(Path(weights).resolve().parent / "home")
    import nibabel
    import totalsegmentator.nnunet as runner
    from totalsegmentator import python_api

    python_api.send_usage_stats = lambda *_, **__: None
    python_api.download_pretrained_weights = lambda *_, **__: None
    if pancreas:
        runner.nnUNet_predict_image = _found(runner.nnUNet_predict_image, nibabel.load(pancreas))
    python_api.totalsegmentator(
        nibabel.load(ct), None, fast=fast, roi_subset=["pancreas"] if pancreas else None, ml=True, device="cpu",
        skip_saving=True, quiet=True, nr_thr_resamp=1, nr_thr_saving=1,
    )  # fmt: skip


def _found(predict, mask):
    """Their function, which finds what a mask says in the coarse pass."""
    import nibabel

    def predict_and_find(*arguments, **settings):
        image, *others = predict(*arguments, **settings)
        if settings.get("resample") == 6.0:
            image = nibabel.Nifti1Image((np.asarray(mask.dataobj) > 0).astype(np.uint8) * 7, image.affine)
        return (image, *others)

    return predict_and_find


def main() -> None:
    """One job."""
    os.chdir(sys.argv[1])
    threads = int(sys.argv[2])
    torch.set_num_threads(threads)
    multiprocessing.cpu_count = lambda: threads  # what TotalSegmentator asks
    warnings.filterwarnings("ignore")
    given = json.loads(Path("timed.json").read_text())
    started = time.perf_counter()
    {"nnunet": nnunet, "totalsegmentator": totalsegmentator}[given.pop("job")](**given)
    wall = time.perf_counter() - started
    multiprocessing.active_children()  # counts those that have ended
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = sum(one.ru_utime + one.ru_stime for one in used)
    print(json.dumps({"seconds": wall, "processor seconds": seconds, "peak MB": used[0].ru_maxrss / 1000}), flush=True)
    os._exit(0)  # TotalSegmentator leaves processes behind that would be waited for


if __name__ == "__main__":
    main()
