"""What a file must be like to be sent to the worker as an image. Pure, but for `read`.

Only the worker decodes it. What is looked at here are the few bytes that say what it is, and how
large it is once it is decoded: a small file can unfold to gigabytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from launcher.errors import IntegrityError, LauncherError, NotFound

MOST = 16  # images with one message
MAX_SIZE = 20 << 20  # bytes of one
MAX_PIXELS = 64 << 20  # of one; decoded, each takes three bytes

_GIF, _PNG, _BMP, _JPEG = (b"GIF87a", b"GIF89a"), b"\x89PNG\r\n\x1a\n", b"BM", b"\xff\xd8\xff"
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers of JPEG that no length follows
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def read(path: Path) -> bytes:
    """The bytes of an image file.

    Raises `NotFound` for what cannot be read, `IntegrityError` for what is no image.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_SIZE + 1)
    except OSError as error:
        raise NotFound(f"The image {path} cannot be read: {error.strerror}") from error
    check(data, str(path))
    return data


def check(data: bytes, name: str) -> None:
    """Raises `IntegrityError` for what is no image that the engine takes in."""
    if len(data) > MAX_SIZE:
        raise IntegrityError(f"{name} is larger than {MAX_SIZE >> 20} MiB: give a smaller image")
    try:
        width, height = _extent(data)
    except (struct.error, IndexError, ValueError):
        raise IntegrityError(f"{name} is no JPEG, PNG, GIF or BMP image, or a broken one") from None
    if not 0 < width * height <= MAX_PIXELS:
        raise IntegrityError(f"{name} has {width} x {height} pixels: give a smaller image")


def refuse_too_many(count: int) -> None:
    """Raises `LauncherError` for more images than one message may have."""
    if count > MOST:
        raise LauncherError(f"{count} images are too many: one message may have {MOST}")


def _extent(data: bytes) -> tuple[int, int]:
    """Width and height; raises `ValueError` and others for what is no image."""
    if data.startswith(_PNG) and data[12:16] == b"IHDR":
        return _two(">II", data, 16)
    if data.startswith(_GIF):
        return _two("<HH", data, 6)
    if data.startswith(_BMP):
        width, height = _two("<ii", data, 18)
        return width, abs(height)  # below zero: it begins with the first row
    if data.startswith(_JPEG):
        return next(_frames(data))
    raise ValueError("of no known kind")


def _two(layout: str, data: bytes, at: int) -> tuple[int, int]:
    first, second = struct.unpack_from(layout, data, at)
    return int(first), int(second)


def _frames(data: bytes) -> Iterator[tuple[int, int]]:
    """The sizes that the segments of a JPEG file state."""
    at = 2
    while True:
        if data[at] != 0xFF:
            raise ValueError("no marker")
        kind = data[at + 1]
        if kind == 0xFF or kind in _ALONE:
            at += 1 if kind == 0xFF else 2
            continue
        if kind in _FRAMES:
            height, width = _two(">HH", data, at + 5)
            yield width, height
        at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
