"""Tensors by name, as PyTorch's libraries keep them: found under their library's names and laid as convlab's are.

Transformers, timm and torchvision build the same networks and name their layers differently. A `Scheme` holds such names, and
reads from the tensors' shapes what no name says: widths, depth, classes. What a file holds is declared (name, shape) before it is
read, and every name that does not match is listed, the file's and the network's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from ..layers import Layer, Network, Shape, parameter_shapes
from ..mobilenet import V1_ROWS, V1_STEM, V2_HEAD, V2_ROWS, V2_STEM, v1_layers, v2_layers
from .checks import float32

PREFIXES = ("module.", "_orig_mod.", "model.")
"""What DataParallel, torch.compile and Lightning put before every name."""


class Tensor(NamedTuple):
    """A tensor as a file declares it; `read` gives its numbers."""

    shape: Shape
    read: Callable[[], np.ndarray]


Tensors = Mapping[str, Tensor]


class Names(NamedTuple):
    """What a library calls a convolution and its batch norm."""

    conv: str
    norm: str


class Described(NamedTuple):
    """A network as tensors describe it: widths and strides, and the names of convlab's convolutions there.

    A block is (width, stride) in V1 and (t, width, stride) in V2.
    """

    stem: int
    blocks: list[Any]
    head: int | None
    names: dict[str, Names]

    def layers(self, classes: int | None, pad: Literal["same", 1], eps: float) -> tuple[Layer, ...]:
        if self.blocks and len(self.blocks[0]) == 2:
            return v1_layers(self.stem, self.blocks, classes, pad, eps, self.head)
        assert self.head is not None
        return v2_layers(self.stem, self.blocks, self.head, classes, pad, eps)


@dataclass(frozen=True)
class Scheme:
    """One library's names for one family of networks.

    Attributes
    ----------
    title : str
        For messages.
    sign : str
        A pattern that some of the names match and no other library's do.
    unlike : str, optional
        A pattern that none of the names match.
    describe : callable
        Tensors -> `Described`; what is missing counts as the plain network has it, and `read` then says that it is.
    classifier : str
        The last dense layer's name.
    """

    title: str
    sign: str
    describe: Callable[[Tensors], Described]
    classifier: str
    unlike: str | None = None


def stripped(tensors: Tensors) -> Tensors:
    """Return the tensors without the prefixes that wrappers put before every name."""
    while tensors and (found := [prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in tensors)]):
        tensors = {name.removeprefix(found[0]): tensor for name, tensor in tensors.items()}
    return tensors


def scheme_of(tensors: Tensors, schemes: Iterable[Scheme]) -> Scheme:
    """Return the scheme of these names, or say whose they are not."""
    schemes = tuple(schemes)
    for scheme in schemes:
        strange = scheme.unlike is not None and any(re.match(scheme.unlike, name) for name in tensors)
        if not strange and any(re.match(scheme.sign, name) for name in tensors):
            return scheme
    titles = ", ".join(scheme.title for scheme in schemes)
    names = list(tensors)
    first = names[0].partition(".")[0] + "." if names else ""
    hint = f"; all names begin with {first!r}: save the inner model" if len(names) > 1 and all(n.startswith(first) for n in names) else ""
    wanted = ", ".join(scheme.describe({}).names["stem"].conv + ".weight" for scheme in schemes)
    raise ValueError(f"the names must be those of {titles} (such as {wanted}): the file has {_some(names)}{hint}")


def headed(tensors: Tensors, scheme: Scheme) -> Scheme:
    """Return the scheme with the head that the tensors have: one dense layer, at its place or in the place of the whole head."""
    lead = scheme.classifier.partition(".")[0]
    dense = [name.removesuffix(".weight") for name in tensors if name.startswith(f"{lead}.") and name.endswith(".weight")]
    if len(dense) > 1:
        raise ValueError(f"the head must be one dense layer; of several, names do not say what lies between them: {', '.join(dense)}")
    return replace(scheme, classifier=dense[0]) if dense else scheme


def read(tensors: Tensors, scheme: Scheme, network: Network, names: Mapping[str, Names]) -> dict[str, np.ndarray]:
    """Return the network's parameters out of tensors with these names, or name every one that is missing, superfluous or misshapen."""
    theirs = _theirs(scheme, network, names)
    needed = {theirs[name]: _turned_shape(shape) for name, shape in parameter_shapes(network).items()}
    # PyTorch counts the batches it has seen in training; inference does not use the count.
    lacking = [f"missing {name}" for name in needed if name not in tensors]
    spare = [f"superfluous {name}" for name in tensors if name not in needed and not name.endswith("num_batches_tracked")]
    found = {name: tensors[name].shape for name in needed if name in tensors}
    wrong = [f"misshapen {name}: {shape}, must be {needed[name]}" for name, shape in found.items() if shape != needed[name]]
    if lacking or spare or wrong:  # of each kind some, so that names that do not match can be compared
        listed = [entry for entries in (lacking, wrong, spare) for entry in entries[:6]]
        more = len(lacking) + len(wrong) + len(spare) - len(listed)
        raise ValueError(f"the tensors must fit the network {network.name!r}: {'; '.join(listed)}{f' and {more} more' if more else ''}")
    return {name: float32(_turned(tensors[other].read())) for name, other in theirs.items()}


