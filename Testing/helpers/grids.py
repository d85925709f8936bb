"""Any grid that a CT can lie on, for properties that hold on every one of them."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, settings
from hypothesis import strategies as st
from Testing.helpers.ct_files import turned

from pancreasseg.core import Geometry

quick = settings(max_examples=50, deadline=None, derandomize=True, database=None)

ORDERS = [np.eye(3)[:, list(order)] for order in ((0, 1, 2), (1, 2, 0), (2, 0, 1), (1, 0, 2), (0, 2, 1), (2, 1, 0))]


@st.composite
def grids(draw: st.DrawFn) -> Geometry:
    """Any rectangular grid: oblique, flipped, permuted, anisotropic."""
    size = draw(st.tuples(*[st.integers(1, 40)] * 3))
    spacing = draw(st.tuples(*[st.floats(0.3, 8)] * 3))
    origin = draw(st.tuples(*[st.floats(-800, 800)] * 3))
    about = np.array(draw(st.tuples(*[st.floats(-1, 1)] * 3)))
    assume(np.linalg.norm(about) > 0.1)
    flips = np.diag(draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3)))
    axes = turned(draw(st.floats(0, 180)), tuple(about)) @ draw(st.sampled_from(ORDERS)) @ flips
    return Geometry(size, spacing, origin, tuple(float(v) for v in axes.ravel()))
