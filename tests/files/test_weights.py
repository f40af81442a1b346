"""Weights on disk: round trips, damaged and hostile files, and what HF Transformers saves, built here by hand."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import convlab as cl
from convlab.layers import parameter_shapes

SMALL = cl.Network(
    "small",
    (6, 6, 3),
    (cl.Conv("stem", cl.ConvSpec(3, 4, 3, padding="same")), cl.Pool("pool"), cl.Dense("classifier", 4, 3)),
)


@pytest.fixture
def model() -> cl.Model:
    random = cl.Model.random(SMALL, seed=1)
    return cl.Model(SMALL, random.params, labels=["Hündin", "кот", "鳥"], detail=32)


@pytest.fixture
def saved(model: cl.Model, tmp_path: Path) -> Path:
    path = tmp_path / "model.npz"
    cl.save(model, path)
    return path


# convlab's own files


def test_float32_round_trip_is_exact(model: cl.Model, saved: Path) -> None:
    back = cl.load(saved)
    assert (back.network, back.labels, back.detail) == (model.network, model.labels, model.detail)
    assert list(back.params) == list(model.params)
    for name, array in model.params.items():
        assert back.params[name].dtype == np.float32
        np.testing.assert_array_equal(back.params[name], array)


def test_without_labels_and_detail(tmp_path: Path) -> None:
    cl.save(cl.Model.random(SMALL), tmp_path / "m.npz")
    back = cl.load(str(tmp_path / "m.npz"))
    assert back.labels is None
    assert back.detail is None


def with_filter(numbers: list[float]) -> cl.Model:
    """Return a model whose first layer has these numbers first in its filters."""
    random = cl.Model.random(SMALL)
    weight = random.params["stem.weight"].copy()
    weight.flat[: len(numbers)] = numbers
    return cl.Model(SMALL, {**random.params, "stem.weight": weight})


@given(st.lists(st.floats(-65504, 65504, width=32), min_size=4, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_float16_rounds_filters_to_11_bits(tmp_path: Path, numbers: list[float]) -> None:
    model = with_filter(numbers)
    cl.save(model, tmp_path / "half.npz", dtype="float16")
    for name, array in cl.load(tmp_path / "half.npz").params.items():
        exact = model.params[name].astype(np.float64)
        if exact.ndim == 1:
            np.testing.assert_array_equal(array, exact)
        # Half a unit of the 11th bit; below 2^-14 float16 is subnormal, with steps of 2^-24.
        assert (np.abs(array - exact) <= np.maximum(2.0**-11 * np.abs(exact), 2.0**-25)).all()
        assert array.dtype == np.float32


def test_float16_halves_the_file(tmp_path: Path) -> None:
    model = cl.Model.random(cl.mobilenet_v1(0.25, 32, classes=10))
    cl.save(model, tmp_path / "whole.npz")
    cl.save(model, tmp_path / "half.npz", dtype="float16")
    assert (tmp_path / "half.npz").stat().st_size < 0.55 * (tmp_path / "whole.npz").stat().st_size


def test_numbers_too_large_for_float16_are_refused(model: cl.Model, tmp_path: Path) -> None:
    large = with_filter([1, 2, 1e5, 3])
    with pytest.raises(ValueError, match=r"stem\.weight holds numbers too large for float16: at most 65504"):
        cl.save(large, tmp_path / "m.npz", dtype="float16")
    assert list(tmp_path.iterdir()) == []
    cl.save(large, tmp_path / "m.npz")
    np.testing.assert_array_equal(cl.load(tmp_path / "m.npz").params["stem.weight"], large.params["stem.weight"])


@given(st.lists(st.floats(-6e4, 6e4, width=32), min_size=40, max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_uint8_keeps_each_weight_within_half_a_step_of_its_channel(tmp_path: Path, numbers: list[float]) -> None:
    layers = cl.Conv("wide", cl.ConvSpec(16, 2, 3), eps=None), cl.Conv("deep", cl.ConvSpec.depthwise(2, 2), eps=None)
    net = cl.Network("n", (4, 4, 16), layers)
    wide, deep = np.resize(numbers, (3, 3, 16, 2)), np.resize(numbers, (2, 2, 1, 2))
    model = cl.Model(net, {**cl.Model.random(net).params, "wide.weight": wide, "deep.weight": deep})
    cl.save(model, tmp_path / "eight.npz", dtype="uint8")
    back = cl.load(tmp_path / "eight.npz").params
    channels = model.params["wide.weight"].astype(np.float64).reshape(-1, 2)
    step = (channels.max(0) - channels.min(0)) / 255
    apart = np.abs(back["wide.weight"].reshape(-1, 2) - channels)
    assert (apart <= 0.5 * step + 2.0**-20 * np.abs(channels).max(0)).all()
    np.testing.assert_array_equal(back["deep.weight"], model.params["deep.weight"].astype(np.float16))  # small filters have 16 bits
    np.testing.assert_array_equal(back["wide.bias"], model.params["wide.bias"])


def test_uint8_quarters_the_file_and_keeps_a_constant_channel(tmp_path: Path) -> None:
    model = cl.Model.random(cl.mobilenet_v1(0.5, 32, classes=10))
    cl.save(model, tmp_path / "whole.npz")
    cl.save(model, tmp_path / "eight.npz", dtype="uint8")
    assert (tmp_path / "eight.npz").stat().st_size < 0.3 * (tmp_path / "whole.npz").stat().st_size
    net = cl.Network("n", (4, 4, 16), (cl.Conv("wide", cl.ConvSpec(16, 2, 3), eps=None),))
    cl.save(cl.Model(net, {"wide.weight": np.full((3, 3, 16, 2), -0.7), "wide.bias": np.ones(2)}), tmp_path / "flat.npz", dtype="uint8")
    np.testing.assert_array_equal(cl.load(tmp_path / "flat.npz").params["wide.weight"], np.float32(-0.7))


@given(st.integers(0, 2**32), st.floats(0.001, 1000), st.floats(-100, 100), st.integers(2, 256))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_8_bits_stays_so(tmp_path: Path, seed: int, scale: float, low: float, steps: int) -> None:
    net = cl.Network("n", (4, 4, 16), (cl.Conv("wide", cl.ConvSpec(16, 8, 3), eps=None),))
    whole = np.random.default_rng(seed).integers(0, steps, (3, 3, 16, 8))
    weight = (whole * scale + low).astype(np.float32)
    cl.save(cl.Model(net, {"wide.weight": weight, "wide.bias": np.zeros(8)}), tmp_path / "m.npz", dtype=lambda name: "uint8")
    back = cl.load(tmp_path / "m.npz").params["wide.weight"]
    np.testing.assert_allclose(back, weight, rtol=0, atol=2.0**-19 * np.abs(weight).max())
    cl.save(cl.Model(net, {"wide.weight": back, "wide.bias": np.zeros(8)}), tmp_path / "again.npz", dtype="uint8")
    np.testing.assert_allclose(cl.load(tmp_path / "again.npz").params["wide.weight"], back, rtol=0, atol=2.0**-19 * np.abs(weight).max())


def test_uint8_has_no_place_for_what_is_not_finite(tmp_path: Path) -> None:
    model = cl.Model.random(cl.mobilenet_v1(0.25, 32, classes=10))
    weight = np.where(model.params["block5.pointwise.weight"] > 0, np.inf, 1)
    with pytest.raises(ValueError, match=r"block5\.pointwise\.weight holds numbers that are not finite: uint8 has no place"):
        cl.save(cl.Model(model.network, {**model.params, "block5.pointwise.weight": weight}), tmp_path / "m.npz", dtype="uint8")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("net", [cl.mobilenet_v1(0.25, 32, classes=2), cl.mobilenet_v2(0.35, 33, classes=4, padding="symmetric", eps=1e-5)])
def test_networks_round_trip_and_run_alike(net: cl.Network, tmp_path: Path) -> None:
    model = cl.Model.random(net, seed=5)
    cl.save(model, tmp_path / "m.npz")
    back = cl.load(tmp_path / "m.npz")
    assert back.network == net
    x = np.random.default_rng(0).normal(size=net.input).astype(np.float32)
    np.testing.assert_array_equal(back(x, kernel="im2col"), model(x, kernel="im2col"))


@pytest.mark.parametrize("name", ["m.zip", "m", "m.npz.bak", "m.safetensors"])
def test_the_ending_must_be_npz(model: cl.Model, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"a model is saved as \.npz: path="):
        cl.save(model, tmp_path / name)


@pytest.mark.parametrize("dtype", ["float64", "int8", "bfloat16", ""])
def test_the_dtype_must_be_one_of_three(model: cl.Model, tmp_path: Path, dtype: str) -> None:
    with pytest.raises(ValueError, match=f'dtype must be "float32", "float16" or "uint8": dtype=\'{dtype}\''):
        cl.save(model, tmp_path / "m.npz", dtype)


def test_a_failing_save_leaves_the_old_file_and_no_rest(model: cl.Model, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def half(file, **arrays):
        file.write(b"PK half a file")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez_compressed", half)
    with pytest.raises(OSError, match="No space left"):
        cl.save(model, saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_saving_replaces_an_existing_file(saved: Path) -> None:
    other = cl.Model.random(SMALL, seed=9)
    cl.save(other, saved)
    np.testing.assert_array_equal(cl.load(saved).params["stem.weight"], other.params["stem.weight"])
    assert list(saved.parent.iterdir()) == [saved]


def test_saving_into_a_missing_directory_is_refused(model: cl.Model, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        cl.save(model, tmp_path / "nowhere" / "m.npz")


# Damaged, foreign and hostile files


@pytest.mark.parametrize("name", ["absent.npz", "absent", "absent.safetensors"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file or directory: .*absent"):
        cl.weights.load(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"no such model or path: .*absent.*; the embedded models are mobilenet_v2_imagenet"):
        cl.load(tmp_path / name)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_bytes(b"nothing of the kind")
    with pytest.raises(
        ValueError, match=r"weights are a file of one of the kinds \.npz, \.safetensors, .*, or a directory with config\.json"
    ):
        cl.load(tmp_path / "m.txt")


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"not a zip", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), npy(np.ones(3)), pickle.dumps([1, 2])],
    ids=["empty", "text", "zip magic", "empty zip", "npy", "pickle"],
)
def test_what_is_no_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"m\.npz is (not a readable \.npz|a \.npz, but not a model)"):
        cl.load(path)


@pytest.mark.parametrize("part", [0.01, 0.3, 0.7, 0.99])
def test_a_cut_off_file_is_refused(saved: Path, part: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(ValueError, match=r"model\.npz is not a readable \.npz of plain arrays"):
        cl.load(saved)


def test_a_damaged_byte_anywhere_is_a_clear_error_or_changes_nothing(model: cl.Model, saved: Path) -> None:
    """Bytes that zip does not check (times, attributes) may change; no other exception, no other numbers may come out."""
    content = saved.read_bytes()
    refused = 0
    for position in range(0, len(content), 11):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        saved.write_bytes(damaged)
        try:
            back = cl.load(saved)
        except ValueError:
            refused += 1
            continue
        assert back.network == model.network
        assert all(np.array_equal(back.params[name], model.params[name]) for name in model.params)
    assert refused > len(content) / 11 / 2


class Trap:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_the_trap_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung"))).close()
    assert (tmp_path / "sprung").exists()


def test_objects_are_refused_and_never_unpickled(saved: Path, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    with np.load(saved) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(tmp_path / "evil.npz", **{**arrays, "stem.beta": np.array([Trap(trap)] * 4, object)})
    (tmp_path / "pickled.npz").write_bytes(pickle.dumps(Trap(trap)))
    for name in ("evil.npz", "pickled.npz"):
        with pytest.raises(ValueError, match=rf"{name} is not a readable \.npz of plain arrays"):
            cl.load(tmp_path / name)
    assert not trap.exists()


def member(shape: str, descr: str = "<f4") -> bytes:
    """Return the header of an array that claims a shape, and no numbers."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (len(header) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def test_an_array_that_claims_to_be_huge_is_refused(saved: Path) -> None:
    with zipfile.ZipFile(saved, "a") as file:
        file.writestr("huge.npy", member("(1000000000000, 1000)"))
    with pytest.raises(ValueError, match=r"model\.npz: .*superfluous huge \(1000000000000, 1000\)"):
        cl.load(saved)


