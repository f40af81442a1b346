"""What the notebooks' checks say to an answer, and the copies of the notebooks that students work in."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from convlab import cli, files, lessons
from convlab.lessons import answer

ROOT = Path(__file__).resolve().parents[2]


# Right and wrong

RIGHT = [
    (2160, 2160),
    (np.int32(2160), 2160),
    (2160.0, 2160),
    (np.float32(2160), 2160),
    (np.array(2160), 2160),
    (10**400, 10**400),
    (3888 * (1 / 16 + 1 / 9), 675),
    (Fraction(14, 45), 1 / 5 + 1 / 9),
    (0.1 + 0.2, 0.3),
    (np.float32(0.1) + np.float32(0.2), 0.3),
    (float("nan"), float("nan")),
    (float("inf"), float("inf")),
    (1 + 2j, 1 + 2j),
    (True, True),
    (np.True_, True),
    ("Same ", "same"),
    ((4, 4, 5), (4, 4, 5)),
    ([4, 4, 5], (4, 4, 5)),
    (np.array([4, 4, 5]), (4, 4, 5)),
    ((4, 4, 5), np.array([4, 4, 5])),
    (("same", 3), ("same", 3)),
    ([[1, 2], [3, 4]], np.array([[1, 2], [3, 4]])),
    ([[1], [2, 3]], [[1], [2, 3]]),
    (np.array([1e-17, 1.0]), np.array([0.0, 1.0])),
    (np.array([1.0000001, 0.1], np.float32), np.array([1.0, 0.1])),
    (np.array([np.nan, np.inf]), np.array([np.nan, np.inf])),
    (np.ones(2), np.ones(2, int)),
    (np.array([True, False]), [True, False]),
    (np.array(["a", "b"]), np.array(["a", "b"])),
    ((), ()),
]

WRONG = [
    (2161, 2160),
    (15_470_264_321, 15_470_264_320),  # off by one, whatever its size
    (10**400, 1),
    (10**400, 0.5),
    (2160.001, 2160),
    (-2160, 2160),
    (float("nan"), 2160),
    (float("inf"), 2160),
    (2160 + 0j, 2160),
    ("2160", 2160),
    (2160, "2160"),
    (True, 1),
    (1, True),
    (np.True_, 1),
    (None, 2160),
    (None, 0),
    (b"same", "same"),
    (Decimal(2160), 2160),
    ({2160}, 2160),
    (object, 2160),
    ((2160,), 2160),
    (2160, (2160,)),
    (np.array([2160]), 2160),
    ((4, 4), (4, 4, 5)),
    ((5, 4, 4), (4, 4, 5)),
    (("same", "3"), ("same", 3)),
    ("445", ("4", "4", "5")),
    ([[1], [2, 3]], [[1], [2, 4]]),
    (np.ones((2, 3)), np.ones((3, 2))),
    (np.ones((2, 3)), np.ones(3)),  # would broadcast
    (np.ones(3, bool), np.ones(3)),
    (np.ones(3, complex), np.ones(3)),
    (np.array([1, 2], object), np.array([1, 2])),
    (np.array(["a", "b"]), np.array(["a", "c"])),
    (np.array([1.001, 0.1]), np.array([1.0, 0.1])),
    (np.array([2, 2**62]), np.array([2, 2**62 + 1])),
    (np.array([np.nan, 1.0]), np.array([0.0, 1.0])),
    (np.array(["2026-01-01"], "M8[D]"), np.array([1])),
    ((), 0),
]


@pytest.mark.parametrize(("said", "right"), RIGHT)
def test_a_right_answer(said: object, right: object) -> None:
    verdict = answer(said, right, "because", faults=[(said, "never read")])
    assert verdict.passed, verdict
    assert verdict.text.endswith(" right: because.")
    assert answer(said, right).text.endswith(" right.")


@pytest.mark.parametrize(("said", "right"), WRONG)
def test_a_wrong_answer(said: object, right: object) -> None:
    verdict = answer(said, right, "because", faults={"another": "never read"})
    assert not verdict.passed, verdict
    assert " not right" in verdict.text
    assert "because" not in verdict.text
    assert "never read" not in verdict.text
    assert answer(said, right, faults=[(said, "the slip")]).text.endswith("not right: the slip.") == answer(said, said).passed


@pytest.mark.parametrize("nothing", [..., (..., 4), [4, ...], (..., ...)])
def test_three_dots_are_no_answer_yet(nothing: object) -> None:
    verdict = answer(nothing, (4, 4))
    assert (verdict.passed, str(verdict)) == (False, "Not answered yet: put your answer in place of the three dots.")


SAID = [
    (432, 2160, "432 is not right."),
    (np.int64(1296), 2160, "1,296 is not right."),
    (np.float32(0.1), 2160.5, "0.1 is not right."),
    (1234.5, 2160, "1,234.5 is not right."),
    ("2160", 2160, "'2160' is not right: a number is asked for."),
    ("valid", "same", "'valid' is not right."),
    (None, 2160, "None is not right: a number is asked for."),
    (True, 1, "True is not right: a number is asked for."),
    (2160, "same", "2,160 is not right: a word is asked for."),
    (2160, (4, 4), "2,160 is not right: a row of values is asked for."),
    (1, True, "1 is not right: True or False is asked for."),
    (1, 1j, "1 is not right: a complex number is asked for."),
    ((4, (5000,)), 2160, "(4, (5,000,)) is not right: a number is asked for."),
    ([4, "x"], (4, 4), "[4, 'x'] is not right."),
    (np.zeros((4, 5)), 2160, "Your array of shape (4, 5) is not right: a number is asked for."),
    (np.array([4, 5]), (4, 4), "Your array of shape (2,) is not right."),
    (list(range(100)), 2160, "Your list of length 100 is not right: a number is asked for."),
    (max, 2160, "Your answer, of type builtin_function_or_method, is not right: a number is asked for."),
    ("word " * 100, "same", "Your answer, of type str, is not right."),
    pytest.param(10**5000, 2160, "Your answer, of type int, is not right.", id="huge"),
    (82.64, 100 * (1 - 675 / 3888), "82.64 is not right: it is near; let Python compute it, without rounding."),
    (82.0, 100 * (1 - 675 / 3888), "82.0 is not right."),
    (2161, 2160, "2,161 is not right."),
]


@pytest.mark.parametrize(("said", "right", "text"), SAID)
def test_what_is_said(said: object, right: object, text: str) -> None:
    assert str(answer(said, right)) == repr(answer(said, right)) == text


def test_the_slip_is_named_by_the_first_fault_that_fits() -> None:
    faults = {432: "one filter of five.", 432.0000000001: "never read", 2160: "never read", "": "an empty word"}
    assert str(answer(432, 2160, faults=faults)) == "432 is not right: one filter of five."
    assert str(answer("", 2160, faults=faults)) == "'' is not right: an empty word."
    assert str(answer(2160, 2160, "5 x 16 x 27.", faults=faults)) == "2,160 is right: 5 x 16 x 27."


def test_faults_that_are_arrays_come_as_pairs() -> None:
    right = np.arange(6).reshape(2, 3)
    faults = [(right.T, "rows and columns are swapped"), (right[:, ::-1], "it is read from the right")]
    assert str(answer(right.T.copy(), right, faults=faults)).endswith("not right: rows and columns are swapped.")
    assert str(answer(right[:, ::-1], right, faults=iter(faults))).endswith("not right: it is read from the right.")
    assert answer(right, right, faults=faults).passed


class Odd:
    """An object that refuses whatever one does to it."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        raise RuntimeError

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise RuntimeError

    def __bool__(self) -> bool:
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError


