"""Pictures: read the usual formats, scale them.

Reading needs Pillow (the `lab` extra). Scaling weighs each new pixel from the old ones, along rows
and down columns (`scaling`).
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

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

BYTES = 1_000_000_000
"""The largest picture that is read from what cannot be rewound, such as a connection."""

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

Picture: TypeAlias = "np.ndarray | str | os.PathLike[str] | PillowImage | IO[bytes]"
"""A picture as people have it: an array, a path, an opened Pillow picture, a file opened in binary mode."""


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
    with files.open_file(path) as file:
        return _decoded(file, str(path))


def _decoded(file: IO[bytes], name: str) -> np.ndarray:
    """Return the picture that a file holds."""
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise ModuleNotFoundError('reading pictures needs Pillow: pip install "convlab-engine[lab]"') from None

    Image.init()
    known = [kind for kind in FORMATS if kind in Image.OPEN]  # which there are depends on Pillow's age
    with _refusals(name, f", of the formats {', '.join(known)}"), Image.open(file, formats=known) as picture:
        return _loaded(picture)


class _TooLarge(ValueError):
    """Said of a picture's size, which is no damage."""


@contextlib.contextmanager
def _refusals(name: str, formats: str = "") -> Iterator[None]:
    """Turn what Pillow raises into a ValueError that names the picture."""
    from PIL import Image, UnidentifiedImageError

    too_large = f"a picture may have {PIXELS:,} pixels at most: {name}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # size is judged here, by the header; the other warnings are about tags we do not use
        try:
            yield
        except (_TooLarge, Image.DecompressionBombError) as error:  # Pillow's own limit stays as it is: threads share it
            raise ValueError(f"{too_large}: {error}") from None
        except UnidentifiedImageError:
            raise ValueError(f"{name} is not a picture that Pillow can read{formats}") from None
        except Exception as error:  # each of Pillow's readers raises its own
            raise ValueError(f"{name} is not a picture that Pillow can read: {error}") from error


def endings() -> tuple[str, ...]:
    """Return what the names of pictures in the formats that are read end in: ".jpg", ".png", ...

    Raises
    ------
    ModuleNotFoundError
        If Pillow is not installed.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise ModuleNotFoundError('reading pictures needs Pillow: pip install "convlab-engine[lab]"') from None
    return tuple(ending for ending, name in Image.registered_extensions().items() if name in FORMATS)


def _loaded(picture: PillowImage) -> np.ndarray:
    """Return an opened Pillow picture as uint8 (H, W, 3), upright; its size is judged before it is decoded."""
    _check_size(picture)
    picture.load()
    _check_size(picture)  # an icon may hold a larger picture than it says
    return _rgb(picture)


def _check_size(picture: PillowImage) -> None:
    width, height = picture.size
    if width * height == 0:
        raise ValueError("it has no pixels")
    if width * height > PIXELS:
        raise _TooLarge(f"it has {width} x {height}")


def _rgb(picture: PillowImage) -> np.ndarray:
    """Return a loaded Pillow picture as uint8 (H, W, 3), upright."""
    width, height = picture.size
    rows = max(1, BAND // width)
    bands = [(0, top, width, min(top + rows, height)) for top in range(0, height, rows)]
    ends = _ends(picture, bands) if _deep(picture) else (0.0, 0.0)
    pixels = np.empty((height, width, 3), np.uint8)
    for band in bands:
        pixels[band[1] : band[3]] = _band(picture.crop(band), ends)
    return _upright(pixels, _orientation(picture))


def _deep(picture: PillowImage) -> bool:
    """Whether it has more than 8 bits a pixel."""
    return picture.mode in ("I", "F") or picture.mode.startswith("I;16")


def _ends(picture: PillowImage, bands: Sequence[tuple[int, int, int, int]]) -> tuple[float, float]:
    """Return which numbers are black and white: of floats the least and the largest, of integers the ends of 8 bits or of 16.

    Pillow's own conversion to RGB would cut 16 bits off at 255.
    """
    low, high = np.inf, -np.inf
    for band in bands:
        grey = np.asarray(picture.crop(band))
        if (finite := grey[np.isfinite(grey)]).size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if picture.mode == "F":
        return (low, high) if low <= high else (0.0, 0.0)
    return 0.0, 255.0 if high <= 255 else 65535.0


def _band(picture: PillowImage, ends: tuple[float, float]) -> np.ndarray:
    """Return a band of a picture as uint8, RGB or grey."""
    from PIL import Image

    if _deep(picture):
        low, high = ends
        grey = np.nan_to_num(np.asarray(picture, np.float64), nan=low, posinf=high, neginf=low)
        grey = ((grey - low) / (high - low or 1.0)).clip(0, 1)
        return np.rint(grey * 255).astype(np.uint8)[:, :, None]
    if picture.mode == "La":  # grey times alpha, which Pillow converts to nothing else
        picture = picture.convert("LA")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("RGB"))


def _orientation(picture: PillowImage) -> int:
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
    """Return a picture as uint8 (H, W, 3).

    Parameters
    ----------
    image : path, ndarray, opened Pillow picture or file object
        A path or a file opened in binary mode is read as `read` does. An opened picture may be of any mode; it is turned upright by its
        EXIF tag, and of an animation the frame is taken at which it stands. An array is uint8, (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).

    Raises
    ------
    TypeError, ValueError
        If it is none of these, the array is not uint8 or has another shape, or as `read`.

    Examples
    --------
    >>> as_rgb(np.zeros((4, 6), np.uint8)).shape
    (4, 6, 3)
    """
    if isinstance(image, (str, os.PathLike)):
        return read(Path(image))
    if _is_pillow(image):
        with _refusals(getattr(image, "filename", "") or "the opened picture"):
            return _loaded(cast("PillowImage", image))
    if hasattr(image, "read"):
        return _decoded(_rewound(image), str(getattr(image, "name", "the opened file")))
    array: np.ndarray = np.asarray(image)
    if array.dtype != np.uint8:
        raise TypeError(f"a picture's numbers must be uint8 (0 to 255): dtype={array.dtype}")
    shape = array.shape
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise ValueError(f"a picture must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4): shape={shape}")
    if array.shape[2] == 4:
        cover = array[:, :, 3:] / 255.0
        array = np.rint(array[:, :, :3] * cover + 255 * (1 - cover)).astype(np.uint8)
    return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array


def _is_pillow(image: object) -> bool:
    """Whether it is a Pillow picture; where Pillow was never loaded, nothing is."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(image, module.Image)


