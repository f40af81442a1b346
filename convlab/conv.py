"""The front door: check everything once, lay it out, hand it to one kernel.

Every convolution enters here. Wrong input ends here too, with a message that states the rule and
then the values; what reaches a kernel is right, contiguous, of one dtype and read-only.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from .geometry import ConvGeometry, ConvSpec, IntOrPair, Padding
from .kernels import NUMBERS, Kernel, KernelFunction, fastest, resolve
from .kernels import im2col as _im2col
from .notices import warn

Layout = Literal["NHWC", "NCHW"]
KernelLike = str | Kernel | KernelFunction


def _array(name: str, value: ArrayLike) -> np.ndarray:
    """Return `value` as an array of numbers, or say which argument is none."""
    array = np.asarray(value)
    # uint64 is refused although it is an integer: with int64 NumPy promotes it to float64.
    if array.dtype.name not in NUMBERS and (array.dtype.kind not in "iu" or array.dtype.name == "uint64"):
        raise TypeError(f"{name} must be {', '.join(NUMBERS)}: {name}.dtype={array.dtype}")
    return array


def _common(arrays: dict[str, np.ndarray]) -> np.dtype:
    """Return the dtype that NumPy's promotion gives; narrow integers alone would overflow, so they are refused."""
    dtype = np.result_type(*arrays.values())
    if dtype.name not in NUMBERS:
        given = ", ".join(f"{name}.dtype={array.dtype}" for name, array in arrays.items())
        raise TypeError(f"the result's dtype must be {', '.join(NUMBERS)} (narrower sums overflow): {given} give {dtype}")
    return dtype


def _image(x: ArrayLike, layout: Layout) -> tuple[np.ndarray, bool]:
    """Return x as (N, H, W, C) and whether it came as a single image."""
    array = _array("x", x)
    if layout not in ("NHWC", "NCHW"):
        raise ValueError(f'layout must be "NHWC" or "NCHW": layout={layout!r}')
    if array.ndim not in (3, 4):
        raise ValueError(f"x must be ({', '.join(layout)}), or one image without N: x.shape={array.shape}")
    single = array.ndim == 3
    if single:
        array = array[None]
    if layout == "NCHW":
        array = array.transpose(0, 2, 3, 1)
    if 0 in array.shape[1:]:
        raise ValueError(f"x must have at least one row, column and channel (the batch may be empty): x.shape={np.shape(x)}")
    return array, single


def _give_back(y: np.ndarray, layout: Layout, single: bool) -> np.ndarray:
    """Return the kernel's (N, OH, OW, O) in the caller's layout."""
    if layout == "NCHW":
        y = np.ascontiguousarray(y.transpose(0, 3, 1, 2))
    return y[0] if single else y


def _frozen(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return the array contiguous, of this dtype, in native byte order and read-only: no kernel writes to its inputs."""
    view = np.ascontiguousarray(array, dtype=dtype).view()
    view.flags.writeable = False
    return view


def runner(kernel: KernelLike, spec: ConvSpec, dtype: np.dtype) -> tuple[KernelFunction, str]:
    """Return the function that runs `spec`, and whose it is: the fastest rung's where the kernel lacks it."""
    chosen = resolve(kernel, dtype)
    function = chosen.function(spec.kind)
    if function is not None:
        return function, chosen.name
    stand_in = fastest(dtype)
    function = stand_in.function(spec.kind)
    assert function is not None, f"rung {stand_in.name!r} of the ladder lacks {spec.kind}"
    return function, stand_in.name


def convolve(x: np.ndarray, w: np.ndarray, geometry: ConvGeometry, kernel: KernelLike = "auto") -> np.ndarray:
    """Run checked x (N, H, W, C) and w (KH, KW, C/groups, O) on a kernel, and check what it returns."""
    dtype = np.result_type(x, w)
    function, name = runner(kernel, geometry.spec, dtype)
    wanted = resolve(kernel, dtype).name
    if name != wanted:
        warn(f"kernel {wanted!r} has no {geometry.spec.kind} convolution: run by {name!r}")
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):  # every rung: IEEE rules, no warnings
        y = function(_frozen(x, dtype), _frozen(w, dtype), geometry)
    expected = (len(x), *geometry.out_shape)
    if not isinstance(y, np.ndarray) or y.shape != expected or y.dtype != dtype:
        got = f"{y.dtype} {y.shape}" if isinstance(y, np.ndarray) else type(y).__name__
        raise ValueError(f"kernel {name!r} must return {dtype} {expected}: it returned {got}")
    return y


