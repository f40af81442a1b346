"""A network with its parameters: run it, watch it layer by layer, let it name a picture or find what is on it.

Nothing is fused here. Convolution, batch norm and activation are separate steps, each visible in
`Runnable.trace`, so that what runs is what the papers draw.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike

from . import images, ops, ssd
from .arguments import integer, number
from .conv import KernelLike, convolve, runner
from .cost import Cost, steps_of, summary
from .layers import Branch, Conv, Dense, Layer, Network, Pool, Residual, Visit, parameter_shapes, walk
from .preprocessing import Preprocessing
from .ssd import Detection
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
    layer : Conv, Residual, Branch, Pool or Dense
        The description of the layer that the step belongs to.
    output : ndarray
        What the step gave, (N, H, W, C) or (N, C).
    cost : Cost
        What the step costs for this batch; a convolution's MACs stand in its ``.conv`` step.
    kernel : str or None
        Which kernel ran it, for convolutions.
    """

    name: str
    layer: Layer
    output: np.ndarray
    cost: Cost
    kernel: str | None = None


class Runnable:
    """A `Network` and its parameters: what models and detectors have in common.

    Attributes
    ----------
    network : Network
    params : dict of str to ndarray
        Every array that the network needs, float32.
    preprocessing : Preprocessing
        How a picture becomes the network's input.
    """

    def __init__(self, network: Network, params: Mapping[str, ArrayLike], preprocessing: Preprocessing | None = None) -> None:
        self.network = network
        self.params = _checked(network, params)
        self.preprocessing = Preprocessing(network.input[:2]) if preprocessing is None else preprocessing
        if self.preprocessing.size != network.input[:2]:
            raise ValueError(f"pictures must be prepared for the network's size {network.input[:2]}: size={self.preprocessing.size}")
        self._compiled: tuple[dict[str, np.ndarray], Plan] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_compiled": None}  # a plan fits one kind of machine

    @classmethod
    def random(cls, network: Network, seed: int = 0) -> Self:
        """Return one with random weights that keep activations at a steady size (He et al. 2015).

        Batch norm's statistics are random too, so that a test sees them.
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
        return f"{type(self).__name__}({self.network.name}, {sum(array.size for array in self.params.values()):,} numbers)"

    def summary(self) -> Table:
        """Return the per-layer table of the network; see `convlab.summary`."""
        return summary(self.network)

    def outputs(self, x: ArrayLike, kernel: KernelLike = "auto") -> dict[str, np.ndarray]:
        """Return everything that the network gives for preprocessed images x (N, H, W, 3) or (H, W, 3), by the names of `Network.outputs`.

        Raises
        ------
        ValueError, TypeError
            If x has another shape than the network's input, or is not of floats.
        """
        batch = self._batch(x)
        given: dict[str, np.ndarray] = {}
        for _ in self._run(batch, kernel, given):
            pass
        return given if np.ndim(x) == 4 else {name: y[0] for name, y in given.items()}

    def trace(self, x: ArrayLike, kernel: KernelLike = "auto") -> Iterator[Step]:
        """Run the network and yield every `Step`: convolution, batch norm, activation, shortcut, pooling, classifier.

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
        return self._run(self._batch(x), kernel, {})

    def _batch(self, x: ArrayLike) -> np.ndarray:
        array = np.asarray(x)
        if array.dtype.kind != "f" or array.itemsize not in (4, 8):
            raise TypeError(f"x must be float32 or float64, as preprocess() returns: x.dtype={array.dtype}")
        if array.ndim not in (3, 4) or array.shape[-3:] != self.network.input:
            wanted = ", ".join(map(str, self.network.input))
            raise ValueError(f"x must be (N, {wanted}) or ({wanted}): x.shape={array.shape}")
        return array.astype(np.float32, copy=False).reshape(-1, *self.network.input)

    def _run(self, x: np.ndarray, kernel: KernelLike, given: dict[str, np.ndarray]) -> Iterator[Step]:
        """Yield every step, and put what the network gives into `given`."""
        saved: dict[str, np.ndarray] = {}  # what each shortcut and each branch carries, by the name of its first layer
        starts = {layer.body[0].name: layer.name for layer in self.network.layers if isinstance(layer, (Residual, Branch))}
        for visit in walk(self.network):
            if visit.layer.name in starts:
                saved[starts[visit.layer.name]] = x
            if isinstance(visit.layer, Branch):
                given[visit.layer.name], x = x, saved.pop(visit.layer.name)
                continue
            for step in self._steps(visit, x, kernel, saved):
                yield step
                x = step.output
        if not isinstance(visit.layer, Branch):
            given[visit.layer.name] = x

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
        """Return the network as a `Plan`: the same numbers up to rounding, many times faster.

        Parameters
        ----------
        batch : int
            Pictures in a call.
        threads : int, optional
            How many share a call, at most `convlab.machine.cores()`; as many as that if left out.

        Examples
        --------
        >>> import convlab as cl
        >>> model = cl.Model.random(cl.mobilenet_v1(alpha=0.25, resolution=32, classes=10), seed=0)
        >>> model.compile()(np.zeros((32, 32, 3), np.float32)).shape
        (10,)
        """
        from .plan import Plan  # imported here: Numba takes its time to load

        return Plan(self.network, self.params, batch, threads)

    def plan(self) -> Plan:
        """Return the plan for one picture on all cores: compiled at the first call, and again once a parameter has changed."""
        compiled = self._compiled
        if compiled is None or not _same(compiled[0], self.params):
            compiled = {name: array.copy() for name, array in self.params.items()}, self.compile()
            self._compiled = compiled
        return compiled[1]

    def preprocess(self, image: images.Picture) -> np.ndarray:
        """Return a picture as the network's input (H, W, 3), float32, prepared as `self.preprocessing` says."""
        return self.preprocessing(images.as_rgb(image))

    def _check_finite(self, *outputs: np.ndarray) -> None:
        """Raise ValueError if weights have led to numbers that are none."""
        if not all(np.isfinite(output).all() for output in outputs):
            raise ValueError(f"a network must answer with finite numbers: some that {self.network.name!r} gives are infinite or none")


