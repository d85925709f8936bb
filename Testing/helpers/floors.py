"""The floors of the rooms, which tests hold and ARCHITECTURE.md shows."""

#: From the ground up. Rooms on one floor know nothing of each other, and every room only floors below its own.
ENGINE = (
    ("core",),
    ("grids",),
    ("io", "networks", "phantom", "findings", "measure"),
    ("models", "export", "lab.cohorts"),
    ("inference", "report"),
    ("pipelines",),
    ("runs", "lab.evaluation"),
    ("worker", "batch", "lab.training"),
    ("remote", "lab.axial"),
    ("cli",),
    ("__main__",),
)
SLICER_SIDE = (("Scene",), ("Work",), ("Plugins", "Panel"))
