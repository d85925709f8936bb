"""What a person does in the panel, for the tests of all sections."""

import numpy as np
from Testing.helpers.panel import wait

from PancreasSegLib.Scene import Segments
from PancreasSegLib.Scene.Parameters import Parameters


def run(panel) -> None:
    """Click, and wait for the result and its numbers."""
    panel.ui.segmentButton.click()
    wait(lambda: panel.settled)


def choose(panel, selector: str, name: str) -> None:
    """Choose an entry of a list, such as that of the models."""
    widget = getattr(panel.ui, f"{selector}Selector")
    number = widget.findData(name)
    assert number >= 0, f"{name} is not offered"
    widget.setCurrentIndex(number)


def chosen(panel, selector: str) -> str:
    """What a list shows."""
    widget = getattr(panel.ui, f"{selector}Selector")
    return widget.itemData(widget.currentIndex)


def mask(parameters: Parameters) -> np.ndarray:
    return Segments.readMask(parameters.segmentationNode, parameters.segmentId, parameters.volumeNode)


def edit(parameters: Parameters) -> np.ndarray:
    """Erase half of the segment by hand."""
    drawn = mask(parameters)
    drawn[:, :, drawn.shape[2] // 3 :] = 0
    assert drawn.any()
    Segments.writeMask(drawn, parameters.segmentationNode, parameters.segmentId, parameters.volumeNode)
    return drawn
