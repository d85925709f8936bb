"""The panel beside real views on an X server of its own: one click, one dragged handle, one run again."""

import math
from pathlib import Path

import pytest
from Testing.desktop.xserver import environment, missing, runTour, xserver

pytestmark = [pytest.mark.desktop, pytest.mark.slow]

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6", reason="PySide6 is not installed")

if missing():
    pytest.skip(missing(), allow_module_level=True)

# Inwards by so much that a part of the first result is left outside.
PULL_MM = -45.0


@pytest.fixture
def pictures(tmp_path) -> Path:
    return tmp_path / "pictures"


def judge(record: dict, pictures: Path) -> None:
    """What has to hold after a tour, whatever the CT."""
    assert record["first button while running"] == "Cancel"
    assert record["first message"] == record["again message"] == ""
    assert record["first"]["voxels"] > 0
    assert record["first"]["measured"] > 20

    # The mouse has moved one face of the box, by the way it went, and nothing else.
    (start, stop), (newStart, newStop) = record["first"]["box"], record["drag"]["box"]
    assert [*start, *stop][1:3] + stop[1:] == [*newStart, *newStop][1:3] + newStop[1:]
    moved = (newStop[0] - newStart[0]) - (stop[0] - start[0])
    assert moved * record["spacing"][0] == pytest.approx(PULL_MM, abs=2 * record["spacing"][0])
    assert record["drag"]["voxels"] == record["first"]["voxels"]
    assert record["drag"]["voxels outside the box"] > 0
    assert record["stale"] == "The ROI was moved after this result was made."
    assert record["button after the drag"] == "Segment again inside the ROI"

    assert record["again"]["box"] == record["drag"]["box"]
    assert record["again"]["voxels"] > 0
    assert record["again"]["voxels outside the box"] == 0
    ml = record["again"]["voxels"] * math.prod(record["spacing"]) / 1000
    assert record["again"]["ml"] == f"{ml:.1f} ml", "the numbers are those of the new segment"
    assert record["stale at the end"] is False

    assert record["raised"] == []
    assert record["VTK messages"] == ""
    assert {path.stem for path in pictures.iterdir()} >= {"start", "ct", "first-result", "drag", "again-result"}


def test_a_click_and_a_dragged_handle_segment_the_phantom_again_inside_the_new_box(pictures, tmp_path) -> None:
    judge(runTour(pictures, "--pull", str(PULL_MM), home=tmp_path / "home"), pictures)


@pytest.mark.real_data
def test_a_click_and_a_dragged_handle_segment_a_real_ct_again_inside_the_new_box(real_data, pictures, tmp_path) -> None:
    from pancreasseg.models.store import Store

    home = tmp_path / "home"
    Store(home).install(real_data / "models" / "obelisk")
    ct = real_data / "data" / "ircadb17" / "ct.nii.gz"
    record = runTour(pictures, "--ct", str(ct), "--pull", str(PULL_MM), home=home)
    judge(record, pictures)
    assert "comes with PancreasSeg" in record["status"], "OBELISK is installed and does not outrank the bundled model"


def test_the_x_server_is_gone_afterwards() -> None:
    with xserver() as display:
        socket = Path(f"/tmp/.X11-unix/X{display[1:]}")  # noqa: S108 - X's own place
        assert socket.exists()
        assert environment(display)["DISPLAY"] == display
    assert not socket.exists()
