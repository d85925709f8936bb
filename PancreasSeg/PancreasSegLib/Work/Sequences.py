"""CTs over time (4D): one moment as a CT of its own, or all of them as a sequence of segmentations beside the CT's."""

from __future__ import annotations

from collections.abc import Callable

import slicer
import vtk

from pancreasseg.core.errors import Cancelled, InputError
from PancreasSegLib.Scene import Segments
from PancreasSegLib.Scene.Coordinates import geometryOfNode
from PancreasSegLib.Scene.Parameters import Parameters
from PancreasSegLib.Scene.Placement import placeBeside
from PancreasSegLib.Work.Run import Ending, StartRun
from PancreasSegLib.Work.Sentences import sentenceOf

RESULT_ROLE = "PancreasSeg.Result"  # from the CT's sequence to that of its segmentations
SEGMENT_ATTRIBUTE = "PancreasSeg.SegmentID"
MOMENT_ATTRIBUTE = "PancreasSeg.Moment"


def ctSequence(browserNode: slicer.vtkMRMLSequenceBrowserNode) -> slicer.vtkMRMLSequenceNode:
    """The sequence of CTs that a browser node shows.

    Raises:
        InputError: there is none.
    """
    sequence = browserNode.GetMasterSequenceNode() if browserNode is not None else None
    if sequence is None:
        raise InputError("no-sequence", "No sequence is selected.", "Load a 4D CT and select it here.")
    volumes = sequence.GetNumberOfDataNodes() and sequence.GetNthDataNode(0).IsA("vtkMRMLScalarVolumeNode")
    if not volumes:
        raise InputError("no-ct-sequence", f"'{sequence.GetName()}' is no sequence of CTs.", "Select another one.")
    return sequence


def momentName(sequence: slicer.vtkMRMLSequenceNode, number: int) -> str:
    """A moment for people: "time = 1.5 s"."""
    words = (sequence.GetIndexName(), "=", sequence.GetNthIndexValue(number), sequence.GetIndexUnit())
    return " ".join(word for word in words if word)


def momentAsCt(browserNode: slicer.vtkMRMLSequenceBrowserNode) -> slicer.vtkMRMLScalarVolumeNode:
    """The moment that is on the screen as a CT of its own, which keeps its segment; the same one when asked again.

    Raises:
        InputError: the browser shows no sequence of CTs.
    """
    sequence, number = ctSequence(browserNode), browserNode.GetSelectedItemNumber()
    mark = f"{sequence.GetID()} {sequence.GetNthIndexValue(number)}"
    scene = browserNode.GetScene()
    for position in range(scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")):
        node = scene.GetNthNodeByClass(position, "vtkMRMLScalarVolumeNode")
        if node.GetAttribute(MOMENT_ATTRIBUTE) == mark:
            return node
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"{sequence.GetName()} ({momentName(sequence, number)})")
    node.SetAttribute(MOMENT_ATTRIBUTE, mark)
    _fill(node, browserNode, sequence, number)
    voxels = vtk.vtkImageData()
    voxels.DeepCopy(node.GetImageData())
    node.SetAndObserveImageData(voxels)
    node.CreateDefaultDisplayNodes()
    proxy = browserNode.GetProxyNode(sequence)
    if proxy is not None and proxy.GetDisplayNode() is not None:
        node.GetDisplayNode().Copy(proxy.GetDisplayNode())
    placeBeside(node, proxy or node)
    return node


