"""What is possible in the panel now, and why not where it is not. Plain Python: no Qt, no scene."""

from __future__ import annotations

from dataclasses import dataclass

from slicer.i18n import tr as _


@dataclass(frozen=True)
class Situation:
    """Everything that the panel's buttons depend on.

    Attributes:
        volumeRefusal: why the selected CT cannot be used; empty when it can.
        volumeSelected: some volume is selected, usable or not.
        modelRefusal: why no run could start with the chosen model; empty when one could.
        syntheticModel: the next run would use a model for synthetic images on what may be a patient.
        fastRefusal: why the fast variant is not offered; empty when it is.
        marginRefusal: why no margin can be chosen; empty when one can.
        localizerRefusal: why no other model can find the box; empty when one can.
        missingPackages: Python packages that are not installed; a click on a button that needs them offers to install.
        busy: what keeps the worker: "locate", "segment", "attention", "patients", or "".
        cancelling: Cancel was clicked.
        roiRefusal: why the selected ROI cannot be used; empty when it can, or when there is none.
        roiPresent: an ROI is selected.
        roiByHand: it is not where the engine last put it.
        roiRotated: turning it straight would make it usable.
        stale: it was moved after the result was made.
        segmentPresent: there is a pancreas segment.
        segmentEmpty: it has no voxels.
        draftPresent: the AI draft of it is kept.
        edited: it was changed by hand since.
        agreementPresent: there is a map of where the voters differed.
        attentionMaps: what the network of the result can show of where it looked.
        attentionRefusal: why it can show nothing; empty when it can.
        dicomRefusal: why DICOM export would fail; empty when it would not.
        folder: where files are exported to.
        modelSelected: a row of the model table: "", or one of `PancreasSegLib.Work.Models.STATES`.
        installing: a model is being installed.
    """

    volumeRefusal: str = ""
    volumeSelected: bool = False
    modelRefusal: str = ""
    syntheticModel: bool = False
    fastRefusal: str = ""
    marginRefusal: str = ""
    localizerRefusal: str = ""
    missingPackages: tuple[str, ...] = ()
    busy: str = ""
    cancelling: bool = False
    roiRefusal: str = ""
    roiPresent: bool = False
    roiByHand: bool = False
    roiRotated: bool = False
    stale: bool = False
    segmentPresent: bool = False
    segmentEmpty: bool = False
    draftPresent: bool = False
    edited: bool = False
    agreementPresent: bool = False
    attentionMaps: tuple[str, ...] = ()
    attentionRefusal: str = ""
    dicomRefusal: str = ""
    folder: str = ""
    modelSelected: str = ""
    installing: bool = False

    @property
    def running(self) -> bool:
        """A run is going on."""
        return bool(self.busy)

    @property
    def insideRoi(self) -> bool:
        """The next run segments inside the ROI as a person placed it."""
        return self.roiPresent and self.roiByHand

    def whyNotLocate(self) -> str:
        """Why the pancreas cannot be located; empty when it can."""
        return self._runs() or self.volumeRefusal or self.modelRefusal

    def whyNotSegment(self) -> str:
        """Why the large button cannot be clicked; empty when it can, be it to cancel."""
        if self.cancelling:
            return _("The run is being stopped.")
        if self.running:
            return ""
        return self.volumeRefusal or self.modelRefusal or (self.roiRefusal if self.insideRoi else "")

    def whyNotFast(self) -> str:
        """Why accurate or fast cannot be chosen."""
        return self._runs() or self.fastRefusal

    def whyNotChooseMargin(self) -> str:
        """Why the margin of the box cannot be chosen."""
        return self._runs() or self.volumeRefusal or self.marginRefusal

    def whyNotChooseSetup(self) -> str:
        """Why model, pipeline, device and precision cannot be chosen."""
        return self._runs() or self.volumeRefusal

    def whyNotChooseLocalizer(self) -> str:
        """Why no other model can be chosen to find the box."""
        return self.whyNotChooseSetup() or self.localizerRefusal

    def whyNotAlign(self) -> str:
        """Why the ROI cannot be turned straight."""
        if not self.roiPresent:
            return _("There is no ROI yet.")
        return self._runs() or ("" if self.roiRotated else _("The ROI is parallel to the slices of the CT already."))

    def whyNotShowRoi(self) -> str:
        """Why the ROI cannot be shown or hidden."""
        return "" if self.roiPresent else _("There is no ROI yet. Click Locate pancreas, or segment.")

    def whyNotMeasure(self) -> str:
        """Why there are no statistics."""
        if not self.segmentPresent:
            return self.volumeRefusal or _("There is no pancreas segment yet. Click Segment pancreas first.")
        return self.volumeRefusal

    def whyNotExport(self) -> str:
        """Why the segment cannot be written to a file."""
        if self.whyNotMeasure():
            return self.whyNotMeasure()
        if self.segmentEmpty:
            return _("The segment is empty.")
        return "" if self.folder else _("Choose a folder first.")

    def whyNotDicom(self) -> str:
        """Why the segment cannot be written as DICOM."""
        return self.whyNotExport() or self.dicomRefusal

    def whyNotMargin(self) -> str:
        """Why no margin can be added."""
        if self.whyNotMeasure():
            return self.whyNotMeasure()
        return _("The segment is empty.") if self.segmentEmpty else self._runs()

    def whyNotShowDraft(self) -> str:
        """Why the AI draft cannot be shown."""
        return "" if self.draftPresent else _("There is no AI draft yet. Click Segment pancreas first.")

    def whyNotRestore(self) -> str:
        """Why the AI draft cannot be brought back."""
        if self.whyNotShowDraft():
            return self.whyNotShowDraft()
        return self._runs() or ("" if self.edited else _("The segment is the AI draft; nothing was corrected."))

    def whyNotKeep(self) -> str:
        """Why the segment cannot be kept for training."""
        if not self.segmentPresent:
            return self.whyNotMeasure()
        return self._runs() or (_("The segment is empty.") if self.segmentEmpty else "")

    def whyNotAgreement(self) -> str:
        """Why the agreement map cannot be shown."""
        return "" if self.agreementPresent else _("There is no result with several opinions yet.")

    def whyNotAttention(self) -> str:
        """Why it cannot be shown where the network looked."""
        if not self.segmentPresent:
            return self.volumeRefusal or _("There is no result yet. Click Segment pancreas first.")
        return self._runs() or self.attentionRefusal

    def whyNotSample(self) -> str:
        """Why no sample data can be loaded."""
        return self._runs()

    def whyNotInstallModel(self) -> str:
        """Why the selected model cannot be installed from the catalogue."""
        if self.modelSelected in ("installed", "bundled"):
            return _("This model is installed already.")
        return self._modelBusy() or ("" if self.modelSelected else _("Select a model in the table first."))

    def whyNotInstallFile(self) -> str:
        """Why no model can be installed from a file."""
        return self._modelBusy()

    def whyNotVerify(self) -> str:
        """Why the selected model cannot be verified."""
        if self.modelSelected not in ("installed", "outdated", "bundled", "damaged"):
            return _("Select an installed model in the table first.")
        return self._modelBusy()

    def whyNotRemove(self) -> str:
        """Why the selected model cannot be removed."""
        if self.modelSelected == "bundled":
            return _("This model comes with the software and cannot be removed.")
        return self.whyNotVerify() or self._runs()

    def whyNotInstallPackages(self) -> str:
        """Why there is nothing to install."""
        return self._runs() or ("" if self.missingPackages else _("All packages are installed."))

    def _runs(self) -> str:
        return _("A run is going on. Wait until it has ended, or cancel it.") if self.running else ""

    def _modelBusy(self) -> str:
        if self.installing:
            return _("A model is being installed.")
        if self.missingPackages:
            return _("Python packages are missing: {names}.").format(names=", ".join(self.missingPackages))
        return ""