def _rewound(file: Any) -> IO[bytes]:
    """Return a file that Pillow can go back and forth in; what cannot is read, if it is no larger than `BYTES`."""
    if isinstance(file, io.TextIOBase):
        raise TypeError(f'a picture must be opened in binary mode, "rb": {file!r}')
    if hasattr(file, "seekable") and file.seekable():
        return cast("IO[bytes]", file)
    content = file.read(BYTES + 1)
    if not isinstance(content, bytes) or len(content) > BYTES:
        raise ValueError(f"a picture must be at most {BYTES:,} bytes: {file!r} gives {'more' if isinstance(content, bytes) else 'others'}")
    return io.BytesIO(content)


FILTERS: Mapping[str, tuple[float, Callable[[np.ndarray], np.ndarray]]] = MappingProxyType(
    {
        "bilinear": (1.0, lambda t: 1 - t),
        "bicubic": (2.0, lambda t: np.where(t < 1, (1.5 * t - 2.5) * t * t + 1, ((-0.5 * t + 2.5) * t - 4) * t + 2)),  # Keys 1981, a = -1/2
        "box": (0.5, np.ones_like),
        "hamming": (1.0, lambda t: np.sinc(t) * (0.54 + 0.46 * np.cos(np.pi * t))),
        "lanczos": (3.0, lambda t: np.sinc(t) * np.sinc(t / 3)),
        "nearest": (0.0, np.ones_like),
        "corner": (1.0, lambda t: 1 - t),
    }
)
"""How far each filter reaches, in pixels, and its weight at a distance within that: Pillow's, and TensorFlow 1's bilinear one, "corner"."""


def taps(source: int, target: int, resample: str = "bilinear") -> tuple[np.ndarray, np.ndarray]:
    """Return how one axis is scaled: the first old pixel that each new one looks at (target,), and the weights from there on (target, K).

    New pixel centres are laid over the old ones; each weighs its neighbours with the filter, one old pixel
    to the unit, or, where the picture shrinks, one new pixel, so that every old pixel counts. "nearest" takes the pixel it lies in.
    "corner" lays the first pixels' corners on each other, and weighs two neighbours however much the picture shrinks.

    Examples
    --------
    >>> first, weights = taps(4, 2)
    >>> first.tolist(), np.round(weights, 2).tolist()
    ([0, 0], [[0.43, 0.43, 0.14, 0.0], [0.0, 0.14, 0.43, 0.43]])
    """
    step = source / target
    scale = 1.0 if resample in ("corner", "nearest") else max(step, 1.0)
    places = np.minimum(np.arange(target) * step, source - 1) if resample == "corner" else (np.arange(target) + 0.5) * step - 0.5
    reach, weigh = FILTERS[resample]
    count = min(math.ceil(2 * reach * scale) + 1, source)
    first = np.clip(np.floor(places - reach * scale).astype(np.int64) + 1, 0, source - count)
    if resample == "nearest":
        return np.floor((np.arange(target) + 0.5) * step).astype(np.int64), np.ones((target, 1))
    distance = (first[:, None] + np.arange(count) - places[:, None]) / scale
    # A box has no width to lose: of two pixels at its two edges Pillow takes the one on the left.
    within = (distance > -reach) & (distance <= reach) if resample == "box" else np.abs(distance) < reach
    weights = np.where(within, weigh(np.abs(distance)), 0)
    return first, weights / weights.sum(axis=1, keepdims=True)


