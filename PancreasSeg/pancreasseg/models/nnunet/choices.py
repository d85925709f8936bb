"""What a person says about a model that does not say it itself, when installing it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Choices:
    """What the person says about a model that does not say it itself.

    Attributes:
        name: of the package; made of the data set's by default.
        configuration: of several in a folder, by default the finest.
        plans: of several in a folder, such as "nnUNetResEncUNetLPlans"; by default those that the catalogue speaks of.
        folds: which members, by default all.
        pancreas: name of the class that is the pancreas.
        parts: names of the classes that belong to it, such as a tumour.
        role: "segmenter" or "localizer"; by default what it is known for, or a segmenter.
        orientation: three letters, the directions in which the CTs that it learned on were stored.
        card: a JSON file that says the same of an ONNX or TorchScript file, see `pancreasseg.models.foreign.EXAMPLE`.
        origin: where the file came from and what it was, for the card; "" for the person's own.
        trust: the person knows that the model carries code and wants it to run.
    """

    name: str | None = None
    configuration: str | None = None
    plans: str | None = None
    folds: tuple[str, ...] | None = None
    pancreas: str | None = None
    parts: tuple[str, ...] | None = None
    role: str | None = None
    orientation: str | None = None
    card: Path | None = None
    origin: str = ""
    trust: bool = False