def peak(call: Callable[[], object]) -> int:
    """Return the most bytes that Python and NumPy held during a call that is to be refused."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"superfluous|misshapen|characters at most"):
            call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["extra", "stem.gamma", "convlab"])
def test_a_bomb_is_refused_before_it_is_unpacked(saved: Path, tmp_path: Path, name: str) -> None:
    """80 MB of zeros take 80 KB: under a name that is not the network's, in the place of one that is, or as the description."""
    descr, shape = ("<U20000000", "()") if name == "convlab" else ("<f4", "(20000000,)")
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.namelist():
            if part != f"{name}.npy":
                new.writestr(part, old.read(part))
        new.writestr(f"{name}.npy", member(shape, descr) + bytes(80_000_000))
    assert (tmp_path / "bomb.npz").stat().st_size < 200_000
    assert peak(lambda: cl.load(tmp_path / "bomb.npz")) < 10_000_000


def test_a_member_that_holds_more_than_it_declares_is_refused(saved: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(tmp_path / "m.npz", "w") as new:
        for part in old.namelist():
            new.writestr(part, old.read(part) + (b"more" if part == "stem.beta.npy" else b""))
    with pytest.raises(ValueError, match=r"'stem\.beta\.npy' must hold 16 bytes and holds more"):
        cl.load(tmp_path / "m.npz")


@pytest.mark.parametrize("way", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_only_what_numpy_packs_is_unpacked(saved: Path, tmp_path: Path, way: int) -> None:
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(tmp_path / "m.npz", "w", way) as new:
        for part in old.namelist():
            new.writestr(part, old.read(part))
    with pytest.raises(ValueError, match="is packed as NumPy packs nothing"):
        cl.load(tmp_path / "m.npz")


LAYERS = [{"type": "Conv", "name": "a", "spec": {"in_channels": 3, "out_channels": 4, "kernel": 3}}]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([{"type": "Conv", "name": "a", "spec": {**LAYERS[0]["spec"], "padding": 20_000}}], "'a' meets 6,40[0-9],"),
        ([{"type": "Conv", "name": "a", "spec": {**LAYERS[0]["spec"], "padding": 2**31}}], "padding must be at most 2147483647"),
        ([{"type": "Conv", "name": "a", "spec": {**LAYERS[0]["spec"], "padding": 2**31 - 1, "stride": 2**31 - 1}}], "'a' meets"),
        ([{"type": "Conv", "name": "a", "spec": {**LAYERS[0]["spec"], "out_channels": 2**31 - 1}}], "as parameters: .* has 66,571,9"),
        ([{"type": "Conv", "name": "a", "eps": 10**400, "spec": LAYERS[0]["spec"]}], "eps must be finite and at least 0: eps=inf"),
        ([{"type": "Pool", "name": 5}], "a layer's name must be a string: name=5"),
        ([*LAYERS, {"type": "Residual", "name": None, "body": LAYERS}], "a layer's name must be a string: name=None"),
        ([{**LAYERS[0], "name": ["a"]}], "a layer's name must be a string"),
        ([{"type": "Pool", "name": "pool"}, {"type": "Dense", "name": {}, "in_features": 3, "out_features": 3}], "name must be a string"),
        ([{"type": "Pool", "name": "p"}, {"type": "Dense", "name": "d", "in_features": 3, "out_features": 10**8}], "as parameters"),
    ],
)
def test_a_network_without_measure_is_refused(saved: Path, layers: list, message: str) -> None:
    with pytest.raises(ValueError, match=rf"model\.npz: .*{message}"):
        cl.load(header(saved, network={"name": "n", "input": [6, 6, 3], "layers": layers}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": {"name": 5, "input": [6, 6, 3], "layers": LAYERS}}, "a network's name must be a string: name=5"),
        ({"network": {"name": "n", "input": [10**4, 10**4, 3], "layers": LAYERS}}, "'a' meets 4?300,000,000|'a' meets 399,"),
    ],
)
def test_pictures_and_names_are_measured_too(saved: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=rf"model\.npz: .*({message})"):
        cl.load(header(saved, **changes))


