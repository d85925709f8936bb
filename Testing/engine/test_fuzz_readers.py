"""A few hundred odd files for every reader: each is read or refused in a sentence."""

from collections import Counter

import numpy as np
import pytest
from Testing.fuzz.readers import TARGETS

TRIES = {"DICOM folder": 20, "DICOM frame": 60}


@pytest.mark.parametrize("name", TARGETS)
def test_odd_files_are_read_or_refused_in_a_sentence(tmp_path, name) -> None:
    outcomes: Counter[str] = Counter()
    for seed in range(TRIES.get(name, 150)):
        folder = tmp_path / str(seed)
        folder.mkdir()
        outcomes[TARGETS[name](np.random.default_rng(seed), folder)] += 1
    assert outcomes["read"]
    assert len(outcomes) > 1
