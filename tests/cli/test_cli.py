"""The command line as a user meets it: what it prints, what it refuses and how, and what its exit code says."""

import contextlib
import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numba import config
from PIL import Image
from rich.console import Console

import convlab as cl
from convlab import cli, tour
from convlab.bench import rate

COMMANDS = tuple(command.__name__.rpartition(".")[2] for command in cli.COMMANDS)


def started(*argv, code="", **environment):
    """Run `python -m convlab` as a process of its own, after the Python lines of `code`."""
    program = f"import sys; {code}; from convlab.__main__ import main; sys.exit(main())"
    command = [sys.executable, "-W", "error", "-c", program] if code else [sys.executable, "-W", "error", "-m", "convlab"]
    variables = {**os.environ, "PYTHONIOENCODING": "utf-8", **environment}
    return subprocess.run([*command, *map(str, argv)], capture_output=True, text=True, encoding="utf-8", env=variables, timeout=300)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return the path of a small random model, and the classes it names."""
    labels = [f"[thing] {i}" for i in range(10)]  # brackets: labels are no markup
    network = cl.mobilenet_v1(alpha=0.25, resolution=32, classes=10)
    path = tmp_path_factory.mktemp("model") / "tiny.npz"
    cl.save(cl.Model(network, cl.Model.random(network).params, labels), path)
    return path


@pytest.fixture
def classify(convlab, model):
    """Return a function that classifies with the small model on a kernel without compiling, and gives (code, records, stderr)."""

    def run(*argv):
        code, out, err = convlab("classify", *argv, "--model", model, "--kernel", "im2col", "--json")
        return code, json.loads(out), err

    return run


def assert_one_line(err, start="convlab"):
    assert err.startswith(start)
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert err[:-1].isprintable()


# Help


def test_help_of_everything_teaches_with_an_example(convlab):
    for argv in (["--help"], *([name, "--help"] for name in COMMANDS)):
        code, out, err = convlab(*argv)
        assert (code, err) == (0, "")
        _, _, examples = out.partition("example" if len(argv) == 2 else "start here")
        shown = re.findall(r"^  convlab (\w+)", examples, re.MULTILINE)
        assert shown
        assert set(shown) <= set(COMMANDS)


@pytest.mark.parametrize("name", ["cost", "summary"])
def test_the_examples_of_the_help_work(convlab, name):
    _, out, _ = convlab(name, "--help")
    lines = re.findall(rf"^  convlab ({name} .*?)(?:   .*)?$", out, re.MULTILINE)
    assert len(lines) >= 2
    for line in lines:
        if cl.zoo.DEFAULT not in line:
            assert convlab(*line.split())[0] == 0, line


def test_without_a_command_the_help_is_shown_as_an_error(convlab):
    code, out, err = convlab()
    assert (code, out) == (2, "")
    assert all(name in err for name in COMMANDS)


def test_version(convlab):
    assert convlab("--version") == (0, f"convlab {cl.__version__}\n", "")


# cost


def numbers(out, row):
    """Return the numbers in a printed row: 2,160 as 2160."""
    (line,) = (line for line in out.splitlines() if line.startswith(row))
    return [int(number.replace(",", "")) for number in re.findall(r"(?<![\w.x])\d[\d,]*(?![\w.x,])", line)]


def test_the_documents_tables(convlab):
    code, out, err = convlab("cost", "6x6x3", "--filters", 5, "--kernel", 3)
    assert (code, err) == (0, "")
    assert [2160 in numbers(out, "standard"), 432 in numbers(out, "depthwise"), 240 in numbers(out, "pointwise")] == [True] * 3
    assert "672 / 2,160 = 0.3111 = 1/5 + 1/9: 68.89 % saved" in out
    _, out, _ = convlab("cost", "5x5x3", "--filters", 16, "--kernel", 3)
    assert [3888 in numbers(out, "standard"), 243 in numbers(out, "depthwise"), 432 in numbers(out, "pointwise")] == [True] * 3
    assert "675 / 3,888 = 0.1736 = 1/16 + 1/9: 82.64 % saved" in out


def test_every_option_of_cost_counts(convlab):
    options = {"--kernel": "3x2", "--stride": "2x1", "--padding": "1x2", "--dilation": "1x2"}
    _, out, _ = convlab("cost", "9X8x4", "--filters", 6, *(part for option in options.items() for part in option))
    c = cl.compare(9, 8, in_channels=4, out_channels=6, kernel=(3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2))
    for name in ("standard", "depthwise", "pointwise"):
        assert {getattr(c, name).macs, getattr(c, name).params} <= set(numbers(out, name))


@pytest.mark.parametrize("padding", ["same", "valid", "2"])
def test_paddings(convlab, padding):
    _, out, _ = convlab("cost", "9x8x4", "--filters", 6, "--kernel", 3, "--padding", padding)
    value = int(padding) if padding.isdigit() else padding
    assert cl.compare(9, 8, in_channels=4, out_channels=6, kernel=3, padding=value).standard.macs in numbers(out, "standard")


def test_no_number_is_ever_cut(convlab, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    _, out, _ = convlab("cost", "99999x99999x9999", "--filters", 99999, "--kernel", 9, "--padding", "same")
    c = cl.compare(99999, 99999, in_channels=9999, out_channels=99999, kernel=9, padding="same")
    assert c.standard.macs in numbers(out, "standard")
    assert c.depthwise.macs in numbers(out, "depthwise")
    assert "…" not in out


COST = ("cost", "6x6x3", "--filters", "5", "--kernel", "3")


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["nix"], "convlab: argument COMMAND: invalid choice: 'nix'"),
        (["--nix"], "convlab: "),
        (["cost"], "convlab cost: the following arguments are required: HxWxC, --filters, --kernel (see convlab cost --help)"),
        (["cost", "6x6", *COST[2:]], "convlab cost: argument HxWxC: must be HEIGHTxWIDTHxCHANNELS, such as 6x6x3: '6x6' (see"),
        (["cost", "6x6x3x1", *COST[2:]], "convlab cost: argument HxWxC: must be HEIGHTxWIDTHxCHANNELS"),
        (["cost", "6.5x6x3", *COST[2:]], "convlab cost: argument HxWxC: must be HEIGHTxWIDTHxCHANNELS"),
        (["cost", "٦x6x3", *COST[2:]], "convlab cost: argument HxWxC: must be HEIGHTxWIDTHxCHANNELS"),
        (["cost", f"{'9' * 5000}x6x3", *COST[2:]], "convlab cost: argument HxWxC: must be HEIGHTxWIDTHxCHANNELS"),
        (["cost", "0x6x3", *COST[2:]], "convlab cost: height must be at least 1: height=0"),
        ([*COST[:3], "0", *COST[4:]], "convlab cost: out_channels must be at least 1: out_channels=0"),
        ([*COST[:3], "five", *COST[4:]], "convlab cost: argument --filters: must be a whole number of at most 9 digits: 'five' (see"),
        ([*COST[:3], "9999999999", *COST[4:]], "convlab cost: argument --filters: must be a whole number of at most 9 digits"),
        ([*COST[:5], "3x"], "convlab cost: argument --kernel: must be a number or HEIGHTxWIDTH, such as 3 or 3x2: '3x' (see"),
        ([*COST[:5], "3x3x3"], "convlab cost: argument --kernel: must be a number or HEIGHTxWIDTH"),
        ([*COST[:5], "7"], "convlab cost: the window must fit into the padded input: along the height the input is 6"),
        ([*COST, "--stride", "0"], "convlab cost: stride must be at least 1: stride=0"),
        ([*COST, "--stride", "-1"], "convlab cost: stride must be at least 1: stride=-1"),
        ([*COST, "--dilation", "9"], "convlab cost: the window must fit into the padded input"),
        ([*COST, "--padding", "full"], "convlab cost: argument --padding: must be same, valid, a number or HEIGHTxWIDTH, such as 1 or 1x2"),
        ([*COST, "--pad", "1"], "convlab: unrecognized arguments: --pad 1"),
        (["summary"], "convlab summary: the following arguments are required: NETWORK"),
        (
            ["summary", "mobilenet_v3"],
            "convlab summary: a network is mobilenet_v1, mobilenet_v2, mobilenet_v2_imagenet, mobilenet_v2_cifar10, ",
        ),
        (["summary", "mobilenet_v1", "--alpha", "3"], "convlab summary: alpha must be in (0, 2]: alpha=3.0"),
        (["summary", "mobilenet_v1", "--alpha", "nan"], "convlab summary: alpha must be in (0, 2]: alpha=nan"),
        (["summary", "mobilenet_v1", "--alpha", "half"], "convlab summary: argument --alpha: invalid float value: 'half'"),
        (["summary", "mobilenet_v2", "--resolution", "16"], "convlab summary: resolution * rho must be at least 32: resolution=16"),
        (["summary", "mobilenet_v2", "--classes", "0"], "convlab summary: out_features must be at least 1: out_features=0"),
        (["summary", "mobilenet_v2", "--padding", "full"], "convlab summary: argument --padding: invalid choice: 'full'"),
        (
            ["summary", __file__],
            "convlab summary: weights are a file of one of the kinds .npz, .safetensors, ",
        ),
        (["summary", os.path.dirname(__file__)], "convlab summary: a model saved by Transformers or timm has config.json in its directory"),
        (["summary", __file__, "--alpha", "1"], "convlab summary: --alpha only with mobilenet_v1 or mobilenet_v2"),
        (["classify"], "convlab classify: the following arguments are required: PICTURE"),
        (["classify", "chelsea", "--top", "0"], "convlab classify: argument --top: must be at least 1: '0'"),
        (["classify", "chelsea", "--top", "many"], "convlab classify: argument --top: must be a whole number"),
        (["classify", "chelsea", "--kernel", "fast"], "convlab classify: argument --kernel: invalid choice: 'fast'"),
        (["classify", "chelsea", "--model", "nix"], "convlab classify: no such model or path: 'nix'; the embedded models are mobilenet_v2"),
        (["tour", "now"], "convlab: unrecognized arguments: now"),
    ],
)
def test_wrong_arguments_are_one_line_and_code_2(convlab, argv, line):
    code, out, err = convlab(*argv)
    assert (code, out) == (2, "")
    assert_one_line(err, line)


def test_a_damaged_model_is_one_line(convlab, tmp_path):
    path = tmp_path / "damaged.npz"
    path.write_bytes(b"PK\x03\x04 no more")
    code, out, err = convlab("classify", "chelsea", "--model", path)
    assert (code, out) == (2, "")
    assert_one_line(err, f"convlab classify: {path} is not a readable .npz of plain arrays")


# summary


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_summary_counts_the_network_asked_for(convlab, name):
    code, out, err = convlab("summary", name, "--alpha", 0.75, "--resolution", 192, "--classes", 10, "--padding", "symmetric")
    counted = cl.cost(getattr(cl, name)(0.75, 192, 10, "symmetric"))
    assert (code, err) == (0, "")
    assert f"{name} alpha=0.75 192x192" in out
    totals = [line for line in out.splitlines() if line.startswith("total")]
    assert len(totals) == 2  # of the layers, of the kinds
    assert all(f"{counted.macs:,}" in line and f"{counted.params:,}" in line for line in totals)
    assert all(f"{c.macs:,}" in out for c in counted.by_kind().values())
    assert sum(line.startswith("block") for line in out.splitlines()) == sum(row.name.startswith("block") for row in counted.layers)


def test_summary_without_options_is_the_papers_network(convlab):
    assert "300,774,272" in convlab("summary", "mobilenet_v2")[1]
    assert "4,231,976" in convlab("summary", "mobilenet_v1")[1]


def test_summary_of_a_file(convlab, model):
    code, out, _ = convlab("summary", model)
    assert code == 0
    assert f"{cl.cost(cl.load(model).network).macs:,}" in out


def test_summary_of_a_directory_of_transformers(convlab, shared):
    pytest.importorskip("safetensors", reason="reads .safetensors")
    code, out, _ = convlab("summary", shared / "imagenet" / "mobilenet_v1_0.25_224")
    assert code == 0
    assert "mobilenet_v1 alpha=0.25 224x224" in out


# classify


@pytest.fixture(scope="module")
def picture():
    """Return an upright picture that all formats hold without loss: 16 colours, in blocks of 8."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (16, 3), dtype=np.uint8)
    return Image.fromarray(colours[np.repeat(np.repeat(rng.integers(0, 16, (5, 7)), 8, 0), 8, 1)])