class SequenceRun:
    """Segments every moment of a sequence, one after the other. All calls belong to the main thread.

    The results are a sequence of their own that the same browser shows: moving through time moves both, and corrections
    are kept with their moment. A moment that fails stops no other; its segmentation is left out.

    Args:
        browserNode: shows the CTs.
        startRun: begins to segment a CT, and calls the function it is given with the outcome or with the error.
        cancelRun: stops that run.

    Raises:
        InputError: the browser shows no sequence of CTs.

    Attributes:
        troubles: what went wrong, as "moment: why".
        done: how many moments are segmented.
        number: the moment that is being segmented, from 0.
    """

    def __init__(
        self, browserNode: slicer.vtkMRMLSequenceBrowserNode, startRun: StartRun, cancelRun: Callable[[], None]
    ) -> None:
        self._startRun = startRun
        self._cancelRun = cancelRun
        self._browserId = browserNode.GetID()
        self._sequenceId = ctSequence(browserNode).GetID()
        self.count = ctSequence(browserNode).GetNumberOfDataNodes()
        self.number = -1
        self.done = 0
        self.troubles: list[str] = []
        self.cancelled = False
        self._workId = ""
        self._busy = False

    def step(self) -> bool:
        """Called by a timer: begin with the next moment when none is being segmented; true when all are done."""
        if self._busy:
            return False
        sequence, browser = self._sequence, self._browser
        if sequence is None or browser is None or self.cancelled or self.number + 1 >= self.count:
            self._finish()
            return True
        self.number += 1
        self._busy = True
        try:
            work = self._work(sequence)
            _fill(work, browser, sequence, self.number)
            self._startRun(work, self._ended)
        except Exception as error:
            self._ended(error)
        return False

    def stop(self) -> None:
        """Stop; what is segmented already stays."""
        self.cancelled = True
        if self._busy:
            self._cancelRun()

    @property
    def _browser(self) -> slicer.vtkMRMLSequenceBrowserNode | None:
        return slicer.mrmlScene.GetNodeByID(self._browserId)

    @property
    def _sequence(self) -> slicer.vtkMRMLSequenceNode | None:
        return slicer.mrmlScene.GetNodeByID(self._sequenceId)

    def _work(self, sequence: slicer.vtkMRMLSequenceNode) -> slicer.vtkMRMLScalarVolumeNode:
        """The CT that stands for one moment after the other, hidden from everybody."""
        node = slicer.mrmlScene.GetNodeByID(self._workId) if self._workId else None
        if node is None:
            scene = slicer.mrmlScene
            node = scene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
            node.UnRegister(None)
            node.SetName(f"{sequence.GetName()} moment")
            node.SetHideFromEditors(True)  # before it is added: Slicer does not look again later
            node.SetSaveWithScene(False)
            node = scene.AddNode(node)
            self._workId = node.GetID()
        return node

    def _ended(self, answer: Ending) -> None:
        """A moment is done, with an outcome or an error."""
        self._busy = False
        sequence = self._sequence
        if sequence is None:
            return  # the scene was closed, or the sequence removed
        if isinstance(answer, Cancelled):
            self.cancelled = True
        elif isinstance(answer, Exception):
            self.troubles.append(f"{momentName(sequence, self.number)}: {sentenceOf(answer)}")
        else:
            self._keep(sequence, answer.parameters)
            self.done += 1
        work = slicer.mrmlScene.GetNodeByID(self._workId)
        if work is not None:
            _forgetResults(Parameters.forVolume(work))

    def _keep(self, sequence: slicer.vtkMRMLSequenceNode, parameters: Parameters) -> None:
        """Put a copy of the segmentation into the sequence of results."""
        results = resultSequence(sequence) or _newResultSequence(sequence)
        parameters.segmentationNode.SetAttribute(SEGMENT_ATTRIBUTE, parameters.segmentId)
        kept = results.SetDataNodeAtValue(parameters.segmentationNode, sequence.GetNthIndexValue(self.number))
        kept.SetNodeReferenceID(Segments.DRAFT_ROLE, None)  # that of another scene

    def _finish(self) -> None:
        """Remove what stood for the moments, and show the results."""
        work = slicer.mrmlScene.GetNodeByID(self._workId) if self._workId else None
        if work is not None:
            parameters = Parameters.forVolume(work)
            _forgetResults(parameters)
            slicer.mrmlScene.RemoveNode(parameters.node)
            slicer.mrmlScene.RemoveNode(work)
        if self.done and self._browser is not None and self._sequence is not None:
            showResults(self._browser, self._sequence)


def resultSequence(sequence: slicer.vtkMRMLSequenceNode) -> slicer.vtkMRMLSequenceNode | None:
    """The sequence of segmentations of a sequence of CTs; None where there is none yet."""
    return sequence.GetNodeReference(RESULT_ROLE)


def _newResultSequence(sequence: slicer.vtkMRMLSequenceNode) -> slicer.vtkMRMLSequenceNode:
    results = sequence.GetScene().AddNewNodeByClass("vtkMRMLSequenceNode", f"{sequence.GetName()} pancreas")
    results.SetIndexName(sequence.GetIndexName())
    results.SetIndexUnit(sequence.GetIndexUnit())
    results.SetIndexType(sequence.GetIndexType())
    sequence.SetNodeReferenceID(RESULT_ROLE, results.GetID())
    return results


def showResults(browserNode: slicer.vtkMRMLSequenceBrowserNode, sequence: slicer.vtkMRMLSequenceNode) -> None:
    """Let the browser show the segmentation of the moment that it shows, and keep what a person corrects in it."""
    results = resultSequence(sequence)
    if not browserNode.IsSynchronizedSequenceNode(results):
        browserNode.AddSynchronizedSequenceNode(results)
        browserNode.SetOverwriteProxyName(results, False)
        # A moment without a segmentation shows none; said first, lest it be made from that of the moment before.
        browserNode.SetMissingItemMode(results, browserNode.MissingItemSetToDefault)
        browserNode.SetSaveChanges(results, True)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browserNode)
    proxy, ct = browserNode.GetProxyNode(results), browserNode.GetProxyNode(sequence)
    if proxy is not None and ct is not None:
        placeBeside(proxy, ct)


