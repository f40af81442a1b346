"""Models by their id, through the hub's real client, from a small hub on loopback; and from the client's cache without it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from test_weights import LABELS, V1, source, tensors_of, write

import convlab as cl
from convlab.weights import hub

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextlib.contextmanager
def serving(repositories: dict[str, Path], asked: list[str]) -> Iterator[str]:
    """Serve folders as a hub does: what a repository holds, and its files."""

    class Hub(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            path = self.path.partition("?")[0]
            for name, folder in repositories.items():
                if path.startswith(f"/api/models/{name}"):
                    files = [
                        {"rfilename": file.name, "path": file.name, "type": "file", "size": file.stat().st_size, "oid": "0" * 40}
                        for file in folder.iterdir()
                    ]
                    content = files if "/tree/" in path else {"id": name, "sha": COMMIT, "siblings": files, "private": False, "tags": []}
                    return self.send(json.dumps(content).encode(), "application/json", body)
                if path.startswith(f"/{name}/resolve/"):
                    file = folder / path.rpartition("/")[2]
                    if file.is_file():
                        asked.append(f"{self.command} {file.name}")
                        return self.send(file.read_bytes(), "application/octet-stream", body)
                    return self.refuse("EntryNotFound")
            return self.refuse("RepoNotFound")

        def send(self, content: bytes, kind: str, body: bool) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def refuse(self, code: str) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


SCRIPT = """
import sys, numpy as np, convlab as cl
try:
    model = cl.load(sys.argv[1])
except (ValueError, OSError) as error:
    print(f"{type(error).__name__}: {error}")
else:
    x = np.zeros(model.network.input, np.float32)
    print(model.network.name, model.preprocessing.size, model.labels, float(model(x, kernel="im2col")[0]))
"""


def load(name: str, endpoint: str, cache: Path, **variables: str) -> str:
    """Load a model in a process of its own, since the client reads its settings when it is imported; return what it says."""
    settings = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(cache),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    proxies = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    root = str(Path(cl.__file__).parents[1])
    environment = {
        **os.environ,
        **settings,
        **proxies,
        "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, name], env={**environment, **variables}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def repositories(tmp_path: Path) -> dict[str, Path]:
    config = {**V1, **LABELS}
    right = write(tmp_path / "right", config, tensors_of(source(config), "mobilenet_v1"))
    (right / "preprocessor_config.json").write_text(json.dumps({"crop_size": 48}))
    (right / "README.md").write_text("a card")
    (right / "tf_model.h5").write_bytes(b"not asked for")
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (other / "model.safetensors").write_bytes(b"large")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "README.md").write_text("nothing else")
    return {"them/mobilenet_v1_0.25_40": right, "them/bert": other, "them/empty": empty}


def test_a_model_by_its_id_then_from_the_cache(repositories: dict[str, Path], tmp_path: Path) -> None:
    asked: list[str] = []
    name = "them/mobilenet_v1_0.25_40"
    with serving(repositories, asked) as endpoint:
        first = load(name, endpoint, tmp_path / "cache")
    config = {**V1, **LABELS, "image_size": 48}
    expected = source(config)(np.zeros((48, 48, 3), np.float32), kernel="im2col")[0]
    assert first.startswith("mobilenet_v1 alpha=0.25 48x48 (48, 48) ('")
    assert float(first.rpartition(" ")[2]) == pytest.approx(float(expected), rel=1e-5)
    assert {entry.partition(" ")[2] for entry in asked} == {"config.json", "preprocessor_config.json", "model.safetensors"}
    assert load(name, endpoint, tmp_path / "cache") == first  # nobody serves any more
    assert load(name, endpoint, tmp_path / "cache", HF_HUB_OFFLINE="1") == first


def test_what_is_no_mobilenet_is_said_before_its_weights_are_fetched(repositories: dict[str, Path], tmp_path: Path) -> None:
    asked: list[str] = []
    with serving(repositories, asked) as endpoint:
        said = load("them/bert", endpoint, tmp_path / "cache")
        assert "model_type must be one of mobilenet_v1, mobilenet_v2: model_type='bert'" in said
        assert not any("safetensors" in entry for entry in asked)
        assert "on the hub has no config.json, and no single file of one of the kinds" in load("them/empty", endpoint, tmp_path / "cache")
        said = load("nobody/nothing", endpoint, tmp_path / "cache")
        assert said.startswith("FileNotFoundError: no such path: 'nobody/nothing'; and the hub has no model of this name for all")
        assert "\n" not in said


@pytest.mark.parametrize("offline", ["0", "1"])
def test_an_unknown_id_without_network_is_one_line(offline: str, tmp_path: Path) -> None:
    said = load("nobody/nothing", "http://127.0.0.1:9", tmp_path / "cache", HF_HUB_OFFLINE=offline)
    assert said == "FileNotFoundError: no such path: 'nobody/nothing'; nor is it in the hub's cache, and the hub cannot be reached"


def test_without_the_client_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match=r"no such path: 'them/one'; a model of the hub needs huggingface_hub: pip install"):
        cl.load("them/one")


@pytest.mark.parametrize(
    ("name", "so"),
    [
        ("google/mobilenet_v1_0.75_192", True),
        ("timm/mobilenetv2_100.ra_in1k", True),
        ("model.npz", False),
        ("a/b/c", False),
        ("/a/b", False),
        ("../b", False),
        ("a/..", False),
        ("a//b", False),
        ("", False),
        (3, False),
    ],
)
def test_what_has_the_form_of_an_id(name: object, so: bool) -> None:
    assert hub.is_id(name) is so


def test_a_path_with_a_known_ending_is_never_asked_for() -> None:
    for name in ("models/m.npz", "models/m.keras", "models/m.tflite"):
        with pytest.raises(FileNotFoundError, match="no such model or path"):
            cl.load(name)
