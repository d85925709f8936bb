"""The structures beside the pancreas that networks know: their names for people, SNOMED CT codes and colours.

Codes and colours are those of Slicer's General Anatomy list, which takes them from DICOM's CID 7199 and others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Where a network's class is of no list: an anatomical structure and nothing more exact.
UNKNOWN_COLOUR = (128, 174, 128)


@dataclass(frozen=True)
class Structure:
    """What a class of a network is.

    Attributes:
        title: for people.
        code: SNOMED CT concept; that of any anatomical structure where the class is of no list.
        colour: red, green, blue, 0-255.
        tumour: it is a lesion, not an organ.
    """

    title: str
    code: str
    colour: tuple[int, int, int]
    tumour: bool = False


_KNOWN = {
    "pancreas": Structure("Pancreas", "15776009", (249, 180, 111)),
    "spleen": Structure("Spleen", "78961009", (157, 108, 162)),
    "liver": Structure("Liver", "10200004", (221, 130, 101)),
    "stomach": Structure("Stomach", "69695003", (216, 132, 105)),
    "duodenum": Structure("Duodenum", "38848004", (255, 253, 229)),
    "small bowel": Structure("Small bowel", "30315005", (205, 167, 142)),
    "colon": Structure("Colon", "71854001", (204, 168, 143)),
    "esophagus": Structure("Esophagus", "32849002", (211, 171, 143)),
    "gallbladder": Structure("Gallbladder", "28231008", (139, 150, 98)),
    "left kidney": Structure("Left kidney", "18639004", (185, 102, 83)),
    "right kidney": Structure("Right kidney", "9846003", (185, 102, 83)),
    "left adrenal gland": Structure("Left adrenal gland", "38096003", (249, 186, 150)),
    "right adrenal gland": Structure("Right adrenal gland", "29392005", (249, 186, 150)),
    "aorta": Structure("Aorta", "15825003", (224, 97, 76)),
    "artery": Structure("Artery", "51114001", (216, 101, 79)),
    "vein": Structure("Vein", "29092000", (0, 151, 206)),
    "inferior vena cava": Structure("Inferior vena cava", "64131007", (0, 151, 206)),
    "portal vein": Structure("Portal vein", "32764006", (0, 151, 206)),
    "portal vein and splenic vein": Structure("Portal vein and splenic vein", "32764006", (0, 151, 206)),
    "pancreatic duct": Structure("Pancreatic duct", "69930009", (206, 110, 84)),
    "tumour": Structure("Tumour", "108369006", (144, 238, 144), tumour=True),
    "cyst": Structure("Cyst", "367643001", (205, 205, 100), tumour=True),
}
#: How else networks' authors call them.
_OTHER_NAMES = {
    "oesophagus": "esophagus",
    "gall bladder": "gallbladder",
    "kidney left": "left kidney",
    "kidney right": "right kidney",
    "adrenal gland left": "left adrenal gland",
    "adrenal gland right": "right adrenal gland",
    "postcava": "inferior vena cava",
    "tumor": "tumour",
    "cancer": "tumour",
    "lesion": "tumour",
    "pancreas tumor": "tumour",
    "pancreas tumour": "tumour",
    "pancreatic lesion": "tumour",
    "pdac lesion": "tumour",
    "duct": "pancreatic duct",
    "arteries": "artery",
    "veins": "vein",
}
_ANATOMICAL_STRUCTURE = "123037004"


def structure(name: str) -> Structure:
    """What a class of a network is, by whatever name its authors gave it."""
    plain = re.sub(r"[^a-z]+", " ", name.casefold()).strip()
    known = _KNOWN.get(_OTHER_NAMES.get(plain, plain))
    if known is not None:
        return known
    return Structure(name.replace("_", " ").strip().capitalize() or "Structure", _ANATOMICAL_STRUCTURE, UNKNOWN_COLOUR)
