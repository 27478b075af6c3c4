"""Picture files as they come from a user: what can be read is read, what cannot is refused by a reason with a
name.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib.core.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

# Pillow's own limit: a picture of more pixels may be a decompression bomb, and is not decoded.
MAX_PIXELS = 89_478_485
# A file of more bytes is no picture of an item.
MAX_BYTES = 100_000_000
# Modes that are pictures for the eye; CMYK is for print, its colours are known only with the printer's
# profile.
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "I;16", "I;16B", "I;16L")
REASONS = ("missing", "broken", "huge", "CMYK", "animated", "truncated", "unusual colours")


class Unusable(Exception):
    """A picture that is left out; ``reason`` is one of ``REASONS``."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


def read(path: str | Path) -> Image:
    """The picture in a file, RGB, turned as its camera says, on white where it is transparent.

    Raises:
        Unusable: no such file; no picture; more than ``MAX_PIXELS`` or ``MAX_BYTES``; CMYK; animated; cut
        off;
            a mode that is no picture for the eye.
        InputError: Pillow is not installed.
    """
    file = Path(path)
    _pillow()
    if not is_file(path):
        raise Unusable("missing", str(path))
    if file.stat().st_size > MAX_BYTES:
        raise Unusable("huge", f"{file.stat().st_size:,} bytes")
    with _opened(file) as picture:
        width, height = picture.size
        if width * height > MAX_PIXELS:
            raise Unusable("huge", f"{width} x {height} pixels")
        # An MPO is a photograph of a phone with a second view behind it.
        if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":
            raise Unusable("animated", f"{picture.n_frames} frames")  # type: ignore[attr-defined]
        if picture.mode == "CMYK":
            raise Unusable("CMYK")
        if picture.mode not in MODES:
            raise Unusable("unusual colours", picture.mode)
        return _decoded(picture)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise InputError("pictures need Pillow: run pip install pillow") from error
    return Image


def is_file(path: str | Path) -> bool:
    """Whether a path names a file; a blank one and one that no file system has do not."""
    try:
        return bool(str(path).strip()) and Path(path).is_file()
    except (OSError, ValueError):  # a name that no file system has
        return False


@contextmanager
def _opened(path: Path) -> Iterator[Image]:
    """The header of a file, nothing decoded yet."""
    image = _pillow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a large picture is refused below, and odd metadata does no harm
        try:
            picture = image.open(path)
        except image.DecompressionBombError as error:
            raise Unusable("huge", str(error)) from error
        except Exception as error:  # Pillow's readers raise whatever a broken file leads them to
            raise Unusable("broken", f"{type(error).__name__}: {error}") from error
        with picture:
            yield picture


def _decoded(picture: Image) -> Image:
    image = _pillow()
    from PIL import ImageOps

    try:
        picture.load()
        picture = ImageOps.exif_transpose(picture)
        if picture.mode.startswith("I;16"):
            return image.fromarray((np.asarray(picture) // 257).astype(np.uint8)).convert("RGB")
        if "A" in picture.mode or "transparency" in picture.info:
            layers = picture.convert("RGBA")
            white = image.new("RGBA", layers.size, "white")
            return image.alpha_composite(white, layers).convert("RGB")
        return picture.convert("RGB")
    except Exception as error:
        cut = "truncated" in str(error).lower() or isinstance(error, EOFError)
        raise Unusable("truncated" if cut else "broken", f"{type(error).__name__}: {error}") from error


@dataclass(frozen=True, eq=False)
class Skipped:
    """Which pictures were left out: rows by reason."""

    rows: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(len(rows) for rows in self.rows.values())

    def note(self, total: int) -> str:
        """One sentence with the number of each reason, and the first row of each; empty if none was left out.

        >>> Skipped({"missing": [3, 5], "CMYK": [0]}).note(10)
        '3 of 10 pictures were left out: 2 missing (first in row 3), 1 CMYK (first in row 0).'
        """
        if not self.count:
            return ""
        parts = [f"{len(r)} {reason} (first in row {r[0]})" for reason, r in self.rows.items() if r]
        return f"{self.count} of {total} pictures were left out: {', '.join(parts)}."
