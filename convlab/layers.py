"""Layers and networks as data: descriptions without a single weight in them.

A `Network` is a frozen value. What can be said about it (its cost, its summary, its parameters'
shapes, its forward pass) is a function that walks the layers with one `match`. `walk` gives every
layer together with the shapes that meet it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, assert_never

from .arguments import integer, number
from .geometry import ConvGeometry, ConvSpec

Shape = tuple[int, ...]
"""(H, W, C) of an image or (C,) of a vector, without the batch."""

Activation = Literal["relu6", "relu"]


def _check_name(owner: str, name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"a {owner}'s name must be a string: name={name!r}")


def _check_activation(activation: object) -> None:
    if not (activation is None or activation in ("relu6", "relu")):
        raise ValueError(f'activation must be "relu6", "relu" or None: activation={activation!r}')


@dataclass(frozen=True)
class Conv:
    """A convolution, its batch norm and its activation.

    Parameters
    ----------
    name : str
        Unique in the network; its parameters are called ``name.weight``, ``name.gamma``, ...
    spec : ConvSpec
        The convolution.
    activation : "relu6", "relu" or None
        None is a *linear* layer.
    eps : float or None
        Batch norm's epsilon. None: no batch norm, a bias instead.
    """

    name: str
    spec: ConvSpec
    activation: Activation | None = "relu6"
    eps: float | None = 1e-3

    def __post_init__(self) -> None:
        _check_name("layer", self.name)
        _check_activation(self.activation)
        if self.eps is not None:
            eps = number("eps", self.eps)
            if not 0 <= eps < math.inf:
                raise ValueError(f"eps must be finite and at least 0: eps={eps}")
            object.__setattr__(self, "eps", eps)


@dataclass(frozen=True)
class Residual:
    """Layers whose input is added to their output: a shortcut. The sum has no activation."""

    name: str
    body: tuple[Conv, ...]

    def __post_init__(self) -> None:
        _check_name("layer", self.name)
        if not self.body:
            raise ValueError(f"a shortcut must go round at least one layer: {self.name!r} has none")
        for member in self.body:
            if not isinstance(member, Conv):
                raise TypeError(f"a shortcut goes round Conv layers: {self.name!r} holds a {type(member).__name__}")


@dataclass(frozen=True)
class Branch:
    """Layers beside the way: their result is an output of the network, named like the branch, and the network goes on with their input."""

    name: str
    body: tuple[Conv, ...]

    def __post_init__(self) -> None:
        if not self.body:
            raise ValueError(f"a branch must have at least one layer: {self.name!r} has none")
        for member in self.body:
            if not isinstance(member, Conv):
                raise TypeError(f"a branch is made of Conv layers: {self.name!r} holds a {type(member).__name__}")


@dataclass(frozen=True)
class Pool:
    """Global average pooling: (H, W, C) -> (C,)."""

    name: str

    def __post_init__(self) -> None:
        _check_name("layer", self.name)


@dataclass(frozen=True)
class Dense:
    """A fully connected layer with bias, and an activation if there is one: (in_features,) -> (out_features,)."""

    name: str
    in_features: int
    out_features: int
    activation: Activation | None = None

    def __post_init__(self) -> None:
        _check_name("layer", self.name)
        _check_activation(self.activation)
        # Plain ints, so that a network goes through JSON whatever its sizes were given as.
        object.__setattr__(self, "in_features", integer("in_features", self.in_features, 1))
        object.__setattr__(self, "out_features", integer("out_features", self.out_features, 1))


Layer = Conv | Residual | Branch | Pool | Dense


@dataclass(frozen=True)
class Visit:
    """A layer as `walk` meets it: with the shapes of its input and output, and a convolution's geometry.

    A `Branch`'s input is what its body gave, its output what the network goes on with.
    """

    layer: Layer
    input: Shape
    output: Shape
    geometry: ConvGeometry | None = None


@dataclass(frozen=True)
class Network:
    """A network's description: input size and layers. Checked when made: every layer fits the one before.

    Parameters
    ----------
    name : str
        For tables and reports.
    input : (int, int, int)
        (H, W, C) of the pictures it takes.
    layers : tuple of Conv, Residual, Branch, Pool, Dense

    Raises
    ------
    ValueError, TypeError
        If the input is not three sizes, there is no layer, a layer does not fit the one before, or two have one name.

    Examples
    --------
    >>> net = Network("tiny", (6, 6, 3), (Conv("stem", ConvSpec(3, 5, 3)), Pool("pool"), Dense("classifier", 5, 10)))
    >>> [visit.output for visit in walk(net)]
    [(4, 4, 5), (5,), (10,)]
    """

    name: str
    input: tuple[int, int, int]
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        _check_name("network", self.name)
        if len(self.input) != 3:
            raise ValueError(f"input must be (H, W, C): input={self.input}")
        object.__setattr__(self, "input", tuple(integer(f"input {axis}", size, 1) for axis, size in zip("HWC", self.input, strict=True)))
        if not self.layers:
            raise ValueError(f"a network must have at least one layer: {self.name!r} has none")
        names: set[str] = set()
        for visit in walk(self):
            if visit.layer.name in names:
                raise ValueError(f"layer names must be unique: {visit.layer.name!r} stands twice in {self.name!r}")
            names.add(visit.layer.name)

    @property
    def outputs(self) -> dict[str, Shape]:
        """Name and shape of everything that the network gives: the branches' results, and the last layer's if it is no branch."""
        named: dict[str, Shape] = {}
        for visit in walk(self):
            if isinstance(visit.layer, Branch):
                named[visit.layer.name] = visit.input
        if not isinstance(self.layers[-1], Branch):
            named[visit.layer.name] = visit.output
        return named

    @property
    def output(self) -> Shape:
        """Shape of the only output.

        Raises
        ------
        ValueError
            If there are several.
        """
        outputs = self.outputs
        if len(outputs) > 1:
            raise ValueError(f"{self.name!r} has {len(outputs)} outputs, not one: {', '.join(outputs)}")
        (shape,) = outputs.values()
        return shape


def walk(network: Network) -> Iterator[Visit]:
    """Yield every layer in running order; a `Residual` comes after its body, as the addition it is, and so does a `Branch`."""
    shape: Shape = network.input
    for layer in network.layers:
        for visit in _visit(layer, shape):
            yield visit
            shape = visit.output


def _visit(layer: Layer, shape: Shape) -> Iterator[Visit]:
    match layer:
        case Conv():
            _fits(layer, len(shape) == 3 and shape[2] == layer.spec.in_channels, shape, f"(H, W, {layer.spec.in_channels})")
            geometry = layer.spec.geometry(*shape[:2])
            yield Visit(layer, shape, geometry.out_shape, geometry)
        case Residual():
            inner = shape
            for member in layer.body:
                for visit in _visit(member, inner):
                    yield visit
                    inner = visit.output
            if inner != shape:
                raise ValueError(f"a shortcut needs equal shapes: {layer.name!r} turns {shape} into {inner}")
            yield Visit(layer, shape, shape)
        case Branch():
            inner = shape
            for member in layer.body:
                for visit in _visit(member, inner):
                    yield visit
                    inner = visit.output
            yield Visit(layer, inner, shape)
        case Pool():
            _fits(layer, len(shape) == 3, shape, "(H, W, C)")
            yield Visit(layer, shape, shape[2:])
        case Dense():
            _fits(layer, shape == (layer.in_features,), shape, f"({layer.in_features},)")
            yield Visit(layer, shape, (layer.out_features,))
        case _:
            assert_never(layer)


def _fits(layer: Layer, fits: bool, shape: Shape, wanted: str) -> None:
    if not fits:
        raise ValueError(f"layer {layer.name!r} must be given {wanted}: the layer before it gives {shape}")


def parameter_shapes(network: Network) -> dict[str, Shape]:
    """Return the name and shape of every array that the network needs.

    Batch norm's `gamma` and `beta` are trained; `mean` and `variance` are statistics kept from training.

    Examples
    --------
    >>> net = Network("tiny", (6, 6, 3), (Conv("stem", ConvSpec(3, 5, 3), eps=None), Pool("pool")))
    >>> parameter_shapes(net)
    {'stem.weight': (3, 3, 3, 5), 'stem.bias': (5,)}
    """
    shapes: dict[str, Shape] = {}
    for visit in walk(network):
        match visit.layer:
            case Conv(name, spec, _, eps):
                shapes[f"{name}.weight"] = spec.weight_shape
                for array in ("bias",) if eps is None else ("gamma", "beta", "mean", "variance"):
                    shapes[f"{name}.{array}"] = (spec.out_channels,)
            case Dense(name, in_features, out_features):
                shapes[f"{name}.weight"] = (in_features, out_features)
                shapes[f"{name}.bias"] = (out_features,)
            case Residual() | Branch() | Pool():
                pass
            case _:
                assert_never(visit.layer)
    return shapes


_TYPES: dict[str, type[Layer]] = {kind.__name__: kind for kind in (Conv, Residual, Branch, Pool, Dense)}


def to_dict(network: Network) -> dict[str, Any]:
    """Return the network as plain dicts, lists, numbers and strings, ready for JSON; `from_dict` is its inverse."""

    def plain(layer: Layer) -> dict[str, Any]:
        record = {"type": type(layer).__name__, **dataclasses.asdict(layer)}
        if isinstance(layer, (Residual, Branch)):
            record["body"] = [plain(member) for member in layer.body]
        return record

    return {"name": network.name, "input": list(network.input), "layers": [plain(layer) for layer in network.layers]}


def from_dict(record: Mapping[str, Any]) -> Network:
    """Build a network from what `to_dict` returned; every constructor checks its part again.

    Raises
    ------
    ValueError
        If the record does not describe a network.
    """

    def layer(record: Mapping[str, Any]) -> Layer:
        fields = {key: value for key, value in record.items() if key != "type"}
        if "spec" in fields:
            fields["spec"] = ConvSpec(**fields["spec"])
        if "body" in fields:
            fields["body"] = tuple(layer(member) for member in fields["body"])
        return _TYPES[record["type"]](**fields)

    try:
        height, width, channels = record["input"]
        return Network(record["name"], (height, width, channels), tuple(layer(part) for part in record["layers"]))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:  # shortcuts may stand in shortcuts without end
        raise ValueError(f"this record does not describe a network: {type(error).__name__}: {error}") from error
