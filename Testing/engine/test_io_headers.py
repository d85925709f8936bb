"""NRRD and MetaImage headers: read as SimpleITK reads them where they are good, and never believed blindly."""

import gzip
import os
import zlib
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from Testing.helpers.ct_files import DIRECTIONS, SHAPE, a_ct, a_grid, write_image

from pancreasseg.core.errors import InputError
from pancreasseg.grids.resample import to_image
from pancreasseg.io.metaimage import read_metaimage
from pancreasseg.io.nifti import read_nifti
from pancreasseg.io.nrrd import read_nrrd
from pancreasseg.io.read import read_mask, read_volume

READERS = {".nrrd": read_nrrd, ".nhdr": read_nrrd, ".mha": read_metaimage, ".mhd": read_metaimage}
TYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
NRRD_TYPES = dict(
    zip(
        TYPES,
        [
            "signed char", "unsigned char", "short", "unsigned short", "int", "unsigned int", "long long int",
            "uint64", "float", "double",
        ],
        strict=True,
    )
)  # fmt: skip
META_TYPES = dict(
    zip(
        TYPES,
        [
            "MET_CHAR", "MET_UCHAR", "MET_SHORT", "MET_USHORT", "MET_INT", "MET_UINT", "MET_LONG_LONG",
            "MET_ULONG_LONG", "MET_FLOAT", "MET_DOUBLE",
        ],
        strict=True,
    )
)  # fmt: skip
SMALL = (3, 4, 5)
DIRECTED = "space: LPS\nspace directions: (2,0,0) (0,2.5,0) (0,0,3)\nspace origin: (1,2,3)\n"


def values(dtype: str = "int16", shape: tuple[int, ...] = SMALL) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


def a_nrrd(
    path: Path, extra: str = DIRECTED, data: bytes | None = None, *, sizes: str = "5 4 3", kind: str = "short",
    endian: str = "endian: little\n", encoding: str = "raw", dimension: str = "3",
) -> Path:  # fmt: skip
    header = f"NRRD0005\ntype: {kind}\ndimension: {dimension}\nsizes: {sizes}\n{endian}encoding: {encoding}\n{extra}\n"
    path.write_bytes(header.encode() + (values().astype("<i2").tobytes() if data is None else data))
    return path


def a_meta(
    path: Path, extra: str = "ElementSpacing = 2 2.5 3\n", data: bytes | None = None, *, sizes: str = "5 4 3",
    kind: str = "MET_SHORT", dimensions: str = "3", file: str = "LOCAL",
) -> Path:  # fmt: skip
    header = f"ObjectType = Image\nNDims = {dimensions}\nDimSize = {sizes}\n{extra}ElementType = {kind}\n"
    body = values().astype("<i2").tobytes() if data is None else data
    path.write_bytes(header.encode() + f"ElementDataFile = {file}\n".encode() + body)
    return path


def agrees_with_simpleitk(path: Path) -> None:
    ours, theirs = READERS[path.suffix](path, components=True), sitk.ReadImage(str(path))
    np.testing.assert_array_equal(ours.array, sitk.GetArrayFromImage(theirs))
    assert ours.array.dtype == sitk.GetArrayFromImage(theirs).dtype
    assert ours.geometry.size == theirs.GetSize()
    np.testing.assert_allclose(ours.geometry.spacing, theirs.GetSpacing(), rtol=1e-12)
    np.testing.assert_allclose(ours.geometry.origin, theirs.GetOrigin(), rtol=1e-12)
    np.testing.assert_allclose(ours.geometry.direction, theirs.GetDirection(), atol=1e-6)


def refused(path: Path) -> InputError:
    """The refusal of the file itself, whether or not it would be a CT."""
    with pytest.raises(InputError) as caught:
        read_nifti(path) if path.suffix == ".nii" else READERS[path.suffix](path)
    assert caught.value.message.endswith(".")
    return caught.value


