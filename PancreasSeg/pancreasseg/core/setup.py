"""What a run is made with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

AUTO = "auto"
#: Where networks run, and how a list calls it.
DEVICES = {"cuda": "Graphics card (CUDA)", "cpu": "Processor (CPU)"}
#: How precisely networks run, and how a list calls it.
PRECISIONS = {"f32": "Full (f32)", "bf16": "Half (bf16)", "fp16": "Half (fp16)"}


@dataclass(frozen=True)
class Setup:
    """Which pipeline a run takes, with which model, and where it computes.

    Attributes:
        pipeline: a name, see `pancreasseg.pipelines.names`; None for the one that the model's card names.
        model: an installed package, or two joined by "+" (localizer, segmenter; see `mixed`), and after commas more
            segmenters that vote; None for the best one installed that the pipeline can use.
        device: `AUTO` or one of `DEVICES`.
        precision: `AUTO` or one of `PRECISIONS`.
        options: settings of the pipeline by name, e.g. those of `TwoStageOptions`; they come before those of the
            model's card.
    """

    pipeline: str | None = None
    model: str | None = None
    device: str = AUTO
    precision: str = AUTO
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, choices: Mapping[str, Any]) -> Setup:
        """The setup among the parameters of a request; what is not there, or null, keeps its default."""
        return cls(**{name: choices[name] for name in cls.__dataclass_fields__ if choices.get(name) is not None})

    @property
    def alone(self) -> Setup:
        """The same without the segmenters that vote with the model."""
        return replace(self, model=(self.model or "").partition(",")[0] or None)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def mixed(localizer: str, model: str) -> str | None:
    """What `Setup.model` is where a person chooses each; empty texts leave the choice to the engine."""
    return f"{localizer}+{model}" if localizer and "+" not in model else model or None


#: Everything as the engine chooses.
AUTOMATIC = Setup()
