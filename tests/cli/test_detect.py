"""`convlab detect`, and pictures by folder: what is printed, drawn, written and refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import convlab as cl
from convlab.layers import parameter_shapes

Image = pytest.importorskip("PIL.Image", reason="reading pictures needs Pillow")

NETWORK = cl.Network(
    "one box",
    (8, 8, 3),
    (
        cl.Conv("stem", cl.ConvSpec(3, 2, 3, 8, "same"), eps=None),
        cl.Branch("boxes0", (cl.Conv("boxes0.predict", cl.ConvSpec.pointwise(2, 4), None, None),)),
        cl.Branch("scores0", (cl.Conv("scores0.predict", cl.ConvSpec.pointwise(2, 2), None, None),)),
    ),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return the path of a detector that finds one [thing] in the middle of every picture, half as wide and high as that."""
    params = {name: np.zeros(shape) for name, shape in parameter_shapes(NETWORK).items()}
    params["scores0.predict.bias"][1] = 2.0
    path = tmp_path_factory.mktemp("model") / "one.npz"
    cl.save(cl.Detector(NETWORK, params, [None, "[thing]"], [[(0.5, 1.0)]]), path)
    return path


@pytest.fixture
def detect(convlab, model):
    return lambda *argv: convlab("detect", *argv, "--model", model, "--kernel", "im2col")


@pytest.fixture
def folder(tmp_path):
    """Return a folder of two pictures and a text."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("b.png", "a.JPG"):
        Image.fromarray(np.full((40, 80, 3), 200, np.uint8)).save(pictures / name)
    (pictures / "notes.txt").write_text("no picture")
    return pictures


def test_a_table_says_what_is_where(detect, folder):
    code, out, err = detect(folder / "b.png")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == str(folder / "b.png") or str(folder) in out.replace("\n", "")
    assert any(line.split() == ["[thing]", "0.88", "20", "10", "40", "20"] for line in out.splitlines())


def test_a_folder_means_its_pictures_in_order(detect, folder, tmp_path):
    code, _, err = detect(folder, "--json", tmp_path / "found.json", "--out", tmp_path / "marked")
    assert (code, err) == (0, "")
    records = json.loads((tmp_path / "found.json").read_text())
    assert [record["picture"] for record in records] == [str(folder / "a.JPG"), str(folder / "b.png")]
    for record in records:
        (thing,) = record["found"]
        assert thing["label"] == "[thing]"
        assert thing["box"] == pytest.approx([20, 10, 40, 20])
    assert sorted(path.name for path in (tmp_path / "marked").iterdir()) == ["a.png", "b.png"]


def test_the_drawn_box_is_where_the_table_says(detect, folder, tmp_path):
    pytest.importorskip("matplotlib", reason="drawing needs matplotlib")
    code, _, err = detect(folder / "b.png", "--out", tmp_path / "marked.png")
    assert (code, err) == (0, "")
    drawn = np.asarray(Image.open(tmp_path / "marked.png").convert("RGB")).astype(int)
    blue = np.argwhere((drawn[:, :, 2] > 150) & (drawn[:, :, 0] < 40))
    (top, left), (bottom, right) = blue.min(0) / drawn.shape[:2], blue.max(0) / drawn.shape[:2]
    assert [left, top, right, bottom] == pytest.approx([0.25, 0.25, 0.75, 0.75], abs=0.03)


def test_files_of_one_name_get_a_picture_each(detect, folder, tmp_path):
    shutil.copy(folder / "b.png", folder / "a.png")
    assert detect(folder / "a.JPG", folder / "a.png", "--out", tmp_path / "marked")[0] == 0
    assert sorted(path.name for path in (tmp_path / "marked").iterdir()) == ["1_a.png", "2_a.png"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--threshold", "1.5"], "argument --threshold: must be a number from 0 to 1: '1.5'"),
        (["--threshold", "nan"], "argument --threshold: must be a number from 0 to 1: 'nan'"),
        (["--iou", "half"], "argument --iou: must be a number from 0 to 1: 'half'"),
        (["--top", "0"], "argument --top: must be at least 1: '0'"),
        (["--model", "mobilenet_v2_cifar10"], "mobilenet_v2_cifar10 names whole pictures: convlab classify --model mobilenet_v2_cifar10"),
        (["--out", "marked.gif"], "--out must be a .png file, or a folder for several pictures: marked.gif"),
        (["--out", "nowhere/marked.png"], "no such folder: nowhere"),
    ],
)
def test_wrong_wishes_are_one_line(convlab, options, line):
    code, out, err = convlab("detect", "coffee", *options)
    assert (code, out) == (2, "")
    assert err.startswith(f"convlab detect: {line}")
    assert err.count("\n") == 1


def test_what_is_no_picture_does_not_stop_the_others(detect, folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("dear diary")
    code, out, err = detect(tmp_path / "empty", tmp_path / "text.png", folder / "b.png", tmp_path / "missing.png")
    assert code == 2
    assert out.count("[thing]") == 1
    lines = err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("convlab detect: ") for line in lines)
    assert "no pictures in the folder" in lines[0]
    assert "no such file" in lines[1]  # what means no picture is said before any is looked at
    assert "is not a picture that Pillow can read" in lines[2]


def test_several_pictures_need_a_folder(detect, folder, tmp_path):
    code, out, err = detect(folder, "--out", tmp_path / "marked.png")
    assert (code, out) == (2, "")
    assert err.startswith("convlab detect: --out must be a folder for 2 pictures: ")
    assert not (tmp_path / "marked.png").exists()


def test_nothing_found_is_said(detect, folder):
    code, out, err = detect(folder / "b.png", "--threshold", "0.9")
    assert (code, err) == (0, "")
    assert "nothing" in out


def test_classify_takes_folders_and_sends_detectors_on(convlab, folder):
    code, out, err = convlab("classify", folder, "--top", 1, "--kernel", "im2col", "--json")
    assert (code, err) == (0, "")
    assert [record["picture"] for record in json.loads(out)] == [str(folder / "a.JPG"), str(folder / "b.png")]
    code, out, err = convlab("classify", "coffee", "--model", "ssd_mobilenet_v1_faces")
    assert (code, out) == (2, "")
    assert (
        err
        == "convlab classify: ssd_mobilenet_v1_faces finds things and names no pictures: convlab detect --model ssd_mobilenet_v1_faces\n"
    )
