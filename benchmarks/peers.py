"""The engines that are timed, each built from one convlab model: same network, same weights, same pictures.

An engine is a function ``(model, x, threads) -> run``; ``run()`` computes x (N, H, W, C) once and returns the result as convlab's
forward pass shapes it: (N, classes), or (N, H, W, C) where the network ends in a picture; of a network with several outputs a dict of
them by name. The input already lies in
the engine's own layout when the clock starts, and nothing is copied for it that its own interface does not need.

Every peer runs as its authors recommend for speed:

* batch norm is folded into the convolution for all of them (their optimisers would do it too);
* torch: `inference_mode`, channels-last; `torch.compile` with "max-autotune-no-cudagraphs" and frozen weights,
  which Inductor may then repack;
* ONNX Runtime: all graph optimisations, sequential execution, `threads` intra-op threads that may spin, input and output bound;
* OpenVINO: float32 arithmetic (it would take bfloat16 where it can), one stream and the latency hint; and, where there is more than
  one picture, also one stream a thread, each given single pictures: the better of the two counts.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from convlab import KERNELS, Detector, Model
from convlab.layers import Branch, Conv, Dense, Pool, Residual, walk

Result = np.ndarray | dict[str, np.ndarray]
Run = Callable[[], Result]
Engine = Callable[[Model | Detector, np.ndarray, int], Run]


def folded(model: Model | Detector) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return layer name -> (weight, bias) with batch norm multiplied in, computed in float64 and rounded once."""
    p = {name: array.astype(np.float64) for name, array in model.params.items()}
    weights = {}
    for visit in walk(model.network):
        name = visit.layer.name
        match visit.layer:
            case Conv(eps=float(eps)):
                scale = p[f"{name}.gamma"] / np.sqrt(p[f"{name}.variance"] + eps)
                weight, bias = p[f"{name}.weight"] * scale, p[f"{name}.beta"] - p[f"{name}.mean"] * scale
            case Conv() | Dense():
                weight, bias = p[f"{name}.weight"], p[f"{name}.bias"]
            case _:
                continue
        weights[name] = weight.astype(np.float32), bias.astype(np.float32)
    return weights


def _nhwc(y: np.ndarray) -> np.ndarray:
    """Return a peer's (N, C, H, W) as convlab's (N, H, W, C); a matrix stays as it is."""
    return y.transpose(0, 2, 3, 1) if y.ndim == 4 else y


def _result(outputs: dict[str, np.ndarray]) -> Result:
    """Return a peer's outputs in convlab's layout: alone if there is one, else by name."""
    shaped = {name: _nhwc(y) for name, y in outputs.items()}
    return shaped if len(shaped) > 1 else next(iter(shaped.values()))


# convlab


def plan(model: Model | Detector, x: np.ndarray, threads: int) -> Run:
    """Convlab's compiled plan."""
    compiled = model.compile(batch=len(x), threads=threads)
    return (lambda: compiled.outputs(x)) if len(model.network.outputs) > 1 else lambda: compiled(x)


def forward(kernel: str) -> Engine:
    """Return the engine that runs convlab's unfused forward pass on one rung of the ladder."""

    def build(model: Model | Detector, x: np.ndarray, threads: int) -> Run:
        import numba

        numba.set_num_threads(threads)
        return lambda: model(x, kernel=kernel)

    return build


def rung(name: str) -> Engine:
    """Return the engine that runs one rung of the ladder on a lone convolution, by the kernels' contract."""

    def build(model: Model | Detector, x: np.ndarray, threads: int) -> Run:
        import numba

        numba.set_num_threads(threads)
        (visit,) = walk(model.network)
        if not isinstance(visit.layer, Conv) or visit.geometry is None:
            raise ValueError(f"a rung runs a lone convolution: the network is {model.network.name!r}")
        function, w, geometry = KERNELS[name].function(visit.layer.spec.kind), model.params[f"{visit.layer.name}.weight"], visit.geometry
        if function is None:
            raise ValueError(f"a rung must have every kind of convolution: {name!r} has no {visit.layer.spec.kind}")
        return lambda: function(x, w, geometry)

    return build


# torch


