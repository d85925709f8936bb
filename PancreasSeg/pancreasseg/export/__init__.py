"""Results for other programs: DICOM SEG, RTSTRUCT, NIfTI, NRRD and STL, and the margins that planning asks for."""
