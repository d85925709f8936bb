"""Nothing of a patient may stay in memory: a CT takes hundreds of megabytes, and a morning has many."""

import pytest
from Testing.helpers.actions import run
from Testing.helpers.builders import aCt, aGeometry
from Testing.helpers.panel import wait

from PancreasSegLib.Scene import VolumeNodes


def opened(panel, scene, died: list[str], name: str) -> None:
    """Open a CT, segment it, and note when its node and its voxels die."""
    node = VolumeNodes.addVolumeNode(scene, aCt(aGeometry()), name)
    node.AddObserver("DeleteEvent", lambda *_: died.append(name))
    node.GetImageData().AddObserver("DeleteEvent", lambda *_: died.append(f"{name}'s voxels"))
    panel.ui.volumeSelector.setCurrentNode(node)
    run(panel)


def test_cts_die_with_their_scene(panel, scene) -> None:
    died = []
    for name in ("A", "B", "C"):
        opened(panel, scene, died, name)
        segmentationNode = panel.session.parameters.segmentationNode
        segmentationNode.AddObserver("DeleteEvent", lambda *_, name=name: died.append(f"{name}'s segmentation"))
        del segmentationNode
    scene.Clear(False)
    things = ("{}", "{}'s voxels", "{}'s segmentation")
    assert sorted(died) == sorted(thing.format(name) for name in "ABC" for thing in things)


@pytest.mark.parametrize("shown", [True, False], ids=["panel shown", "another module shown"])
def test_a_ct_that_is_removed_dies(panel, scene, shown) -> None:
    died = []
    opened(panel, scene, died, "A")
    if not shown:
        panel.exit()
    scene.RemoveNode(panel.session.volumeNode)
    wait(lambda: panel.settled)
    assert sorted(died) == ["A", "A's voxels"]
