"""A Slicer scene without the Slicer application, on the `slicer-core` wheel: for tests and the demo."""

from Testing.slicer_boot.application import HeadlessSlicer, boot

__all__ = ["HeadlessSlicer", "boot"]