def _run(x: ArrayLike, w: np.ndarray, bias: ArrayLike | None, kernel: KernelLike, layout: Layout, **options: Any) -> np.ndarray:
    """Check x and bias against w (KH, KW, C/groups, O), convolve, add the bias."""
    image, single = _image(x, layout)
    arrays = {"x": image, "w": w}
    if bias is not None:
        arrays["bias"] = _array("bias", bias)
        if arrays["bias"].shape != w.shape[3:]:
            raise ValueError(f"bias must have one number per output channel: bias.shape={arrays['bias'].shape}, out_channels={w.shape[3]}")
    dtype = _common(arrays)
    spec = ConvSpec(image.shape[3], w.shape[3], w.shape[:2], **options)
    if w.shape[2] != spec.weight_shape[2]:
        raise ValueError(
            f"w must read in_channels / groups channels: w reads {w.shape[2]}, in_channels={spec.in_channels}, groups={spec.groups}"
        )
    geometry = spec.geometry(*image.shape[1:3])
    y = convolve(image.astype(dtype, copy=False), w.astype(dtype, copy=False), geometry, kernel)
    if bias is not None:
        y = y + arrays["bias"].astype(dtype, copy=False)
    return _give_back(y, layout, single)


def _weights(w: ArrayLike, ndim: int, rule: str) -> np.ndarray:
    """Return weights of one or more numbers along each axis, with `ndim` axes."""
    array = _array("w", w)
    if array.ndim != ndim or 0 in array.shape:
        raise ValueError(f"w must be {rule}, none of them 0: w.shape={array.shape}")
    return array


def conv2d(
    x: ArrayLike,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: IntOrPair = 1,
    padding: Padding = "valid",
    dilation: IntOrPair = 1,
    groups: int = 1,
    kernel: KernelLike = "auto",
    layout: Layout = "NHWC",
) -> np.ndarray:
    """Convolve images with filters (cross-correlation: the filter is not flipped).

    Parameters
    ----------
    x : array_like, (N, H, W, C) or (H, W, C)
        Images; with ``layout="NCHW"`` (N, C, H, W) or (C, H, W).
    w : array_like, (KH, KW, C / groups, O)
        Filters; with ``layout="NCHW"`` (O, C / groups, KH, KW).
    bias : array_like, (O,), optional
        Added to each output channel.
    stride, dilation : int or (int, int)
        Steps between windows and between taps, (height, width).
    padding : "valid", "same", int, (int, int) or ((int, int), (int, int))
        See `ConvSpec`.
    groups : int
        Divides both channel counts.
    kernel : str, Kernel or callable
        A rung of `KERNELS`, ``"auto"`` (the fastest that takes the dtype), or your own.
    layout : {"NHWC", "NCHW"}
        Of x, w and the result.

    Returns
    -------
    ndarray, (N, OH, OW, O)
        In the layout of x, without N if x had none; dtype by NumPy's promotion.

    Raises
    ------
    ValueError, TypeError
        The message states the rule, then the values. dtypes: float32, float64, int32, int64
        (narrower integers only where the promoted result is one of these).

    Notes
    -----
    Arithmetic follows IEEE 754: NaN and infinity spread to the windows that read them. A weight
    that is not finite makes a NaN of a padded zero in `naive`, `im2col` and `tiled`; `jit` skips the padding.

    Source: Goodfellow, Bengio, Courville 2016, eq. 9.6, with stride, padding, dilation and groups as in
    Dumoulin and Visin 2016.

    Examples
    --------
    >>> import numpy as np, convlab as cl
    >>> x = np.arange(16.0).reshape(4, 4, 1)
    >>> w = np.array([[0.0, 1.0], [-1.0, 0.0]]).reshape(2, 2, 1, 1)   # right neighbour - lower neighbour
    >>> cl.conv2d(x, w)[:, :, 0]
    array([[-3., -3., -3.],
           [-3., -3., -3.],
           [-3., -3., -3.]])
    >>> cl.conv2d(x, w, stride=2, padding="same").shape
    (2, 2, 1)
    """
    if layout == "NCHW":
        filters = _weights(w, 4, "(O, C / groups, KH, KW)").transpose(2, 3, 1, 0)
    else:
        filters = _weights(w, 4, "(KH, KW, C / groups, O)")
    return _run(x, filters, bias, kernel, layout, stride=stride, padding=padding, dilation=dilation, groups=groups)


def depthwise_conv2d(
    x: ArrayLike,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: IntOrPair = 1,
    padding: Padding = "valid",
    dilation: IntOrPair = 1,
    kernel: KernelLike = "auto",
    layout: Layout = "NHWC",
) -> np.ndarray:
    """Convolve each channel with filters of its own.

    Parameters
    ----------
    x : array_like, (N, H, W, C) or (H, W, C)
        Images; with ``layout="NCHW"`` (N, C, H, W) or (C, H, W).
    w : array_like, (KH, KW, C) or (KH, KW, C, M)
        M filters per channel (the channel multiplier; 1 if left out); output channel ``c * M + m``
        reads input channel ``c`` alone. With ``layout="NCHW"`` (C * M, 1, KH, KW), as in PyTorch.
    bias, stride, padding, dilation, kernel, layout
        As in `conv2d`.

    Returns
    -------
    ndarray, (N, OH, OW, C * M)

    Examples
    --------
    >>> import numpy as np, convlab as cl
    >>> cl.depthwise_conv2d(np.ones((6, 6, 3)), np.ones((3, 3, 3))).shape   # document 000's 4x4x3
    (4, 4, 3)
    """
    image, _ = _image(x, layout)
    channels = image.shape[3]
    if layout == "NCHW":
        array = _weights(w, 4, "(C * M, 1, KH, KW)")
        if array.shape[1] != 1 or array.shape[0] % channels:
            raise ValueError(f"w must be (C * M, 1, KH, KW): w.shape={array.shape}, C={channels}")
        filters = array.transpose(2, 3, 1, 0)
    else:
        array = _weights(w, 3 if np.ndim(w) == 3 else 4, "(KH, KW, C) or (KH, KW, C, M)")
        if array.shape[2] != channels:
            raise ValueError(f"w must have filters for each channel of x: w.shape={array.shape}, C={channels}")
        filters = array.reshape(*array.shape[:2], 1, -1)
    return _run(x, filters, bias, kernel, layout, stride=stride, padding=padding, dilation=dilation, groups=channels)


