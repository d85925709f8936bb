"""nnU-Net's and TotalSegmentator's own code on what a test lays before it, in a folder that is the only argument.

The folder holds ``jobs.json``, a list of {"job": name of a function below, ...its arguments}; paths are relative to it.
Prints the seconds of processor time that each job took.
"""

import json
import os
import sys
import time
import types
import warnings
from pathlib import Path

import numpy as np
import torch

torch.set_num_threads(1)

#: Steps whose weights `train` averages, and after which it writes them.
AVERAGED, WRITTEN = 100, 500

# The public torchvision does not import beside PyTorch's CPU build, for want of two operators that nothing here calls.
_vision = torch.library.Library("torchvision", "DEF")
_vision.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
_vision.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def make(folder: str, plans: dict, dataset: dict, configuration: str, folds: list, *, trained: str = "", seed: int = 0,
         scale: float = 1.0, mirror_axes: list | None = None) -> None:  # fmt: skip
    """A result folder: the network that nnU-Net builds of the plans, random or `train`'s weights."""
    path = Path(folder)
    path.mkdir(parents=True)
    for name, content in (("plans.json", plans), ("dataset.json", dataset), ("dataset_fingerprint.json", {})):
        (path / name).write_text(json.dumps(content))
    for fold in folds:
        torch.manual_seed(seed + (0 if fold == "all" else int(fold)))
        network, _ = _network(plans, dataset, configuration)
        if trained:
            _fill(network, np.load(trained))
        else:
            _shake(network, scale)
        (path / f"fold_{fold}").mkdir()
        checkpoint = {
            "network_weights": network.state_dict(),
            "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01}]},
            "grad_scaler_state": None,
            "logging": {"ema_fg_dice": [np.float64(0.5), np.float32(0.25)], "mean_fg_dice": [np.float64(0.5)]},
            "_best_ema": np.float64(0.5),
            "current_epoch": 1000,
            "init_args": {"plans": plans, "configuration": configuration, "fold": fold, "dataset_json": dataset},
            "trainer_name": "nnUNetTrainer",
            "inference_allowed_mirroring_axes": None if mirror_axes is None else tuple(mirror_axes),
        }
        torch.save(checkpoint, path / f"fold_{fold}" / "checkpoint_final.pth")


def predict(folder: str, ct: str, output: str, *, mirroring: bool = False, step: float = 0.5) -> None:
    """What nnU-Net's predictor makes of a CT (``array`` z, y, x and ``spacing``): input, logits and labels."""
    predictor = _predictor(folder, mirroring=mirroring, step=step)
    given = np.load(ct)
    properties = {"spacing": [float(s) for s in given["spacing"]]}
    image = given["array"].astype(np.float32)[None]
    preprocessor = predictor.configuration_manager.preprocessor_class(verbose=False)
    data, _, facts = preprocessor.run_case_npy(
        image, None, properties, predictor.plans_manager, predictor.configuration_manager, predictor.dataset_json
    )
    logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data))
    from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape as back

    labels = back(logits, predictor.plans_manager, predictor.configuration_manager, predictor.label_manager, facts)
    np.savez(output, data=data[0], logits=logits.float().numpy(), labels=np.asarray(labels))


def preprocess(plans: dict, dataset: dict, configuration: str, ct: str, output: str) -> None:
    """What nnU-Net's preprocessor makes of a CT and, where the file has one, of its ``label``."""
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(plans)
    chosen = manager.get_configuration(configuration)
    given = np.load(ct)
    label = given["label"].astype(np.int16)[None] if "label" in given else None
    data, seg, _ = chosen.preprocessor_class(verbose=False).run_case_npy(
        given["array"].astype(np.float32)[None], label, {"spacing": [float(s) for s in given["spacing"]]}, manager,
        chosen, dataset,
    )  # fmt: skip
    np.savez(output, image=data[0], label=np.maximum(seg[0], 0))


def totalsegmentator(weights: str, ct: str, output: str, *, task: str = "total", fast: bool = False,
                     fastest: bool = False, roi_subset: list | None = None) -> None:  # fmt: skip
    """TotalSegmentator's own labels of a NIfTI file, before they are brought back to its grid."""
    os.environ["TOTALSEG_WEIGHTS_PATH"] = str(Path(weights).resolve())
    os.environ["TOTALSEG_HOME_DIR"] = str(Path(weights).resolve().parent / "home")
    import nibabel
    from nnunetv2.inference import predict_from_raw_data as module
    from totalsegmentator import python_api

    module.torch = _SinglePrecision("torch")

    python_api.send_usage_stats = lambda *_, **__: None
    python_api.download_pretrained_weights = lambda *_, **__: None
    image = python_api.totalsegmentator(
        nibabel.load(ct), None, task=task, fast=fast, fastest=fastest, roi_subset=roi_subset, ml=True, device="cpu",
        skip_saving=True, quiet=True, nr_thr_resamp=1, nr_thr_saving=1, save_lowres=fast or fastest,
    )  # fmt: skip
    np.savez(output, labels=np.asarray(image.dataobj).astype(np.uint8), affine=image.affine)


