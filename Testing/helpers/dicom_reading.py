"""What the tests of DICOM folders ask of a reading."""

import pytest

from pancreasseg.core.errors import InputError
from pancreasseg.io.read import read_volume

SECRETS = ("Doe", "Jane", "4711", "1.2.3")


def refused(folder, code: str, **options: object) -> InputError:
    with pytest.raises(InputError) as caught:
        read_volume(folder, **options)
    error = caught.value
    assert error.code == code
    assert error.message.endswith(".")
    assert not any(secret in str(error) for secret in SECRETS)
    return error


def codes(volume) -> list[str]:
    return [finding.code for finding in volume.findings]
