"""Section 4: Slicer's own Segment Editor, with undo before every write, and the AI draft to go back to."""

from __future__ import annotations

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from PancreasSegLib.Panel.Session import Session
from PancreasSegLib.Panel.Situation import Situation
from PancreasSegLib.Panel.Slots import slot
from PancreasSegLib.Panel.Widgets import Quiet, Reasons, Ui, showText
from PancreasSegLib.Scene import Segments
from PancreasSegLib.Scene.Parameters import Parameters
from PancreasSegLib.Work import Corrections, History, Statistics

EDITOR_TAG = "SegmentEditor"
SEEN = "PancreasSeg.Seen"
KEPT_KEY = "PancreasSeg/CorrectionsFolder"


class CorrectSection:
    """Args: the widgets of the .ui file and the session."""

    def __init__(self, ui: Ui, session: Session) -> None:
        self.ui = ui
        self.session = session
        self._reasons = Reasons()
        self.editor = ui.segmentEditor
        # The editor node is shared with Slicer's own Segment Editor: while another module is shown, it is left alone.
        self._shown = False
        self._live = False
        self.connectEditor()
        session.workflow.beforeWrite = session.saveForUndo = self.saveForUndo
        ui.correctSection.connect("contentsCollapsed(bool)", self.onFolded)
        ui.draftCheckBox.connect("toggled(bool)", self.onShowDraft)
        ui.restoreDraftButton.connect("clicked(bool)", self.onRestore)
        ui.keepCorrectionButton.connect("clicked(bool)", self.onKeep)
        self.say("")

    def connectEditor(self) -> None:
        """Use the editor node that Slicer's own Segment Editor uses, so that both show the same."""
        node = slicer.mrmlScene.GetSingletonNode(EDITOR_TAG, "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
            node.UnRegister(None)
            node.SetSingletonTag(EDITOR_TAG)
            node = slicer.mrmlScene.AddNode(node)
        self.editor.setMRMLSegmentEditorNode(node)
        self.editor.setMRMLScene(slicer.mrmlScene)

    def releaseScene(self) -> None:
        """The scene is being closed: nothing in the editor may point into it, nor may its views be observed.

        The widget keeps its editor node, as in Slicer's own Segment Editor: it looks into it without asking when the
        layout manager announces the empty scene's layout, before anybody else hears that the scene is closed.
        """
        self.editor.setActiveEffect(None)
        if self.editor.mrmlSegmentEditorNode() is not None:
            self.editor.setSegmentationNode(None)
        self.editor.removeViewObservations()

    def enter(self) -> None:
        """The panel is shown. The widget observes the views by itself while an effect is active."""
        self._shown = True
        self.onFolded(self.ui.correctSection.collapsed)

    def exit(self) -> None:
        """The panel is left."""
        self._shown = False
        self._rest()

    @slot
    def onFolded(self, folded: bool) -> None:
        """The section was folded up or opened: keys and mouse are the editor's only while a person sees it."""
        if not folded and self._shown:
            self._live = True
            # On the main window; without one, Qt complains of every shortcut.
            if slicer.util.mainWindow() is not None:
                self.editor.installKeyboardShortcuts()
        elif self._live:
            self._rest()

    def _rest(self) -> None:
        """No effect may stay active in the views."""
        self._live = False
        self.editor.setActiveEffect(None)
        self.editor.uninstallKeyboardShortcuts()
        self.editor.removeViewObservations()

    def saveForUndo(self, segmentationNode: slicer.vtkMRMLSegmentationNode) -> bool:
        """Before an AI result is written: Undo brings back what is there now.

        Returns:
            False when Undo cannot, because another segmentation is being edited in another module.
        """
        if self._edited() is not segmentationNode:
            if not self._shown:
                return False
            self.editor.setSegmentationNode(segmentationNode)
        self.editor.saveStateForUndo()
        return True

    def overwriteOthers(self, parameters: Parameters) -> list[str]:
        """Honour the editor's overwrite mode for what the AI has written; names of the segments that lost voxels."""
        node = self.editor.mrmlSegmentEditorNode()
        self._letSegmentsOverlap(node)
        mode = node.GetOverwriteMode()
        if mode == node.OverwriteNone:
            return []
        visibleOnly = mode == node.OverwriteVisibleSegments
        return Segments.takeFromOthers(
            parameters.segmentationNode, parameters.segmentId, parameters.volumeNode, visibleOnly=visibleOnly
        )

    def _letSegmentsOverlap(self, node: slicer.vtkMRMLNode) -> None:
        """With the first result, in place of the editor's default: a tumour inside the pancreas is both.

        The node is shared with Slicer's own Segment Editor, so the person is told. Who wants segments to exclude each
        other says so in the editor, and is obeyed.
        """
        if node.GetAttribute(SEEN) is None:
            node.SetAttribute(SEEN, "true")
            if node.GetOverwriteMode() == node.OverwriteAllSegments:
                node.SetOverwriteMode(node.OverwriteNone)
                self.say(_("Segments may overlap now, as a tumour and the pancreas do; see Masking in the editor."))

    @slot
    def onShowDraft(self, shown: bool) -> None:
        """Show the outline of the AI draft, or hide it."""
        draft = self._draft()
        if draft is None:
            return
        if draft.GetDisplayNode() is None:
            draft.CreateDefaultDisplayNodes()
        display = draft.GetDisplayNode()
        display.SetVisibility(shown)
        display.SetVisibility3D(False)  # its surface would hide the correction
        display.SetVisibility2DFill(False)
        display.SetVisibility2DOutline(True)

    @slot
    def onRestore(self) -> None:
        """Replace the correction by the AI draft; Undo brings the correction back."""
        parameters = self.session.selectedCt
        mask = Statistics.draftMask(parameters)
        if mask is None:
            return
        self.saveForUndo(parameters.segmentationNode)
        Segments.writeMask(mask, parameters.segmentationNode, parameters.segmentId, parameters.volumeNode)
        History.tag(parameters)
        self.session.scheduleStatistics()
        self.session.changed()

    @slot
    def onKeep(self) -> None:
        """Keep the corrected segment for training, in a folder that is asked for once and said each time."""
        parameters = self.session.selectedCt
        settings = qt.QSettings()
        folder = self.session.dialogs.openFolder(_("Keep corrections in"), str(settings.value(KEPT_KEY) or ""))
        if not folder:
            return
        kept = Corrections.keep(parameters, folder)
        settings.setValue(KEPT_KEY, folder)
        what = _("mask and box") if kept.ct.parent != kept.mask.parent else _("CT, mask and box")
        self.say(_("Kept {what} as {name} in {folder}.").format(what=what, name=kept.name, folder=folder))

    def say(self, text: str) -> None:
        """A sentence for the person, in this section."""
        showText(self.ui.correctMessage, text)

    def show(self, situation: Situation) -> None:
        """Bring the widgets in line with the situation."""
        parameters = self.session.parameters
        self._follow(parameters)
        self._reasons.show(self.ui.draftCheckBox, situation.whyNotShowDraft())
        self._reasons.show(self.ui.restoreDraftButton, situation.whyNotRestore())
        self._reasons.show(self.ui.keepCorrectionButton, situation.whyNotKeep())
        draft = self._draft()
        display = draft.GetDisplayNode() if draft is not None else None
        with Quiet(self.ui.draftCheckBox):
            self.ui.draftCheckBox.checked = display is not None and bool(display.GetVisibility())

    def _follow(self, parameters: Parameters | None) -> None:
        """Let the editor show the CT's segmentation, and select the pancreas when it changes to another one."""
        if not self._shown or self.editor.mrmlSegmentEditorNode() is None:
            return
        segmentationNode = parameters.segmentationNode if parameters is not None else None
        volumeNode = parameters.volumeNode if parameters is not None else None
        if self._edited() is not segmentationNode:
            self.editor.setSegmentationNode(segmentationNode)
            if parameters is not None and parameters.hasSegment():
                self.editor.setCurrentSegmentID(parameters.segmentId)
        if segmentationNode is not None and self.editor.sourceVolumeNode() is not volumeNode:
            self.editor.setSourceVolumeNode(volumeNode)

    def _edited(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The segmentation in the editor; the widget itself answers from its selector, which can lag behind."""
        node = self.editor.mrmlSegmentEditorNode()
        return node.GetSegmentationNode() if node is not None else None

    def _draft(self) -> slicer.vtkMRMLSegmentationNode | None:
        parameters = self.session.parameters
        if parameters is None or parameters.segmentationNode is None:
            return None
        return Segments.draftOf(parameters.segmentationNode)