def test_depth_without_end_is_one_line(saved: Path, tmp_path: Path) -> None:
    deep = "[" * 100_000
    with pytest.raises(ValueError, match="member 'convlab' is nested too deeply"):
        cl.load(rewrite(saved, lambda arrays: arrays.update(convlab=np.array(deep))))
    (tmp_path / "config.json").write_text(deep)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ValueError, match=r"config\.json is nested too deeply"):
        cl.load(tmp_path)


def test_shortcuts_in_shortcuts_are_refused(saved: Path) -> None:
    layer: dict = LAYERS[0]
    for _ in range(300):
        layer = {"type": "Residual", "name": "r", "body": [layer]}
    with pytest.raises(ValueError, match="this record does not describe a network"):
        cl.load(header(saved, network={"name": "n", "input": [6, 6, 3], "layers": [layer]}))


@pytest.mark.parametrize("order", "<>")
def test_characters_that_are_none_are_refused(saved: Path, order: str) -> None:
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(saved.with_name("m.npz"), "w") as new:
        for part in old.namelist():
            new.writestr(part, member("()", f"{order}U1") + struct.pack(f"{order}I", 0x110000) if part == "convlab.npy" else old.read(part))
    with pytest.raises(ValueError, match=r"m\.npz is not a readable \.npz of plain arrays"):
        cl.load(saved.with_name("m.npz"))