def volumesOverTime(browserNode: slicer.vtkMRMLSequenceBrowserNode) -> list[tuple[float, float]]:
    """The volume in ml of every segmented moment, as it is now: (index value, or number of the moment; ml).

    Raises:
        InputError: nothing is segmented yet.
    """
    sequence = ctSequence(browserNode)
    results = resultSequence(sequence)
    if results is None or not results.GetNumberOfDataNodes():
        raise InputError("no-moments", "No moment of this sequence is segmented yet.", "Segment all moments first.")
    proxy = browserNode.GetProxyNode(results)
    present = sequence.GetNthIndexValue(browserNode.GetSelectedItemNumber())
    if proxy is not None and results.GetDataNodeAtValue(present) is not None:  # a correction of what is on the screen
        slicer.modules.sequences.logic().UpdateSequencesFromProxyNodes(browserNode, proxy)
    points = []
    for number in range(sequence.GetNumberOfDataNodes()):
        value = sequence.GetNthIndexValue(number)
        segmentation = results.GetDataNodeAtValue(value)
        if segmentation is not None:
            ct = sequence.GetNthDataNode(number)
            mask = Segments.readMask(segmentation, segmentation.GetAttribute(SEGMENT_ATTRIBUTE), ct)
            points.append((_number(value, number), int((mask != 0).sum()) * geometryOfNode(ct).voxel_ml))
    return points


def plotVolumes(browserNode: slicer.vtkMRMLSequenceBrowserNode) -> slicer.vtkMRMLPlotChartNode:
    """Volumes over time as a table and a chart beside the views; returns the chart node.

    Raises:
        InputError: nothing is segmented yet.
    """
    sequence = ctSequence(browserNode)
    points = volumesOverTime(browserNode)
    results = sequence.GetNodeReference(RESULT_ROLE)
    scene = browserNode.GetScene()
    unit = f" [{sequence.GetIndexUnit()}]" if sequence.GetIndexUnit() else ""
    titles = (f"{sequence.GetIndexName() or 'moment'}{unit}", "Pancreas volume [ml]")
    table, series, chart = (_own(results, scene, name) for name in ("Table", "PlotSeries", "PlotChart"))
    table.RemoveAllColumns()
    for title, values in zip(titles, zip(*points, strict=True), strict=True):
        column = vtk.vtkDoubleArray()
        column.SetName(title)
        for value in values:
            column.InsertNextValue(value)
        table.AddColumn(column)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetPlotType(series.PlotTypeScatter)
    series.SetXColumnName(titles[0])
    series.SetYColumnName(titles[1])
    series.SetColor(*Segments.COLOR)
    chart.RemoveAllPlotSeriesNodeIDs()
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetTitle(results.GetName())
    chart.SetXAxisTitle(titles[0])
    chart.SetYAxisTitle(titles[1])
    chart.SetLegendVisibility(False)
    if slicer.app.layoutManager() is not None:
        slicer.modules.plots.logic().ShowChartInLayout(chart)
    return chart


def _own(results: slicer.vtkMRMLSequenceNode, scene: slicer.vtkMRMLScene, kind: str) -> slicer.vtkMRMLNode:
    """The node of this kind that belongs to the results; a new one where there is none."""
    role = f"PancreasSeg.{kind}"
    node = results.GetNodeReference(role)
    if node is None:
        node = scene.AddNewNodeByClass(f"vtkMRML{kind}Node", f"{results.GetName()} volumes")
        results.SetNodeReferenceID(role, node.GetID())
    return node


def _fill(
    node: slicer.vtkMRMLScalarVolumeNode,
    browserNode: slicer.vtkMRMLSequenceBrowserNode,
    sequence: slicer.vtkMRMLSequenceNode,
    number: int,
) -> None:
    """Let a volume node stand for a moment: its voxels, which are not copied, its grid and the parent transform."""
    moment = sequence.GetNthDataNode(number)
    node.CopyOrientation(moment)
    node.SetAndObserveImageData(moment.GetImageData())
    proxy = browserNode.GetProxyNode(sequence)
    node.SetAndObserveTransformNodeID(proxy.GetTransformNodeID() if proxy is not None else None)


def _forgetResults(parameters: Parameters) -> None:
    """Remove what a run left in the scene for one moment."""
    scene = slicer.mrmlScene
    segmentation = parameters.segmentationNode
    draft = Segments.draftOf(segmentation) if segmentation is not None else None
    for node in (draft, segmentation, parameters.roiNode, parameters.agreementNode, parameters.tableNode):
        if node is not None and scene.IsNodePresent(node):
            scene.RemoveNode(node)


def _number(text: str, otherwise: int) -> float:
    try:
        return float(text)
    except ValueError:
        return float(otherwise)
