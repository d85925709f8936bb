"""Surfaces in world mm and their STL files, read back byte by byte."""

import struct
from pathlib import Path

import numpy as np
import pytest
from Testing.helpers.ct_files import DIRECTIONS

from pancreasseg.core import Geometry
from pancreasseg.core.errors import InputError
from pancreasseg.export.surface import Surface, make_surface, write_stl

CENTRE, RADIUS = (24, 20, 12), 14.0


def a_grid(direction: np.ndarray) -> Geometry:
    return Geometry((48, 40, 24), (0.9, 1.0, 1.6), (-410.0, 230.5, 1077.25), tuple(float(v) for v in direction.ravel()))


def a_ball(geometry: Geometry) -> np.ndarray:
    k, j, i = np.indices(geometry.shape)
    world = geometry.to_world(np.stack([i, j, k], axis=-1))
    return (np.linalg.norm(world - geometry.to_world(CENTRE), axis=-1) <= RADIUS).astype(np.uint8)


def read_stl(path: Path) -> tuple[str, np.ndarray, np.ndarray]:
    """Header, normals (m, 3) and corners (m, 3, 3)."""
    content = path.read_bytes()
    (count,) = struct.unpack_from("<I", content, 80)
    assert len(content) == 84 + 50 * count
    numbers = np.array([struct.unpack_from("<12f", content, 84 + 50 * n) for n in range(count)])
    return content[:80].decode("ascii").rstrip(), numbers[:, :3], numbers[:, 3:].reshape(-1, 3, 3)


@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
def test_a_ball_keeps_its_place_its_size_and_its_outside(direction: str) -> None:
    geometry = a_grid(DIRECTIONS[direction])
    mask = a_ball(geometry)
    surface = make_surface(mask, geometry)
    outwards = surface.points - geometry.to_world(CENTRE)
    assert np.linalg.norm(outwards, axis=1) == pytest.approx(RADIUS, abs=1.0)
    assert surface.voxel_ml == pytest.approx(np.count_nonzero(mask) * geometry.voxel_ml)
    assert surface.mesh_ml == pytest.approx(surface.voxel_ml, rel=0.01)
    a, b, c = np.moveaxis(surface.points[surface.triangles], 1, 0)
    facing = np.einsum("ij,ij->i", np.cross(b - a, c - a), (a + b + c) / 3 - geometry.to_world(CENTRE))
    assert (facing > 0).all()


def test_the_mesh_is_closed_even_at_the_volumes_border() -> None:
    geometry = a_grid(np.eye(3))
    surface = make_surface(np.ones(geometry.shape, dtype=np.uint8), geometry)
    edges = np.concatenate([surface.triangles[:, [0, 1]], surface.triangles[:, [1, 2]], surface.triangles[:, [2, 0]]])
    there, back = {tuple(e) for e in edges}, {tuple(e) for e in edges[:, ::-1]}
    assert len(there) == len(edges)
    assert there == back
    assert surface.mesh_ml == pytest.approx(geometry.voxel_ml * 48 * 40 * 24, rel=0.01)


def test_smoothing_takes_the_steps_and_keeps_the_volume() -> None:
    geometry = a_grid(DIRECTIONS["oblique"])
    rough, smooth = (make_surface(a_ball(geometry), geometry, smoothing_mm=s) for s in (0.0, 2.0))
    away = [np.linalg.norm(s.points - geometry.to_world(CENTRE), axis=1) for s in (rough, smooth)]
    assert away[1].std() < 0.5 * away[0].std()
    assert smooth.mesh_ml == pytest.approx(smooth.voxel_ml, rel=0.02)
    assert smooth.voxel_ml == rough.voxel_ml


@pytest.mark.parametrize("coordinates", ["LPS", "RAS"])
def test_stl_holds_the_mesh_and_says_its_coordinates(tmp_path: Path, coordinates: str) -> None:
    geometry = a_grid(DIRECTIONS["oblique"])
    surface = make_surface(a_ball(geometry), geometry)
    write_stl(tmp_path / "pancreas.stl", surface, coordinates=coordinates)
    header, normals, corners = read_stl(tmp_path / "pancreas.stl")
    assert header.endswith(f"SPACE={coordinates}")
    assert not header.lower().startswith("solid")  # which would make it a text file to most readers
    to_lps = (1, 1, 1) if coordinates == "LPS" else (-1, -1, 1)
    assert np.allclose(corners * to_lps, surface.points[surface.triangles], atol=1e-3)
    measured = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (np.einsum("ij,ij->i", measured, normals) >= 0).all()


def test_one_voxel_has_a_surface(tmp_path: Path) -> None:
    geometry = a_grid(np.eye(3))
    mask = np.zeros(geometry.shape, dtype=np.uint8)
    mask[0, 0, 0] = 1
    for smoothing in (0.0, 1.0):
        surface = make_surface(mask, geometry, smoothing_mm=smoothing)
        assert isinstance(surface, Surface)
        assert 0 < surface.mesh_ml < 3 * surface.voxel_ml


def test_nothing_has_no_surface_and_absurd_smoothing_is_refused() -> None:
    geometry = a_grid(np.eye(3))
    with pytest.raises(InputError, match="no surface"):
        make_surface(np.zeros(geometry.shape, dtype=np.uint8), geometry)
    for smoothing in (-1.0, 11.0, float("nan")):
        with pytest.raises(InputError, match="Smoothing"):
            make_surface(a_ball(geometry), geometry, smoothing_mm=smoothing)