itself: list = []
itself.append(itself)

LEAVES = st.one_of(
    st.none(),
    st.just(...),
    st.booleans(),
    st.integers(),
    st.integers(10**300, 10**400),
    st.floats(),
    st.complex_numbers(),
    st.fractions(),
    st.decimals(),
    st.text(max_size=5),
    st.binary(max_size=3),
    st.builds(Odd),
    st.just(itself),
    st.just(len),
    arrays.arrays(arrays.scalar_dtypes(), arrays.array_shapes(min_dims=0, max_dims=3, max_side=3)),
    arrays.arrays(np.dtype("f4"), 2).map(lambda a: a[0]),
    arrays.arrays(arrays.array_dtypes(), 2),
    st.just(np.array([len, None], object)),
)
ANYTHING = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.sets(st.integers(), max_size=2))
GOOD = st.one_of(
    st.integers(),
    st.floats(),
    st.booleans(),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=3).map(tuple),
    arrays.arrays(np.dtype("f4"), (2, 2)),
    arrays.arrays(np.dtype("i8"), (2, 2)),
)


@given(ANYTHING, GOOD, GOOD)
def test_nothing_that_a_student_gives_raises(said: object, right: object, wrong: object) -> None:
    verdict = answer(said, right, "because", faults=[(wrong, "a slip")])
    assert isinstance(verdict.passed, bool)
    assert "\n" not in verdict.text
    assert len(verdict.text) < 200