def classes_of(tensors: Tensors, scheme: Scheme) -> int | None:
    """Return how many classes the classifier has; None if there is none."""
    weight = tensors.get(f"{scheme.classifier}.weight")
    return None if weight is None or not weight.shape else weight.shape[0]


def _theirs(scheme: Scheme, network: Network, names: Mapping[str, Names]) -> dict[str, str]:
    """Return the name there of every parameter here."""
    parts = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var"}
    theirs = {}
    for layer, (conv, norm) in names.items():
        theirs[f"{layer}.weight"] = f"{conv}.weight"
        theirs |= {f"{layer}.{part}": f"{norm}.{there}" for part, there in parts.items()}
    theirs |= {f"classifier.{part}": f"{scheme.classifier}.{part}" for part in ("weight", "bias")}
    return {name: theirs[name] for name in parameter_shapes(network)}


def _turned(array: np.ndarray) -> np.ndarray:
    """Turn (O, I, KH, KW) into (KH, KW, I, O), and the classifier's (O, I) into (I, O)."""
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def _turned_shape(shape: Shape) -> Shape:
    return (*shape[:1:-1], *shape[:2]) if len(shape) == 4 else shape[::-1]


def _some(names: Sequence[str]) -> str:
    """Write a list, its rest as a number."""
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def width(tensors: Tensors, names: Names, otherwise: int) -> int:
    """Return a convolution's output channels: its filter's, its norm's, or the plain network's if all are missing, as `read` says."""
    for name in (f"{names.conv}.weight", *(f"{names.norm}.{part}" for part in ("weight", "bias", "running_mean"))):
        if name in tensors and tensors[name].shape and tensors[name].shape[0] > 0:
            return tensors[name].shape[0]
    return otherwise


# torchvision: features.0 is the stem, features.1 ... the blocks, the last of them the head; convolution, norm and activation are counted.


