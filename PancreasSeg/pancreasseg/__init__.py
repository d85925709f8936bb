"""PancreasSeg's engine: from an abdominal CT to a pancreas mask, without Slicer.

Nothing here imports slicer, qt, ctk or vtk, and importing the package itself imports no torch:
only ``networks``, ``pipelines`` and ``training`` do.
"""

__version__ = "0.1.0"
