"""Fuse: as many convolutions in each step as one step runs.

`pointwise -> depthwise -> pointwise` becomes one step that works on a few rows, or a few channels, at a time. What
lies between is six times wider than both ends in MobileNet V2, and now never leaves the cache. Activation and shortcut
happen as sums leave the registers. Where a branch leaves the way, what it reads must lie in memory: nothing is fused across. What makes a
step is decided by `kernels.tiled.schedule.fuse`, here is only the walk along the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..geometry import ConvGeometry
from ..kernels.tiled.schedule import Stages, fuse
from ..layers import Branch, Conv, Dense, Network, Pool, Residual
from .fold import Folded, fold


@dataclass(frozen=True)
class Group:
    """Convolutions that run as one step, and how it runs them.

    `source` is the number of the step whose result it reads, and `shortcut` that of the step whose result it adds if its stages add one;
    None is the picture. `gives` names the network's output that it makes, if it makes one.
    """

    members: tuple[Folded, ...]
    stages: Stages
    source: int | None
    shortcut: int | None = None
    gives: str | None = None

    def part(self, stage: ConvGeometry | None) -> Folded | None:
        """Return the member that is a stage of the step."""
        return next((member for member in self.members if member.geometry is stage), None)


def groups(network: Network, params: Mapping[str, np.ndarray]) -> list[Group]:
    """Return the network's steps, in running order."""
    steps: list[Group] = []
    shape: tuple[int, int, int] = network.input
    value: int | None = None  # the step that made what comes next
    plain: list[Folded] = []  # since the last shortcut or branch

    def folded(layers: Sequence[Conv | Pool | Dense], shape: tuple[int, int, int]) -> list[Folded]:
        chain: list[Folded] = []
        for layer in layers:
            chain.append(fold(layer, chain[-1].geometry.out_shape if chain else shape, params))
        return chain

    def run(chain: Sequence[Folded], around: bool = False, gives: str | None = None) -> int | None:
        """Add the steps of a chain of convolutions, around all of which a shortcut may go; return the last one's number."""
        source = value
        while chain:
            stages = fuse([one.geometry for one in chain], adds=around)
            members, chain = tuple(chain[: len(stages.members)]), chain[len(stages.members) :]
            steps.append(Group(members, stages, source, value if stages.adds else None, None if chain else gives))
            source = len(steps) - 1
        return source

    for layer in network.layers:
        match layer:
            case Residual(_, body):
                value, plain = run(plain), []
                value = run(folded(body, shape), around=True)
            case Branch(name, body):
                value, plain = run(plain), []
                run(folded(body, shape), gives=name)
            case _:
                plain += folded([layer], shape)
                shape = plain[-1].geometry.out_shape
    last = network.layers[-1]
    if plain:
        run(plain, gives=last.name)
    elif isinstance(last, Residual):
        steps[-1] = replace(steps[-1], gives=last.name)
    return steps