def save_rotated(picture, path):
    """Save a picture lying on its side, with the EXIF tag that says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)


def test_a_pictures_mode_does_not_matter(classify, picture, tmp_path):
    palette = picture.quantize(16, dither=Image.Dither.NONE)
    assert palette.convert("RGB").tobytes() == picture.tobytes()
    picture.save(tmp_path / "rgb.png")
    palette.save(tmp_path / "palette.png")
    palette.save(tmp_path / "palette.gif")
    picture.convert("RGBA").save(tmp_path / "rgba.png")
    picture.convert("CMYK").save(tmp_path / "cmyk.tiff")
    save_rotated(picture, tmp_path / "rotated.png")
    paths = sorted(tmp_path.iterdir())
    code, records, err = classify(*paths)
    assert (code, err) == (0, "")
    assert [record["picture"] for record in records] == list(map(str, paths))
    assert [record["top"] for record in records] == [records[0]["top"]] * 6


def test_grey_pictures_of_8_and_16_bit_and_black_and_white(classify, picture, tmp_path):
    grey = picture.convert("L")
    grey.save(tmp_path / "grey.png")
    grey.convert("RGB").save(tmp_path / "rgb.png")
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(tmp_path / "deep.png")
    code, records, _ = classify(*sorted(tmp_path.iterdir()))
    assert code == 0
    assert [record["top"] for record in records] == [records[0]["top"]] * 3
    bits = picture.convert("1")
    bits.save(tmp_path / "bits.png")
    bits.convert("RGB").save(tmp_path / "bits-rgb.png")
    code, (one, other), _ = classify(tmp_path / "bits.png", tmp_path / "bits-rgb.png")
    assert code == 0
    assert one["top"] == other["top"]


def huge_header(path):
    """Write a PNG that promises 100,000 x 100,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    end = b"IEND"
    chunks = (struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (header, end))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


