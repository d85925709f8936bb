"""Numbers about a mask, alone and against a reference."""

from pancreasseg.measure.boxes import compare_boxes
from pancreasseg.measure.compare import compare, dice
from pancreasseg.measure.measurements import measure
from pancreasseg.measurement import Code, Measurement

__all__ = ["Code", "Measurement", "compare", "compare_boxes", "dice", "measure"]
