"""What a recipe is: the settings that train one published method, and how single settings are changed."""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from pancreasseg.core.errors import InputError
from pancreasseg.grids.network_input import Preprocessing
from pancreasseg.lab.cohorts import CaseGrid
from pancreasseg.lab.cohorts.organs import PANCREAS
from pancreasseg.lab.evaluation.published import Published
from pancreasseg.lab.training.augmentation import Augmentation, BoxJitter
from pancreasseg.lab.training.loop import Schedule

LOSSES = ("dice", "dice-all", "dice+ce", "weighted-ce", "zhao", "mask-rcnn")
SAMPLINGS = ("whole", "patch", "box", "slice")


@dataclass(frozen=True)
class Objective:
    """The loss of one network.

    Attributes:
        loss: one of `LOSSES`; see `pancreasseg.lab.training.losses`. "mask-rcnn" is the sum of that network's own five.
        center_weight: λ of the center loss (Zhao 2019 prints no value; 0.1 is ours).
        center_epochs: epochs with the center loss, then λ is 0 (Zhao 2019: 50).
    """

    loss: str = "dice"
    center_weight: float = 0.1
    center_epochs: int = 50

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ValueError(f"{self.loss!r} is not one of {', '.join(LOSSES)}")


@dataclass(frozen=True)
class Sampling:
    """Which part of a case is one training example.

    Attributes:
        kind: "whole": a block around the middle of the scan; "patch": a block anywhere; "box": the box around the
            true mask, enlarged; "slice": an axial slice with its neighbours.
        size: voxels of a block along x, y, z. For "box" the largest block, cut to it where the organ's box is larger.
            For "slice" the last number counts the slice and its neighbours.
        foreground: part of the patches that are centred on a voxel of the pancreas, of the slices that cut it; the
            others lie anywhere.
        margin_mm, margin_voxels: how much the true box is enlarged on every side.
        jitter: how far the box is from perfect; none by default (Zhao 2019 trains on perfect boxes).
        multiple: sizes of boxes are rounded up to multiples of this.
        candidate_voxels: voxels further than this from the true mask do not count, as for a network that only ever
            looks at the surroundings of what another has found (Roth 2017); 0: all count.
    """

    kind: str
    size: tuple[int, int, int]
    foreground: float = 0.5
    margin_mm: float = 0.0
    margin_voxels: int = 0
    jitter: BoxJitter | None = None
    multiple: int = 1
    candidate_voxels: int = 0

    def __post_init__(self) -> None:
        if self.kind not in SAMPLINGS:
            raise ValueError(f"{self.kind!r} is not one of {', '.join(SAMPLINGS)}")


@dataclass(frozen=True)
class Part:
    """Everything that trains one network of a recipe.

    Attributes:
        role: of the network in its package.
        network, arguments: for `pancreasseg.networks.build`.
        grid: how cases are resampled for it.
        sampling: what one example is.
        objective: the loss.
        augmentation: what is done to examples.
        schedule: how long and how it is optimised.
        window_hu: HU are clipped to this and mapped to 0 .. 1, then to mean and deviation below.
        mean, deviation: of the windowed values; the network sees (value - mean) / deviation.
        patch: sliding window at inference along x, y, z; None for one pass over the region.
        monitored: part of the training cases that is kept for watching the training and for the early stop. The cases
            of the held-out fold are never looked at.
        organs: classes that the network learns, the pancreas among them, where the cohort has labels of them; () for
            the pancreas alone.
    """

    role: str
    network: str
    arguments: dict[str, Any]
    grid: CaseGrid
    sampling: Sampling
    objective: Objective
    augmentation: Augmentation
    schedule: Schedule
    window_hu: tuple[float, float] = (-100.0, 240.0)
    mean: float = 0.0
    deviation: float = 1.0
    patch: tuple[int, int, int] | None = None
    monitored: float = 0.1
    organs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.sampling.kind == "slice") != (self.objective.loss == "mask-rcnn"):
            raise ValueError('the loss "mask-rcnn" and examples of the kind "slice" need each other')
        if self.organs and (PANCREAS not in self.organs or self.sampling.kind == "slice"):
            raise ValueError("the organs must have the pancreas among them, and slices have no other")

    @property
    def preprocessing(self) -> Preprocessing:
        """The way from a CT to the network's input, in training and ever after."""
        low, high = self.window_hu
        scale = 1 / ((high - low) * self.deviation)
        shift = -low * scale - self.mean / self.deviation
        return replace(self.grid.preprocessing, window_hu=self.window_hu, scale=scale, shift=shift, patch=self.patch)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the network's outputs, the background first."""
        return ("background", *(self.organs or (PANCREAS,)))

    @property
    def pancreas(self) -> int:
        """The output that is the pancreas."""
        return self.classes.index(PANCREAS)

    @property
    def network_arguments(self) -> dict[str, Any]:
        """`arguments` with the number of outputs."""
        return {**self.arguments, "classes": len(self.classes)} if self.organs else self.arguments

    def card(self) -> dict[str, Any]:
        """The entry of the trained network in ``model.json``."""
        return {
            "role": self.role,
            "network": self.network,
            "arguments": self.network_arguments,
            "members": [self.role],
            "classes": list(self.classes),
            "pancreas": self.pancreas,
            "preprocessing": self.preprocessing.as_dict(),
        }


