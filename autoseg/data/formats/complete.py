"""Whether a picture file is whole: the decoders of BMP, JPEG and TIFF fill what is missing with grey, without an error."""

import struct
from collections.abc import Callable
from pathlib import Path

from autoseg.data.formats.header import unreadable


def refuse_truncated(path: Path) -> None:
    """Raise ImageError when the picture at `path` ends early. PNG files need no check: their decoder notices."""
    check = _CHECKS.get(path.suffix.lower())
    if check is None:
        return
    data = path.read_bytes()
    try:
        whole = check(data)
    except (struct.error, KeyError):
        whole = False
    if not whole:
        raise unreadable(path, "it is truncated (the picture's data end early)")


def _bmp_is_whole(data: bytes) -> bool:
    """Whether all the bytes are there that the file's own header counts."""
    (declared,) = struct.unpack("<I", data[2:6])
    return len(data) >= int(declared)


def _jpeg_is_whole(data: bytes) -> bool:
    """Whether the last scan is followed by the end marker; neither marker can occur inside a scan."""
    return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")


def _tiff_is_whole(data: bytes) -> bool:
    """Whether every page of the chain of directories starts inside the file."""
    order = {b"II": "<", b"MM": ">"}[data[:2]]
    is_big = struct.unpack(order + "H", data[2:4])[0] == 43
    count_format, offset_format, entry_bytes = (order + "Q", order + "Q", 20) if is_big else (order + "H", order + "I", 12)
    (offset,) = struct.unpack_from(offset_format, data, 8 if is_big else 4)
    seen = set()
    while offset and offset not in seen:
        seen.add(offset)
        (entries,) = struct.unpack_from(count_format, data, offset)
        next_at = offset + struct.calcsize(count_format) + entries * entry_bytes
        (offset,) = struct.unpack_from(offset_format, data, next_at)
    return True


_CHECKS: dict[str, Callable[[bytes], bool]] = {
    ".bmp": _bmp_is_whole,
    ".jpg": _jpeg_is_whole,
    ".jpeg": _jpeg_is_whole,
    ".tif": _tiff_is_whole,
    ".tiff": _tiff_is_whole,
}