def interpolation(source: int, target: int, resample: str = "bilinear") -> np.ndarray:
    """Return the matrix (target, source) that scales one axis: the weights of `taps`, each where its old pixel is.

    Examples
    --------
    >>> interpolation(4, 2)
    array([[0.42857143, 0.42857143, 0.14285714, 0.        ],
           [0.        , 0.14285714, 0.42857143, 0.42857143]])
    """
    first, weights = taps(source, target, resample)
    matrix = np.zeros((target, source))
    np.put_along_axis(matrix, first[:, None] + np.arange(weights.shape[1]), weights, axis=1)
    return matrix


class Window(NamedTuple):
    """A part of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int


def resize(
    image: np.ndarray, height: int, width: int, resample: str = "bilinear", whole: bool = False, window: Window | None = None
) -> np.ndarray:
    """Scale an image (H, W, C) to (height, width, C), float32, with a filter of `FILTERS`.

    The numbers are those of Pillow's filter, without its rounding to whole values; with `whole` also that: after the columns
    are scaled and after the rows are, what lies outside 0 to 255 cut off. With a `window` only this part of the scaled image is made.

    Examples
    --------
    >>> resize(np.array([[[0.0], [4.0]]]), 1, 4)[0, :, 0]
    array([0., 1., 3., 4.], dtype=float32)
    """
    part = window or Window(0, 0, height, width)
    between = image.shape[0] * part.width if whole else part.height * image.shape[1]
    if max(part.height * part.width, between, 8 * max(height, width)) > PIXELS:  # 8: a side's taps take several numbers each
        raise ValueError(
            f"a picture may be scaled to {PIXELS:,} pixels at most, on the way there too, and a side to an eighth of that:"
            f" from {image.shape[1]} x {image.shape[0]} to {width} x {height}"
        )
    from . import scaling  # imported here: Numba takes its time to load

    rows, row_weights = _cut(*taps(image.shape[0], height, resample), part.top, part.height)
    columns, column_weights = _cut(*taps(image.shape[1], width, resample), part.left, part.width)
    low, high = rows.min(), rows.max() + row_weights.shape[1]  # what lies outside is not looked at
    pixels = np.ascontiguousarray(image[low:high], None if image.dtype == np.uint8 else np.float32)  # two types are enough to compile
    colours = image.shape[2]
    scaled = np.empty((part.height, part.width, colours), np.float32)
    if whole:  # Pillow rounds between the two, and begins with the width
        across = np.empty((len(pixels), part.width, colours), np.float32)
        scaling.along(columns, column_weights, pixels, across)
        scaling.down(rows - low, row_weights, _round(across).reshape(len(across), -1), scaled.reshape(part.height, -1))
        return _round(scaled)
    lower = np.empty((part.height, image.shape[1], colours), np.float32)
    scaling.down(rows - low, row_weights, pixels.reshape(len(pixels), -1), lower.reshape(part.height, -1))
    scaling.along(columns, column_weights, lower, scaled)
    return scaled


def _cut(first: np.ndarray, weights: np.ndarray, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a window's part of an axis's taps, the weights as float32."""
    return first[start : start + count], np.ascontiguousarray(weights[start : start + count], np.float32)


def _round(pixels: np.ndarray) -> np.ndarray:
    """Round pixels in place to whole numbers from 0 to 255, as Pillow does."""
    pixels += np.float32(0.5)
    np.floor(pixels, out=pixels)
    return np.clip(pixels, 0, 255, out=pixels)


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
    top, left = (margin(rest, even) for rest in rests)
    return image[top : top + height, left : left + width]


def margin(rest: int, even: bool = False) -> int:
    """Return how much of a rest lies in front of the middle, and if it is negative, how much is added there.

    Examples
    --------
    >>> margin(5), margin(7, even=True), margin(-5)
    (2, 4, -2)
    """
    if rest < 0:
        return -(-rest // 2)
    return round(rest / 2) if even else rest // 2