@pytest.mark.parametrize("said", [np.timedelta64("NaT", "s"), np.timedelta64(3, "D"), np.array("NaT", "m8[Y]"), np.array([1, 2], "m8[s]")])
@pytest.mark.parametrize("right", [0, 3, 0.5, 2**63, (1, 2), np.array([1, 2])])
def test_a_span_of_time_is_no_number(said: object, right: object) -> None:
    """NumPy's scalar of that kind is an integer by class, and may be none by value."""
    assert not answer(said, right, faults=[(3, "a slip")]).passed


@given(GOOD)
def test_the_right_answer_is_right_and_is_its_own_slip_elsewhere(right: object) -> None:
    assert answer(right, right).passed
    other = "quite another word"
    assert answer(right, other, faults=[(right, "the slip")]).text.endswith("not right: the slip.")


@given(st.integers(10_000, 10**12), st.integers(10_000, 10**12))
def test_a_wrong_number_does_not_give_the_right_one_away(said: int, right: int) -> None:
    verdict = answer(said, right, f"it is {right}", faults={right - 1: "one is missing"})
    if said != right:
        assert not verdict.passed
        assert str(right) not in verdict.text.replace(",", "").replace(str(said), "")


# The copies


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of two notebooks and something else, which this test's package ships."""
    place = tmp_path / "site" / "convlab" / "notebooks"
    place.mkdir(parents=True)
    for name in ("01_first.ipynb", "02_second.ipynb"):
        (place / name).write_text(f"{name}: é\n", encoding="utf-8")
    (place / "refresh.py").write_text("no notebook\n", encoding="utf-8")
    monkeypatch.setattr(lessons, "_PACKAGE", place.parent)
    return place


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_the_notebooks_are_found_in_the_package_and_else_in_the_checkout(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lessons.folder() == shipped
    beside = shipped.rename(shipped.parents[1] / "notebooks")
    assert lessons.folder() == beside
    monkeypatch.setattr(lessons, "_PACKAGE", shipped)  # which is no more
    with pytest.raises(FileNotFoundError, match="came without notebooks"):
        lessons.folder()


def test_a_copy_is_whole_and_holds_notebooks_only(shipped: Path, tmp_path: Path) -> None:
    to = tmp_path / "new" / "place"
    assert lessons.copy(to) == {"01_first.ipynb": "copied", "02_second.ipynb": "copied"}
    assert contents(to) == {name: text for name, text in contents(shipped).items() if name.endswith(".ipynb")}


def test_what_a_student_wrote_stays(shipped: Path, tmp_path: Path) -> None:
    lessons.copy(tmp_path)
    mine = tmp_path / "01_first.ipynb"
    mine.write_text("mine")
    (tmp_path / "02_second.ipynb").unlink()
    assert lessons.copy(tmp_path) == {"01_first.ipynb": "kept", "02_second.ipynb": "copied"}
    assert mine.read_text() == "mine"
    assert lessons.copy(tmp_path) == {"01_first.ipynb": "kept", "02_second.ipynb": "same"}


def test_even_a_dangling_link_or_a_folder_stays(shipped: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    (to / "01_first.ipynb").mkdir(parents=True)
    (to / "02_second.ipynb").symlink_to(tmp_path / "nowhere")
    assert lessons.copy(str(to)) == {"01_first.ipynb": "kept", "02_second.ipynb": "kept"}
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("trouble", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_copy_leaves_whole_files_only(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: BaseException
) -> None:
    whole, second = files._put, (shipped / "02_second.ipynb").read_bytes()

    def torn(file: BinaryIO, content: bytes) -> None:
        if content == second:
            file.write(content[:3])
            raise trouble
        whole(file, content)

    monkeypatch.setattr(files, "_put", torn)
    to = tmp_path / "to"
    with pytest.raises(type(trouble)):
        lessons.copy(to)
    assert contents(to) == {"01_first.ipynb": (shipped / "01_first.ipynb").read_bytes()}
    monkeypatch.undo()
    monkeypatch.setattr(lessons, "_PACKAGE", shipped.parent)
    assert lessons.copy(to) == {"01_first.ipynb": "same", "02_second.ipynb": "copied"}


def test_a_file_is_no_folder(shipped: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(NotADirectoryError, match="not a folder"):
        lessons.copy(file)
    assert file.read_text() == "mine"


# The stored results


def test_every_stored_result_is_found() -> None:
    stored = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    assert stored
    for file in stored:
        assert lessons.results(file.stem) == json.loads(file.read_text(encoding="utf-8"))


def test_the_results_of_the_package_come_first(shipped: Path) -> None:
    (shipped / "results").mkdir()
    (shipped / "results" / "kernels.json").write_text('{"from": "the package"}')
    assert lessons.results("kernels") == {"from": "the package"}
    with pytest.raises(FileNotFoundError, match="no stored result 'speed'; there are kernels"):
        lessons.results("speed")


def test_an_install_may_have_no_results(shipped: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there are none"):
        lessons.results("kernels")


# The command


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    code = cli.run(["notebooks", *map(str, argv)])
    return code, *capsys.readouterr()


def test_the_command_copies_and_says_how_to_go_on(shipped: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lessons, "can_open", lambda: True)
    code, out, err = run(capsys)
    assert (code, err) == (0, "")
    assert out == "notebooks: 2 notebooks copied\nopen the first with:\n  jupyter lab notebooks/01_first.ipynb\n"
    assert sorted(contents(tmp_path / "notebooks")) == ["01_first.ipynb", "02_second.ipynb"]

    code, out, err = run(capsys)
    assert (code, err) == (0, "")
    assert out.startswith("notebooks: 2 notebooks there already, as they come\n")


def test_the_command_says_what_it_left_alone(shipped: Path, tmp_path: Path, capsys) -> None:
    to = tmp_path / "a place"
    assert run(capsys, to)[0] == 0
    (to / "02_second.ipynb").write_text("mine")
    (to / "01_first.ipynb").unlink()
    code, out, err = run(capsys, to)
    assert (code, err) == (0, "")
    assert f"{to}: 1 notebook copied\n" in out
    assert "left as you have it: 02_second.ipynb (for a fresh copy name another folder, or move yours away)\n" in out
    assert f"  jupyter lab '{to}/01_first.ipynb'\n" in out


def test_without_jupyterlab_the_command_says_how_to_get_it(shipped: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    for there in (True, False):
        monkeypatch.setattr(lessons, "can_open", lambda there=there: there)
        _, out, _ = run(capsys, tmp_path / "to")
        assert ('pip install "convlab-engine[lab]"' in out) != there


def test_whether_jupyterlab_is_there_is_found_out(monkeypatch) -> None:
    monkeypatch.setattr(lessons, "find_spec", {"jupyterlab": None}.get)
    assert not lessons.can_open()
    monkeypatch.setattr(lessons, "find_spec", {"jupyterlab": "a spec"}.get)
    assert lessons.can_open()


def refused(capsys, *argv: object) -> str:
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert err.startswith("convlab notebooks: ")
    assert err.count("\n") == 1
    return err


def test_what_cannot_be_copied_to_is_refused_in_one_line(shipped: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    assert f"not a folder: {file}" in refused(capsys, file)
    assert str(file) in refused(capsys, file / "inside")
    assert "/proc/none" in refused(capsys, "/proc/none") or os.name != "posix"

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "_put", denied)
    assert f"Permission denied: {tmp_path / 'to' / '01_first.ipynb'}" in refused(capsys, tmp_path / "to")


def test_an_install_without_notebooks_is_said_in_one_line(shipped: Path, tmp_path: Path, capsys) -> None:
    for file in shipped.glob("*.ipynb"):
        file.unlink()
    assert "came without notebooks" in refused(capsys, tmp_path / "to")
    assert not (tmp_path / "to").exists()