def _torchvision_v2(tensors: Tensors) -> Described:
    rows = [(row, stride) for row in V2_ROWS for stride in (row.stride, *[1] * (row.repeats - 1))]
    names = {"stem": Names("features.0.0", "features.0.1")}
    blocks = []
    stem = channels = width(tensors, names["stem"], V2_STEM)
    for i, (row, stride) in enumerate(rows, 1):
        inside, block, place, t = f"features.{i}.conv", f"block{i}", 0, 1
        if row.t != 1:
            names[f"{block}.expand"] = Names(f"{inside}.0.0", f"{inside}.0.1")
            t, place = max(2, width(tensors, names[f"{block}.expand"], channels * row.t) // channels), 1
        names[f"{block}.depthwise"] = Names(f"{inside}.{place}.0", f"{inside}.{place}.1")
        names[f"{block}.project"] = Names(f"{inside}.{place + 1}", f"{inside}.{place + 2}")
        channels = width(tensors, names[f"{block}.project"], row.width)
        blocks.append((t, channels, stride))
    names["head"] = Names(f"features.{len(rows) + 1}.0", f"features.{len(rows) + 1}.1")
    return Described(stem, blocks, width(tensors, names["head"], V2_HEAD), names)


TORCHVISION_V2 = Scheme("torchvision's mobilenet_v2", r"features\.\d+\.(conv\.)?\d+\.", _torchvision_v2, "classifier.1")


# timm: stages of blocks. V1's block is conv_dw, conv_pw; V2's is conv_pw, conv_dw, conv_pwl, and in its first stage as V1's.


def _stages(tensors: Tensors, strides: Sequence[int], repeats: Sequence[int]) -> Iterator[tuple[int, str, int]]:
    """Yield (stage, name, stride) of every block; how many a stage has is read from the names."""
    for stage, (stride, least) in enumerate(zip(strides, repeats, strict=True)):
        found = {int(m[1]) for name in tensors if (m := re.match(rf"blocks\.{stage}\.(\d{{1,2}})\.", name))}
        for block in range(max(found) + 1 if found else least):
            yield stage, f"blocks.{stage}.{block}", stride if block == 0 else 1


def _timm_v2(tensors: Tensors) -> Described:
    names = {"stem": Names("conv_stem", "bn1")}
    blocks = []
    stem = channels = width(tensors, names["stem"], V2_STEM)
    stages = _stages(tensors, [row.stride for row in V2_ROWS], [row.repeats for row in V2_ROWS])
    for i, (stage, inside, stride) in enumerate(stages, 1):
        row, block = V2_ROWS[stage], f"block{i}"
        t, parts = 1, {"depthwise": ("conv_dw", "bn1"), "project": ("conv_pw", "bn2")}
        if row.t != 1:
            t = max(2, width(tensors, Names(f"{inside}.conv_pw", f"{inside}.bn1"), channels * row.t) // channels)
            parts = {"expand": ("conv_pw", "bn1"), "depthwise": ("conv_dw", "bn2"), "project": ("conv_pwl", "bn3")}
        names |= {f"{block}.{part}": Names(f"{inside}.{conv}", f"{inside}.{norm}") for part, (conv, norm) in parts.items()}
        channels = width(tensors, names[f"{block}.project"], row.width)
        blocks.append((t, channels, stride))
    names["head"] = Names("conv_head", "bn2")
    return Described(stem, blocks, width(tensors, names["head"], V2_HEAD), names)


def _timm_v1(tensors: Tensors) -> Described:
    names = {"stem": Names("conv_stem", "bn1")}
    blocks = []
    widths = (64, 128, 256, 512, 1024)
    for i, (stage, inside, stride) in enumerate(_stages(tensors, (1, 2, 2, 2, 2), (1, 2, 2, 6, 2)), 1):
        names[f"block{i}.depthwise"] = Names(f"{inside}.conv_dw", f"{inside}.bn1")
        names[f"block{i}.pointwise"] = Names(f"{inside}.conv_pw", f"{inside}.bn2")
        blocks.append((width(tensors, names[f"block{i}.pointwise"], widths[stage]), stride))
    head = None
    if "conv_head.weight" in tensors:  # mobilenetv1_100h
        names["head"] = Names("conv_head", "bn2")
        head = width(tensors, names["head"], 1024)
    return Described(width(tensors, names["stem"], V1_STEM), blocks, head, names)


TIMM_V1 = Scheme("timm's mobilenetv1", r"blocks\.1\.0\.conv_pw\.", _timm_v1, "classifier", unlike=r".*\.conv_pwl\.")
TIMM_V2 = Scheme("timm's mobilenetv2", r"blocks\.1\.0\.conv_pwl\.", _timm_v2, "classifier")


# Transformers: V1's convolutions are counted flat, two a block; V2's first block belongs to the stem.
# The names of a trunk saved alone lack the first part.


def _transformers_v1(tensors: Tensors) -> Described:
    lead = _lead(tensors, "mobilenet_v1.")
    names = {"stem": _normalised(f"{lead}conv_stem")}
    blocks = []
    rows = [(row, stride) for row in V1_ROWS for stride in (row.stride, *[1] * (row.repeats - 1))]
    for i, (row, stride) in enumerate(rows, 1):
        names[f"block{i}.depthwise"] = _normalised(f"{lead}layer.{2 * i - 2}")
        names[f"block{i}.pointwise"] = _normalised(f"{lead}layer.{2 * i - 1}")
        blocks.append((width(tensors, names[f"block{i}.pointwise"], row.width), stride))
    return Described(width(tensors, names["stem"], V1_STEM), blocks, None, names)


def _transformers_v2(tensors: Tensors) -> Described:
    lead = _lead(tensors, "mobilenet_v2.")
    names = {"stem": _normalised(f"{lead}conv_stem.first_conv")}
    blocks = []
    stem = channels = width(tensors, names["stem"], V2_STEM)
    rows = [(row, stride) for row in V2_ROWS for stride in (row.stride, *[1] * (row.repeats - 1))]
    for i, (row, stride) in enumerate(rows, 1):
        inside, block, t = f"{lead}layer.{i - 2}" if i > 1 else f"{lead}conv_stem", f"block{i}", 1
        if row.t != 1:
            names[f"{block}.expand"] = _normalised(f"{inside}.expand_1x1")
            t = max(2, width(tensors, names[f"{block}.expand"], channels * row.t) // channels)
        names[f"{block}.depthwise"] = _normalised(f"{inside}.conv_3x3")
        names[f"{block}.project"] = _normalised(f"{inside}.reduce_1x1")
        channels = width(tensors, names[f"{block}.project"], row.width)
        blocks.append((t, channels, stride))
    names["head"] = _normalised(f"{lead}conv_1x1")
    return Described(stem, blocks, width(tensors, names["head"], V2_HEAD), names)


def _lead(tensors: Tensors, lead: str) -> str:
    """Return what stands before the trunk's names: nothing where the trunk was saved alone."""
    return "" if any(name.startswith("conv_stem.") for name in tensors) else lead


def _normalised(name: str) -> Names:
    return Names(f"{name}.convolution", f"{name}.normalization")


TRANSFORMERS_V1 = Scheme("Transformers' mobilenet_v1", r"(mobilenet_v1\.)?layer\.0\.convolution\.", _transformers_v1, "classifier")
TRANSFORMERS_V2 = Scheme("Transformers' mobilenet_v2", r"(mobilenet_v2\.)?layer\.0\.conv_3x3\.", _transformers_v2, "classifier")
