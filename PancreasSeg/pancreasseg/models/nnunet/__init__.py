"""Result folders of nnU-Net v2, and with them TotalSegmentator's weights, as model packages."""
