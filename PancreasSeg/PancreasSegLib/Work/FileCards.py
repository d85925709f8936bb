"""What a person says about a network in an ONNX or TorchScript file, and the card that is made of it. No Qt."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

#: How HU become the network's values, and how a list calls it.
VALUES = {
    "window": "A window of HU to 0 .. 1",
    "symmetric": "A window of HU to -1 .. 1",
    "normalised": "HU in a window, less a mean, by a deviation (nnU-Net for CT)",
    "z-score": "Each CT by its own mean and deviation (z-score)",
}
ROLES = {"segmenter": "Segments inside a box", "localizer": "Finds the box"}
#: The directions of the axes, and who stores images like that.
ORIENTATIONS = {
    "LPS": "LPS (DICOM, SimpleITK)",
    "RAS": "RAS (nibabel, MONAI, TotalSegmentator)",
    "LAS": "LAS",
    "RPS": "RPS",
    "LPI": "LPI",
    "RAI": "RAI",
    "LAI": "LAI",
    "RPI": "RPI",
}
PHASES = {
    "any": "Any",
    "portal-venous": "Portal-venous",
    "arterial": "Arterial",
    "unenhanced": "Unenhanced",
}
#: Labels have a byte for each voxel.
CLASS_LIMIT = 255
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}[a-z0-9]")
_NO_NAME = re.compile(r"[^a-z0-9._-]+")


@dataclass(frozen=True)
class Answers:
    """What a person says.

    Attributes:
        name: of the package.
        role: one of `ROLES`.
        classes: names of the output's channels with commas between them, the background first; or how many there are.
        pancreas: its number among them.
        parts: numbers of those that belong to it, with commas between them.
        spacing: mm along x, y, z of ``orientation``.
        orientation: one of `ORIENTATIONS`.
        patch: voxels along the same axes.
        values: one of `VALUES`.
        window: HU.
        mean, deviation: HU, for "normalised".
        phase: one of `PHASES`.
        training, licence: for the card; may be empty.
    """

    name: str
    role: str = "segmenter"
    classes: str = "background, pancreas"
    pancreas: int = 1
    parts: str = ""
    spacing: tuple[float, float, float] = (1.5, 1.5, 1.5)
    orientation: str = "LPS"
    patch: tuple[int, int, int] = (96, 96, 96)
    values: str = "window"
    window: tuple[float, float] = (-120.0, 240.0)
    mean: float = 0.0
    deviation: float = 1.0
    phase: str = "any"
    training: str = ""
    licence: str = ""

    @property
    def classNames(self) -> list[str]:
        """The names, made up where only their number is stated."""
        count = self.classes.strip()
        if not count.isdecimal():
            return [name.strip() for name in self.classes.split(",")]
        names = [f"class {number}" for number in range(min(int(count[:9]), CLASS_LIMIT + 1))]
        names[:1] = ["background"][: len(names)]
        if 0 < self.pancreas < len(names):
            names[self.pancreas] = "pancreas"
        return names

    def problem(self, taken: Collection[str] = ()) -> str:
        """What is missing or wrong, in a sentence; empty when nothing is.

        Args:
            taken: names that other models have.
        """
        found = (self._ofName(taken), self._ofClasses(), self._ofParts(), self._ofValues())
        return next((sentence for sentence in found if sentence), "")

    def card(self) -> dict[str, Any]:
        """The card as `pancreasseg.models.foreign` reads it, from answers without a `problem`."""
        names = self.classNames
        said = {"training": self.training.strip(), "licence": self.licence.strip()}
        return {
            "name": self.name,
            "role": self.role,
            "classes": names,
            "pancreas": names[self.pancreas],
            "parts": [names[number] for number in self._partNumbers()],
            "spacing_mm": list(self.spacing),
            "orientation": self.orientation,
            "patch": list(self.patch),
            "contrast_phase": self.phase,
            **self._intensities(),
            **{key: text for key, text in said.items() if text},
        }

    def _intensities(self) -> Mapping[str, Any]:
        low, high = self.window
        if self.values == "z-score":
            return {"intensities": "z-score"}
        if self.values == "symmetric":
            scale = 2 / (high - low)
            return {"window_hu": [low, high], "scale": scale, "shift": -1 - low * scale}
        if self.values == "normalised":
            return {"window_hu": [low, high], "scale": 1 / self.deviation, "shift": -self.mean / self.deviation}
        return {"window_hu": [low, high]}

    def _partNumbers(self) -> list[int]:
        return [int(part) for part in self.parts.split(",") if part.strip()]

    def _ofName(self, taken: Collection[str]) -> str:
        if not _NAME.fullmatch(self.name):
            return _("The name must be 2 to 64 small letters, digits, dots, dashes or underscores.")
        if self.name in taken:
            return _("A model called '{name}' is there already; choose another name.").format(name=self.name)
        return ""

    def _ofClasses(self) -> str:
        names = self.classNames
        if not 2 <= len(names) <= CLASS_LIMIT or not all(names):
            return _("Name the classes of the output, the background first, or say how many there are (2 to 255).")
        if len(set(names)) < len(names):
            return _("Two classes have the same name.")
        if not 1 <= self.pancreas < len(names):
            return _("There are the classes 0 to {last}; the pancreas must be one from 1 on.").format(
                last=len(names) - 1
            )
        return ""

    def _ofParts(self) -> str:
        last = len(self.classNames) - 1
        text = _("What belongs to the pancreas must be other classes from 1 to {last}, each once: numbers with commas.")
        try:
            numbers = self._partNumbers()
        except ValueError:
            numbers = [0]
        wrong = [number for number in numbers if not 1 <= number <= last or number == self.pancreas]
        return text.format(last=last) if wrong or len(set(numbers)) < len(numbers) else ""

    def _ofValues(self) -> str:
        if self.values != "z-score" and self.window[0] >= self.window[1]:
            return _("The window must begin below its end.")
        if self.values == "normalised" and self.deviation < 1e-3:
            return _("The deviation must be above 0.")
        return ""


def firstAnswers(file: Path) -> Answers:
    """What is known before a person has said anything: a name after the file's."""
    name = _NO_NAME.sub("-", file.stem.lower()).strip("-._")[:64].strip("-._")
    return Answers(name if _NAME.fullmatch(name) else "my-model")


def withoutCard(paths: Sequence[str]) -> Path | None:
    """The file to ask about: the only one, a network in a file without a card beside it; None where there is none."""
    from pancreasseg.models.foreign import KINDS, beside

    path = Path(paths[0]) if len(paths) == 1 else Path()
    return path if path.suffix.lower() in KINDS and path.is_file() and not beside(path).is_file() else None


def carriesCode(path: Path) -> bool:
    """Whether a file is TorchScript, which runs code of its makers."""
    from pancreasseg.models.foreign import KINDS

    return KINDS.get(path.suffix.lower()) == "torchscript"