def train(plans: dict, dataset: dict, configuration: str, cases: list, output: str, steps: int) -> None:
    """Weights, in half precision, that know the organs of cases (``image`` and ``label``, preprocessed already).

    They are the average of those of the last steps, and are written now and then, so that a long training can be
    looked at.
    """
    torch.manual_seed(0)
    network, patch = _network(plans, dataset, configuration)
    network = network.to(memory_format=torch.channels_last_3d)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(1 - 1 / AVERAGED)
    )
    given = [np.load(case) for case in cases]
    pairs = [(torch.from_numpy(one["image"]), torch.from_numpy(one["label"].astype(np.int64))) for one in given]
    optimiser = torch.optim.Adam(network.parameters(), 4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        image, label = pairs[step % len(pairs)]
        region = _somewhere(label, patch, generator)
        piece = image[region][None, None].float().to(memory_format=torch.channels_last_3d)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(piece).float()
        optimiser.zero_grad()
        _loss(logits, label[region][None]).backward()
        optimiser.step()
        schedule.step()
        average.update_parameters(network)
        if (step + 1) % WRITTEN == 0 or step + 1 == steps:
            _write(average.module, output)


def _loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross entropy, and what DSC the classes lack that are there."""
    probability = logits.softmax(1)
    overlaps = []
    for number in truth.unique().tolist():
        ours, theirs = probability[:, number], (truth == number).float()
        overlaps.append(2 * (ours * theirs).sum() / (ours.sum() + theirs.sum()))
    return torch.nn.functional.cross_entropy(logits, truth) + 1 - torch.stack(overlaps).mean()


def _write(network: torch.nn.Module, output: str) -> None:
    """A file for `_fill`; most weights have many names, of which one is kept."""
    by_place = {value.data_ptr(): (key, value) for key, value in network.state_dict().items()}
    np.savez_compressed(output, **{key: value.numpy().astype(np.float16) for key, value in by_place.values()})


def _fill(network: torch.nn.Module, given: dict) -> None:
    """Put the weights that `train` wrote into a network."""
    state = network.state_dict()
    places = {value.data_ptr() for value in state.values()}
    for key, value in given.items():
        state[key].copy_(torch.from_numpy(value))
        places.remove(state[key].data_ptr())
    if places:
        raise ValueError("the file lacks weights")


def _somewhere(label: torch.Tensor, patch: list, generator: torch.Generator) -> tuple:
    """A patch around a voxel of an organ, or, as often, anywhere."""
    organ = torch.rand(1, generator=generator) < 0.5
    places = torch.nonzero(label > 0) if organ else torch.nonzero(label >= 0)
    centre = places[torch.randint(len(places), (1,), generator=generator)][0].tolist()
    region = []
    for c, size, length in zip(centre, patch, label.shape, strict=True):
        moved = c + int(torch.randint(-size // 4, size // 4 + 1, (1,), generator=generator))
        first = min(max(moved - size // 2, 0), max(length - size, 0))
        region.append(slice(first, first + size))
    return tuple(region)


def networks(output: str, cases: list) -> None:
    """Networks of `dynamic_network_architectures` with random weights: their state, an input and the answer."""
    from pydoc import locate

    found = []
    for number, case in enumerate(cases):
        torch.manual_seed(number)
        kinds = {key: locate(value) if isinstance(value, str) else value for key, value in case["kwargs"].items()}
        network = locate(case["class"])(1, **kinds).eval()
        _shake(network, 1.0)
        image = torch.randn(1, 1, *case["size"])
        with torch.inference_mode():
            found.append({"state": network.state_dict(), "image": image, "answer": network(image)})
    torch.save(found, output)


def _network(plans: dict, dataset: dict, configuration: str) -> tuple:
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(plans)
    chosen = manager.get_configuration(configuration)
    network = get_network_from_plans(
        chosen.network_arch_class_name, chosen.network_arch_init_kwargs, chosen.network_arch_init_kwargs_req_import, 1,
        manager.get_label_manager(dataset).num_segmentation_heads, deep_supervision=False,
    )  # fmt: skip
    return network, chosen.patch_size


def _shake(network: torch.nn.Module, scale: float) -> None:
    """Weights in which a mistake in any layer shows in the answer."""
    for parameter in network.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, 0.5, 0.2)
        else:
            torch.nn.init.kaiming_normal_(parameter, a=0.01)
            parameter.data *= scale


def _predictor(folder: str, *, mirroring: bool, step: float):
    from nnunetv2.inference import predict_from_raw_data as module

    module.torch = _SinglePrecision("torch")
    predictor = module.nnUNetPredictor(
        tile_step_size=step, use_mirroring=mirroring, perform_everything_on_device=False, device=torch.device("cpu"),
        allow_tqdm=False,
    )  # fmt: skip
    predictor.initialize_from_trained_model_folder(folder, use_folds=None)
    return predictor


class _SinglePrecision(types.ModuleType):
    """torch for nnU-Net's predictor, which adds up its tiles in half precision: that would hide our mistakes."""

    half = torch.float32

    def __getattr__(self, name: str) -> object:
        return getattr(torch, name)


def main() -> None:
    """All jobs, one after the other."""
    os.chdir(sys.argv[1])
    warnings.filterwarnings("ignore")
    seconds = []
    for job in json.loads(Path("jobs.json").read_text()):
        name = job.pop("job")
        started = time.process_time()
        {f.__name__: f for f in (make, predict, preprocess, totalsegmentator, train, networks)}[name](**job)
        seconds.append([name, round(time.process_time() - started, 1)])
    print(json.dumps(seconds), flush=True)
    os._exit(0)  # TotalSegmentator leaves processes behind that would be waited for


if __name__ == "__main__":
    main()
