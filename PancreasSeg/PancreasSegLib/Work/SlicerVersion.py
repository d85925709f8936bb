"""Which Slicer the module works in."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

# The first with slicer.packaging, highdicom and a pydicom that writes conforming files.
MINIMUM = (5, 12)


def refusal() -> str:
    """Why this Slicer is too old, in a sentence with the way out; empty when it is not."""
    present = (slicer.app.majorVersion, slicer.app.minorVersion)
    if present >= MINIMUM:
        return ""
    sentence = _("PancreasSeg needs 3D Slicer {minimum} or later; this is {present}. Install it from slicer.org.")
    return sentence.format(minimum=_dotted(MINIMUM), present=_dotted(present))


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(str(number) for number in version)
