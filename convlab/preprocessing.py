"""How a picture becomes a network's input, as data: a model carries it beside its weights.

Networks see what they were trained on. Which part of a picture is taken, how it is scaled, which numbers stand for black and
white and in which order the colours come differ from family to family; a network given another family's numbers
still answers, only worse. So a model's file says it where it can, and `Preprocessing` is what it says::

    picture -> fitted to the size -> (pixel - mean) / deviation
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, SupportsIndex

import numpy as np

from . import images
from .arguments import integer, number, one_of

Fit = Literal["square", "shorter", "stretch", "crop", "pad"]
FITS: tuple[Fit, ...] = ("square", "shorter", "stretch", "crop", "pad")


class Frame(NamedTuple):
    """The part of a picture that a network sees, in the picture's pixels; a padded one reaches beyond the picture."""

    x: float
    y: float
    width: float
    height: float


LARGEST = 1e9
"""Largest mean and deviation, and the inverse of the least deviation: pixels so prepared are float32 numbers."""


@dataclass(frozen=True, init=False)
class Preprocessing:
    """How a picture becomes a network's input.

    Parameters
    ----------
    size : (int, int)
        Height and width of the input in pixels.
    fit : "square", "shorter", "stretch", "crop" or "pad"
        "square": the largest part of this shape from the middle, scaled. "shorter": the whole scaled so that its shorter
        side becomes `shorter`, then `size` cut from the middle, zeros beyond its edge. "stretch": the whole scaled to `size`.
        "crop": `size` cut from the middle, nothing scaled.
        "pad": black added at the right or below until it has the proportions of `size`, then scaled.
    shorter : int, optional
        For "shorter"; the size's shorter side if left out.
    resample : str
        A filter of `images.FILTERS`.
    mean, deviation : float, or three of them
        Of each channel, where a pixel is 0 to 255: ``(pixel - mean) / deviation``. 127.5 and 127.5 give -1 to 1.
    order : "RGB" or "BGR"
        Of the channels that the network reads; mean and deviation are in this order.
    whole : bool
        Whether scaled pixels are rounded to whole numbers, as libraries do that scale with Pillow.
    middle : "down" or "even"
        Where the middle lies if what is cut off is odd: with the smaller half in front (Transformers), or the even one (torchvision).

    Raises
    ------
    ValueError, TypeError
        If a part is out of range or not a number.

    Examples
    --------
    >>> ready = Preprocessing((2, 2), mean=0, deviation=255)
    >>> np.unique(ready(np.full((2, 6, 3), 255, np.uint8))).tolist()
    [1.0]
    """

    size: tuple[int, int]
    fit: Fit
    shorter: int | None
    resample: str
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    order: Literal["RGB", "BGR"]
    whole: bool
    middle: Literal["down", "even"]

    def __init__(
        self,
        size: Sequence[SupportsIndex],
        fit: str = "square",
        shorter: SupportsIndex | None = None,
        resample: str = "bilinear",
        mean: float | Sequence[float] = 127.5,
        deviation: float | Sequence[float] = 127.5,
        order: str = "RGB",
        whole: bool = False,
        middle: str = "down",
    ) -> None:
        put = object.__setattr__
        if not isinstance(size, (tuple, list)) or len(size) != 2:
            raise ValueError(f"size must be a pair (height, width): size={size!r}")
        put(self, "size", (integer("size height", size[0], 1), integer("size width", size[1], 1)))
        put(self, "fit", one_of("fit", fit, FITS))
        put(self, "shorter", None if shorter is None else integer("shorter", shorter, 1))
        put(self, "resample", one_of("resample", resample, tuple(images.FILTERS)))
        put(self, "mean", _three("mean", mean))
        put(self, "deviation", _three("deviation", deviation))
        if not all(value >= 1 / LARGEST for value in self.deviation):
            raise ValueError(f"deviation must be positive, and at least {1 / LARGEST}: deviation={deviation!r}")
        put(self, "order", one_of("order", order, ("RGB", "BGR")))
        if not isinstance(whole, bool):
            raise TypeError(f"whole must be true or false: whole={whole!r}")
        put(self, "whole", whole)
        put(self, "middle", one_of("middle", middle, ("down", "even")))

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, ready for JSON; `from_dict` is the inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: object) -> Preprocessing:
        """Build it from what `to_dict` returned; every part is checked again."""
        if not isinstance(record, Mapping):
            raise ValueError(f"preprocessing must be a JSON object: it is {type(record).__name__}")
        try:
            return cls(**record)
        except TypeError as error:
            raise ValueError(f"this record does not describe preprocessing: {error}") from error

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return a picture (H, W, 3) of 0 to 255 as the network's input: (*size, 3), float32."""
        fitted = self._fitted(pixels)
        if self.order == "BGR":
            fitted = fitted[:, :, ::-1]
        if len({*self.mean}) == len({*self.deviation}) == 1:  # one division and one difference, as every tutorial writes it
            deviation = np.float32(self.deviation[0])
            return np.ascontiguousarray(fitted, np.float32) / deviation - np.float32(self.mean[0] / self.deviation[0])
        return (np.ascontiguousarray(fitted, np.float32) - np.array(self.mean, np.float32)) / np.array(self.deviation, np.float32)

    def _fitted(self, pixels: np.ndarray) -> np.ndarray:
        height, width = self.size
        match self.fit:
            case "square":
                return self._scaled(images.middle(pixels, *_largest(pixels.shape[:2], self.size)), height, width)
            case "stretch":
                return self._scaled(pixels, height, width)
            case "crop":
                return images.middle(pixels, height, width, even=self.middle == "even")
            case "pad":
                tall, wide = _smallest(pixels.shape[:2], self.size)
                rest = (0, tall - pixels.shape[0]), (0, wide - pixels.shape[1]), (0, 0)
                return self._scaled(np.pad(pixels, rest) if tall * wide > pixels[:, :, 0].size else pixels, height, width)
            case "shorter":
                tall, wide = self._shortened(pixels.shape)
                if pixels.shape[:2] == (tall, wide) or tall < height or wide < width:
                    return images.middle(self._scaled(pixels, tall, wide), height, width, even=self.middle == "even")
                top, left = (images.margin(rest, self.middle == "even") for rest in (tall - height, wide - width))
                window = images.Window(top, left, height, width)  # what is cut off need not be scaled
                return images.resize(pixels, tall, wide, self.resample, self.whole, window)

    def _shortened(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return to which height and width a picture is scaled: rounded down, as Transformers and torchvision do."""
        side, (rows, columns) = self.shorter or min(self.size), shape[:2]
        return (side, int(side * columns / rows)) if rows <= columns else (int(side * rows / columns), side)

    def frame(self, rows: int, columns: int) -> Frame:
        """Return what the network sees of a picture of rows x columns pixels.

        Examples
        --------
        >>> Preprocessing((512, 512), "pad").frame(300, 451)
        Frame(x=0.0, y=0.0, width=451.0, height=451.0)
        """
        height, width = self.size
        match self.fit:
            case "square":
                tall, wide = _largest((rows, columns), self.size)
                return Frame(float((columns - wide) // 2), float((rows - tall) // 2), float(wide), float(tall))
            case "stretch":
                return Frame(0.0, 0.0, float(columns), float(rows))
            case "pad":
                tall, wide = _smallest((rows, columns), self.size)
                return Frame(0.0, 0.0, float(wide), float(tall))
            case "shorter" | "crop":
                tall, wide = self._shortened((rows, columns)) if self.fit == "shorter" else (rows, columns)
                top, left = (images.margin(whole - part, self.middle == "even") for whole, part in ((tall, height), (wide, width)))
                across, down = columns / wide, rows / tall
                return Frame(left * across, top * down, width * across, height * down)

    def _scaled(self, pixels: np.ndarray, height: int, width: int) -> np.ndarray:
        if pixels.shape[:2] == (height, width):
            return pixels
        return images.resize(pixels, height, width, self.resample, self.whole)


def _largest(shape: tuple[int, ...], size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of the largest part of a picture that has the proportions of `size`."""
    (height, width), (rows, columns) = shape[:2], size
    if height * columns <= width * rows:
        return height, max(1, round(height * columns / rows))
    return max(1, round(width * rows / columns)), width


def _smallest(shape: tuple[int, ...], size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of the smallest frame round a picture that has the proportions of `size`."""
    (height, width), (rows, columns) = shape[:2], size
    if height * columns >= width * rows:
        return height, max(width, round(height * columns / rows))
    return max(height, round(width * rows / columns)), width


def _three(name: str, value: object) -> tuple[float, float, float]:
    """Return a number, or one for each of the three channels, as three finite floats."""
    numbers = value if isinstance(value, (list, tuple)) else (value,) * 3
    if len(numbers) != 3:
        raise ValueError(f"{name} must be a number or three, one for each channel: {name}={value!r}")
    three = tuple(number(name, part) for part in numbers)
    if not all(abs(part) <= LARGEST for part in three):
        raise ValueError(f"{name} must be at most {LARGEST:,.0f}: {name}={value!r}")
    return three[0], three[1], three[2]
