"""From a result folder of nnU-Net v2 to a model package."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pancreasseg.core.errors import ModelError
from pancreasseg.models.nnunet.checkpoint import Checkpoint, checked, read_checkpoint
from pancreasseg.models.nnunet.choices import Choices
from pancreasseg.models.nnunet.classes import Classes, read_classes
from pancreasseg.models.nnunet.plans import PlannedConfiguration, read_plan
from pancreasseg.models.nnunet.published import about as known_about
from pancreasseg.models.nnunet.results import DATASET, PLANS, Result, choose, find_results, of_plans, read_json
from pancreasseg.models.package import ModelPackage, write_package

#: Readers of nnU-Net that turn every CT the same way; the others take it as it is stored.
_TURNING = {"NibabelIOWithReorient": "RAS"}
#: As most CTs are stored: DICOM's own axes.
DEFAULT_ORIENTATION = "LPS"


def write_result(source: Path, folder: Path, choices: Choices) -> ModelPackage:
    """Write the package of a result folder.

    Args:
        source: the folder, or one that holds it.
        folder: of the package; made, or replaced.
        choices: what the person chose.

    Raises:
        ModelError: no result folder, or one that cannot be used.
        OutputError: the package cannot be written.
    """
    found = find_results(source)
    if not found:
        raise ModelError(
            "no-result-folder",
            f"There is no trained model of nnU-Net v2: no folder with {PLANS} and fold_0.",
            "Choose a folder such as Dataset007_X/nnUNetTrainer__nnUNetPlans__3d_fullres.",
        )
    result = choose(_wanted(found, choices), choices.configuration)
    about = _about(result)
    plans, dataset = read_json(result.folder / PLANS), read_json(result.folder / DATASET)
    members = {fold: read_checkpoint(path) for fold, path in result.checkpoints(choices.folds).items()}
    first = next(iter(members.values()))
    plan = read_plan(plans, result.configuration or first.configuration or "3d_fullres")
    check_images(dataset)
    classes = read_classes(dataset, choices.pancreas, choices.parts)
    arguments = {**plan.arguments, "classes": classes.outputs, "norm": _norm(plan, first)}
    role = choices.role or about.get("role", "segmenter")
    tensors = {
        f"{role}-{fold}.{name}": tensor
        for fold, member in members.items()
        for name, tensor in checked(Path(f"fold_{fold}"), member.weights, plan.network, arguments).items()
    }
    network = {
        "role": role,
        "network": plan.network,
        "arguments": arguments,
        "members": [f"{role}-{fold}" for fold in members],
        "classes": list(classes.names),
        "pancreas": classes.pancreas,
        **_seen(plan, first, choices, about),
        **_outputs(classes),
    }
    card = {**_described(result, dataset, choices, len(members)), **_facts(about, choices), "networks": [network]}
    if choices.origin:
        card["training"] = {**card["training"], "fetched": choices.origin}
    return write_package(folder, card, tensors)


def _wanted(found: Sequence[Result], choices: Choices) -> Sequence[Result]:
    """Of several trainings on one data set those that the person, or the catalogue, speaks of."""
    if choices.plans:
        return of_plans(found, choices.plans)
    described = [result for result in found if result.plans == known_about(result.dataset).get("plans", result.plans)]
    return described or found


def _about(result: Result) -> Mapping[str, Any]:
    """What is known of a published model; of another training on its data set, what holds for both."""
    about = known_about(result.dataset)
    if about.get("plans", result.plans) == result.plans:
        return about
    return {key: value for key, value in about.items() if key not in ("name", "title", "description", "figures")}


def check_images(dataset: Any) -> None:
    """Refuse a model that wants anything but one image.

    Raises:
        ModelError: it wants several.
    """
    channels = dataset.get("channel_names") or dataset.get("modality") if isinstance(dataset, Mapping) else None
    if isinstance(channels, Mapping) and len(channels) != 1:
        raise ModelError(
            "several-images",
            f"This nnU-Net model wants {len(channels)} images of each patient; a CT is one.",
            "Choose a model that was trained on CT alone.",
        )


def package_name(result: Result, choices: Choices) -> str:
    """The name that a package gets."""
    if choices.name:
        return choices.name
    words = f"{result.dataset or 'nnunet'}-{result.configuration}".lower()
    return re.sub(r"[^a-z0-9.]+", "-", words).strip("-.")[:64]


def _norm(plan: PlannedConfiguration, checkpoint: Checkpoint) -> str:
    """Some trainers change the norm without saying so in the plans; running statistics give it away."""
    batch = any(name.endswith("running_mean") for name in checkpoint.weights)
    return "batch" if batch else str(plan.arguments["norm"])


def _seen(
    plan: PlannedConfiguration, checkpoint: Checkpoint, choices: Choices, about: Mapping[str, Any]
) -> dict[str, Any]:
    """The card's entries about the way from CT to input."""
    conventions = replace(plan.conventions, mirror_axes=checkpoint.mirror_axes)
    conventions = replace(conventions, **about.get("conventions", {}))
    along = [0, 0, 0]  # the network's axis for each of x, y, z
    for axis, place in enumerate(plan.conventions.transposition):
        along[2 - place] = axis
    orientation = choices.orientation or about.get("orientation") or _TURNING.get(plan.reader, DEFAULT_ORIENTATION)
    return {
        "preprocessing": {
            "orientation": orientation,
            "array_axes": "kji",
            "spacing_mm": [plan.spacing[axis] for axis in along],
            "size": None,
            "window_hu": None if plan.window is None else list(plan.window),
            "scale": plan.scale,
            "shift": plan.shift,
            "patch": [plan.patch[axis] for axis in along],
        },
        "conventions": conventions.as_dict(),
    }