def test_a_label_that_no_encoding_holds_comes_back(saved: Path, model: cl.Model, tmp_path: Path) -> None:
    odd = cl.Model(SMALL, model.params, ["\ud800", "\U0010ffff", ""])
    cl.save(odd, tmp_path / "odd.npz")
    assert cl.load(tmp_path / "odd.npz").labels == odd.labels


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e300])
def test_numbers_that_float32_cannot_hold_are_refused(saved: Path, number: float) -> None:
    with pytest.raises(ValueError, match=r"parameters must be finite float32 numbers: stem\.beta holds others"):
        cl.load(rewrite(saved, lambda arrays: arrays.update({"stem.beta": np.array([0, 1, 2, number])})))


def test_a_variance_below_zero_is_refused(saved: Path) -> None:
    with pytest.raises(ValueError, match=r"variance \+ eps must be above 0.*stem\.variance goes down to -1\.0"):
        cl.load(rewrite(saved, lambda arrays: arrays.update({"stem.variance": np.array([1, -1, 2, 3])})))


def test_an_eps_beyond_float32_is_refused(saved: Path) -> None:
    network = {
        "name": "n",
        "input": [6, 6, 3],
        "layers": [{**LAYERS[0], "name": "stem", "spec": {**LAYERS[0]["spec"], "padding": 1}, "eps": 1e300}],
    }
    rewrite(saved, lambda arrays: [arrays.pop(name) for name in list(arrays) if name.startswith("classifier")] and None)
    with pytest.raises(ValueError, match=r"variance \+ eps must be .* a float32 number.*: eps=1e\+300"):
        cl.load(header(saved, network=network, labels=None))


