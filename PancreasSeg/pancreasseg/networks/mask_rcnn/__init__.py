"""Mask R-CNN in plain torch."""

from pancreasseg.networks.mask_rcnn.heads import paste
from pancreasseg.networks.mask_rcnn.network import Detections, Maps, MaskRCNN

__all__ = ["Detections", "Maps", "MaskRCNN", "paste"]