# As SimpleITK reads them


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize("packed", [True, False])
def test_a_file_that_simpleitk_wrote_is_read_as_simpleitk_reads_it(tmp_path, suffix, direction, packed) -> None:
    path = tmp_path / f"image{suffix}"
    sitk.WriteImage(to_image(a_ct(), a_grid(direction)), str(path), useCompression=packed)
    agrees_with_simpleitk(path)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("suffix", [".nrrd", ".mhd"])
def test_every_type_of_voxel_is_read_as_simpleitk_reads_it(tmp_path, suffix, dtype) -> None:
    path = tmp_path / f"image{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(values(dtype)), str(path))
    agrees_with_simpleitk(path)


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("dtype", TYPES)
def test_both_byte_orders_are_read_as_simpleitk_reads_them(tmp_path, dtype, order) -> None:
    data = values(dtype).astype(np.dtype(dtype).newbyteorder(order)).tobytes()
    agrees_with_simpleitk(a_nrrd(tmp_path / "i.nrrd", data=data, kind=NRRD_TYPES[dtype], endian=f"endian: {order}\n"))
    extra = f"BinaryDataByteOrderMSB = {order == 'big'}\nElementSpacing = 2 2.5 3\n"
    agrees_with_simpleitk(a_meta(tmp_path / "i.mha", extra, data, kind=META_TYPES[dtype]))


@pytest.mark.parametrize(
    "space",
    [
        "space: LPS\n", "space: RAS\n", "space: LAS\n", "space: right-anterior-superior\n", "space: scanner-xyz\n",
        "space: left-anterior-superior\n", "space dimension: 3\n",
    ],
)  # fmt: skip
def test_every_space_is_placed_as_simpleitk_places_it(tmp_path, space) -> None:
    path = a_nrrd(tmp_path / "i.nrrd", DIRECTED.replace("space: LPS\n", space))
    agrees_with_simpleitk(path)
    named = "scanner" not in space and "dimension" not in space
    assert [f.code for f in read_nrrd(path).findings] == ([] if named else ["no-orientation"])


@pytest.mark.parametrize(
    "extra",
    ["", "axis mins: 10 20 30\n", "axis mins: 10 20 30\ncenters: node node node\n", "axis mins: 10 20 nan\n"],
)
def test_a_nrrd_without_directions_lies_where_simpleitk_puts_it(tmp_path, extra) -> None:
    path = a_nrrd(tmp_path / "i.nrrd", "spacings: 2 3 4\n" + extra)
    if "nan" not in extra:
        agrees_with_simpleitk(path)
    assert [f.code for f in read_nrrd(path).findings] == ["no-orientation"]


@pytest.mark.parametrize(
    ("extra", "data"),
    [
        ("byte skip: 3\n", b"abc"),
        ("byte skip: -1\n", b"anything"),
        ("line skip: 2\n", b"one\ntwo\n"),
        ("line skip: 1\nbyte skip: 2\n", b"one\n\0\0"),
    ],
)
def test_what_lies_before_the_voxels_is_skipped_as_simpleitk_does(tmp_path, extra, data) -> None:
    agrees_with_simpleitk(a_nrrd(tmp_path / "i.nrrd", DIRECTED + extra, data + values().astype("<i2").tobytes()))


def test_voxels_as_text_are_read_as_simpleitk_reads_them(tmp_path) -> None:
    text = " ".join(str(v) for v in values().ravel()).encode()
    agrees_with_simpleitk(a_nrrd(tmp_path / "i.nrrd", data=text, encoding="ascii"))
    agrees_with_simpleitk(a_meta(tmp_path / "i.mha", "BinaryData = False\nElementSpacing = 2 2.5 3\n", text + b" "))


