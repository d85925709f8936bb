"""Which volume nodes the engine gets to see, and what of them."""

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from hypothesis import given, settings
from hypothesis import strategies as st
from Testing.helpers.builders import DIRECTIONS, aBendingTransform, aCt, aGeometry, aTransform, rotation

from pancreasseg.core import Geometry, Volume
from pancreasseg.core.errors import InputError
from PancreasSegLib.Scene import Coordinates, VolumeNodes


@pytest.mark.parametrize("name", DIRECTIONS)
def test_a_grid_survives_the_way_into_a_node_and_back_to_the_bit(scene, name) -> None:
    geometry = aGeometry(DIRECTIONS[name])
    volumeNode = VolumeNodes.addVolumeNode(scene, aCt(geometry), "CT")
    assert Coordinates.geometryOfNode(volumeNode) == geometry


@settings(max_examples=25, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 8)] * 3),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
)
def test_voxels_lie_where_the_engine_says(angles, spacing, origin) -> None:
    volumeNode = slicer.vtkMRMLScalarVolumeNode()
    geometry = aGeometry(rotation(*angles), (5, 6, 7), spacing, origin)
    slicer.util.updateVolumeFromArray(volumeNode, np.zeros(geometry.shape, np.int16))
    Coordinates.setGeometryOfNode(volumeNode, geometry)
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    for index in ((0, 0, 0), (4, 2, 1), (3, 5, 6)):
        x, y, z = geometry.to_world(index)
        np.testing.assert_allclose(matrix.MultiplyPoint((*index, 1.0))[:3], (-x, -y, z), atol=1e-9)


def test_the_array_is_a_view_of_the_nodes_own_voxels(aVolumeNode) -> None:
    image = VolumeNodes.readVolumeNode(aVolumeNode)
    assert np.shares_memory(image.array, slicer.util.arrayFromVolume(aVolumeNode))
    assert image.array.shape == image.geometry.shape


@pytest.mark.parametrize(
    ("dtype", "expected"), [(np.uint16, np.int16), (np.int32, np.int16), (np.float64, np.float32), (np.uint8, np.int16)]
)
def test_other_number_types_become_int16_or_float32(scene, dtype, expected) -> None:
    values = np.arange(24).reshape(2, 3, 4).astype(dtype)
    volumeNode = VolumeNodes.addVolumeNode(scene, Volume(values, Geometry((4, 3, 2))), "CT")
    image = VolumeNodes.readVolumeNode(volumeNode)
    assert image.array.dtype == expected
    np.testing.assert_array_equal(image.array, values)


def test_values_beyond_int16_become_float32(scene) -> None:
    values = np.full((2, 3, 4), 70000, np.int32)
    volumeNode = VolumeNodes.addVolumeNode(scene, Volume(values, Geometry((4, 3, 2))), "CT")
    assert VolumeNodes.readVolumeNode(volumeNode).array.dtype == np.float32


def test_the_key_changes_with_voxels_and_grid_and_with_nothing_else(aVolumeNode) -> None:
    key = VolumeNodes.readVolumeNode(aVolumeNode).key
    aVolumeNode.SetName("renamed")
    aVolumeNode.GetDisplayNode().SetWindowLevel(80, 100)
    assert VolumeNodes.readVolumeNode(aVolumeNode).key == key
    slicer.util.arrayFromVolumeModified(aVolumeNode)
    voxelsChanged = VolumeNodes.readVolumeNode(aVolumeNode).key
    assert voxelsChanged != key
    aVolumeNode.SetOrigin(1, 2, 3)
    assert VolumeNodes.readVolumeNode(aVolumeNode).key != voxelsChanged


def test_a_linear_parent_transform_stays_out_of_the_grid(scene, aVolumeNode) -> None:
    before = VolumeNodes.readVolumeNode(aVolumeNode).geometry
    aVolumeNode.SetAndObserveTransformNodeID(aTransform(scene).GetID())
    assert VolumeNodes.readVolumeNode(aVolumeNode).geometry == before


def labelmap(scene):
    node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    slicer.util.updateVolumeFromArray(node, np.zeros((3, 3, 3), np.uint8))
    return node


def colour(scene):
    node = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Photo")
    slicer.util.updateVolumeFromArray(node, np.zeros((3, 3, 3, 3), np.uint8))
    return node


def moment_of_a_sequence(scene):
    node = VolumeNodes.addVolumeNode(scene, aCt(aGeometry()), "Perfusion")
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Perfusion sequence")
    sequence.SetDataNodeAtValue(node, "0")
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Perfusion browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    browser.AddProxyNode(node, sequence, False)
    return node


def magnetic_resonance(scene):
    node = VolumeNodes.addVolumeNode(scene, aCt(aGeometry()), "T1")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "MR")
    return node


def with_a_hole(scene):
    values = np.zeros((3, 3, 3), np.float32)
    values[1, 1, 1] = np.nan
    return VolumeNodes.addVolumeNode(scene, Volume(values, Geometry((3, 3, 3))), "Torn")


def skewed(scene):
    axes = np.array([[1, 0, 0.3], [0, 1, 0], [0, 0, 1.0]])
    return VolumeNodes.addVolumeNode(scene, aCt(aGeometry(axes)), "Tilted gantry")


def bent(scene):
    node = VolumeNodes.addVolumeNode(scene, aCt(aGeometry()), "Warped")
    node.SetAndObserveTransformNodeID(aBendingTransform(scene).GetID())
    return node


def bent_further_up(scene):
    node = VolumeNodes.addVolumeNode(scene, aCt(aGeometry()), "Warped above")
    straight = aTransform(scene)
    straight.SetAndObserveTransformNodeID(aBendingTransform(scene).GetID())
    node.SetAndObserveTransformNodeID(straight.GetID())
    return node


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda scene: None, "no-volume"),
        (lambda scene: scene.AddNewNodeByClass("vtkMRMLModelNode", "M"), "not-a-volume"),
        (labelmap, "labelmap"),
        (colour, "not-scalar"),
        (lambda scene: scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "V"), "no-voxels"),
        (moment_of_a_sequence, "four-dimensional"),
        (magnetic_resonance, "not-ct"),
        (with_a_hole, "not-finite"),
        (skewed, "skewed-axes"),
        (bent, "non-linear-transform"),
        (bent_further_up, "non-linear-transform"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_ct_is_refused_with_a_sentence_and_a_way_out(scene, make, code) -> None:
    with pytest.raises(InputError) as refusal:
        VolumeNodes.readVolumeNode(make(scene))
    assert refusal.value.code == code
    assert refusal.value.message.endswith(".")
    assert refusal.value.hint
