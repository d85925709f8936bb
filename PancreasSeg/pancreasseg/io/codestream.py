"""What a compressed frame says about itself, compared with its DICOM header before a decoder believes it.

GDCM's decoders write where the frame's own header tells them to; a precision or size that the slice does not have ends
the process. Formats: ITU-T T.81 (JPEG), T.87 (JPEG-LS), T.800 (JPEG 2000).
"""

from __future__ import annotations

from dataclasses import dataclass

_SIZE_IN_JPEG = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # SOF markers; F7 is that of JPEG-LS
_SCAN = 0xDA
_SIZE_IN_JPEG_2000 = b"\xff\x4f\xff\x51"
_MOST_TILES = 65_535


@dataclass(frozen=True)
class FrameSize:
    """Rows, columns, bits of a value, and values a pixel."""

    rows: int
    columns: int
    precision: int
    components: int


def frame_size(frame: bytes) -> FrameSize | None:
    """What a JPEG, JPEG-LS or JPEG 2000 frame states; None when it states nothing that makes sense.

    Args:
        frame: the compressed bytes of one frame.
    """
    if frame[:2] == b"\xff\xd8":
        return _of_jpeg(frame)
    start = frame.find(_SIZE_IN_JPEG_2000, 0, 4096)  # a file may wrap it in boxes
    return _of_jpeg_2000(frame[start + 4 : start + 64]) if start >= 0 else None


def _of_jpeg(frame: bytes) -> FrameSize | None:
    found, place = None, 2
    while place + 4 <= len(frame) and frame[place] == 0xFF:
        marker, length = frame[place + 1], int.from_bytes(frame[place + 2 : place + 4], "big")
        if marker == 0xFF:  # fill bytes before a marker
            place += 1
            continue
        if marker == _SCAN:
            return found
        if marker in _SIZE_IN_JPEG:
            body = frame[place + 4 : place + 10]
            if found is not None or len(body) < 6:
                return None
            found = FrameSize(
                int.from_bytes(body[1:3], "big"),
                int.from_bytes(body[3:5], "big"),
                precision=body[0],
                components=body[5],
            )
        place += 2 + length
    return None


def _of_jpeg_2000(size: bytes) -> FrameSize | None:
    if len(size) < 39:
        return None
    right, bottom, left, top, tile_width, tile_height = (
        int.from_bytes(size[at : at + 4], "big") for at in range(4, 28, 4)
    )
    if not (0 <= left < right and 0 <= top < bottom and tile_width and tile_height):
        return None
    if -(-right // tile_width) * -(-bottom // tile_height) > _MOST_TILES:
        return None
    components, precision = int.from_bytes(size[36:38], "big"), (size[38] & 0x7F) + 1
    return FrameSize(bottom - top, right - left, precision, components)
