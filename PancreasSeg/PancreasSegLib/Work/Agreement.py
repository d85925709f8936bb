"""Where the voters of a pipeline differed, as a volume to lay over the CT."""

from __future__ import annotations

from pancreasseg.core.results import Segmentation
from PancreasSegLib.Scene import Overlay
from PancreasSegLib.Scene.Parameters import Parameters

COLORS = "vtkMRMLColorTableNodeFileColdToHotRainbow.txt"


def keepAgreement(parameters: Parameters, segmentation: Segmentation) -> None:
    """Keep the share of voters that differ from the result (0-1) on the segmented box; a node where there is one.

    A result of a single voter has nothing to show, and an earlier map would be of another result.
    """
    node = parameters.agreementNode
    disagreement = 1.0 - segmentation.agreement
    if (disagreement > 0).any():
        node = Overlay.keepVolume(node, parameters, "pancreas disagreement", disagreement, segmentation.box, COLORS)
        Overlay.setRange(node, 0.0, 1.0, visibleFrom=0.01)
        parameters.agreementNode = node
        parameters.agreementOf = parameters.present
    elif node is not None:
        parameters.volumeNode.GetScene().RemoveNode(node)
    Overlay.followSelection(parameters)


def showAgreement(parameters: Parameters, shown: bool) -> None:
    """Lay the map over the CT in all slice views, or take it away; the choice is saved with the scene."""
    parameters.agreementShown = shown
    if shown:
        parameters.attentionShown = False
    Overlay.followSelection(parameters)


def isAgreementShown(parameters: Parameters) -> bool:
    """True while any slice view shows the map."""
    return Overlay.isShown(parameters, parameters.agreementMap)