@pytest.mark.parametrize(
    "extra",
    [
        "ElementSpacing = 2 3 4\nOffset = 1 2 3\nTransformMatrix = 0 1 0 -1 0 0 0 0 1\n",
        "ElementSpacing = 2 3 4\nPosition = 1 2 3\nOrientation = 0 1 0 -1 0 0 0 0 1\n",
        "ElementSize = 2 3 4\n",
        "ElementSize = 1 1 1\nElementSpacing = 2 3 4\n",
        "ElementSpacing = -2 3 4\nTransformMatrix = 0 1 0 -1 0 0 0 0 1\n",
        "ElementSpacing = 2 3 4\nDistanceUnits = cm\n",
        "ElementSpacing = 2 3 4\nCenterOfRotation = 5 5 5\nAnatomicalOrientation = RAI\nModality = MET_MOD_CT\n",
        "HeaderSize = -1\nElementSpacing = 2 3 4\n",
    ],
)
def test_a_metaimage_lies_where_simpleitk_puts_it(tmp_path, extra) -> None:
    agrees_with_simpleitk(a_meta(tmp_path / "i.mha", extra))


def test_zlib_data_in_the_file_or_beside_it_is_unpacked(tmp_path) -> None:
    packed = zlib.compress(values().astype("<i2").tobytes())
    extra = f"CompressedData = True\nCompressedDataSize = {len(packed)}\nElementSpacing = 2 3 4\n"
    agrees_with_simpleitk(a_meta(tmp_path / "i.mha", extra, packed))
    (tmp_path / "voxels.zraw").write_bytes(packed)
    agrees_with_simpleitk(a_meta(tmp_path / "i.mhd", extra, b"", file="voxels.zraw"))


def test_layers_of_a_segmentation_are_its_last_axis_as_in_simpleitk(tmp_path) -> None:
    data = values(shape=(3, 4, 5, 2)).astype("<i2").tobytes()
    extra = (
        "space: LPS\nspace directions: none (2,0,0) (0,2.5,0) (0,0,3)\nspace origin: (1,2,3)\n"
        "kinds: list domain domain domain\n"
    )
    path = a_nrrd(tmp_path / "i.seg.nrrd", extra, data, sizes="2 5 4 3", dimension="4")
    agrees_with_simpleitk(path)
    assert refused(path).code == "not-grey"


def test_key_value_pairs_are_those_of_simpleitk(tmp_path) -> None:
    path = a_nrrd(tmp_path / "i.nrrd", DIRECTED + "Segment0_Name:=Pancreas\nA key:=two\\nlines \\\\ and := more\n")
    image = sitk.ReadImage(str(path))
    keys = read_nrrd(path).keys
    assert keys["Segment0_Name"] == image.GetMetaData("Segment0_Name")
    assert keys["A key"] == "two\nlines \\ and := more"


# What is usable though it is odd


def test_one_point_in_time_is_a_volume(tmp_path) -> None:
    four = sitk.JoinSeries([to_image(a_ct(), a_grid())])
    for name in ("i.nrrd", "i.mha"):
        sitk.WriteImage(four, str(tmp_path / name))
        np.testing.assert_array_equal(read_volume(tmp_path / name).array, a_ct())
    timed = DIRECTED.replace("(0,0,3)", "(0,0,3) none") + "kinds: domain domain domain time\n"
    path = a_nrrd(tmp_path / "t.nrrd", timed, sizes="5 4 3 1", dimension="4")
    np.testing.assert_array_equal(read_nrrd(path).array, values())


def test_several_points_in_time_are_refused(tmp_path) -> None:
    timed = DIRECTED.replace("(0,0,3)", "(0,0,3) none") + "kinds: domain domain domain time\n"
    data = values(shape=(2, *SMALL)).astype("<i2").tobytes()
    assert "4D" in refused(a_nrrd(tmp_path / "t.nrrd", timed, data, sizes="5 4 3 2", dimension="4")).message