class Model(Runnable):
    """A `Network` with one output and its parameters: it names what is on a picture.

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
        Naming every parameter that is missing, superfluous, misshapen or not of numbers; or if the labels do not name every class;
        if the network has several outputs; or if pictures are prepared for another size.
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
        super().__init__(network, params, preprocessing)
        if isinstance(labels, (str, bytes)) or not isinstance(labels, (Iterable, type(None))):
            raise TypeError(f"labels must be a sequence of strings: labels={labels!r}")
        self.labels = None if labels is None else tuple(labels)
        if self.labels is not None and not all(isinstance(label, str) for label in self.labels):
            raise TypeError(f"labels must be a sequence of strings: labels={labels!r}")
        self.detail = None if detail is None else integer("detail", detail, 1)
        classes = network.output[-1]
        if self.labels is not None and len(self.labels) != classes:
            raise ValueError(f"labels must name every class: {len(self.labels)} labels, {classes} classes")

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
        (logits,) = self.outputs(x, kernel).values()
        return logits

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
            logits = self.plan()(x) if kernel is None else self(x, kernel)
        self._check_finite(logits)
        probabilities = ops.softmax(logits.astype(np.float64))
        order = np.argsort(-probabilities, kind="stable")[:top]
        return [(self.labels[i] if self.labels else f"class {i}", float(probabilities[i])) for i in order]


class Detector(Runnable):
    """An SSD and its parameters: it finds what is on a picture, and where.

    Parameters
    ----------
    network : Network
        With an output `boxes0`, `boxes1`, ... and an output `scores0`, `scores1`, ... for each map, such as `ssdlite_mobilenet_v2` and
        `ssd_mobilenet_v1` build.
    params : mapping of str to array_like
        An array for every name in `parameter_shapes(network)`, kept as float32.
    labels : sequence of str or None
        Name of each column of the scores; None for columns that name nothing, such as the first, the background.
    anchors : sequence of sequence of (float, float), optional
        Scale and width-to-height ratio of each anchor in a cell, map by map; `ssd.shapes()` if left out.
    preprocessing : Preprocessing, optional
        How a picture becomes the network's input; left out, its sides are scaled each on its own, and 0 to 255 become -1 to 1.

    Raises
    ------
    ValueError, TypeError
        If a parameter, the labels or the anchors do not fit the network.

    Examples
    --------
    >>> import convlab as cl
    >>> detector = cl.load("ssdlite_mobilenet_v2_coco")
    >>> detector.detect(cl.zoo.photos()["chelsea"], kernel="im2col")[0].label
    'cat'
    """

    def __init__(
        self,
        network: Network,
        params: Mapping[str, ArrayLike],
        labels: Sequence[str | None] | None = None,
        anchors: ssd.Shapes | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__(network, params, preprocessing or Preprocessing(network.input[:2], "stretch"))
        given = ssd.shapes() if anchors is None else anchors
        self.shapes = tuple(tuple((_measure("scale", scale), _measure("ratio", ratio)) for scale, ratio in cell) for cell in given)
        self.anchors = ssd.anchors(network, self.shapes)
        columns = ssd.columns(network)
        if labels is None:
            labels = [None, *(f"class {i}" for i in range(1, columns))]
        self.labels = tuple(labels)
        if not all(isinstance(label, (str, type(None))) for label in self.labels) or isinstance(labels, str):
            raise TypeError(f"labels must be strings, or None where a column names nothing: labels={labels!r}")
        if len(self.labels) != columns or not any(self.labels):
            raise ValueError(
                f"labels must name at least one column of scores, None the others: {len(self.labels)} labels, {columns} columns"
            )

    def __call__(self, x: ArrayLike, kernel: KernelLike = "auto") -> dict[str, np.ndarray]:
        """Return the network's outputs for preprocessed images x (N, H, W, 3) or (H, W, 3): see `outputs`."""
        return self.outputs(x, kernel)

    def detect(
        self, image: images.Picture, threshold: float = 0.5, iou: float = 0.5, top: int = 20, kernel: KernelLike | None = None
    ) -> list[Detection]:
        """Return what is on a picture, and where, likeliest first.

        Parameters
        ----------
        image : path or ndarray of uint8, (H, W, 3), (H, W, 4), (H, W, 1) or (H, W)
            A picture of any size. Reading a path needs Pillow.
        threshold : float
            The least score, from 0 to 1.
        iou : float
            From 0 to 1: of two boxes with more intersection over union than this, the likelier one stays.
        top : int
            How many at most.
        kernel : str, Kernel or callable, optional
            As in `outputs`; the compiled plan if left out.

        Returns
        -------
        list of Detection
            (label, score, box), the box (x, y, width, height) in pixels of the upright picture, origin at the top left. A box may
            reach beyond the picture.

        Raises
        ------
        ValueError, TypeError
            If threshold or iou is not in 0 to 1, or top is below 1; or as reading the picture raises them.

        Examples
        --------
        >>> import convlab as cl
        >>> faces = cl.load("ssd_mobilenet_v1_faces")
        >>> faces.detect(cl.zoo.photos()["rocket"], kernel="im2col")
        []
        """
        for name, value in (("threshold", threshold), ("iou", iou)):
            if not 0 <= number(name, value) <= 1:
                raise ValueError(f"{name} must be from 0 to 1: {name}={value}")
        top = integer("top", top, 1)
        pixels = images.as_rgb(image)
        with np.errstate(all="ignore"):  # judged by what comes out
            x = self.preprocessing(pixels)
            outputs = self.plan().outputs(x) if kernel is None else self.outputs(x, kernel)
            self._check_finite(*outputs.values())
            encoded, logits = ssd.gathered(outputs)
            named = [i for i, label in enumerate(self.labels) if label is not None]
            scores = ssd.sigmoid(logits[:, named].astype(np.float64))
            best = scores.argmax(axis=1)
            scores = scores[np.arange(len(best)), best]
            boxes = ssd.decode(encoded, self.anchors).clip(0, 1)  # cut off where the network saw no further
            kept = np.flatnonzero(scores >= threshold)
            kept = kept[ssd.suppress(boxes[kept], scores[kept], iou, top)]
        frame = self.preprocessing.frame(*pixels.shape[:2])
        return [Detection(str(self.labels[named[best[i]]]), float(scores[i]), ssd.in_pixels(boxes[i], frame)) for i in kept]


def _measure(name: str, value: object) -> float:
    """Return an anchor's scale or ratio if it is one."""
    measure = number(f"an anchor's {name}", value)
    if not 0.001 <= measure <= 1000:
        raise ValueError(f"an anchor's {name} must be from 0.001 to 1000: {name}={measure}")
    return measure


def _same(some: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray]) -> bool:
    """Return whether two sets of parameters are the same to the bit; a pass over them takes less than packing them for a plan."""
    return some.keys() == others.keys() and all(np.array_equal(some[name].view(np.uint32), others[name].view(np.uint32)) for name in some)


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