def _torch_module(model: Model | Detector) -> Any:
    """Return the network as a torch module in evaluation mode."""
    import torch
    from torch import nn

    if branches := [layer.name for layer in model.network.layers if isinstance(layer, Branch)]:
        raise ValueError(f"torch is built for networks without branches: {model.network.name!r} has {', '.join(branches)}")
    weights = folded(model)

    class Sum(nn.Module):
        """A shortcut: x + body(x)."""

        def __init__(self, body: nn.Module) -> None:
            super().__init__()
            self.body = body

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.body(x)

    def convolution(layer: Conv, visit: Any) -> Iterator[nn.Module]:
        spec, ((top, bottom), (left, right)) = layer.spec, visit.geometry.padding
        padding = (top, left)
        if (top, left) != (bottom, right):  # TensorFlow's rule, which torch's own padding cannot say
            yield nn.ZeroPad2d((left, right, top, bottom))
            padding = (0, 0)
        conv = nn.Conv2d(spec.in_channels, spec.out_channels, spec.kernel, spec.stride, padding, spec.dilation, spec.groups)
        weight, bias = weights[layer.name]
        conv.weight.data, conv.bias.data = torch.from_numpy(weight.transpose(3, 2, 0, 1).copy()), torch.from_numpy(bias)
        yield conv
        if layer.activation is not None:
            yield nn.ReLU6(inplace=True) if layer.activation == "relu6" else nn.ReLU(inplace=True)

    visits = {visit.layer.name: visit for visit in walk(model.network)}

    def modules(layers: Any) -> Iterator[nn.Module]:
        for layer in layers:
            match layer:
                case Conv():
                    yield from convolution(layer, visits[layer.name])
                case Residual(_, body):
                    yield Sum(nn.Sequential(*modules(body)))
                case Pool():
                    yield nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
                case Dense(name, inputs, outputs):
                    dense = nn.Linear(inputs, outputs)
                    weight, bias = weights[name]
                    dense.weight.data, dense.bias.data = torch.from_numpy(weight.T.copy()), torch.from_numpy(bias)
                    yield dense

    return nn.Sequential(*modules(model.network.layers)).eval().to(memory_format=torch.channels_last)


def _torch_run(module: Any, x: np.ndarray) -> Run:
    import torch

    # A view of x's numbers, which are channels-last already.
    picture = torch.from_numpy(x).permute(0, 3, 1, 2)

    @torch.inference_mode()
    def run() -> np.ndarray:
        return _nhwc(module(picture).numpy())

    return run


def torch_eager(model: Model | Detector, x: np.ndarray, threads: int) -> Run:
    """Torch as it comes."""
    import torch

    torch.set_num_threads(threads)
    return _torch_run(_torch_module(model), x)


def torch_compile(model: Model | Detector, x: np.ndarray, threads: int) -> Run:
    """Torch with its compiler, tuned as far as it goes."""
    import torch
    import torch._inductor.config

    torch.set_num_threads(threads)
    torch._inductor.config.freezing = True
    run = _torch_run(torch.compile(_torch_module(model), mode="max-autotune-no-cudagraphs", dynamic=False), x)
    run()  # compiles
    return run


# ONNX


