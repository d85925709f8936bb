"""Files in and out: CT and masks from NIfTI, NRRD, MetaImage and DICOM; results as whole files or none."""
