"""Pictures: read the usual formats, scale them.

Reading needs Pillow (the `lab` extra). Scaling is two small matrix products in NumPy: bilinear interpolation
weighs each new pixel from the old ones along rows, then along columns.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from . import files

PIXELS = 100_000_000
"""The largest picture that is read: its pixels alone take 300 MB, and as much again while Pillow holds them too."""

FORMATS = (
    *("AVIF", "BMP", "DDS", "DIB", "GIF", "ICNS", "ICO", "JPEG", "JPEG2000", "PCX"),
    *("PNG", "PPM", "PSD", "QOI", "SGI", "TGA", "TIFF", "WEBP"),
)
"""What is opened, by Pillow's names. Others are programs (for PostScript Pillow starts Ghostscript), bombs (packed FITS) or unheard of."""

BAND = 4_000_000
"""Pixels that are converted at a time, so that no mode takes much more memory than its result."""

Picture = np.ndarray | str | os.PathLike[str]


def read(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a picture of any mode as uint8 (H, W, 3).

    Turned upright by its EXIF tag; grey, palette, 16 bit and CMYK become RGB; transparent pixels are laid on white;
    of an animation the first frame is taken.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError
        As `open` raises them.
    ValueError
        If it is not a picture in one of `FORMATS`, no regular file, is cut off, or has over 100 million pixels.
    ModuleNotFoundError
        If Pillow is not installed.

    Examples
    --------
    >>> from convlab import zoo
    >>> read(zoo.photos()["coffee"]).shape
    (400, 600, 3)
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ModuleNotFoundError:
        raise ModuleNotFoundError('reading pictures needs Pillow: pip install "convlab-engine[lab]"') from None

    Image.init()
    known = [name for name in FORMATS if name in Image.OPEN]  # which there are depends on Pillow's age
    with files.open_file(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # size is judged here, by the header; the other warnings are about tags we do not use
        try:
            with Image.open(file, formats=known) as picture:
                if _fits(picture):
                    picture.load()
                if _fits(picture):  # an icon may hold a larger picture than it says
                    return _rgb(picture)
                excess = f"it has {picture.width} x {picture.height}"
        except Image.DecompressionBombError as error:  # beyond Pillow's own limit, which stays as it is: threads share it
            excess = str(error)
        except UnidentifiedImageError:
            raise ValueError(f"{path} is not a picture that Pillow can read, of the formats {', '.join(known)}") from None
        except Exception as error:  # each of Pillow's readers raises its own
            raise ValueError(f"{path} is not a picture that Pillow can read: {error}") from error
    raise ValueError(f"a picture may have {PIXELS:,} pixels at most: {path}: {excess}")


def _fits(picture) -> bool:  # type: ignore[no-untyped-def]  # a PIL.Image, which is optional
    return bool(picture.width * picture.height <= PIXELS)


def _rgb(picture) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Return an opened Pillow picture as uint8 (H, W, 3), upright."""
    width, height = picture.size
    rows = max(1, BAND // width)
    bands = [(0, top, width, min(top + rows, height)) for top in range(0, height, rows)]
    low, high = 0.0, 65535.0  # 16-bit files use all of it; Pillow's own conversion would clip at 255
    if picture.mode == "F":
        finite = [grey[np.isfinite(grey)] for grey in (np.asarray(picture.crop(band)) for band in bands)]
        low = min((float(grey.min()) for grey in finite if grey.size), default=0.0)
        high = max((float(grey.max()) for grey in finite if grey.size), default=0.0)
    pixels = np.empty((height, width, 3), np.uint8)
    for band in bands:
        pixels[band[1] : band[3]] = _band(picture.crop(band), low, high)
    return _upright(pixels, _orientation(picture))


def _band(picture, low: float, high: float) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Return a band of a picture as uint8 RGB; if it has more than 8 bits a pixel, `low` to `high` become 0 to 255."""
    from PIL import Image

    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        grey = np.nan_to_num(np.asarray(picture, np.float64), nan=low, posinf=high, neginf=low)
        grey = ((grey - low) / (high - low or 1.0)).clip(0, 1)
        return np.rint(grey * 255).astype(np.uint8)[:, :, None]
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("RGB"))


def _orientation(picture) -> int:  # type: ignore[no-untyped-def]
    """Return the EXIF tag that says how the picture was held, 1 to 8; where the tags are damaged, 1: they are no part of the picture."""
    try:
        tag = picture.getexif().get(0x0112, 1)
    except Exception:  # each kind of damage raises its own
        return 1
    return tag if tag in range(1, 9) else 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn a picture as its orientation tells: 5 to 8 lie on their side, and half of all are mirrored."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def as_rgb(image: Picture) -> np.ndarray:
    """Return a path's picture, or a uint8 array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), as uint8 (H, W, 3).

    Raises
    ------
    TypeError, ValueError
        If the array is not uint8 or has another shape.
    """
    if isinstance(image, (str, os.PathLike)):
        return read(Path(image))
    array = np.asarray(image)
    if array.dtype != np.uint8:
        raise TypeError(f"a picture's numbers must be uint8 (0 to 255): dtype={array.dtype}")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise ValueError(f"a picture must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4): shape={np.shape(image)}")
    if array.shape[2] == 4:
        cover = array[:, :, 3:] / 255.0
        array = np.rint(array[:, :, :3] * cover + 255 * (1 - cover)).astype(np.uint8)
    return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array


FILTERS: Mapping[str, tuple[float, Callable[[np.ndarray], np.ndarray]]] = MappingProxyType(
    {
        "bilinear": (1.0, lambda t: 1 - t),
        "bicubic": (2.0, lambda t: np.where(t < 1, (1.5 * t - 2.5) * t * t + 1, ((-0.5 * t + 2.5) * t - 4) * t + 2)),  # Keys 1981, a = -1/2
        "box": (0.5, np.ones_like),
        "hamming": (1.0, lambda t: np.sinc(t) * (0.54 + 0.46 * np.cos(np.pi * t))),
        "lanczos": (3.0, lambda t: np.sinc(t) * np.sinc(t / 3)),
        "nearest": (0.0, np.ones_like),
    }
)
"""Pillow's filters: how far each reaches, in pixels, and its weight at a distance within that."""


def interpolation(source: int, target: int, resample: str = "bilinear") -> np.ndarray:
    """Return the matrix (target, source) that scales one axis.

    New pixel centres are laid over the old ones; each weighs its neighbours with the filter, one old pixel
    to the unit, or, where the picture shrinks, one new pixel, so that every old pixel counts. "nearest" takes the pixel it lies in.

    Examples
    --------
    >>> interpolation(4, 2)
    array([[0.42857143, 0.42857143, 0.14285714, 0.        ],
           [0.        , 0.14285714, 0.42857143, 0.42857143]])
    """
    step = source / target
    centres = (np.arange(target) + 0.5) * step
    if resample == "nearest":
        return (np.arange(source) == np.floor(centres)[:, None]).astype(np.float64)
    reach, weigh = FILTERS[resample]
    distance = (np.arange(source) + 0.5 - centres[:, None]) / max(step, 1.0)
    # A box has no width to lose: of two pixels at its two edges Pillow takes the one on the left.
    within = (distance > -reach) & (distance <= reach) if resample == "box" else np.abs(distance) < reach
    weights = np.where(within, weigh(np.abs(distance)), 0)
    return weights / weights.sum(axis=1, keepdims=True)


def resize(image: np.ndarray, height: int, width: int, resample: str = "bilinear", whole: bool = False) -> np.ndarray:
    """Scale an image (H, W, C) to (height, width, C), float32, with a filter of `FILTERS`.

    The numbers are those of Pillow's filter, without its rounding to whole values; with `whole` also that: after the columns
    are scaled and after the rows are, what lies outside 0 to 255 cut off.

    Examples
    --------
    >>> resize(np.array([[[0.0], [4.0]]]), 1, 4)[0, :, 0]
    array([0., 1., 3., 4.], dtype=float32)
    """
    side = max(image.shape[0] * height, image.shape[1] * width)  # numbers in the larger matrix
    if max(height * width, side) > PIXELS:
        raise ValueError(
            f"a picture may be scaled to {PIXELS:,} pixels at most, and a side by at most as much, old pixels times new:"
            f" from {image.shape[1]} x {image.shape[0]} to {width} x {height}"
        )
    rows = interpolation(image.shape[0], height, resample).astype(np.float32)
    columns = interpolation(image.shape[1], width, resample).astype(np.float32)
    pixels = np.asarray(image, np.float32)
    if not whole:
        return np.einsum("hH,HWC,wW->hwC", rows, pixels, columns, optimize=True)
    across = np.floor(np.matmul(columns, pixels) + 0.5).clip(0, 255)
    return np.floor(np.tensordot(rows, across, 1) + 0.5).clip(0, 255)


def square(image: np.ndarray) -> np.ndarray:
    """Return the largest square from the middle of an image (H, W, C)."""
    height, width = image.shape[:2]
    side = min(height, width)
    return middle(image, side, side)


def middle(image: np.ndarray, height: int, width: int, even: bool = False) -> np.ndarray:
    """Return (height, width, C) from the middle of an image, with zeros where it is smaller.

    Of an odd rest the smaller half lies in front, or, if `even`, the even one.
    """
    missing = [max(wanted - size, 0) for wanted, size in zip((height, width), image.shape, strict=False)]
    if any(missing):
        image = np.pad(image, [*((zeros // 2, zeros - zeros // 2) for zeros in missing), (0, 0)])
    rests = image.shape[0] - height, image.shape[1] - width
    top, left = (round(rest / 2) if even else rest // 2 for rest in rests)
    return image[top : top + height, left : left + width]
