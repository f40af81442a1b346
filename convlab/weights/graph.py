"""From a graph of operations to a network: what ONNX, TFLite and Keras hold is put together and recognised.

These formats do not name layers as convlab does; they hold operations that read and write named values. A `Builder` is told one
operation after another, in running order, and puts together what belongs together: zeros around a picture and the convolution
behind them, a convolution with its scale, shift and activation, a sum and the layers it goes round. In the end the
chain must be a MobileNet's; what is not is said by the file's own name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..geometry import ConvSpec, Sides
from ..layers import Activation, Conv, Dense, Layer, Network, Pool, Residual, walk
from ..preprocessing import Preprocessing
from .checks import float32
from .recognise import family_of, kinds, titled

ZERO: Sides = ((0, 0), (0, 0))


@dataclass
class _Piece:
    """A layer under construction: a convolution, a pooling or a dense layer; or the sum that ends a shortcut begun after piece `start`."""

    kind: str
    name: str
    spec: ConvSpec | None = None
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    eps: float | None = None
    activation: Activation | None = None
    start: int = -1
    closed: bool = False  # by its activation
    size: tuple[int, int] = (1, 1)  # height and width of what it gives


class Builder:
    """Takes operations in running order; `network` gives what they make.

    Parameters
    ----------
    value : str
        Name of the input picture.
    height, width : int
        Its size in pixels.
    """

    def __init__(self, value: str, height: int, width: int) -> None:
        self.input = height, width
        self.pieces: list[_Piece] = []
        self.values: dict[str, int] = {value: -1}  # which piece gave a value; -1 the picture
        self.pads: dict[str, Sides] = {}  # zeros put around a value, for the convolution that reads it
        self.shift = np.zeros(3)  # what happens to the picture before the first layer: x * scale + shift
        self.scale = np.ones(3)

    def conv(
        self,
        name: str,
        x: str,
        y: str,
        weight: np.ndarray,
        stride: Any,
        padding: Any,
        bias: np.ndarray | None = None,
        *,
        groups: int = 1,
        dilation: Any = 1,
    ) -> None:
        """Take a convolution; weight (KH, KW, C / groups, O). A 1x1 filter on pooled features is a dense layer."""
        if self._pooled(x):
            if weight.shape[:2] != (1, 1) or groups != 1:
                raise ValueError(f"behind the pooling there may be dense layers: {name} is a convolution of {weight.shape[:2]}")
            self.dense(name, x, y, weight[0, 0], bias)
            return
        zeros = self.pads.pop(x, ZERO)
        if zeros != ZERO:
            if isinstance(padding, str) and padding != "valid":
                raise ValueError(f"zeros must be put around a value once: before {name}, and by it (padding={padding!r})")
            own = ZERO if isinstance(padding, str) else padding
            padding = tuple(tuple(a + b for a, b in zip(one, other, strict=True)) for one, other in zip(zeros, own, strict=True))
        if weight.shape[:2] == (1, 1) and padding in ("same", ZERO):  # one pixel has nothing around it
            padding = "valid"
        spec = ConvSpec(weight.shape[2] * groups, weight.shape[3], weight.shape[:2], stride, padding, dilation, groups)
        piece = _Piece("conv", name, spec, {"weight": float32(weight)})
        piece.arrays["bias"] = np.zeros(weight.shape[3], np.float32) if bias is None else float32(bias)
        geometry = spec.geometry(*self.size)
        piece.size = geometry.out_height, geometry.out_width
        self._append(piece, x, y)

    def batch_norm(self, name: str, x: str, y: str, gamma: Any, beta: Any, mean: Any, variance: Any, eps: float) -> None:
        """Take batch norm behind a convolution without a bias of its own; with one, the mean takes it."""
        piece = self._open(name, x, y, "batch norm")
        bias = piece.arrays.pop("bias")
        channels = len(bias)
        filled = {"gamma": np.ones(channels) if gamma is None else gamma, "beta": np.zeros(channels) if beta is None else beta}
        filled |= {"mean": np.asarray(mean, np.float64) - bias, "variance": variance}
        piece.arrays |= {part: float32(np.broadcast_to(np.asarray(array).ravel(), (channels,))) for part, array in filled.items()}
        piece.eps = float(eps)

    def affine(self, name: str, x: str, y: str, scale: np.ndarray | float = 1.0, shift: np.ndarray | float = 0.0) -> None:
        """Multiply and shift each channel: of the picture, how it is prepared; behind a layer, a part of its weights."""
        scale, shift = np.asarray(scale, np.float64).ravel(), np.asarray(shift, np.float64).ravel()
        if self._at(name, x) == -1:
            if x in self.pads or self.pieces:
                raise ValueError(f"the picture must be scaled and shifted before anything else: {name}")
            self.scale, self.shift = self.scale * scale, self.shift * scale + shift
            self.values[y] = self.values.pop(x)
            return
        piece = self._open(name, x, y, "scale and shift")
        piece.arrays["weight"] = float32(piece.arrays["weight"] * scale)
        piece.arrays["bias"] = float32(piece.arrays["bias"] * scale + shift)

    def activation(self, name: str, x: str, y: str, kind: str) -> None:
        """Take an activation behind a convolution or a dense layer."""
        piece = self._last(name, x, "an activation")
        if kind not in ("relu", "relu6"):
            raise ValueError(f"activations must be relu6 or relu: {name} is {kind}")
        if piece.kind not in ("conv", "dense"):
            raise ValueError(f"activations must follow convolutions and dense layers: {name} ({kind}) follows a {piece.kind}")
        if piece.activation not in (None, kind) and (piece.activation, kind) != ("relu", "relu6"):  # min(relu(x), 6) is relu6
            raise ValueError(f"a layer has one activation: {name} ({kind}) follows {piece.activation}")
        piece.activation, piece.closed = ("relu6" if kind == "relu6" else "relu"), True
        self.values[y] = self.values.pop(x)

    def add(self, name: str, a: str, b: str, y: str) -> None:
        """Take the sum that ends a shortcut."""
        start, end = sorted((self._at(name, a), self._at(name, b)))
        if end != len(self.pieces) - 1 or start == end or any(piece.kind != "conv" for piece in self.pieces[start + 1 :]):
            raise ValueError(f"a sum must join a value and what some convolutions make of it: {name}")
        self.pieces.append(_Piece("sum", name, start=start, size=self.size))
        self.values[y] = len(self.pieces) - 1

    def pad(self, name: str, x: str, y: str, sides: Sides) -> None:
        """Take zeros around a picture, for the convolution that reads it."""
        self._at(name, x)
        before = self.pads.get(x, ZERO)
        self.values[y] = self.values[x]
        self.pads[y] = tuple(tuple(a + b for a, b in zip(one, other, strict=True)) for one, other in zip(before, sides, strict=True))  # type: ignore[assignment]

    def pool(self, name: str, x: str, y: str, window: tuple[int, int] | None = None) -> None:
        """Take global average pooling; a window, where one is given, must span the picture."""
        if self._pooled(x) or window not in (None, self.size):
            raise ValueError(f"there must be one pooling, over the whole picture: {name} is {window or 'another'} on {self.size}")
        self._append(_Piece("pool", name), x, y)

    def dense(self, name: str, x: str, y: str, weight: np.ndarray, bias: np.ndarray | None = None) -> None:
        """Take a fully connected layer behind the pooling; weight (I, O)."""
        if not self._pooled(x):
            raise ValueError(f"a dense layer must stand behind global pooling: {name} does not")
        zeros = np.zeros(weight.shape[1], np.float32)
        piece = _Piece("dense", name, None, {"weight": float32(weight), "bias": zeros if bias is None else float32(np.ravel(bias))})
        self._append(piece, x, y)

    def same(self, name: str, x: str, y: str) -> None:
        """Take what changes no number: a reshape, dropout at rest, a name."""
        self._at(name, x)
        self.values[y] = self.values[x]
        if x in self.pads:
            self.pads[y] = self.pads[x]

    def softmax(self, name: str, x: str, y: str) -> None:
        """Take the end: what convlab gives is what goes into it."""
        if self._last(name, x, "softmax").kind != "dense":
            raise ValueError(f"softmax must follow a dense layer: {name} does not")
        self.pieces[-1].closed = True
        self.same(name, x, y)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what the last layer gives."""
        return self.pieces[-1].size if self.pieces else self.input

    def preprocessing(self, otherwise: Preprocessing) -> Preprocessing:
        """Return how a picture is prepared: by the graph's own scale and shift if it has them, over pixels of 0 to 255 or of 0 to 1."""
        scale, shift = np.broadcast_to(self.scale, 3), np.broadcast_to(self.shift, 3)
        if (scale == 1).all() and (shift == 0).all():
            return otherwise
        if (scale <= 0).any():
            raise ValueError(f"the picture must be scaled by positive numbers: {scale.tolist()}")
        unit = 255.0 if scale.max() > 0.5 else 1.0
        return replace(otherwise, mean=(-shift / scale * unit).tolist(), deviation=(unit / scale).tolist())

    def network(self, output: str) -> tuple[Network, dict[str, np.ndarray]]:
        """Return the network up to a value, and its parameters; or say what it is not MobileNet V1 or V2 for."""
        height, width = self.input
        if self._at("the output", output) != len(self.pieces) - 1 or not self.pieces:
            raise ValueError(f"the output must be what the last layer gives: {output!r}")
        names = self._names()
        layers: list[Layer] = []
        params: dict[str, np.ndarray] = {}
        for i, (piece, name) in enumerate(zip(self.pieces, names, strict=True)):
            params |= {f"{name}.{part}": array for part, array in piece.arrays.items()}
            if piece.kind == "conv":
                assert piece.spec is not None
                layers.append(Conv(name, piece.spec, piece.activation, piece.eps))
            elif piece.kind == "pool":
                layers.append(Pool(name))
            elif piece.kind == "dense":
                inputs, outputs = piece.arrays["weight"].shape
                layers.append(Dense(name, inputs, outputs, piece.activation))
            else:
                body = [layer for layer in layers[-(i - piece.start - 1) :] if isinstance(layer, Conv)]
                layers[-len(body) :] = [Residual(name, tuple(body))]
        return titled(_same_padding(layers, height, width), height, width), params

    def _names(self) -> list[str]:
        """Return convlab's names of the pieces, judging whether they are a MobileNet's."""
        convs = [piece for piece in self.pieces if piece.kind == "conv"]
        layers = [Conv(f"{i}", piece.spec, piece.activation, piece.eps) for i, piece in enumerate(convs) if piece.spec]
        family = family_of(layers)
        if family is None:
            raise ValueError(f"the network is neither MobileNet V1 nor V2: {_first_strange(convs, kinds(layers))}")
        for piece in convs:
            spec = piece.spec
            assert spec is not None
            if spec.kind != "pointwise" and spec.kernel != (3, 3):
                raise ValueError(f"a MobileNet's windows are 3x3: {piece.name} is {spec.kernel[0]}x{spec.kernel[1]}")
        names = {id(convs[0]): "stem"}
        rest = convs[1:]
        step = 2 if family == "mobilenet_v1" else 3
        parts = ("depthwise", "pointwise") if step == 2 else ("expand", "depthwise", "project")
        block = 0
        while rest:
            block += 1
            take = parts[1:] if step == 3 and block == 1 else parts
            if len(rest) == 1:
                names[id(rest.pop())] = "head"
                break
            names |= {id(piece): f"block{block}.{part}" for piece, part in zip(rest, take, strict=False)}
            rest = rest[len(take) :]
        linear = {"project"} if step == 3 else set()
        for piece in convs:
            name = names[id(piece)]
            if (piece.activation is None) != (name.partition(".")[2] in linear):
                wanted = "none" if piece.activation else "relu6 or relu"
                raise ValueError(f"{family}'s {name} must have the activation {wanted}: {piece.name} has {piece.activation or 'none'}")
        dense = [piece for piece in self.pieces if piece.kind == "dense"]
        names |= {id(piece): f"dense{i}" for i, piece in enumerate(dense, 1)}
        if dense and dense[-1].activation is None:
            names[id(dense[-1])] = "classifier"
        for i, piece in enumerate(self.pieces):
            if piece.kind == "pool":
                names[id(piece)] = "pool"
            elif piece.kind == "sum":
                names[id(piece)] = names[id(self.pieces[i - 1])].partition(".")[0]
        return [names[id(piece)] for piece in self.pieces]

    def _at(self, name: str, value: str) -> int:
        if value not in self.values:
            raise ValueError(f"the layers must form a chain with shortcuts: {name} reads {value!r}, which none of them gives")
        return self.values[value]

    def _last(self, name: str, value: str, what: str) -> _Piece:
        if self._at(name, value) != len(self.pieces) - 1 or not self.pieces:
            raise ValueError(f"{what} must follow the layer before it: {name} does not")
        return self.pieces[-1]

    def _open(self, name: str, x: str, y: str, what: str) -> _Piece:
        """Return the layer whose numbers `what` changes, the value moved on."""
        piece = self._last(name, x, what)
        if piece.kind not in ("conv", "dense") or piece.closed or piece.eps is not None:
            raise ValueError(f"{what} must follow a convolution: {name} follows a {piece.kind}{' with its activation' * piece.closed}")
        self.values[y] = self.values.pop(x)
        return piece

    def _pooled(self, value: str) -> bool:
        i = self.values.get(value, -1)
        return i >= 0 and self.pieces[i].kind in ("pool", "dense")

    def _append(self, piece: _Piece, x: str, y: str) -> None:
        if self._at(piece.name, x) != len(self.pieces) - 1:
            raise ValueError(f"the layers must form a chain with shortcuts: {piece.name} reads a value that others have read")
        self.pieces.append(piece)
        self.values[y] = len(self.pieces) - 1


