"""convlab: how convolution works, and how fast it can be made.

One ladder of hand-written kernels with one signature; every number computed and asserted; MobileNet V1 and V2
assembled from them. ``convlab tour`` at the command line shows it in under a minute.
"""

import sys

if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:  # `python -m convlab`, from its first line on
    sys.path.pop(0)  # the working directory, where a student's rich.py may lie

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import weights, zoo
from .bench import bench
from .compare import Comparison, compare
from .conv import conv2d, depthwise_conv2d, im2col, pointwise_conv2d, separable_conv2d
from .cost import Cost, NetworkCost, cost, summary
from .forward import Detector, Model, Step
from .geometry import Axis, ConvGeometry, ConvSpec
from .kernels import KERNELS, Kernel
from .layers import Branch, Conv, Dense, Network, Pool, Residual
from .mobilenet import mobilenet_v1, mobilenet_v2
from .preprocessing import Preprocessing
from .ssd import Detection, ssd_mobilenet_v1, ssdlite_mobilenet_v2
from .weights import save
from .zoo import load

if TYPE_CHECKING:
    from .checker import Report

__version__ = "0.1.0"

__all__ = [
    "KERNELS",
    "Axis",
    "Branch",
    "Comparison",
    "Conv",
    "ConvGeometry",
    "ConvSpec",
    "Cost",
    "Dense",
    "Detection",
    "Detector",
    "Kernel",
    "Model",
    "Network",
    "NetworkCost",
    "Pool",
    "Preprocessing",
    "Residual",
    "Step",
    "bench",
    "check",
    "compare",
    "conv2d",
    "cost",
    "depthwise_conv2d",
    "im2col",
    "load",
    "mobilenet_v1",
    "mobilenet_v2",
    "pointwise_conv2d",
    "save",
    "separable_conv2d",
    "ssd_mobilenet_v1",
    "ssdlite_mobilenet_v2",
    "summary",
    "weights",
    "zoo",
]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def check(fn: Callable[..., Any] | Kernel, **options: Any) -> "Report":
    """Check a function that should be a convolution, and say which mistake it makes: `convlab.checker.check`, with its options.

    The checker is loaded by the first call, because it needs Hypothesis, which is an extra.

    Raises
    ------
    ModuleNotFoundError
        If Hypothesis is not installed.

    Examples
    --------
    >>> check(lambda x, w: conv2d(x, w[::-1, ::-1], kernel="im2col")).failure.diagnosis.name
    'flipped kernel'
    """
    try:
        from . import checker
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        raise ModuleNotFoundError('checking needs Hypothesis: pip install "convlab-engine[lab]"', name="hypothesis") from None
    return checker.check(fn, **options)