BAD = {
    "text.jpg": (lambda path, good: path.write_text("dear diary"), "is not a picture that Pillow can read"),
    "empty.png": (lambda path, good: path.write_bytes(b""), "is not a picture that Pillow can read"),
    "cut.png": (lambda path, good: path.write_bytes(good.read_bytes()[:150]), "is not a picture that Pillow can read"),
    "folder": (lambda path, good: path.mkdir(), "no pictures in the folder"),
    "missing.jpg": (lambda path, good: None, "no such file"),
    "huge.png": (lambda path, good: huge_header(path), "a picture may have 100,000,000 pixels at most"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_picture_is_one_line_and_the_others_are_classified(classify, picture, tmp_path, name):
    make, reason = BAD[name]
    good, bad = tmp_path / "good.png", tmp_path / name
    picture.save(good)
    make(bad, good)
    code, records, err = classify(good, bad, good)
    assert code == 2
    assert [record["picture"] for record in records] == [str(good), str(good)]
    assert_one_line(err, "convlab classify: ")
    assert reason in err
    assert name in err


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such file names")
def test_a_file_name_cannot_break_the_line_or_colour_it(convlab, picture, model, tmp_path):
    hostile = "two\nlines\x1b[31m[red]"
    code, out, err = convlab("classify", hostile)
    assert (code, out) == (2, "")
    assert_one_line(err)
    picture.save(tmp_path / hostile, format="png")
    code, out, err = convlab("classify", tmp_path / hostile, "--model", model, "--kernel", "im2col")
    assert (code, err) == (0, "")
    assert "two lines [31m[red]" in out
    assert "\x1b" not in out


def test_the_table_shows_what_the_model_says(convlab, picture, model, tmp_path):
    picture.save(tmp_path / "a.png")
    code, out, err = convlab("classify", tmp_path / "a.png", "--model", model, "--kernel", "im2col", "--top", 3)
    expected = cl.load(model).classify(tmp_path / "a.png", 3, "im2col")
    assert (code, err) == (0, "")
    shown = re.findall(r"^(\[thing\] \d) +([\d.]+) %", out, re.MULTILINE)
    assert shown == [(label, f"{100 * probability:.2f}") for label, probability in expected]


def test_json_is_exact_and_top_is_obeyed(classify, picture, model, tmp_path):
    picture.save(tmp_path / "a.png")
    _, (record,), _ = classify(tmp_path / "a.png", "--top", 99)
    expected = cl.load(model).classify(tmp_path / "a.png", 99, "im2col")
    assert [(entry["label"], entry["probability"]) for entry in record["top"]] == expected
    assert len(expected) == 10


def test_a_shipped_photo_goes_by_its_name_unless_there_is_such_a_file(classify, picture, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo = cl.zoo.photos()["chelsea"]
    _, (by_name, by_path), _ = classify("chelsea", photo)
    assert by_name["top"] == by_path["top"]
    picture.save(tmp_path / "chelsea", format="png")
    _, (own,), _ = classify("chelsea")
    assert own["top"] != by_path["top"]


def test_the_embedded_model_knows_a_cat(convlab):
    code, out, err = convlab("classify", "chelsea", "--top", 1, "--kernel", "im2col")
    assert (code, err) == (0, "")
    assert re.search(r"^Egyptian cat +69", out, re.MULTILINE)


# tour


def tour_text():
    """Return what a small tour prints at 80 columns: the ladder on 4x4, the network on a kernel without compiling."""
    out, err = (Console(width=80, file=io.StringIO(), markup=False, emoji=False, highlight=False) for _ in range(2))
    assert tour.tour(out, err, size=4, kernel="im2col") == 0
    assert err.file.getvalue() == ""
    return out.file.getvalue()


def test_the_tour():
    text = tour_text()
    for number in ("2,160", "432", "240", "672", "68.89 %", "3,888", "243", "675", "82.64 %", "568,740,352", "300,774,272"):
        assert number in text
    rows = (line.split() for line in text.splitlines())
    rungs = [row[0] for row in rows if len(row) > 8 and row[0] in cl.KERNELS and row[1].count("x") == 2]
    assert rungs == list(cl.KERNELS)
    assert re.search(r"^Egyptian cat +69", text, re.MULTILINE)
    assert re.search(r"^espresso +9\d", text, re.MULTILINE)
    assert re.search(r"^cup +0\.9\d +174 +21 +238 +221$", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 80
    commands = re.findall(r"^  convlab (.+)$", text, re.MULTILINE)
    assert {command.split()[0] for command in commands} == {"cost", "summary", "classify", "detect"}
    assert all(cli.run(command.split()) == 0 for command in commands if not command.startswith(("classify", "detect")))


def test_the_tour_stops_where_counted_and_run_differ():
    comparison = cl.compare(6, 6, in_channels=3, out_channels=5, kernel=3)
    assert "standard gives 4x4x5; depthwise 4x4x3" in tour._run_worked_example(comparison)
    wrong = cl.Comparison(**{**vars(comparison), "between": (4, 4, 5)})
    with pytest.raises(AssertionError, match="counted and run differ in shape"):
        tour._run_worked_example(wrong)


# As a process


def test_piped_output_has_no_escape_codes_and_no_progress(picture, model, tmp_path):
    picture.save(tmp_path / "a.png")
    done = started("classify", tmp_path / "a.png", tmp_path / "a.png", "--model", model, "--kernel", "im2col")
    assert (done.returncode, done.stderr) == (0, "")
    assert "[thing]" in done.stdout
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout


def test_output_in_a_narrow_encoding():
    done = started("summary", "mobilenet_v1", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "568,740,352" in done.stdout
    assert done.stdout.isascii()


def test_no_color():
    done = started(*COST, NO_COLOR="1", FORCE_COLOR="1", TERM="xterm-256color")
    assert done.returncode == 0
    assert not re.search("\x1b\\[[0-9;]*[34][0-7]m", done.stdout)  # bold may stay, colours may not


def test_wrong_input_as_a_process():
    done = started("cost", "6x6")
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_line(done.stderr, "convlab cost: ")


@pytest.mark.parametrize("module", ["rich", "PIL"])
def test_a_missing_extra_is_one_line_that_names_the_remedy(model, module):
    done = started("classify", "chelsea", "--model", model, "--kernel", "im2col", code=f"sys.modules['{module}'] = None")
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_line(done.stderr, "convlab")
    assert 'pip install "convlab-engine[lab]"' in done.stderr


def test_missing_safetensors_is_one_line_that_names_the_remedy(shared):
    path = shared / "imagenet" / "mobilenet_v1_0.25_224"
    done = started("summary", path, code="sys.modules['safetensors'] = None")
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_line(done.stderr, 'convlab summary: reading .safetensors needs safetensors: pip install "convlab-engine[lab]"')


def test_a_bug_elsewhere_is_not_hidden_by_the_missing_extra():
    done = started("cost", code="sys.modules['convlab.tables'] = None")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_crash_of_ours_does_not_say_that_a_function_is_wrong():
    done = started(*COST, code="import convlab.cli.cost; convlab.cli.cost.show_comparison = None")
    assert (done.returncode, done.stdout) == (3, "")
    assert "Traceback" in done.stderr
    assert "TypeError" in done.stderr


def test_counting_needs_no_pillow():
    done = started(*COST, code="sys.modules['PIL'] = None")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_pipe_is_quiet():
    process = subprocess.Popen(
        [sys.executable, "-m", "convlab", "summary", "mobilenet_v2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()  # as `head` does when it has seen enough, only sooner
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(timeout=60), err) == (141, "")


def test_no_option_takes_two_dashes_for_a_value(convlab):
    for argv in (
        ["step", "--size=--"],
        ["cost", "6x6x3", "--kernel=--"],
        ["classify", "chelsea", "--model=--"],
        ["bench", "kernels", "--json=--"],
    ):
        code, out, err = convlab(*argv)
        assert (code, out) == (2, "")
        assert_one_line(err, f"convlab: argument {argv[-1][:-3]}: invalid value: '--'")


TOKENS = [
    *("", "--", "-", "--size", "--size=--", "--out", "--top=-1", "--kernel", "--padding=--", "--help", "-h"),
    *("6x6x3", "nix", "\x1b[31m", "\ud800"),
]


@given(st.sampled_from([*COMMANDS, "nix"]), st.lists(st.sampled_from(TOKENS), max_size=5))
def test_no_words_end_in_a_traceback(command, words):
    assume((command, words) != ("tour", []))  # which is right, and takes its time
    out, err = io.StringIO(), io.StringIO()
    with (
        tempfile.TemporaryDirectory() as folder,  # where `notebooks` may write
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = cli.run([command, *words])
    if err.getvalue() or code:
        assert code == 2
        lines = err.getvalue().splitlines(keepends=True)
        for line in lines:
            assert_one_line(line)
        assert len(lines) == 1 or (command in ("classify", "detect") and len(lines) <= len(words))  # a line for each picture


def test_an_empty_name_is_not_the_working_directory(convlab, tmp_path, monkeypatch):
    shutil.copy(cl.zoo.photos()["coffee"], tmp_path / "coffee.jpg")
    monkeypatch.chdir(tmp_path)
    for command in ("classify", "detect"):
        code, out, err = convlab(command, "")
        assert (code, out, err) == (2, "", f"convlab {command}: a picture's name must not be empty: ''\n")


def shell(command, **environment):
    """Run a shell's line, in which `convlab` is this one; return its exit code, stdout and stderr."""
    run = f'"{sys.executable}" -W error -m convlab'
    variables = {**os.environ, **environment}
    done = subprocess.run(["bash", "-c", command.replace("convlab", run, 1)], capture_output=True, text=True, env=variables, timeout=120)
    return done.returncode, done.stdout, done.stderr


needs_a_shell = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")


@needs_a_shell
@pytest.mark.parametrize("command", ["summary mobilenet_v2", "--help"])
def test_what_cannot_be_printed_is_one_line_and_code_3(command):
    for unbuffered in ("", "1"):
        code, out, err = shell(f"convlab {command} > /dev/full", PYTHONUNBUFFERED=unbuffered)
        assert (code, out) == (3, "")
        assert_one_line(err)
        assert "standard output cannot be written: No space left on device" in err
    code, out, err = shell(f"convlab {command} >&-")
    assert (code, out) == (3, "")
    assert_one_line(err)
    assert "standard output is closed" in err
    assert shell(f"convlab {command} 2>&-")[::2] == (0, "")
    assert shell(f"convlab {command} >&- 2>&- <&-") == (3, "", "")


@needs_a_shell
def test_a_complaint_that_cannot_be_printed_keeps_its_code():
    for command in ("cost", "cost 6x6x3 --filters 5 --kernel 0", "classify nix"):
        assert shell(f"convlab {command} 2> /dev/full") == (2, "", "")


@needs_a_shell
def test_what_is_opened_does_not_get_the_number_of_a_closed_stream(tmp_path):
    """The page is the first file that is opened; were it number 1, whatever is printed would stand in it."""
    page = tmp_path / "page.html"
    assert shell(f"convlab step --size 4x4x1 --filters 1 --out {page} >&- 2>&-")[0] == 3
    assert page.read_text().startswith("<!doctype html>")
    assert page.read_text().rstrip().endswith("</html>")


@needs_a_shell
def test_a_page_on_a_full_disk_is_one_line_and_code_3():
    code, out, err = shell("convlab step --out /dev/full")
    assert (code, out, err) == (3, "", "convlab step: No space left on device: /dev/full\n")


def test_a_page_is_written_whole_or_not_at_all(convlab, tmp_path, monkeypatch):
    page = tmp_path / "page.html"
    page.write_text("old")

    def full(file, content):
        file.write(b"<!doc")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("convlab.files._put", full)
    code, out, err = convlab("step", "--out", page)
    assert (code, out) == (3, "")
    assert_one_line(err, f"convlab step: No space left on device: {page}")
    assert (page.read_text(), os.listdir(tmp_path)) == ("old", ["page.html"])


@pytest.mark.parametrize("command", ["tour", "bench kernels", "bench networks", "classify chelsea"])
def test_without_numba_it_is_one_line(command):
    done = started(*command.split(), code="sys.modules['numba'] = sys.modules['llvmlite'] = None")
    assert done.returncode == 2
    assert_one_line(done.stderr, f"convlab {command.split()[0]}: this needs Numba, and there is no ")
    assert "pip install numba" in done.stderr


def test_names_with_escape_codes_are_shown_as_text(convlab, tmp_path):
    evil = "\x1b[31mred\nline\x07\u202e"
    net = cl.Network(evil, (6, 6, 3), (cl.Conv(evil + "a", cl.ConvSpec(3, 4, 3)), cl.Pool(evil + "p"), cl.Dense(evil + "d", 4, 2)))
    cl.save(cl.Model(net, cl.Model.random(net).params, [evil, "b"]), tmp_path / "m.npz")
    for argv in (["summary", tmp_path / "m.npz"], ["classify", "chelsea", "--model", tmp_path / "m.npz", "--kernel", "im2col"]):
        code, out, err = convlab(*argv)
        assert (code, err) == (0, "")
        assert "[31mred line" in out
        assert out.replace("\n", "").isprintable()
    assert str(cl.summary(net)).replace("\n", "").isprintable()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_no_picture_and_no_model(convlab, model, tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    for argv in (["classify", tmp_path / "pipe.npz", "--model", model], ["summary", tmp_path / "pipe.npz"]):
        code, _, err = convlab(*argv)
        assert code == 2
        assert_one_line(err, f"convlab {argv[0]}: only regular files are read, no pipe and no device")


def test_what_pillow_logs_is_no_line_of_its_own(model, tmp_path):
    """A TIFF of 12,180 samples a pixel; in a process of its own, since tests catch what is logged."""
    entries = [(256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (273, 8), (277, 12_180), (278, 1), (279, 1)]
    table = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in entries)
    (tmp_path / "p.tif").write_bytes(b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4))
    done = started("classify", tmp_path / "p.tif", "--model", model, "--kernel", "im2col")
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_line(done.stderr, f"convlab classify: {tmp_path / 'p.tif'} is not a picture")


def test_weights_that_overflow_are_one_line(convlab, tmp_path):
    net = cl.mobilenet_v1(0.25, 32, classes=2)
    large = {name: np.full_like(array, 1e30) for name, array in cl.Model.random(net).params.items()}
    cl.save(cl.Model(net, large), tmp_path / "m.npz")
    code, _, err = convlab("classify", "chelsea", "--model", tmp_path / "m.npz", "--kernel", "im2col")
    assert code == 2
    assert_one_line(err, "convlab classify: a network must answer with finite numbers")


# What is not the user's fault


def test_ctrl_c_is_quiet(convlab, monkeypatch):
    def interrupted(network):
        raise KeyboardInterrupt

    monkeypatch.setattr("convlab.cli.summary.summary", interrupted)
    assert convlab("summary", "mobilenet_v1") == (130, "", "")


@pytest.mark.parametrize("error", [RuntimeError, ValueError, TypeError, OSError])
def test_a_bug_keeps_its_traceback(monkeypatch, error):
    def broken(network):
        raise error("a bug")

    monkeypatch.setattr("convlab.cli.summary.summary", broken)
    with pytest.raises(error, match="a bug"):
        cli.run(["summary", "mobilenet_v1"])


@pytest.mark.parametrize(("where", "argv"), [("zoo.load", ["classify", "chelsea"]), ("cli.summary.summary", ["summary", "mobilenet_v1"])])
def test_out_of_memory_is_one_line(convlab, monkeypatch, where, argv):
    def full(name):
        raise MemoryError("Unable to allocate 9 TiB")

    monkeypatch.setattr(f"convlab.{where}", full)
    code, out, err = convlab(*argv)
    assert (code, out) == (3, "")
    assert_one_line(err, f"convlab {argv[0]}: not enough memory: Unable to allocate 9 TiB")


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="whole networks on uncompiled tiles take minutes")
@pytest.mark.parametrize(("what", "named"), [("kernels", list(cl.KERNELS)), ("networks", ["mobilenet_v1", "mobilenet_v2"])])
def test_bench_prints_and_writes_what_it_measured(convlab, tmp_path, what, named):
    file, plot = tmp_path / "results.json", tmp_path / "results.png"
    code, out, err = convlab("bench", what, "--json", file, "--plot", plot)
    assert (code, err) == (0, "")
    with Image.open(plot) as drawn:
        assert drawn.size[0] > 400
    assert all(name in out for name in named)
    for result in json.loads(file.read_text()):
        assert all(min(timing["seconds"]) > 0 for timing in result["timings"])
        assert what == "networks" or (f"memory {rate(result['bandwidth'])}B/s" in out and result["peak"] > 0)


def test_bench_refuses_a_file_it_cannot_write_before_the_wait(convlab, tmp_path):
    code, out, err = convlab("bench", "networks", "--json", tmp_path / "no" / "such.json")
    assert (code, out) == (2, "")
    assert err.startswith("convlab bench: No such file or directory")
    assert convlab("bench", "shoes")[0] == 2
    code, _, err = convlab("bench", "networks", "--plot", tmp_path / "plot.xyz", "--json", tmp_path / "new.json")
    assert code == 2
    assert_one_line(err, "convlab bench: a plot is saved as .png, .svg, .pdf")
    assert list(tmp_path.iterdir()) == []


def test_without_the_jit_there_is_no_roofline_and_nothing_is_begun(convlab, tmp_path, monkeypatch):
    monkeypatch.setattr("convlab.machinecode.inline.JIT", False)
    plot = tmp_path / "roof.png"
    code, out, err = convlab("bench", "kernels", "--plot", plot)
    assert (code, out) == (2, "")
    assert_one_line(err, "convlab bench: a roofline needs the machine's peaks")
    assert not plot.exists()
