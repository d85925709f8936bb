"""Fixtures for tests on real MRML. Every test starts with a closed scene and must leave no error behind."""

import sys

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")

from Testing.helpers.builders import OBLIQUE_MIRRORED, aCt, aGeometry, aTransform
from Testing.slicer_boot import HeadlessSlicer, boot

from PancreasSegLib.Scene import VolumeNodes


def pytest_collection_modifyitems(items):
    for item in items:
        if "scene" in item.path.parts:
            item.add_marker(pytest.mark.scene)


@pytest.fixture
def headless(monkeypatch) -> HeadlessSlicer:
    """The headless Slicer with a closed scene; errors that VTK or observers only print fail the test."""
    application = boot()
    application.clear()
    raised = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: raised.append(error))
    yield application
    application.scene.Clear(False)
    assert not raised, f"an observer raised {raised[0]!r}"
    assert application.messages.text() == ""


@pytest.fixture
def scene(headless):
    return headless.scene


@pytest.fixture
def aVolumeNode(scene):
    return VolumeNodes.addVolumeNode(scene, aCt(aGeometry()), "CT")


@pytest.fixture
def anObliqueVolumeNode(scene):
    """The issue's hard case: oblique, mirrored axes, 5 mm slices and a parent transform that turns and shifts."""
    volumeNode = VolumeNodes.addVolumeNode(scene, aCt(aGeometry(OBLIQUE_MIRRORED)), "CT oblique")
    volumeNode.SetAndObserveTransformNodeID(aTransform(scene).GetID())
    return volumeNode