@pytest.mark.parametrize("extra", ["", "spacings: nan 3 4\n"])
def test_a_file_without_spacing_says_so(tmp_path, extra) -> None:
    image = read_nrrd(a_nrrd(tmp_path / "i.nrrd", extra))
    assert image.geometry.spacing[0] == 1.0
    assert "spacing-not-stated" in [f.code for f in image.findings]
    image = read_metaimage(a_meta(tmp_path / "i.mha", ""))
    assert image.geometry.spacing == (1.0, 1.0, 1.0)
    assert "spacing-not-stated" in [f.code for f in image.findings]


def test_what_other_programs_do_not_heed_is_remarked_on(tmp_path) -> None:
    scaled = a_meta(tmp_path / "i.mha", "ElementSpacing = 2 3 4\nElementToIntensityFunctionSlope = 2\n")
    assert "rescale-ignored" in [f.code for f in read_metaimage(scaled).findings]
    assert "unit-not-mm" in [
        f.code
        for f in read_metaimage(a_meta(tmp_path / "c.mha", "ElementSpacing = 2 3 4\nDistanceUnits = cm\n")).findings
    ]
    units = a_nrrd(tmp_path / "i.nrrd", DIRECTED + 'space units: "cm" "cm" "cm"\n')
    assert [f.code for f in read_nrrd(units).findings] == ["unit-not-mm"]


# What would take over ITK, or keep it busy for ever


@pytest.mark.parametrize(
    "extra",
    [
        "x" * 2000 + ": 1\n", "unheard of: 1\n", "no field at all\n", "data file: " + "x" * 2000 + "\n",
        "data file: ../elsewhere.raw\n", "data file: /etc/hostname\n", "data file: ..\n", "data file: a\tb\n",
        "space directions: (nan,0,0) (0,1,0) (0,0,1)\n", "space directions: (inf,0,0) (0,1,0) (0,0,1)\n",
        "space directions: (1e308,0,0) (0,1e308,0) (0,0,1e308)\n", "space directions: (0,0,0) (0,1,0) (0,0,1)\n",
        "space directions: (1,0,0) (0,1,0)\n", "space directions: (1,0) (0,1) (0,1)\n", "space directions: 1 2 3\n",
        "space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (1e300,0,0)\n", "encoding: raw\n", "kinds: domain\n",
        "byte skip: -2\n", "byte skip: 999999999999999999999\n", "line skip: 1000000000\n", "spacings: 1 2\n",
        "spacings: one two three\n", "spacings: 3000 3000 3000\n", "a:=" + "x" * 70_000 + "\n",
    ],
)  # fmt: skip
def test_a_nrrd_header_that_lies_is_refused(tmp_path, extra) -> None:
    assert refused(a_nrrd(tmp_path / "i.nrrd", extra))


@pytest.mark.parametrize(
    "change",
    [
        {"dimension": "-1"}, {"dimension": "17"}, {"dimension": "1000000", "sizes": "1 " * 100}, {"dimension": "3 3"},
        {"sizes": "0 4 3"}, {"sizes": "-5 4 3"}, {"sizes": "5 4"}, {"sizes": "65535 65535 65535"},
        {"sizes": "9" * 5000},
        {"kind": "block"}, {"kind": "complex"}, {"endian": ""}, {"encoding": "bzip2"}, {"encoding": "magic"},
        {"encoding": "gzip"}, {"encoding": "ascii"},
    ],
)  # fmt: skip
def test_nrrd_sizes_and_types_that_make_no_sense_are_refused(tmp_path, change) -> None:
    assert refused(a_nrrd(tmp_path / "i.nrrd", **change))


