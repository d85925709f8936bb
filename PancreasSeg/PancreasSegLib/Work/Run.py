"""One run on one CT: what it began with, how far it is, and what comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, TypeAlias

import slicer

from pancreasseg.core import Box, Geometry
from pancreasseg.core.errors import InputError
from pancreasseg.core.finding import Finding
from pancreasseg.core.measurement import Measurement
from pancreasseg.core.progress import Update
from pancreasseg.core.results import Attention, Localization, Segmentation
from pancreasseg.worker.contract import Transfer
from PancreasSegLib.Scene import Segments, VolumeNodes
from PancreasSegLib.Scene.Parameters import Parameters


class Step(Enum):
    """What the worker is asked for, one after the other; the value is the step's share of a run's time, roughly."""

    LOAD = ("load", 1.0)
    LOCALIZE = ("localize", 3.0)
    SEGMENT = ("segment", 6.0)
    ATTENTION = ("attention", 3.0)

    @property
    def cost(self) -> float:
        """How long it takes, compared with the others."""
        return self.value[1]


# The CT goes to the worker in blocks of this size; even a busy computer takes one in a moment.
BLOCK_BYTES = 4_000_000


@dataclass(frozen=True)
class Outcome:
    """What a run brought into the scene.

    Attributes:
        parameters: the CT's parameters; they lead to the ROI, segmentation and table nodes.
        localization: where the pancreas was found, or None when a person placed the box.
        segmentation: the engine's result, or None when only the box was asked for.
        measurements: of the segment as it is in the scene.
        findings: all remarks, from loading to the result.
        attention: where the network looked, when that was asked for.
    """

    parameters: Parameters
    localization: Localization | None
    segmentation: Segmentation | None
    measurements: tuple[Measurement, ...] = ()
    findings: tuple[Finding, ...] = ()
    attention: Attention | None = None


@dataclass
class Run:
    """One run in progress. Holds the CT by its parameters, never by a pointer that could outlive it.

    Attributes:
        steps: what is still to do, the step that is going on first.
        before: what the segment held when the run began.
        request: the worker's present one; 0 while it has none.
        turn: what `poll` has to do next by itself, at one go; None while the worker works.
        upload: the CT on its way to the worker; ``sent`` of its slices are there.
        written: the result is in the scene.
        attention: the map of where the network looked that is wanted.
    """

    parameters: Parameters
    key: tuple
    geometry: Geometry
    steps: list[Step]
    box: Box | None
    before: Segments.Content | None
    request: int = 0
    turn: Callable[[], Outcome | None] | None = None
    upload: Transfer | None = None
    sent: int = 0
    cancelled: bool = False
    written: bool = False
    localization: Localization | None = None
    findings: list[Finding] = field(default_factory=list)
    planned: tuple[Step, ...] = ()
    attention: str = ""

    def __post_init__(self) -> None:
        self.planned = tuple(self.steps)

    def overall(self, update: Update) -> Update:
        """A step's progress as progress of the whole run."""
        costs = [step.cost for step in self.planned]
        behind = len(self.planned) - len(self.steps)
        fraction = (sum(costs[:behind]) + costs[behind] * update.fraction) / sum(costs)
        # Only the last step knows how long the run will take; before it, its length would be a guess.
        left = update.seconds_left if len(self.steps) == 1 else None
        return replace(update, fraction=fraction, seconds_left=left)

    def checkedVolumeNode(self) -> slicer.vtkMRMLScalarVolumeNode:
        """The CT, if it still is what the run began with.

        Raises:
            InputError: it is gone, changed or spoilt.
        """
        volumeNode = self.parameters.volumeNode
        VolumeNodes.checkVolumeNode(volumeNode)
        if VolumeNodes.contentKey(volumeNode) != self.key:
            raise InputError(
                "volume-changed",
                f"The volume '{volumeNode.GetName()}' was changed while it was being segmented.",
                "Run again; nothing else was changed.",
            )
        return volumeNode

    def sendBlock(self, upload: Transfer) -> bool:
        """Send some more slices of the CT; true when all are there.

        Raises:
            InputError: the CT is gone, changed or spoilt, or has voxels that are not numbers.
            OutputError: the disk is full.
        """
        i, j, k = self.geometry.size
        rows = max(1, BLOCK_BYTES // (i * j * upload.dtype.itemsize))
        block = Box((0, 0, self.sent), (i, j, min(self.sent + rows, k)))
        upload.add(VolumeNodes.readVoxels(self.checkedVolumeNode(), block))
        self.sent = block.stop[2]
        return self.sent == k


#: How a run for a list ends: its outcome, or what went wrong.
Ending: TypeAlias = Outcome | Exception
#: Begins to segment a CT, given as its volume node, and calls the function it is given with how that ended.
StartRun: TypeAlias = Callable[[Any, Callable[[Ending], object]], object]


def once(*groups: Iterable[Finding]) -> tuple[Finding, ...]:
    """All findings in order, the same remark once."""
    return tuple(dict.fromkeys(finding for group in groups for finding in group))