@dataclass(frozen=True)
class Recipe:
    """Everything that trains and runs a published method.

    Attributes:
        name: what the person types.
        title: one line for lists.
        pipeline: how the trained networks are used.
        parts: its networks in the order of training.
        published: what the paper reports.
        notes: where this differs from the paper, or fills what it leaves open.
        options: settings of the pipeline, which the trained package carries in its card.
    """

    name: str
    title: str
    pipeline: str
    parts: tuple[Part, ...]
    published: Published
    notes: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def part(self, role: str) -> Part:
        """The part with this role.

        Raises:
            InputError: there is none.
        """
        for part in self.parts:
            if part.role == role:
                return part
        raise InputError(
            "no-such-setting",
            f'The recipe {self.name} has no network "{role}"; it has {", ".join(p.role for p in self.parts)}.',
        )

    def for_organs(self, available: Sequence[str]) -> Recipe:
        """The recipe as the labels of a cohort allow; a last note says for what its networks are trained.

        Args:
            available: organs that all cases have labels of, see `Cohort.organs`.

        Returns:
            The recipe itself when it is for the pancreas alone.
        """
        wanted = tuple(dict.fromkeys(organ for part in self.parts for organ in part.organs))
        if not wanted:
            return self
        learned = [organ for organ in wanted if organ in available]
        missing = [organ for organ in wanted if organ not in available and organ != PANCREAS]
        note = f"Trained for {', '.join(learned)}." if len(learned) > 1 else "Trained for the pancreas alone."
        if missing:
            note += f" Not all cases of the cohort have labels of {', '.join(missing)}."
        parts = []
        for part in self.parts:
            organs = tuple(organ for organ in part.organs if organ in available)
            parts.append(replace(part, organs=organs if len(organs) > 1 else ()))
        return replace(self, parts=tuple(parts), notes=(*self.notes, note))

    def with_settings(self, settings: Mapping[str, Any]) -> Recipe:
        """A recipe with single settings changed.

        Args:
            settings: by path from the network's role, e.g. ``{"localizer.schedule.steps": 500}``. The role ``*`` means
                every network. ``options`` are the pipeline's, e.g. ``{"options.margin_mm": 12.0}``.

        Raises:
            InputError: there is no such setting, or the value does not fit it.
        """
        parts = {part.role: part for part in self.parts}
        options = dict(self.options)
        for path, value in settings.items():
            role, _, rest = path.partition(".")
            if role == "options":
                options[rest] = _option(options, rest, value, path)
                continue
            for chosen in parts if role == "*" else [self.part(role).role]:
                parts[chosen] = _changed(parts[chosen], rest.split("."), value, path)
        return replace(self, parts=tuple(parts.values()), options=options)


def parse_setting(text: str) -> tuple[str, Any]:
    """``path=value`` as typed on the command line; the value is JSON, or a text without quotes.

    Raises:
        InputError: there is no ``=`` in it.
    """
    path, sign, value = text.partition("=")
    if not sign:
        raise InputError("bad-setting", f"{text!r} is not like path=value.", "For example: *.schedule.steps=500")
    try:
        return path.strip(), json.loads(value)
    except ValueError:
        return path.strip(), value


def _changed(settings: Any, path: list[str], value: Any, whole: str) -> Any:
    name, *rest = path
    if isinstance(settings, dict):
        if rest:
            raise InputError("no-such-setting", f"There is no setting {whole}.")
        return {**settings, name: value}
    known = {f.name for f in fields(settings)} if is_dataclass(settings) else set()
    if name not in known:
        hint = f"There are: {', '.join(sorted(known))}." if known else ""
        raise InputError("no-such-setting", f"There is no setting {whole}.", hint)
    if rest:
        fresh = _changed(getattr(settings, name), rest, value, whole)
    else:
        fresh = _fitting(typing.get_type_hints(type(settings))[name], value, whole)
    try:
        return replace(settings, **{name: fresh})
    except (TypeError, ValueError) as error:
        raise InputError("bad-setting", f"The setting {whole} cannot be {value!r}: {error}.") from error


def _option(options: Mapping[str, Any], name: str, value: Any, whole: str) -> Any:
    """A value for one of the settings of the pipeline that the recipe has."""
    if name not in options:
        hint = f"There are: {', '.join(sorted(options))}." if options else ""
        raise InputError("no-such-setting", f"There is no setting {whole}.", hint)
    return _fitting(type(options[name]), value, whole)


def _fitting(kind: Any, value: Any, whole: str) -> Any:
    """A value from JSON as the setting's type wants it."""
    members = typing.get_args(kind)
    if isinstance(value, list):
        value = tuple(value)
    plain = {float: (int, float), int: (int,), str: (str,), bool: (bool,), tuple: (tuple,), dict: (dict,)}
    wanted = [
        t for m in (members if type(None) in members else (kind,)) for t in plain.get(typing.get_origin(m) or m, ())
    ]
    if value is None and type(None) in members:
        return None
    if not wanted or not isinstance(value, tuple(wanted)) or (isinstance(value, bool) and bool not in wanted):
        raise InputError("bad-setting", f"The setting {whole} cannot be {value!r}.")
    return value
