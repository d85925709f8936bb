"""What a person chose for one CT and what came of it: a parameter node for each CT, saved with the scene."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import slicer

from pancreasseg.core import Box
from pancreasseg.core.errors import InputError
from pancreasseg.core.setup import AUTO, Setup, mixed
from PancreasSegLib.Scene.Coordinates import geometryOfNode
from PancreasSegLib.Scene.Nodes import nodesOf
from PancreasSegLib.Scene.RoiNodes import boxOfRoi

MODULE = "PancreasSeg"


class _Text:
    """A text parameter; empty where nothing was chosen, which leaves the choice to the engine."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, parameters: Parameters, owner: type | None = None) -> str:
        return parameters.node.GetParameter(self._name) or ""

    def __set__(self, parameters: Parameters, value: str) -> None:
        parameters.node.SetParameter(self._name, value)


class _Number:
    """A number with a default."""

    def __init__(self, default: float) -> None:
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, parameters: Parameters, owner: type | None = None) -> float:
        text = parameters.node.GetParameter(self._name)
        return float(text) if text else self._default

    def __set__(self, parameters: Parameters, value: float) -> None:
        parameters.node.SetParameter(self._name, repr(float(value)))


class _Flag:
    """A choice that is off until a person turns it on."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, parameters: Parameters, owner: type | None = None) -> bool:
        return parameters.node.GetParameter(self._name) == "true"

    def __set__(self, parameters: Parameters, value: bool) -> None:
        parameters.node.SetParameter(self._name, "true" if value else "")


class _Box:
    """A box in the CT's voxels; None while there is none.

    It is kept as two corners in mm of the CT's own frame: a left-handed CT comes back from a saved scene with another
    order of its voxels, in the same place.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, parameters: Parameters, owner: type | None = None) -> Box | None:
        text = parameters.node.GetParameter(self._name)
        volumeNode = parameters.volumeNode
        if not text or volumeNode is None or volumeNode.GetImageData() is None:
            return None
        corners = np.rint(geometryOfNode(volumeNode).to_index(json.loads(text)) + 0.5).astype(int)
        return Box.between(corners.min(axis=0), corners.max(axis=0))

    def __set__(self, parameters: Parameters, box: Box | None) -> None:
        text = ""
        if box is not None:
            corners = geometryOfNode(parameters.volumeNode).to_world(np.array([box.start, box.stop]) - 0.5)
            text = json.dumps(corners.tolist())
        parameters.node.SetParameter(self._name, text)