@pytest.mark.parametrize(
    ("extra", "change"),
    [
        ("", {"dimensions": "-1"}), ("", {"dimensions": "100"}), ("", {"dimensions": "1000000"}),
        ("", {"dimensions": "2", "sizes": "5 4"}), ("", {"sizes": "5 0 3"}), ("", {"sizes": "5 4 -3"}),
        ("", {"sizes": "5 4"}), ("", {"sizes": "65535 65535 65535"}), ("", {"kind": "MET_OTHER"}),
        ("", {"kind": "MET_FLOAT_ARRAY"}), ("", {"file": "LIST"}), ("", {"file": "slice%03d.raw 1 10 1"}),
        ("", {"file": "../x.raw"}), ("", {"file": "x" * 3000}), ("", {"file": "/dev/zero"}), ("", {"file": ""}),
        ("ElementSpacing = 1 1\n", {}), ("ElementSpacing = 0 1 1\n", {}), ("ElementSpacing = 1e9 1 1\n", {}),
        ("ElementSpacing = nan 1 1\n", {}), ("TransformMatrix = " + "1e308 " * 9 + "\n", {}),
        ("TransformMatrix = 2 0 0 0 2 0 0 0 2\n", {}), ("TransformMatrix = " + "nan " * 9 + "\n", {}),
        ("TransformMatrix = 1 0 0\n", {}), ("Offset = 1e300 0 0\n", {}), ("HeaderSize = -7\n", {}),
        ("HeaderSize = 7\n", {}), ("HeaderSizePerSlice = 4\n", {}),
        ("ElementNumberOfChannels = 0\n", {}), ("NDims = 3\n", {}),
        ("ElementNumberOfChannels = 3\n", {}), ("ElementNumberOfChannels = 99999999\n", {}),
        ("CompressedData = True\n", {}), ("BinaryData = False\n", {}), ("no entry\n", {}),
        ("x" * 70_000 + " = 1\n", {}),
    ],
)  # fmt: skip
def test_a_metaimage_header_that_lies_is_refused(tmp_path, extra, change) -> None:
    assert refused(a_meta(tmp_path / "i.mha", extra, **change))


def test_a_metaimage_that_says_the_same_by_two_names_is_read(tmp_path) -> None:
    plain = read_metaimage(a_meta(tmp_path / "a.mha", "Offset = 1 2 3\n"))
    twice = read_metaimage(a_meta(tmp_path / "b.mha", "Position = 1 2 3\nOffset = 1 2 3\n"))
    assert twice.geometry == plain.geometry
    assert refused(a_meta(tmp_path / "c.mha", "Position = 1 2 4\nOffset = 1 2 3\n"))


def test_a_file_of_voxels_may_be_named_as_lying_in_this_folder(tmp_path) -> None:
    path = write_image(tmp_path / "ct.mhd", a_ct(), a_grid())
    path.write_text(path.read_text().replace("ElementDataFile = ", "ElementDataFile = ./"))
    np.testing.assert_array_equal(read_metaimage(path).array, a_ct())


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_header_without_end_is_refused(tmp_path, suffix) -> None:
    line = "a:=b\n" if suffix == ".nrrd" else "a = b\n"
    path = (a_nrrd if suffix == ".nrrd" else a_meta)(tmp_path / f"i{suffix}", line * 30_000)
    assert refused(path).code == "file-damaged"


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_a_missing_file_of_voxels_is_named(tmp_path, suffix) -> None:
    path = write_image(tmp_path / f"ct{suffix}", a_ct(), a_grid())
    (data,) = tmp_path.glob("ct.*raw*")
    data.unlink()
    error = refused(path)
    assert error.code == "data-file-missing"
    assert data.name in error.message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
@pytest.mark.parametrize("name", ["ct.nii", "ct.nrrd", "ct.mha", "ct.raw"])
def test_a_pipe_is_refused_before_it_is_opened(tmp_path, name) -> None:
    os.mkfifo(tmp_path / name)
    path = a_meta(tmp_path / "ct.mhd", file="ct.raw") if name == "ct.raw" else tmp_path / name
    assert refused(path).code == "not-a-file"
    with pytest.raises(InputError):
        read_mask(path, a_grid())


