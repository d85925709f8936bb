"""Errors that the readers of all file formats share."""

from __future__ import annotations

from pancreasseg.core.errors import InputError


def truncated() -> InputError:
    """The error for a file that ends before its voxels do."""
    return InputError(
        "file-truncated", "The file is cut short: it ends before its last voxel.", "Copy or download it again."
    )


def damaged(detail: str) -> InputError:
    """The error for a file whose content is not what its name says."""
    return InputError("file-damaged", f"The file cannot be read: {detail}.", "Copy or export it again.")


def too_large() -> InputError:
    """The error for a file that promises more voxels than any CT has."""
    return InputError(
        "file-too-large",
        "The file states more voxels than any CT has.",
        "Check how it was made, or crop the CT to the abdomen.",
    )


def not_3d(dimensions: int) -> InputError:
    """The error for images that are no single 3D volume."""
    return InputError(
        "not-3d",
        f"The file holds a {dimensions}D image, not one 3D volume.",
        "Give one phase as a 3D CT." if dimensions > 3 else "Give the whole series as one 3D CT.",
    )


def not_grey() -> InputError:
    """The error for colour, vector and complex images."""
    return InputError(
        "not-grey", "The file holds colours or several values a voxel, not a CT in HU.", "Give the original CT."
    )


def not_a_file() -> InputError:
    """The error for a pipe, socket or device, which may never end."""
    return InputError("not-a-file", "This is a pipe or a device, not a file.", "Give a file or a folder.")


def nifti_pair() -> InputError:
    """The error for NIfTI or Analyze images whose header and voxels are two files."""
    return InputError(
        "nifti-pair",
        "This is a NIfTI or Analyze pair: the header (.hdr) and its voxels (.img) are two files.",
        "Convert them to one .nii.gz file.",
    )
