"""Numbers about a mask, alone and against a reference."""

from pancreasseg.core.measurement import Code, Measurement
from pancreasseg.measure.boxes import compare_boxes
from pancreasseg.measure.compare import compare, dice
from pancreasseg.measure.measurements import measure

__all__ = ["Code", "Measurement", "compare", "compare_boxes", "dice", "measure"]
