"""Wrong files by the thousand: pictures, `.npz` files and directories of Transformers, each right but for a change or two.

``python tests/files/fuzz.py SEED COUNT`` makes them, gives each to the command line, and prints how many there were of each kind and how
many were read; what ended in anything but exit code 0, or 2 and one line, is listed. It limits its own memory: no file may take
more than a few times what a stated limit allows.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import json
import random
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import convlab as cl
from convlab import cli

MEMORY = 3 << 30
"""Bytes of address space that a file may take beyond what Python, NumPy and Pillow take."""

SECONDS = 20
"""How long one file may take."""

HOSTILE: list[Any] = [
    *(0, 1, -1, 2, 3, 5, 255, 20_000, 2**31 - 1, 2**31, 2**63, 10**400, -(10**400), 0.5, 1e308, -0.0, float("nan"), float("inf")),
    *(None, True, False, "", "1", "same", "valid", "a\x1b[31mb\n", "\ud800", "\u202e", "x" * 100_000),
    *([], {}, [1, 2], [[1, 2], [3, 4]], {"type": "Pool", "name": "p"}, {"0": "a"}),
]
"""What stands in the place of a value of JSON."""

FORMATS = (
    *("png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm", "tga", "ico", "jpeg2000", "pcx", "sgi", "dds", "icns", "qoi", "avif"),
    *("eps", "pdf"),
)
MODES = ("RGB", "L", "RGBA", "P", "1", "CMYK", "LA", "I;16", "F", "I", "YCbCr")


SIZES = (0, 1, 20_000, 65_535, 2**31 - 1, 2**31, 2**32 - 1)


def bent(rng: random.Random, content: bytes) -> bytes:
    """Return bytes with a few changed, cut, doubled or inserted."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5, 30))):
        place = rng.randrange(len(data) + 1) if rng.random() < 0.5 else rng.randrange(min(len(data), 200) + 1)
        match rng.randrange(6):
            case 0:
                data[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                data[place : place + 4] = struct.pack(rng.choice("<>") + "I", rng.choice(SIZES))
            case 2:
                del data[place:]
            case 3:
                data[place:place] = data[place : place + rng.randrange(1, 64)]
            case 4:
                data[place:place] = rng.randbytes(rng.randrange(1, 9))
            case _:
                del data[place : place + rng.randrange(1, 9)]
    return bytes(data)


def changed(rng: random.Random, value: Any) -> Any:
    """Return JSON with one value, somewhere in it, exchanged, removed or repeated."""
    value = copy.deepcopy(value)
    spots: list[tuple[Any, Any]] = []
    pending = [value]
    while pending:
        part = pending.pop()
        keys = list(part) if isinstance(part, dict) else range(len(part))
        spots += [(part, key) for key in keys]
        pending += [part[key] for key in keys if isinstance(part[key], dict | list)]
    for _ in range(rng.choice((1, 1, 2, 4))):
        part, key = rng.choice(spots)
        with contextlib.suppress(KeyError, IndexError):  # taken out before
            match rng.randrange(4):
                case 0 if isinstance(part, dict):
                    part[f"{key}s"] = part.pop(key)
                case 0 | 1 if isinstance(part, list):
                    part.insert(key, copy.deepcopy(part[key]))
                case 1:
                    del part[key]
                case _:
                    part[key] = copy.deepcopy(rng.choice(HOSTILE))
    return value


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def an_npz(rng: random.Random, folder: Path, models: Sequence[cl.Model | cl.Detector]) -> Path:
    """Make an own file of a small network: its description changed, its members exchanged, or its bytes bent."""
    path = folder / "m.npz"
    cl.save(rng.choice(models), path)
    parts = members(path)
    kind = rng.randrange(5)
    if kind == 0:
        path.write_bytes(bent(rng, path.read_bytes()))
        return path
    if kind in (1, 2):
        with np.load(path) as file:
            description = changed(rng, json.loads(str(file["convlab"])))
        buffer = io.BytesIO()
        np.save(buffer, np.array(json.dumps(description, ensure_ascii=rng.random() < 0.5)))
        parts["convlab.npy"] = buffer.getvalue()
    else:
        for _ in range(rng.choice((1, 1, 2, 3))):
            name = rng.choice(list(parts))
            match rng.randrange(5):
                case 0:
                    parts[name] = bent(rng, parts[name])
                case 1:
                    if len(parts) > 1:
                        parts.pop(name)
                case 2:
                    parts[rng.choice(["extra.npy", "extra", "\x1b[31m.npy", "../up.npy", "convlab"])] = parts[name]
                case 3:
                    array = np.array(rng.choice([[1e300, np.nan], [1 + 2j], ["a"], [True], [2**63 - 1], np.zeros((0, 4))]))
                    parts[name] = npy(array)
                case _:
                    parts[name] = npy(np.zeros(rng.choice([1, 3_000_000]), rng.choice(["f2", ">f8", "u1", "M8[s]"])))
    with zipfile.ZipFile(path, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


PROCESSOR = {
    "do_resize": True,
    "size": {"shortest_edge": 46},
    "resample": 2,
    "do_center_crop": True,
    "crop_size": {"height": 40, "width": 40},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


def a_directory(rng: random.Random, folder: Path, saved: list[Path]) -> Path:
    """Make a directory as Transformers saves it: its config, its processor's, its tensors or the index of its shards changed."""
    path, source = folder / "saved", rng.choice(saved)
    path.mkdir()
    content = {name: (source / name).read_bytes() for name in ("config.json", "model.safetensors")}
    length = struct.unpack("<Q", content["model.safetensors"][:8])[0]
    head = json.loads(content["model.safetensors"][8 : 8 + length])
    if rng.random() < 0.5:
        content["preprocessor_config.json"] = json.dumps(PROCESSOR).encode()
    if rng.random() < 0.3:
        content["shard.safetensors"] = content.pop("model.safetensors")
        places = {name: "shard.safetensors" for name in head if name != "__metadata__"}
        content["model.safetensors.index.json"] = json.dumps({"weight_map": places}).encode()
    name = rng.choice(list(content))
    if rng.random() < 0.3:
        content[name] = bent(rng, content[name])
    elif name.endswith(".json"):
        content[name] = json.dumps(changed(rng, json.loads(content[name]))).encode()
    else:
        new = json.dumps(changed(rng, head)).encode()
        content[name] = struct.pack("<Q", len(new)) + new + content[name][8 + length :]
    for name, data in content.items():
        (path / name).write_bytes(data)
    return path


def onnx_networks() -> list[Any]:
    """Return a small V1 as ONNX, with what exporters write round it: a Pad, a Clip with constants, a reshape by computed sizes."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    shapes = {"w0": (8, 3, 3, 3), "w1": (8, 1, 3, 3), "w2": (16, 8, 1, 1), "b0": (8,), "b1": (8,), "b2": (16,), "wd": (5, 16), "bd": (5,)}
    numbers = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    numbers |= {"low": np.array(0, np.float32), "high": np.array(6, np.float32), "pads": np.array([0, 0, 0, 0, 0, 0, 1, 1])}
    numbers |= {"one": np.array([1]), "rest": np.array([-1])}
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["p"], "pad"),
        helper.make_node("Conv", ["p", "w0", "b0"], ["c0"], "stem", strides=[2, 2]),
        helper.make_node("Clip", ["c0", "low", "high"], ["r0"], "clip0"),
        helper.make_node("Conv", ["r0", "w1", "b1"], ["c1"], "depthwise", group=8, pads=[1, 1, 1, 1]),
        helper.make_node("Clip", ["c1", "low", "high"], ["r1"], "clip1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "pointwise"),
        helper.make_node("Relu", ["c2"], ["r2"], "relu"),
        helper.make_node("GlobalAveragePool", ["r2"], ["g"], "pool"),
        helper.make_node("Concat", ["one", "rest"], ["size"], "size", axis=0),
        helper.make_node("Reshape", ["g", "size"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "wd", "bd"], ["y"], "dense", transB=1),
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32])
    kept = [numpy_helper.from_array(array, name) for name, array in numbers.items()]
    graph = helper.make_graph(nodes, "network", [given], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])], kept)
    return [helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)]


OPERATIONS = (
    *("ConstantOfShape", "Expand", "Tile", "Range", "Loop", "If", "Resize", "Sqrt", "Shape", "Gather", "Einsum"),
    *("", "MatMul", "Max", "Sub"),
)


def an_onnx(rng: random.Random, folder: Path, models: list[Any]) -> Path:
    """Make an ONNX file whose nodes, attributes or constants are changed, or its bytes bent."""
    from onnx import helper, numpy_helper

    path = folder / "m.onnx"
    model = copy.deepcopy(rng.choice(models))
    graph = model.graph
    if rng.random() < 0.2:
        path.write_bytes(bent(rng, model.SerializeToString()))
        return path
    for _ in range(rng.choice((1, 1, 2, 3))):
        if not graph.node or not graph.initializer:
            break
        node, kept = rng.choice(graph.node), rng.choice(graph.initializer)
        sizes = rng.choice([[20_000, 20_000, 100], [2**31, 2**31], [3, 4], [0], [-1], [1] * 9])
        match rng.randrange(8):
            case 0:
                node.op_type = rng.choice((*OPERATIONS, *(other.op_type for other in graph.node)))
            case 1:
                kept.CopyFrom(numpy_helper.from_array(np.array(rng.choice([sizes, [1e30], [np.nan], 6, []])), kept.name))
            case 2:
                del kept.dims[:]
                kept.dims.extend(sizes)
            case 3:
                graph.initializer.remove(kept)
            case 4:
                graph.node.remove(node)
            case 5 if node.input:
                node.input[rng.randrange(len(node.input))] = rng.choice(["x", "y", "", "nix", *(other.name for other in graph.initializer)])
            case 5 | 6 if node.attribute:
                attribute = rng.choice(node.attribute)
                value = rng.choice([1, -1, 0, 2**31, 1.5, "SAME_LOWER", [1, 2, 3], [20_000] * 4, [-5] * 4, [2**40] * 2])
                attribute.CopyFrom(helper.make_attribute(attribute.name, value))
            case _:
                name = f"made{rng.randrange(9)}"
                made = helper.make_node(rng.choice(OPERATIONS), [rng.choice(["size", "pads", "one", kept.name])], [name], name)
                graph.node.insert(rng.randrange(len(graph.node)), made)
                node.input.append(name)
                graph.initializer.append(numpy_helper.from_array(np.array(sizes), f"{name}size"))
    path.write_bytes(model.SerializeToString())
    return path


def pictures() -> list[bytes]:
    """Return a small picture in each format and mode that Pillow writes."""
    from PIL import Image

    found = []
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8))
    for mode in MODES:
        picture = Image.fromarray(np.arange(480, dtype=np.uint16).reshape(20, 24)) if mode == "I;16" else noise.convert(mode)
        exif = Image.Exif()
        exif[0x0112], exif[0x011A] = 6, 5.0
        for name in FORMATS:
            buffer = io.BytesIO()
            with warnings.catch_warnings(), contextlib.suppress(OSError, ValueError, KeyError):  # few formats hold every mode
                warnings.simplefilter("ignore", DeprecationWarning)  # Pillow 12 writes mode I as PNG and would rather not
                picture.save(buffer, name, **({"exif": exif} if name in ("png", "jpeg", "tiff", "webp") else {}))
                found.append(buffer.getvalue())
    return found


def a_picture(rng: random.Random, folder: Path, right: list[bytes]) -> Path:
    path = folder / "p\x1b[31m.png"
    path.write_bytes(bent(rng, rng.choice(right)))
    return path


def verdict(argv: list[str]) -> tuple[int | None, str]:
    """Run the command line; return its exit code and, if all is not as it should be, what is wrong."""
    out, err = io.StringIO(), io.StringIO()
    begun = time.monotonic()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.run(argv)
    except BaseException:
        return None, traceback.format_exc()
    said = err.getvalue()
    if code not in (0, 2):
        return code, f"exit code {code}: {said}"
    if said != "" if code == 0 else not (said.count("\n") == 1 and said.endswith("\n") and said.startswith("convlab ")):
        return code, f"exit code {code}, and on stderr {said!r}"
    if not (out.getvalue() + said).replace("\n", "").isprintable():
        return code, f"shown raw: {out.getvalue() + said!r}"
    if time.monotonic() - begun > SECONDS:
        return code, f"took {time.monotonic() - begun:.0f} s"
    return code, ""


def limit_memory() -> None:
    """Let this process have `MEMORY` more than it has, where the system can."""
    with contextlib.suppress(ImportError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
        size = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (size, resource.getrlimit(resource.RLIMIT_AS)[1]))


def small_models() -> list[cl.Model]:
    """Return networks small enough that a change hits what matters."""
    conv = cl.Conv("stem", cl.ConvSpec(3, 4, 3, padding="same"))
    body = cl.Conv("block.a", cl.ConvSpec.depthwise(4, 3, padding=1)), cl.Conv("block.b", cl.ConvSpec(4, 4, 1), None, None)
    block = cl.Residual("block", body)
    net = cl.Network("small", (6, 6, 3), (conv, block, cl.Pool("pool"), cl.Dense("classifier", 4, 3)))
    random_model = cl.Model.random(net)
    return [random_model, cl.Model(net, random_model.params, ["a", "b", "c"], 8)]


def main(seed: int, count: int) -> dict[str, Any]:
    """Try `count` files of each kind."""
    here = Path(__file__).parent
    sys.path[:0] = map(str, (here, here.with_name("models"), here.parent))  # where tests find what they share
    from test_ssd import SHAPES, TINY
    from test_ssd import _Loose as Loose
    from test_weights import LABELS, V1, V2, source, tensors_of, write

    found: dict[str, Any] = {"failed": []}
    with tempfile.TemporaryDirectory() as base:
        models, right = small_models(), pictures()
        detector = cl.Detector(TINY, Loose.random(TINY).params, [None, "dog", "ball"], SHAPES)
        saved = []
        for i, config in enumerate((V1, V2)):
            saved.append(write(Path(base, f"right{i}"), {**config, **LABELS}, tensors_of(source(config), config["model_type"])))
        cl.save(models[0], Path(base, "right.npz"))
        kinds: dict[str, tuple[Callable[..., Path], list[Any], Callable[[str], list[str]]]] = {
            "npz": (an_npz, models, lambda path: ["classify", "chelsea", "--kernel", "im2col", "--model", path]),
            "detectors": (an_npz, [detector], lambda path: ["detect", "chelsea", "--kernel", "im2col", "--model", path]),
            "transformers": (a_directory, saved, lambda path: ["classify", "chelsea", "--kernel", "im2col", "--model", path]),
            "pictures": (a_picture, right, lambda path: ["classify", path, "--kernel", "im2col", "--model", f"{base}/right.npz"]),
        }
        if importlib.util.find_spec("onnx") is not None:
            networks = onnx_networks()
            kinds["onnx"] = an_onnx, networks, lambda path: ["classify", "chelsea", "--kernel", "im2col", "--model", path]
            Path(base, "right.onnx").write_bytes(networks[0].SerializeToString())
            found["right"] = verdict(["classify", "chelsea", "--kernel", "im2col", "--model", f"{base}/right.onnx"])
        for _, _, command in kinds.values():  # what is loaded once is loaded before memory is measured
            verdict(command("chelsea"))
        limit_memory()
        for kind, (make, given, command) in kinds.items():
            codes: Counter[int | None] = Counter()
            for i in range(count):
                rng = random.Random(f"{seed} {kind} {i}")
                with tempfile.TemporaryDirectory(dir=base) as folder:
                    path = make(rng, Path(folder), given)
                    code, trouble = verdict(command(str(path)))
                codes[code] += 1
                if trouble:
                    found["failed"].append(f"{kind} {i} of seed {seed}: {trouble}")
            found[kind] = {"tried": count, "read": codes[0], "refused": codes[2]}
    return found


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:])), indent=1))