def test_fortran_order_and_other_byte_orders_are_read(saved: Path, model: cl.Model) -> None:
    rewrite(saved, lambda arrays: arrays.update({name: np.asfortranarray(a, ">f8") for name, a in arrays.items() if name != "convlab"}))
    back = cl.load(saved)
    assert all(np.array_equal(back.params[name], array) and back.params[name].flags.writeable for name, array in model.params.items())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
@pytest.mark.parametrize("name", ["m.npz", "config.json"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises((ValueError, FileNotFoundError), match=r"only regular files are read|saved by Transformers has config\.json"):
        cl.load(tmp_path if name == "config.json" else tmp_path / name)


def test_a_superfluous_tensor_is_not_read(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "saved", {**V1, **LABELS}, {**tensors_of(source(V1), "mobilenet_v1"), "more": np.zeros(20_000_000, np.float32)}
    )
    assert peak(lambda: cl.load(folder)) < 10_000_000


def rewrite(path: Path, change: Callable[[dict], object]) -> Path:
    """Save the file again with its members changed; a change that returns something puts that in the header's place."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    change(arrays)
    np.savez(path, **arrays)
    return path


def header(path: Path, **changes: object) -> Path:
    def change(arrays: dict) -> None:
        arrays["convlab"] = np.array(json.dumps({**json.loads(str(arrays["convlab"])), **changes}))

    return rewrite(path, change)


def test_an_npz_without_a_header_is_refused(saved: Path) -> None:
    rewrite(saved, lambda arrays: arrays.pop("convlab"))
    with pytest.raises(ValueError, match=r"is a \.npz, but not a model: it has no member 'convlab'"):
        cl.load(saved)


@pytest.mark.parametrize(("text", "message"), [("{", "is not JSON"), ("[1]", "must be a JSON object: it is list"), ("", "is not JSON")])
def test_a_broken_header_is_refused(saved: Path, text: str, message: str) -> None:
    rewrite(saved, lambda arrays: arrays.update(convlab=np.array(text)))
    with pytest.raises(ValueError, match=rf"model\.npz: member 'convlab' {message}"):
        cl.load(saved)


@pytest.mark.parametrize("number", [0, 3, None, "1"])
def test_another_format_is_refused(saved: Path, number: object) -> None:
    with pytest.raises(ValueError, match=rf"has format {number!r}; this convlab reads formats 1 and 2"):
        cl.load(header(saved, format=number))


@pytest.mark.parametrize("network", [None, {}, "v2", {"name": "n", "input": [6, 6, 3], "layers": [{"type": "Loop"}]}])
def test_a_broken_network_is_refused(saved: Path, network: object) -> None:
    with pytest.raises(ValueError, match=r"model\.npz.*this record does not describe a network"):
        cl.load(header(saved, network=network))


@pytest.mark.parametrize("changes", [{"labels": ["a"]}, {"labels": 3}, {"labels": [1, 2, 3]}, {"detail": "x"}, {"detail": 0}])
def test_broken_labels_and_detail_are_refused(saved: Path, changes: dict) -> None:
    with pytest.raises(ValueError, match=rf"model\.npz.*{next(iter(changes))} must"):
        cl.load(header(saved, **changes))


def test_wrong_arrays_are_named(saved: Path) -> None:
    def change(arrays: dict) -> None:
        del arrays["stem.gamma"]
        arrays["stem.momentum"] = np.ones(2)
        arrays["classifier.weight"] = arrays["classifier.weight"].T

    rewrite(saved, change)
    with pytest.raises(
        ValueError,
        match=r"missing stem\.gamma \(4,\); superfluous stem\.momentum \(2,\); misshapen classifier\.weight: \(3, 4\), must be \(4, 3\)",
    ):
        cl.load(saved)


# The directory that HF Transformers saves

V1 = {
    "model_type": "mobilenet_v1",
    "depth_multiplier": 0.25,
    "image_size": 40,
    "hidden_act": "relu6",
    "num_channels": 3,
    "min_depth": 8,
    "tf_padding": True,
    "layer_norm_eps": 1e-3,
}
V2 = {
    **V1,
    "model_type": "mobilenet_v2",
    "depth_multiplier": 0.35,
    "depth_divisible_by": 8,
    "expand_ratio": 6.0,
    "first_layer_is_expansion": True,
    "finegrained_output": True,
    "output_stride": 32,
}
BUILD = {"mobilenet_v1": cl.mobilenet_v1, "mobilenet_v2": cl.mobilenet_v2}
NORM = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var"}


def there(family: str, name: str) -> str:
    """Return the name that Transformers gives a layer of convlab; written apart from `convlab.weights`, as its check."""
    if name == "classifier":
        return name
    block, _, part = name.partition(".")
    number = int(block.removeprefix("block")) if block.startswith("block") else 0
    if family == "mobilenet_v1":
        inner = "conv_stem" if name == "stem" else f"layer.{2 * number - 2 + (part == 'pointwise')}"
    elif name in ("stem", "head"):
        inner = {"stem": "conv_stem.first_conv", "head": "conv_1x1"}[name]
    else:
        kind = {"expand": "expand_1x1", "depthwise": "conv_3x3", "project": "reduce_1x1"}[part]
        inner = f"conv_stem.{kind}" if number == 1 else f"layer.{number - 2}.{kind}"
    return f"{family}.{inner}"


def tensors_of(model: cl.Model, family: str) -> dict[str, np.ndarray]:
    """Return a model's parameters as PyTorch would hold them."""
    tensors = {}
    for name, array in model.params.items():
        layer, _, part = name.rpartition(".")
        if layer == "classifier":
            tensors[f"classifier.{part}"] = np.ascontiguousarray(array.T)
        elif part == "weight":
            tensors[f"{there(family, layer)}.convolution.weight"] = np.ascontiguousarray(array.transpose(3, 2, 0, 1))
        else:
            tensors[f"{there(family, layer)}.normalization.{NORM[part]}"] = array
            if part == "mean":
                tensors[f"{there(family, layer)}.normalization.num_batches_tracked"] = np.array(0, np.int64)
    return tensors


def write(folder: Path, config: dict, tensors: dict[str, np.ndarray]) -> Path:
    numpy_files = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    numpy_files.save_file(tensors, folder / "model.safetensors")
    return folder


def source(config: dict, classes: int = 3) -> cl.Model:
    """Return a random model of the network that the config describes."""
    net = BUILD[config["model_type"]](
        alpha=config["depth_multiplier"],
        resolution=config["image_size"],
        classes=classes,
        padding="same" if config["tf_padding"] else "symmetric",
        eps=config["layer_norm_eps"],
    )
    return cl.Model.random(net, seed=2)


LABELS = {"id2label": {"0": "cat", "1": "dog", "2": "bird"}}


@pytest.mark.parametrize(
    "config",
    [
        V1,
        V2,
        {**V1, "tf_padding": False, "image_size": 33, "layer_norm_eps": 1e-5, "depth_multiplier": 0.5},
        {**V2, "tf_padding": False, "image_size": 47, "layer_norm_eps": 1e-5, "depth_multiplier": 0.5},
    ],
    ids=["v1", "v2", "v1 symmetric", "v2 symmetric"],
)
def test_a_directory_loads(config: dict, tmp_path: Path) -> None:
    model = source(config)
    folder = write(tmp_path / "saved", {**config, **LABELS}, tensors_of(model, config["model_type"]))
    for path in (folder, str(folder), folder / "model.safetensors"):
        back = cl.load(path)
        assert back.network == model.network
        assert back.labels == ("cat", "dog", "bird")
        assert all(np.array_equal(back.params[name], model.params[name]) for name in model.params)


def test_tiny_widths_have_no_shortcut_in_the_stem(tmp_path: Path) -> None:
    """At alpha 0.25 V2's first block has equal widths; in Transformers it is part of the stem and adds nothing."""
    config = {**V2, "depth_multiplier": 0.25}
    model = source(config)
    assert any(layer.name == "block1" for layer in model.network.layers)
    back = cl.load(write(tmp_path, {**config, **LABELS}, tensors_of(model, "mobilenet_v2")))
    assert not any(layer.name == "block1" for layer in back.network.layers)
    assert all(np.array_equal(back.params[name], model.params[name]) for name in model.params)


@pytest.mark.parametrize("config", [V1, V2], ids=["v1", "v2"])
def test_what_the_config_leaves_out_has_transformers_defaults(config: dict, tmp_path: Path) -> None:
    bare = {key: config[key] for key in ("model_type", "depth_multiplier", "image_size")}
    model = source(config, classes=2)
    back = cl.load(write(tmp_path, bare, tensors_of(model, config["model_type"])))
    assert back.network == model.network
    assert back.labels == ("LABEL_0", "LABEL_1")


def test_labels_are_ordered_by_their_numbers(tmp_path: Path) -> None:
    names = {str(i): f"name {i}" for i in range(12)}
    shuffled = dict(sorted(names.items()))  # "10" before "2", as JSON written with sorted keys has it
    back = cl.load(write(tmp_path, {**V1, "id2label": shuffled}, tensors_of(source(V1, 12), "mobilenet_v1")))
    assert back.labels == tuple(f"name {i}" for i in range(12))


@pytest.mark.parametrize("labels", [{"1": "a", "2": "b", "3": "c"}, {"0": "a", "2": "c"}, ["a", "b", "c"], "abc", 3, {}])
def test_labels_with_a_gap_are_refused(tmp_path: Path, labels: object) -> None:
    folder = write(tmp_path, {**V1, "id2label": labels}, tensors_of(source(V1), "mobilenet_v1"))
    with pytest.raises(ValueError, match="id2label must name the classes 0 to n-1"):
        cl.load(folder)


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (V1, {"hidden_act": "relu"}, "hidden_act must be 'relu6', other networks are not built here: hidden_act='relu'"),
        (V1, {"num_channels": 1}, "num_channels must be 3, .*num_channels=1"),
        (V2, {"min_depth": 16}, "min_depth must be 8, .*min_depth=16"),
        (V2, {"depth_divisible_by": 4}, "depth_divisible_by must be 8, .*depth_divisible_by=4"),
        (V2, {"expand_ratio": 4.0}, "expand_ratio must be 6, .*expand_ratio=4.0"),
        (V2, {"first_layer_is_expansion": False}, "first_layer_is_expansion must be True, .*first_layer_is_expansion=False"),
        (V2, {"finegrained_output": False}, "finegrained_output must be True, .*finegrained_output=False"),
        (V2, {"output_stride": 16}, "output_stride must be 32, .*output_stride=16"),
        (V1, {"model_type": "mobilenet_v3"}, "model_type must be one of mobilenet_v1, mobilenet_v2: model_type='mobilenet_v3'"),
        (V1, {"model_type": None}, "model_type must be one of mobilenet_v1, mobilenet_v2: model_type=None"),
        (V1, {"model_type": ["mobilenet_v1"]}, r"model_type must be one of .*: model_type=\['mobilenet_v1'\]"),
        (V1, {"depth_multiplier": 0}, r"alpha must be in \(0, 2\]: alpha=0"),
        (V1, {"depth_multiplier": "1.0"}, "alpha must be a number: alpha='1.0'"),
        (V1, {"image_size": [40, 40]}, r"image_size must be an integer: image_size=\[40, 40\]"),
        (V1, {"image_size": 16}, r"resolution \* rho must be at least 32: resolution=16"),
        (V2, {"layer_norm_eps": "tiny"}, "layer_norm_eps must be a number: layer_norm_eps='tiny'"),
        (V1, {"layer_norm_eps": None}, "layer_norm_eps must be a number: layer_norm_eps=None"),
        (V2, {"layer_norm_eps": 10**400}, "eps must be finite and at least 0: eps=inf"),
        (V2, {"layer_norm_eps": -(10**400)}, "eps must be finite and at least 0: eps=-inf"),
        (V1, {"depth_multiplier": 10**400}, r"alpha must be in \(0, 2\]"),
        (V1, {"num_labels": 2**31, "id2label": None}, "num_labels must be at most 2147483647"),
        (V1, {"num_labels": 2**31 - 1, "id2label": None}, "num_labels must be at most 1,000,000: num_labels=2147483647"),
        (
            V1,
            {"image_size": 2**20},
            "a model .* may have 100,000,000 numbers at most between two layers, padding included: 'stem'",
        ),
        (
            V2,
            {"depth_multiplier": 2, "num_labels": 10**6, "id2label": None},
            "a model .* may have 100,000,000 numbers at most as parameters",
        ),
        (V2, {"tf_padding": "no"}, "tf_padding must be true or false: tf_padding='no'"),
    ],
)
def test_a_config_of_another_network_is_refused(tmp_path: Path, config: dict, changes: dict, message: str) -> None:
    folder = write(tmp_path, {**config, **LABELS, **changes}, tensors_of(source(config), config["model_type"]))
    with pytest.raises(ValueError, match=rf"config\.json: {message}"):
        cl.load(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_part_is_named(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path, {**V1, **LABELS}, tensors_of(source(V1), "mobilenet_v1"))
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"a model saved by Transformers has {name} in its directory"):
        cl.load(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", r"config\.json is not JSON"),
        (b"", r"config\.json is not JSON"),
        (b"[]", r"config\.json must be a JSON object: it is list"),
        (b"{}", r"config\.json: model_type must be one of mobilenet_v1, mobilenet_v2: model_type=None"),
        (b'{"model_type": "\xff\xfe"}', r"config\.json is not JSON"),
    ],
    ids=["cut", "empty", "list", "bare", "not utf-8"],
)
def test_a_broken_config_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    folder = write(tmp_path, V1, tensors_of(source(V1), "mobilenet_v1"))
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        cl.load(folder)