def pointwise_conv2d(
    x: ArrayLike,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: IntOrPair = 1,
    kernel: KernelLike = "auto",
    layout: Layout = "NHWC",
) -> np.ndarray:
    """Mix the channels of each pixel: a convolution with a 1x1 window.

    Parameters
    ----------
    x : array_like, (N, H, W, C) or (H, W, C)
        Images; with ``layout="NCHW"`` (N, C, H, W) or (C, H, W).
    w : array_like, (C, O)
        One column per output channel; with ``layout="NCHW"`` (O, C) or (O, C, 1, 1).
    bias, stride, kernel, layout
        As in `conv2d`.

    Returns
    -------
    ndarray, (N, OH, OW, O)

    Examples
    --------
    >>> import numpy as np, convlab as cl
    >>> x = np.arange(12.0).reshape(2, 2, 3)
    >>> bool((cl.pointwise_conv2d(x, np.ones((3, 5))) == x @ np.ones((3, 5))).all())
    True
    """
    if layout == "NCHW":
        array = _array("w", w)
        if array.ndim == 4 and array.shape[2:] == (1, 1):
            array = array[:, :, 0, 0]
        filters = _weights(array, 2, "(O, C) or (O, C, 1, 1)").T
    else:
        filters = _weights(w, 2, "(C, O)")
    return _run(x, filters[None, None], bias, kernel, layout, stride=stride)


def separable_conv2d(
    x: ArrayLike,
    depthwise: ArrayLike,
    pointwise: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: IntOrPair = 1,
    padding: Padding = "valid",
    dilation: IntOrPair = 1,
    kernel: KernelLike = "auto",
    layout: Layout = "NHWC",
) -> np.ndarray:
    """Depthwise, then pointwise: MobileNet's replacement for the standard convolution.

    Parameters
    ----------
    x : array_like, (N, H, W, C) or (H, W, C)
        Images; with ``layout="NCHW"`` (N, C, H, W) or (C, H, W).
    depthwise : array_like, (KH, KW, C) or (KH, KW, C, M)
        As w in `depthwise_conv2d`; `stride`, `padding` and `dilation` are its.
    pointwise : array_like, (C * M, O)
        As w in `pointwise_conv2d`; it mixes the *depthwise output*.
    bias, kernel, layout
        As in `conv2d`; the bias is added once, at the end.

    Returns
    -------
    ndarray, (N, OH, OW, O)

    Examples
    --------
    >>> import numpy as np, convlab as cl
    >>> y = cl.separable_conv2d(np.ones((6, 6, 3)), np.ones((3, 3, 3)), np.ones((3, 5)))
    >>> y.shape, float(y[0, 0, 0])
    ((4, 4, 5), 27.0)
    """
    between = depthwise_conv2d(x, depthwise, stride=stride, padding=padding, dilation=dilation, kernel=kernel, layout=layout)
    return pointwise_conv2d(between, pointwise, bias, kernel=kernel, layout=layout)


def im2col(x: ArrayLike, spec: ConvSpec) -> np.ndarray:
    """Return the matrix of columns: one row per window, its KH * KW * C inputs side by side.

    Parameters
    ----------
    x : array_like, (N, H, W, C) or (H, W, C)
        Images.
    spec : ConvSpec
        The convolution whose windows are wanted; its padding shows as zeros.

    Returns
    -------
    ndarray, (N * OH * OW, KH * KW * C)
        Ordered like the outputs, and within a row like w: ``im2col(x, spec) @ w.reshape(-1, O)``
        is the convolution (groups=1).

    Raises
    ------
    ValueError
        If x does not have the spec's channels or is too small for its window.

    Examples
    --------
    >>> import numpy as np, convlab as cl
    >>> cl.im2col(np.arange(9).reshape(3, 3, 1), cl.ConvSpec(1, 1, kernel=2))
    array([[0, 1, 3, 4],
           [1, 2, 4, 5],
           [3, 4, 6, 7],
           [4, 5, 7, 8]])
    """
    image, _ = _image(x, "NHWC")
    if image.shape[3] != spec.in_channels:
        raise ValueError(f"x must have the spec's channels: x.shape={np.shape(x)}, in_channels={spec.in_channels}")
    columns = _im2col.columns(image, spec.geometry(*image.shape[1:3]))
    # Where no windows overlap the matrix may be a view of x, and a caller who writes to it must not write to x.
    return columns.copy() if np.may_share_memory(columns, image) else columns