# Bombs


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_only_what_the_header_states_is_unpacked(tmp_path, suffix, monkeypatch) -> None:
    """The pieces are counted, as the memory of a process says little about one function."""
    from pancreasseg.io import voxels

    taken = []

    def counted(*arguments, _inflated=voxels.inflated, **options):
        for piece in _inflated(*arguments, **options):
            taken.append(len(piece))
            yield piece

    monkeypatch.setattr(voxels, "inflated", counted)
    path = write_image(tmp_path / f"ct{suffix}", a_ct(), a_grid())
    content = path.read_bytes()
    if suffix == ".nii.gz":
        path.write_bytes(gzip.compress(gzip.decompress(content) + bytes(30_000_000)))
    else:
        extra = DIRECTED if suffix == ".nrrd" else "CompressedData = True\nElementSpacing = 2 2.5 3\n"
        packed = gzip.compress(a_ct().astype("<i2").tobytes() + bytes(30_000_000))
        sizes = " ".join(str(n) for n in SHAPE[::-1])
        if suffix == ".nrrd":
            a_nrrd(path, extra, packed, sizes=sizes, encoding="gzip")
        else:
            a_meta(path, extra, packed, sizes=sizes)
    np.testing.assert_array_equal(read_volume(path).array, a_ct())
    assert sum(taken) < 10_000_000  # one block, of the 30 MB that follow


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_more_voxels_than_any_ct_has_are_refused_before_they_are_unpacked(tmp_path, suffix) -> None:
    packed = gzip.compress(bytes(20_000_000))
    if suffix == ".nrrd":
        path = a_nrrd(
            tmp_path / "i.nrrd", DIRECTED.replace("2.5", "0.01").replace("(2,", "(0.01,").replace(",3)", ",0.01)"),
            packed, sizes="9000 9000 9000", encoding="gzip",
        )  # fmt: skip
    else:
        extra = "CompressedData = True\nElementSpacing = 0.01 0.01 0.01\n"
        path = a_meta(tmp_path / "i.mha", extra, packed, sizes="9000 9000 9000")
    assert refused(path).code == "file-too-large"


# Whatever is written there


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), suffix=st.sampled_from([".nrrd", ".mha"]))
def test_whatever_line_is_changed_there_is_an_image_or_a_sentence(tmp_path, data, suffix) -> None:
    path = (a_nrrd if suffix == ".nrrd" else a_meta)(tmp_path / f"i{suffix}")
    content = path.read_bytes()
    lines = [0, *(n + 1 for n, byte in enumerate(content[:200]) if byte == 10)]
    start, stop = data.draw(st.sampled_from(list(pairwise(lines))))
    path.write_bytes(content[:start] + data.draw(st.binary(max_size=80)) + content[stop:])
    with suppress(InputError):
        READERS[suffix](path)


@pytest.mark.parametrize(("name", "field"), [("ct.nhdr", "data file: ct.nhdr"), ("ct.mhd", "ElementDataFile = ct.mhd")])
def test_a_header_is_not_the_file_of_its_own_voxels(tmp_path, name, field) -> None:
    whole = write_image(tmp_path / name, a_ct((12, 20, 18)), a_grid())
    text = whole.read_text().splitlines()
    kept = [line for line in text if not line.startswith(field.split()[0])]
    whole.write_text("\n".join([*kept, field, ""]) + "\n" + "0" * 20_000)
    with pytest.raises(InputError, match="names itself"):
        read_volume(whole)


def test_a_small_file_that_unpacks_to_gigabytes_is_refused_before_it_is(tmp_path) -> None:
    packer = zlib.compressobj(9)
    zeros = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_SYNC_FLUSH)
    head = (
        "ObjectType = Image\nNDims = 3\nDimSize = 1024 1024 1000\nElementSpacing = 1 1 1\nElementType = MET_SHORT\n"
        "CompressedData = True\nElementDataFile = LOCAL\n"
    )
    (tmp_path / "ct.mha").write_bytes(head.encode() + zeros * 128)
    with pytest.raises(InputError) as caught:
        read_volume(tmp_path / "ct.mha")
    assert caught.value.code == "file-too-dense"
