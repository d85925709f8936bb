"""Our Mask R-CNN is torchvision's, part by part and as a whole; see Testing/originals/torchvision_mask_rcnn.py."""

import pytest
from Testing.originals.environment import run

pytestmark = pytest.mark.slow


def test_every_part_and_a_whole_network_agree_with_torchvision():
    differences = run("torchvision_mask_rcnn")
    assert {"suppression", "roi_align", "anchors", "box coding", "matching", "boxes", "masks"} <= set(differences)
    loose = {"gradient stem": 1e-2, "gradient mask head": 1e-3}  # sums in another order, through the whole network
    for name, difference in differences.items():
        assert difference < loose.get(name, 1e-4), name