def onnx_bytes(model: Model | Detector, batch: int) -> bytes:
    """Return the model as a serialised ONNX graph for `batch` pictures (N, C, H, W), its outputs called as `Network.outputs` calls them."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = folded(model)
    nodes, initializers = [], []
    # Where each shortcut or branch leaves the way, by the name of its body's first layer.
    starts = {layer.body[0].name: layer.name for layer in model.network.layers if isinstance(layer, (Residual, Branch))}
    saved: dict[str, str] = {}
    value = "picture"

    def constant(name: str, array: np.ndarray) -> str:
        initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(kind: str, name: str, inputs: list[str], **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    for visit in walk(model.network):
        name = visit.layer.name
        if name in starts:
            saved[starts[name]] = value
        match visit.layer:
            case Conv(_, spec, activation):
                assert visit.geometry is not None  # every convolution has one
                (top, bottom), (left, right) = visit.geometry.padding
                weight, bias = weights[name]
                arrays = [constant(f"{name}.weight", weight.transpose(3, 2, 0, 1)), constant(f"{name}.bias", bias)]
                sizes = {"kernel_shape": spec.kernel, "strides": spec.stride, "dilations": spec.dilation}
                value = node("Conv", f"{name}.conv", [value, *arrays], pads=[top, left, bottom, right], group=spec.groups, **sizes)
                if activation == "relu6":
                    limits = [constant(f"{name}.low", np.array(0, np.float32)), constant(f"{name}.high", np.array(6, np.float32))]
                    value = node("Clip", f"{name}.relu6", [value, *limits])
                elif activation == "relu":
                    value = node("Relu", f"{name}.relu", [value])
            case Residual():
                value = node("Add", name, [saved[name], value])
            case Branch():
                nodes[-1].output[0] = name
                value = saved[name]  # the network goes on with what the branch was given
            case Pool():
                value = node("Flatten", name, [node("GlobalAveragePool", f"{name}.mean", [value])])
            case Dense():
                weight, bias = weights[name]
                value = node("Gemm", name, [value, constant(f"{name}.weight", weight), constant(f"{name}.bias", bias)])
    outputs = model.network.outputs
    nodes[-1].output[0] = list(outputs)[-1]
    shapes = {name: (shape[2], *shape[:2]) if len(shape) == 3 else shape for name, shape in outputs.items()}
    height, width, channels = model.network.input
    graph = helper.make_graph(
        nodes,
        "convlab",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, (batch, channels, height, width))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, (batch, *shape)) for name, shape in shapes.items()],
        initializers,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def _nchw(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def onnxruntime(model: Model | Detector, x: np.ndarray, threads: int) -> Run:
    """ONNX Runtime."""
    return onnxruntime_session(onnx_bytes(model, len(x)), x, threads)


def onnxruntime_session(graph: bytes | str, x: np.ndarray, threads: int) -> Run:
    """Return a call of ONNX Runtime on a serialised graph or on a file."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Threads may spin while they wait, which is quickest; between turns they have time to fall asleep.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    outputs = {output.name: np.empty(output.shape, np.float32) for output in session.get_outputs()}
    result = _result(outputs)  # views: every call fills them anew
    binding = session.io_binding()
    picture = _nchw(x)
    binding.bind_ortvalue_input("picture", ort.OrtValue.ortvalue_from_numpy(picture))
    for name, y in outputs.items():
        binding.bind_output(name, "cpu", 0, np.float32, y.shape, y.ctypes.data)

    def run(_alive: np.ndarray = picture) -> Result:  # the bound input may share its memory
        session.run_with_iobinding(binding)
        return result

    return run


def _openvino_compiled(model: Model | Detector, batch: int, threads: int, streams: int) -> Any:
    import openvino as ov

    core = ov.Core()
    options = {
        "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": streams,
    }
    return core.compile_model(core.read_model(onnx_bytes(model, batch)), "CPU", options)


def openvino(model: Model | Detector, x: np.ndarray, threads: int) -> Run:
    """OpenVINO, all pictures in one request."""
    import openvino as ov

    compiled = _openvino_compiled(model, len(x), threads, 1)
    request = compiled.create_infer_request()
    picture = _nchw(x)
    request.set_input_tensor(ov.Tensor(picture, shared_memory=True))

    tensors = {port.any_name: request.get_tensor(port) for port in compiled.outputs}

    def run(_alive: np.ndarray = picture) -> Result:  # a shared tensor does not keep its memory
        request.infer()
        return _result({name: tensor.data for name, tensor in tensors.items()})

    return run


def openvino_streams(model: Model | Detector, x: np.ndarray, threads: int) -> Run:
    """OpenVINO, one stream a thread and one request a picture."""
    import openvino as ov

    compiled = _openvino_compiled(model, 1, threads, threads)
    pictures = _nchw(x)
    requests = [compiled.create_infer_request() for _ in x]
    for i, request in enumerate(requests):
        request.set_input_tensor(ov.Tensor(pictures[i : i + 1], shared_memory=True))

    def run(_alive: np.ndarray = pictures) -> np.ndarray:
        for request in requests:
            request.start_async()
        for request in requests:
            request.wait()
        return _nhwc(np.concatenate([request.get_output_tensor().data for request in requests]))

    return run


RUNGS: dict[str, Engine] = {f"rung {name}": rung(name) for name in KERNELS}
"""The ladder on a lone convolution."""

ENGINES: dict[str, Engine] = {
    **RUNGS,
    **{f"forward {name}": forward(name) for name in KERNELS},
    "convlab": plan,
    "torch": torch_eager,
    "torch.compile": torch_compile,
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "openvino streams": openvino_streams,
}
"""Name -> engine: the order of the tables."""

PACKAGES = ("torch", "onnx", "onnxruntime", "openvino", "threadpoolctl", "matplotlib")
"""What the extra `peers` installs."""


def require_peers() -> None:
    """Say in one line what is missing."""
    missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise SystemExit(f'the benchmarks need {", ".join(missing)}: pip install ".[peers]"')
