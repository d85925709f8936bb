"""What other modules of Slicer load from here."""
