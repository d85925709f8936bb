"""The Slicer side of PancreasSeg: between the MRML scene and the engine. Imports slicer and vtk, never torch."""