def _first_strange(convs: Sequence[_Piece], letters: str) -> str:
    """Say where the convolutions leave both families' patterns."""
    words = {"s": "standard", "d": "depthwise", "p": "pointwise", "g": "grouped"}
    if not convs:
        return "it has no convolution"
    for i, letter in enumerate(letters):
        if (letter != "s") if i == 0 else (letter not in "dp" or letters[i - 1 : i + 1] == "dd"):
            return f"{convs[i].name} is a {words[letter]} convolution of {convs[i].spec.kernel[0]}x{convs[i].spec.kernel[1]}"  # type: ignore[union-attr]
    return f"{len(convs)} convolutions, {letters} (s: standard, d: depthwise, p: pointwise)"


def _same_padding(layers: list[Layer], height: int, width: int) -> list[Layer]:
    """Return the layers with TensorFlow's rule for padding where their zeros are the ones it gives, all of them."""

    def ruled(layer: Layer) -> Layer:
        match layer:
            case Conv(spec=spec) if spec.kernel != (1, 1):
                own = spec.in_channels, spec.out_channels, spec.kernel, spec.stride
                return replace(layer, spec=ConvSpec(*own, "same", spec.dilation, spec.groups))
            case Residual(body=body):
                return replace(layer, body=tuple(ruled(member) for member in body))  # type: ignore[misc]
            case _:
                return layer

    same = [ruled(layer) for layer in layers]
    pairs = zip(
        walk(Network("own", (height, width, 3), tuple(layers))), walk(Network("ruled", (height, width, 3), tuple(same))), strict=True
    )
    equal = all(
        own.geometry is None or own.geometry == replace(other.geometry, spec=own.geometry.spec) for own, other in pairs if other.geometry
    )
    return same if equal else layers
