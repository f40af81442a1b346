"""A network with its parameters: run it, watch it layer by layer, let it name a picture.

Nothing is fused here. Convolution, batch norm and activation are separate steps, each visible in
`Model.trace`, so that what runs is what the papers draw.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from . import images, ops
from .conv import KernelLike, convolve, runner
from .cost import Cost, steps_of, summary
from .geometry import integer
from .layers import Conv, Dense, Network, Pool, Residual, Visit, parameter_shapes, walk
from .preprocessing import Preprocessing
from .tables import Table

if TYPE_CHECKING:
    from .plan import Plan


ACTIVATIONS = {"relu6": ops.relu6, "relu": ops.relu}


@dataclass(frozen=True, eq=False)
class Step:
    """One thing that happened to the data on its way through a model.

    Attributes
    ----------
    name : str
        The layer's name and what was done: ``block1.expand.conv``, ``block1.expand.batch_norm``, ...
    layer : Conv, Residual, Pool or Dense
        The description of the layer that the step belongs to.
    output : ndarray
        What the step gave, (N, H, W, C) or (N, C).
    cost : Cost
        What the step costs for this batch; a convolution's MACs stand in its ``.conv`` step.
    kernel : str or None
        Which kernel ran it, for convolutions.
    """

    name: str
    layer: Conv | Residual | Pool | Dense
    output: np.ndarray
    cost: Cost
    kernel: str | None = None


class Model:
    """A `Network` and its parameters.

    Parameters
    ----------
    network : Network
        The description.
    params : mapping of str to array_like
        An array for every name in `parameter_shapes(network)`, kept as float32.
    labels : sequence of str, optional
        Names of the classes, in order.
    detail : int, optional
        Side in pixels to which `classify` first shrinks a picture, where the network was
        trained on small pictures scaled up.
    preprocessing : Preprocessing, optional
        How a picture becomes the network's input; if left out, the largest part from the middle, scaled to -1 to 1.

    Raises
    ------
    ValueError
        Naming every parameter that is missing, superfluous, misshapen or not of numbers; if the labels do not name every class,
        or pictures are prepared for another size.
    TypeError
        If labels are not strings or detail is not an integer.

    Examples
    --------
    >>> import convlab as cl
    >>> model = cl.Model.random(cl.mobilenet_v1(alpha=0.25, resolution=32, classes=10), seed=0)
    >>> model(np.zeros((2, 32, 32, 3), np.float32), kernel="im2col").shape
    (2, 10)
    """

    def __init__(
        self,
        network: Network,
        params: Mapping[str, ArrayLike],
        labels: Sequence[str] | None = None,
        detail: int | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        self.network = network
        self.params = _checked(network, params)
        if isinstance(labels, (str, bytes)) or not isinstance(labels, (Iterable, type(None))):
            raise TypeError(f"labels must be a sequence of strings: labels={labels!r}")
        self.labels = None if labels is None else tuple(labels)
        if self.labels is not None and not all(isinstance(label, str) for label in self.labels):
            raise TypeError(f"labels must be a sequence of strings: labels={labels!r}")
        self.detail = None if detail is None else integer("detail", detail, 1)
        classes = network.output[-1]
        if self.labels is not None and len(self.labels) != classes:
            raise ValueError(f"labels must name every class: {len(self.labels)} labels, {classes} classes")
        self.preprocessing = Preprocessing(network.input[:2]) if preprocessing is None else preprocessing
        if self.preprocessing.size != network.input[:2]:
            raise ValueError(f"pictures must be prepared for the network's size {network.input[:2]}: size={self.preprocessing.size}")

    @classmethod
    def random(cls, network: Network, seed: int = 0) -> Model:
        """Return a model with random weights that keep activations at a steady size (He et al. 2015).

        Batch norm's statistics are random too, so that a test with such a model sees them.
        """
        rng = np.random.default_rng(seed)
        params = {}
        for name, shape in parameter_shapes(network).items():
            match name.rpartition(".")[2]:
                case "weight":
                    inputs = int(np.prod(shape[:-1]))
                    params[name] = rng.normal(0, np.sqrt(2 / inputs), shape)
                case "gamma" | "variance":
                    params[name] = rng.uniform(0.5, 1.5, shape)
                case _:
                    params[name] = rng.normal(0, 0.1, shape)
        return cls(network, params)

    def __repr__(self) -> str:
        return f"Model({self.network.name}, {sum(array.size for array in self.params.values()):,} numbers)"

    def summary(self) -> Table:
        """Return the per-layer table of the network; see `convlab.summary`."""
        return summary(self.network)

    def __call__(self, x: ArrayLike, kernel: KernelLike = "auto") -> np.ndarray:
        """Return the logits (N, classes) of preprocessed images x (N, H, W, 3) or (H, W, 3).

        Parameters
        ----------
        x : array_like of float, (N, H, W, C) or (H, W, C)
            Images as `preprocess` makes them. The result of a single image has no N.
        kernel : str, Kernel or callable
            Which kernel runs the convolutions.

        Raises
        ------
        ValueError, TypeError
            If x has another shape than the network's input, or is not of floats.
        """
        images = self._batch(x)
        output = images
        for step in self._run(images, kernel):
            output = step.output
        return output[0] if np.ndim(x) == 3 else output

    def trace(self, x: ArrayLike, kernel: KernelLike = "auto") -> Iterator[Step]:
        """Run the model and yield every `Step`: convolution, batch norm, activation, shortcut, pooling, classifier.

        Examples
        --------
        >>> import convlab as cl
        >>> model = cl.Model.random(cl.mobilenet_v1(alpha=0.25, resolution=32, classes=10), seed=0)
        >>> for step in list(model.trace(np.zeros((32, 32, 3), np.float32), kernel="im2col"))[:4]:
        ...     print(step.name, step.output.shape, step.cost.macs)
        stem.conv (1, 16, 16, 8) 55296
        stem.batch_norm (1, 16, 16, 8) 0
        stem.relu6 (1, 16, 16, 8) 0
        block1.depthwise.conv (1, 16, 16, 8) 18432
        """
        return self._run(self._batch(x), kernel)

    def _batch(self, x: ArrayLike) -> np.ndarray:
        array = np.asarray(x)
        if array.dtype.kind != "f" or array.itemsize not in (4, 8):
            raise TypeError(f"x must be float32 or float64, as preprocess() returns: x.dtype={array.dtype}")
        if array.ndim not in (3, 4) or array.shape[-3:] != self.network.input:
            wanted = ", ".join(map(str, self.network.input))
            raise ValueError(f"x must be (N, {wanted}) or ({wanted}): x.shape={array.shape}")
        return array.astype(np.float32, copy=False).reshape(-1, *self.network.input)

    def _run(self, x: np.ndarray, kernel: KernelLike) -> Iterator[Step]:
        saved: dict[str, np.ndarray] = {}  # what each shortcut carries, by the name of its first layer
        starts = {layer.body[0].name: layer.name for layer in self.network.layers if isinstance(layer, Residual)}
        for visit in walk(self.network):
            if visit.layer.name in starts:
                saved[starts[visit.layer.name]] = x
            for step in self._steps(visit, x, kernel, saved):
                yield step
                x = step.output

    def _steps(self, visit: Visit, x: np.ndarray, kernel: KernelLike, saved: dict[str, np.ndarray]) -> Iterator[Step]:
        """Yield the steps of one layer."""
        layer, p = visit.layer, self.params
        costs = steps_of(visit, len(x))
        match layer:
            case Conv(name, spec, activation, eps):
                assert visit.geometry is not None
                y = convolve(x, p[f"{name}.weight"], visit.geometry, kernel)
                _, ran = runner(kernel, spec, x.dtype)
                if eps is None:
                    y = y + p[f"{name}.bias"]
                yield Step(f"{name}.conv", layer, y, costs["conv"], ran)
                if eps is not None:
                    gamma, beta, mean, variance = (p[f"{name}.{part}"] for part in ("gamma", "beta", "mean", "variance"))
                    y = ops.batch_norm(y, gamma, beta, mean, variance, eps)
                    yield Step(f"{name}.batch_norm", layer, y, costs["batch_norm"])
                if activation is not None:
                    yield Step(f"{name}.{activation}", layer, ACTIVATIONS[activation](y), costs[activation])
            case Residual(name):
                yield Step(f"{name}.add", layer, saved.pop(name) + x, costs["add"])
            case Pool(name):
                yield Step(name, layer, ops.global_average_pool(x), costs["pool"])
            case Dense(name, _, _, activation):
                y = ops.dense(x, p[f"{name}.weight"], p[f"{name}.bias"])
                yield Step(name, layer, y, costs["dense"])
                if activation is not None:
                    yield Step(f"{name}.{activation}", layer, ACTIVATIONS[activation](y), costs[activation])

    def compile(self, batch: int = 1, threads: int | None = None) -> Plan:
        """Return the model as a `Plan`: the same logits up to rounding, many times faster.

        Parameters
        ----------
        batch : int
            Pictures in a call.
        threads : int, optional
            How many share a call; all cores that the process may use if left out.

        Examples
        --------
        >>> import convlab as cl
        >>> model = cl.Model.random(cl.mobilenet_v1(alpha=0.25, resolution=32, classes=10), seed=0)
        >>> model.compile()(np.zeros((32, 32, 3), np.float32)).shape
        (10,)
        """
        from .plan import Plan  # imported here: Numba takes its time to load

        return Plan(self.network, self.params, batch, threads)

    def preprocess(self, image: images.Picture) -> np.ndarray:
        """Return a picture as the network's input (H, W, 3), float32, prepared as `self.preprocessing` says."""
        pixels = images.as_rgb(image)
        if self.detail is not None:
            pixels = images.resize(images.square(pixels), self.detail, self.detail)
        return self.preprocessing(pixels)

    def classify(self, image: images.Picture, top: int = 5, kernel: KernelLike | None = None) -> list[tuple[str, float]]:
        """Return the `top` likeliest classes of a picture as (label, probability), likeliest first.

        Parameters
        ----------
        image : path, ndarray of uint8, opened Pillow picture or file object
            A picture of any size, as `convlab.images.as_rgb` takes it. Reading a path or a file needs Pillow.
        top : int
            How many classes.
        kernel : str, Kernel or callable, optional
            As in `__call__`; the compiled plan if left out.

        Examples
        --------
        >>> import convlab as cl
        >>> model = cl.load("mobilenet_v2_cifar10")
        >>> model.classify(cl.zoo.photos()["chelsea"], top=1, kernel="im2col")[0][0]
        'cat'
        """
        if top < 1:
            raise ValueError(f"top must be at least 1: top={top}")
        last = self.network.layers[-1]
        if not isinstance(last, Dense):
            raise ValueError(f"only a network with a classifier can name pictures: {self.network.name!r} ends in {last.name!r}")
        x = self.preprocess(image)
        with np.errstate(all="ignore"):  # judged by what comes out
            logits = self.compile()(x) if kernel is None else self(x, kernel)
        if not np.isfinite(logits).all():
            raise ValueError(
                f"the network must answer with finite numbers: some of the logits of {self.network.name!r} are infinite or none"
            )
        probabilities = ops.softmax(logits.astype(np.float64))
        order = np.argsort(-probabilities, kind="stable")[:top]
        return [(self.labels[i] if self.labels else f"class {i}", float(probabilities[i])) for i in order]


