"""Result folders as nnU-Net v2 leaves and exports them: ``<Dataset>/<Trainer>__<Plans>__<configuration>/fold_<k>``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pancreasseg.core.errors import InputError, ModelError
from pancreasseg.io.voxels import open_regular

PLANS, DATASET = "plans.json", "dataset.json"
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
#: Configurations in the order in which they are taken when nobody chooses.
CONFIGURATIONS = ("3d_fullres", "3d_lowres", "2d")
#: What nnU-Net's first version left behind; its pickles of plans cannot be read without running them.
_FIRST_VERSION = (
    "plans.pkl",
    "postprocessing.json",
    "model_final_checkpoint.model",
    "model_final_checkpoint.model.pkl",
)
#: Plans and data set descriptions are pages of text.
_TEXT_LIMIT = 32 << 20
_DEPTH = 4
_FOLDER_LIMIT = 5000


@dataclass(frozen=True)
class Result:
    """One trained configuration.

    Attributes:
        folder: with plans.json and the folds.
        dataset: name of the data set, such as "Dataset007_Pancreas", or "" where no folder says it.
        trainer: name of the trainer, or "".
        plans: name of the plans, or "".
        configuration: "2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres" or a name of its own, or "".
    """

    folder: Path
    dataset: str
    trainer: str
    plans: str
    configuration: str

    def checkpoints(self, folds: Sequence[str] | None = None) -> dict[str, Path]:
        """The checkpoint of each fold, by its name.

        Args:
            folds: which, such as "0" or "all"; by default those there are, or "all" alone where it is there.

        Raises:
            ModelError: none there, or not those asked for.
        """
        found = {}
        for fold in sorted(self.folder.glob("fold_*")):
            files = [fold / name for name in CHECKPOINTS if (fold / name).is_file()]
            if files:
                found[fold.name.removeprefix("fold_")] = files[0]
        if folds is not None:
            absent = [fold for fold in folds if fold not in found]
            if absent:
                there = ", ".join(found) or "none"
                raise ModelError("no-fold", f"{self.folder.name} has no fold {absent[0]}; it has {there}.")
            return {fold: found[fold] for fold in folds}
        if not found:
            raise ModelError(
                "no-checkpoint",
                f"{self.folder.name} holds no {CHECKPOINTS[0]} in a folder fold_0 to fold_4.",
                "Choose the folder of a finished training, or a zip that nnUNetv2_export_model_to_zip made.",
            )
        return {"all": found["all"]} if "all" in found else found


def find_results(folder: Path) -> list[Result]:
    """All trained configurations in a folder: itself, a data set's, or one that holds several.

    Raises:
        ModelError: the folder is of nnU-Net's first version.
    """
    found = []
    for number, path in enumerate(_folders(folder, _DEPTH)):
        if number > _FOLDER_LIMIT:
            break
        if (path / PLANS).is_file():
            parts = path.name.split("__")
            named = len(parts) == 3
            dataset = path.parent.name if path.parent.name.startswith("Dataset") else ""
            found.append(Result(path, dataset, *(parts if named else ("", "", ""))))
        elif any((path / name).is_file() for name in _FIRST_VERSION):
            raise first_version(path.name)
    return found


def of_plans(results: Sequence[Result], plans: str) -> list[Result]:
    """Those of several trainings that follow certain plans.

    Raises:
        ModelError: there is none.
    """
    fitting = [result for result in results if result.plans == plans]
    if not fitting:
        there = ", ".join(dict.fromkeys(result.plans for result in results if result.plans)) or "none with a name"
        raise ModelError("no-plans", f"There is no model with the plans {plans} here, only {there}.")
    return fitting


def choose(results: Iterable[Result], configuration: str | None = None) -> Result:
    """One of several trained configurations.

    Raises:
        ModelError: the one asked for is not there, or several fit equally well, or there is only the second half of a
            cascade.
    """
    there = list(results)
    names = list(dict.fromkeys(result.configuration or result.folder.name for result in there))
    wanted = (configuration,) if configuration else (*CONFIGURATIONS, *(n for n in names if "cascade" not in n))
    for name in wanted:
        fitting = [result for result in there if name in (result.configuration, result.folder.name)]
        if len(fitting) > 1:
            folders = ", ".join(sorted(f"{result.folder.parent.name}/{result.folder.name}" for result in fitting)[:8])
            raise ModelError(
                "several-results",
                f"There are several nnU-Net models here: {folders}.",
                "Choose the folder of one, or name its plans.",
            )
        if fitting:
            return fitting[0]
    if any("cascade" in name for name in names) and not configuration:
        raise ModelError(
            "nnunet-cascade",
            "This is the second half of a cascade, which needs the first half's result as input.",
            "Install the configuration 3d_fullres or 3d_lowres of this model instead.",
        )
    raise ModelError(
        "no-configuration", f"There is no configuration {configuration} here, only {', '.join(names) or 'none'}."
    )


def read_json(path: Path) -> Any:
    """A page of JSON that came with a model.

    Raises:
        ModelError: missing, too large, or not JSON.
    """
    try:
        if path.stat().st_size > _TEXT_LIMIT:
            raise _unreadable(path, "is too large to be one")
        with open_regular(path) as file:
            return json.loads(file.read(_TEXT_LIMIT))
    except (OSError, InputError) as error:
        raise _unreadable(path, "is missing") from error
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, "is no JSON") from error


def first_version(name: str) -> ModelError:
    """The error for what nnU-Net's first version left."""
    return ModelError(
        "nnunet-v1",
        f"{name} was made by the first version of nnU-Net, whose files cannot be opened without running them.",
        "Use a model that was trained with version 2.",
    )


def _unreadable(path: Path, what: str) -> ModelError:
    return ModelError(
        "bad-result-folder",
        f"This nnU-Net model cannot be used: its {path.name} {what}.",
        "Choose a whole result folder, or a zip that nnUNetv2_export_model_to_zip made.",
    )


def _folders(folder: Path, depth: int) -> Iterable[Path]:
    yield folder
    if depth:
        for child in sorted(folder.iterdir()):
            if child.is_dir() and not child.is_symlink() and not child.name.startswith((".", "fold_")):
                yield from _folders(child, depth - 1)