@pytest.mark.parametrize("keep", [0, 4, 100, 20_000])
def test_a_cut_off_safetensors_file_is_refused(tmp_path: Path, keep: int) -> None:
    folder = write(tmp_path, {**V1, **LABELS}, tensors_of(source(V1), "mobilenet_v1"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"model\.safetensors is not a readable \.safetensors file"):
        cl.load(folder)


def test_tensors_of_a_byte_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, {**V1, **LABELS}, {})
    head = json.dumps({"classifier.bias": {"dtype": "F8_E4M3", "shape": [3], "data_offsets": [0, 3]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + bytes(3))
    with pytest.raises(ValueError, match=r"tensors must be of one of F64, F32, F16, BF16, I64, I32: classifier\.bias is F8_E4M3"):
        cl.load(folder)


@pytest.mark.parametrize("config", [V1, V2], ids=["v1", "v2"])
def test_wrong_tensors_are_named_as_the_file_names_them(tmp_path: Path, config: dict) -> None:
    family = config["model_type"]
    tensors = tensors_of(source(config), family)
    inner = there(family, "block2.depthwise")
    del tensors[f"{inner}.normalization.running_var"]
    depthwise = tensors[f"{inner}.convolution.weight"]
    tensors[f"{inner}.convolution.weight"] = depthwise[1:]
    tensors["classifier.weight"] = tensors["classifier.weight"][:, 1:]
    tensors["classifier.scale"] = np.ones(3, np.float32)
    folder = write(tmp_path, {**config, **LABELS}, tensors)
    with pytest.raises(ValueError, match="the tensors must fit the network") as error:
        cl.load(folder)
    message = str(error.value)
    channels = len(depthwise)
    assert f"missing {inner}.normalization.running_var" in message
    assert f"misshapen {inner}.convolution.weight: ({channels - 1}, 1, 3, 3), must be ({channels}, 1, 3, 3)" in message
    wide = tensors["classifier.weight"].shape[1]
    assert f"misshapen classifier.weight: (3, {wide}), must be (3, {wide + 1})" in message
    assert message.endswith("superfluous classifier.scale")


def test_tensors_of_another_width_are_refused_with_a_short_list(tmp_path: Path) -> None:
    folder = write(tmp_path, {**V1, **LABELS, "depth_multiplier": 0.5}, tensors_of(source(V1), "mobilenet_v1"))
    with pytest.raises(ValueError, match=r"misshapen mobilenet_v1\.conv_stem.* and \d+ more"):
        cl.load(folder)


def test_half_precision_tensors_load_as_float32(tmp_path: Path) -> None:
    tensors = {
        name: array.astype(np.float16) if array.dtype == np.float32 else array
        for name, array in tensors_of(source(V1), "mobilenet_v1").items()
    }
    back = cl.load(write(tmp_path, {**V1, **LABELS}, tensors))
    assert all(array.dtype == np.float32 for array in back.params.values())


def test_the_same_names_as_a_model_needs() -> None:
    """The names used above are all of a model's: none is missed by both sides."""
    for config in (V1, V2):
        model = source(config)
        assert set(model.params) == set(parameter_shapes(model.network))
        tensors = tensors_of(model, config["model_type"])
        assert len([name for name in tensors if not name.endswith("num_batches_tracked")]) == len(model.params)
