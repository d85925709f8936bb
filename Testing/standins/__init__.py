"""The panel without the Slicer application: stand-ins for `qt`, `ctk`, the qMRML widgets and `slicer`'s Qt side.

They are PySide6 classes with the habits of PythonQt, so that the panel's own code runs here as it does in Slicer. What
the real widgets offer was read from their headers into ``facts.json``; a stand-in offers nothing beyond that.
"""

from Testing.standins.install import install

__all__ = ["install"]
