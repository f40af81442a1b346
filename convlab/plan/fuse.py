"""Fuse: as many convolutions in each step as one step runs.

`pointwise -> depthwise -> pointwise` becomes one step that works on a few rows, or a few channels, at a time. What
lies between is six times wider than both ends in MobileNet V2, and now never leaves the cache. Activation and shortcut
happen as sums leave the registers. What makes a step is decided by `kernels.tiled.schedule.fuse`, here is only the walk along the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..geometry import ConvGeometry
from ..kernels.tiled.schedule import Stages, fuse
from ..layers import Branch, Layer, Network, Residual
from .fold import Folded, fold


@dataclass(frozen=True)
class Group:
    """Convolutions that run as one step, how it runs them, and whether a shortcut begins at it."""

    members: tuple[Folded, ...]
    stages: Stages
    begins: bool = False

    def part(self, stage: ConvGeometry | None) -> Folded | None:
        """Return the member that is a stage of the step."""
        return next((member for member in self.members if member.geometry is stage), None)


def groups(network: Network, params: Mapping[str, np.ndarray]) -> Iterator[Group]:
    """Yield the network's steps."""
    shape: tuple[int, int, int] = network.input
    plain: list[Folded] = []  # since the last shortcut

    def folded(layer: Layer) -> Folded:
        nonlocal shape
        if isinstance(layer, Branch):
            raise ValueError(f"a plan has one output: {network.name!r} has {', '.join(network.outputs)}")
        assert not isinstance(layer, Residual)
        convolution = fold(layer, shape, params)
        shape = convolution.geometry.out_shape
        return convolution

    for layer in network.layers:
        if isinstance(layer, Residual):
            yield from _fused(plain)
            plain = []
            yield from _fused([folded(member) for member in layer.body], around=True)
        else:
            plain.append(folded(layer))
    yield from _fused(plain)


def _fused(chain: Sequence[Folded], around: bool = False) -> Iterator[Group]:
    """Cut a chain of convolutions into groups; a shortcut may go around all of it."""
    begin = 0
    while begin < len(chain):
        stages = fuse([one.geometry for one in chain[begin:]], adds=around)
        end = begin + len(stages.members)
        yield Group(tuple(chain[begin:end]), stages, begins=around and begin == 0)
        begin = end