def check_parameters(network: Network, found: Mapping[str, tuple[tuple[int, ...], np.dtype]]) -> None:
    """Raise ValueError if arrays of these shapes and dtypes are not what the network needs; all that is wrong is named.

    No array is needed, so that a file is judged before it is read.
    """
    shapes = parameter_shapes(network)
    wrong = [f"missing {name} {shape}" for name, shape in shapes.items() if name not in found]
    wrong += [f"superfluous {name} {shape}" for name, (shape, _) in found.items() if name not in shapes]
    for name, shape in shapes.items():
        if name in found and found[name][0] != shape:
            wrong.append(f"misshapen {name}: {found[name][0]}, must be {shape}")
        elif name in found and found[name][1].kind not in "fiu":
            wrong.append(f"not of numbers {name}: dtype={found[name][1]}")
    if wrong:
        more = f" and {len(wrong) - 12} more" if len(wrong) > 12 else ""
        raise ValueError(f"parameters must fit the network {network.name!r}: {'; '.join(wrong[:12])}{more}")


def _checked(network: Network, params: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    """Return the parameters as contiguous float32 arrays, or say what is wrong with them."""
    arrays = {name: np.asarray(value) for name, value in params.items()}
    check_parameters(network, {name: (array.shape, array.dtype) for name, array in arrays.items()})
    return {name: np.ascontiguousarray(arrays[name], np.float32) for name in parameter_shapes(network)}
