"""What a pipeline says about itself, for the panel, the command line and the worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pancreasseg.models.network_card import NetworkCard
    from pancreasseg.pipelines.base import Pipeline


#: What makes sense for a setting, by how its name ends: the least and the most. Later ones hold before earlier ones.
_RANGES: dict[str, tuple[float, float]] = {
    "": (-1000, 1000),
    "_hu": (-1000, 1000),
    "_mm": (0, 1000),
    "step_mm": (1, 1000),
    "window_mm": (1, 1000),
    "_voxels": (0, 100),
    "_steps": (0, 100),
    "recrops": (0, 20),
    "persistence": (1, 1000),
    "threshold": (0.001, 0.999),
    "score": (0.001, 0.999),
    "sure": (0.001, 0.999),
    "overlap": (0.001, 0.999),
    "tile": (4, 512),
}


@dataclass(frozen=True)
class Declaration:
    """A pipeline by name. The module that makes it lists it in its ``DECLARATIONS``; nothing else knows it.

    Attributes:
        name: what a person types and a model card names.
        title: for lists; one line, with a capital letter.
        roles: the networks it is made of; `pipeline` takes a stage for each in this order, then the options.
        pipeline: its class.
        options: the dataclass of its settings; every one has a default.
        steps: words for each step that it announces.
        preset: options that are part of the name.
        faster: the name of the pipeline that does the same in less time, where there is one.
        place: where it stands in lists; the lowest first.
        takes: whether a network can play a role of it; all of that role can, where nothing is said.
        votes: whether it asks its segmenter for an opinion on a box, so that several can give theirs together.
    """

    name: str
    title: str
    roles: tuple[str, ...]
    pipeline: type[Pipeline]
    options: type[Any]
    steps: Mapping[str, str]
    preset: Mapping[str, Any] = field(default_factory=dict)
    faster: str | None = None
    place: int = 100
    takes: Callable[[str, NetworkCard], bool] = lambda _role, _card: True
    votes: bool = False

    @property
    def defaults(self) -> dict[str, Any]:
        """The options by name, as they are when nobody says otherwise."""
        return {**{option.name: option.default for option in fields(self.options)}, **self.preset}

    def settings(self, given: Mapping[str, Any]) -> Any:
        """The options with other values, each of the kind of its default.

        Raises:
            ValueError: with one of them nothing that makes sense would come out.
        """
        for name, value in given.items():
            least, most = next(limits for ending, limits in reversed(_RANGES.items()) if name.endswith(ending))
            numbers = value if isinstance(value, (list, tuple)) else [value]
            kinds = [number for number in numbers if isinstance(number, (int, float)) and not isinstance(number, bool)]
            if any(not least <= number <= most for number in kinds):
                raise ValueError(f"{name} lies between {least:g} and {most:g}")
        return self.options(**given)

    @property
    def margin_mm(self) -> float | None:
        """The margin around what was found, where the pipeline leaves one that can be set."""
        return self.defaults.get("margin_mm")