def _outputs(classes: Classes) -> dict[str, Any]:
    return {"organ": list(classes.organ), "regions": classes.regions}


def _facts(about: Mapping[str, Any], choices: Choices) -> dict[str, Any]:
    """The entries of the card that are known of a published model."""
    named = {"name": choices.name} if choices.name else {}
    others = ("conventions", "offer", "orientation", "plans", "role")
    return {key: value for key, value in about.items() if key not in others} | named


def _described(result: Result, dataset: Any, choices: Choices, folds: int) -> dict[str, Any]:
    """What a card says of a model that says little of itself."""
    facts = dataset if isinstance(dataset, Mapping) else {}
    title = _line(facts.get("name")) or result.dataset or result.folder.name
    many = f", {folds} folds" if folds > 1 else ""
    return {
        "name": package_name(result, choices),
        "version": "1",
        "title": f"nnU-Net: {title} ({result.configuration or 'one configuration'}{many})"[:200],
        "description": _line(facts.get("description")),
        "pipeline": "fast",
        "contrast_phase": "any",
        "intended_use": "Research: a first draft, to be checked and corrected by a person.",
        "not_for": ["diagnosis or treatment without a person's check", "scans unlike those it was trained on"],
        "training": {
            "data": _line(facts.get("reference")) or title,
            "licence": _line(facts.get("licence") or facts.get("license")) or "not stated",
            "cases": facts.get("numTraining") if isinstance(facts.get("numTraining"), int) else None,
            "recipe": f"nnU-Net v2, {result.trainer or 'trainer not stated'}",
        },
        "figures": [],
        "licence": _line(facts.get("licence") or facts.get("license")) or "not stated: ask the people who trained it",
        "citation": "Isensee F et al. nnU-Net: a self-configuring method for deep learning-based biomedical image "
        "segmentation. Nature Methods 18 (2021) 203-211.",
    }


def _line(value: Any) -> str:
    """A text of the data set's description as one line."""
    return " ".join(value.split())[:180] if isinstance(value, str) else ""