class _Reference:
    """A reference to another node of the scene; None when that node is gone."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._role = name

    def __get__(self, parameters: Parameters, owner: type | None = None) -> Any:
        return parameters.node.GetNodeReference(self._role)

    def __set__(self, parameters: Parameters, value: slicer.vtkMRMLNode | None) -> None:
        parameters.node.SetNodeReferenceID(self._role, value.GetID() if value is not None else None)


class Parameters:
    """The parameters of one CT volume node.

    Attributes:
        node: the vtkMRMLScriptedModuleNode behind it.
        volumeNode, roiNode, segmentationNode, tableNode: the CT and its results; None while there are none.
        segmentId: the pancreas in the segmentation.
        pipeline, model, localizer, device, precision: choices for the engine; empty for the default. The localizer is
            another model that finds the box; after commas the model may name more segmenters, which vote with it.
        marginMm: between the pancreas that was found and the faces of the box, where a person has chosen one.
        automaticBox: where the engine last put the ROI by itself; elsewhere it was placed by a person.
        segmentedBox: the box of the present result.
        referenceNode, referenceSegmentId: what statistics compare with instead of the AI draft.
        agreementNode: the map of where the voters differed, as a volume.
        agreementShown: a person wants that map laid over this CT.
        attentionNode, attentionMap: the map of where the network looked, as a volume, and which one it is.
        attentionShown: a person wants that map laid over this CT.
        structuresWanted: a person wants the other structures that the model knows as well.
        structuresNode: the segmentation with them.
        present: the voxels (`Contents.keyOf`) of the result that the segment holds, or is a correction of.
        agreementOf, attentionOf: the result that the map is about, as ``present``.
        selected: this CT was the last to be selected.
    """

    volumeNode = _Reference()
    roiNode = _Reference()
    segmentationNode = _Reference()
    tableNode = _Reference()
    segmentId = _Text()
    pipeline = _Text()
    model = _Text()
    localizer = _Text()
    device = _Text()
    precision = _Text()
    marginMm = _Number(10.0)
    automaticBox = _Box()
    segmentedBox = _Box()
    referenceNode = _Reference()
    referenceSegmentId = _Text()
    agreementNode = _Reference()
    agreementShown = _Flag()
    attentionNode = _Reference()
    attentionMap = _Text()
    attentionShown = _Flag()
    structuresWanted = _Flag()
    structuresNode = _Reference()
    selected = _Flag()
    present = _Text()
    agreementOf = _Text()
    attentionOf = _Text()
    _result = _Text()
    _kept = _Text()

    def __init__(self, node: slicer.vtkMRMLNode) -> None:
        self.node = node

    @classmethod
    def forVolume(cls, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Parameters:
        """The parameters of a CT; made with default choices when it is new."""
        scene = volumeNode.GetScene()
        for parameters in cls.all(scene):
            if parameters.volumeNode is volumeNode:
                return parameters
        node = scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", f"{MODULE} {volumeNode.GetName()}")
        node.SetModuleName(MODULE)
        node.SetAttribute("ModuleName", MODULE)
        parameters = cls(node)
        parameters.volumeNode = volumeNode
        return parameters

    @classmethod
    def all(cls, scene: slicer.vtkMRMLScene) -> list[Parameters]:
        """The parameters of every CT in the scene that was ever selected."""
        nodes = nodesOf(scene, "vtkMRMLScriptedModuleNode")
        found = [cls(node) for node in nodes if node.GetModuleName() == MODULE]
        return [parameters for parameters in found if parameters.volumeNode is not None]

    @property
    def result(self) -> dict:
        """Findings, timings and provenance of the present result, as JSON types; empty when there is none."""
        return json.loads(self._result) if self._result else {}

    @result.setter
    def result(self, value: dict) -> None:
        self._result = json.dumps(value)

    @property
    def kept(self) -> list[dict]:
        """What belongs to earlier contents of the segment, see `PancreasSegLib.Work.History`; the oldest first."""
        return json.loads(self._kept) if self._kept else []

    @kept.setter
    def kept(self, entries: list[dict]) -> None:
        self._kept = json.dumps(entries)

    @property
    def agreementMap(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The volume node with the map of where the voters of the present result differed; None where there is none."""
        return self.agreementNode if self.agreementOf == self.present else None

    @property
    def attentionVolume(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The volume node with the map of where the network of the present result looked; None where there is none."""
        return self.attentionNode if self.attentionOf == self.present else None

    @property
    def lead(self) -> str:
        """The model whose card counts; empty where the engine chooses it."""
        return self.model.partition(",")[0]

    @lead.setter
    def lead(self, name: str) -> None:
        self._choose(name, self.voters)

    @property
    def voters(self) -> tuple[str, ...]:
        """The segmenters that vote with it."""
        return tuple(self.model.split(",")[1:])

    @voters.setter
    def voters(self, names: Iterable[str]) -> None:
        self._choose(self.lead, names)

    def _choose(self, lead: str, voters: Iterable[str]) -> None:
        self.model = ",".join([lead, *(name for name in voters if name != lead)])

    @property
    def setup(self) -> Setup:
        """The choices for the engine."""
        model = mixed(self.localizer, self.model)
        return Setup(self.pipeline or None, model, self.device or AUTO, self.precision or AUTO)

    @property
    def marginChosen(self) -> bool:
        """True once a person has chosen a margin; until then it is the model's own."""
        return bool(self.node.GetParameter("marginMm"))

    def hasSegment(self) -> bool:
        """True while the segment of the result exists, whatever a person has renamed it to."""
        node = self.segmentationNode
        return node is not None and node.GetSegmentation().GetSegment(self.segmentId) is not None

    def isStale(self) -> bool:
        """True when the ROI no longer shows the box that the present result was made from."""
        if self.segmentedBox is None or self.roiNode is None:
            return False
        try:
            return boxOfRoi(self.roiNode, self.volumeNode) != self.segmentedBox
        except InputError:
            return True  # dragged to where nothing can be segmented
