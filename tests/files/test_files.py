"""Files are written whole or not at all, read only where there is one, and no text reaches a line as a code."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlab import files


@pytest.mark.parametrize(
    "content", ["grün\r\n", "grün\r\n".encode(), lambda file: file.write("grün\r\n".encode())], ids=["text", "bytes", "call"]
)
def test_text_bytes_and_functions_are_written_as_they_are(tmp_path: Path, content: files.Content) -> None:
    files.write(tmp_path / "a", content)
    assert (tmp_path / "a").read_bytes() == "grün\r\n".encode()
    assert os.listdir(tmp_path) == ["a"]


def test_half_a_character_is_escaped(tmp_path: Path) -> None:
    files.write(tmp_path / "a", "é\ud800")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "é\\ud800"


@pytest.mark.parametrize("trouble", [OSError(28, "No space left on device"), ValueError("no number"), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("before", [None, b"old"])
def test_what_fails_in_the_midst_changes_nothing(tmp_path: Path, trouble: BaseException, before: bytes | None) -> None:
    target = tmp_path / "a"
    if before is not None:
        target.write_bytes(before)

    def half(file: BinaryIO) -> None:
        file.write(b"half")
        raise trouble

    with pytest.raises(type(trouble)) as error:
        files.write(target, half)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == ({} if before is None else {"a": before})
    if isinstance(trouble, OSError):
        assert (error.value.errno, error.value.filename) == (28, str(target))


def test_the_name_may_be_as_long_as_the_system_allows(tmp_path: Path) -> None:
    name = "鳥" * 80 + "a" * 15
    assert len(name.encode()) == 255
    files.write(tmp_path / name, b"whole")
    assert (tmp_path / name).read_bytes() == b"whole"


@pytest.mark.skipif(os.name != "posix", reason="permissions and links as POSIX has them")
def test_permissions_and_links_stay(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    os.chmod(tmp_path / "a", 0o640)
    (tmp_path / "link").symlink_to("a")
    files.write(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    mask = os.umask(0o027)
    try:
        files.write(tmp_path / "b", b"")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o640


def trial(path: Path) -> list[object]:
    """Return what writing does, and what asking beforehand does: nothing, or an error."""
    found: list[object] = []
    for call in (files.check_writable, lambda path: files.write(path, b"new")):
        try:
            call(path)
            found.append(None)
        except OSError as error:
            found.append((type(error), error.filename))
    return found


def test_what_cannot_be_written_is_known_beforehand(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    assert trial(tmp_path / "file") == [None, None]
    assert trial(tmp_path) == [(IsADirectoryError, str(tmp_path))] * 2
    for name, kind in (("no/such", FileNotFoundError), ("file/inside", NotADirectoryError), ("a" * 300, OSError)):
        assert trial(tmp_path / name) == [(kind, str(tmp_path / name))] * 2
    files.check_writable(tmp_path / "new")
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_device_is_written_to_and_not_replaced() -> None:
    files.check_writable("/dev/full")
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        files.write("/dev/full", b"a")
    files.write("/dev/null", b"a")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_reading(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert files.read(tmp_path / "a", 5) == b"12345"
    with pytest.raises(ValueError, match=r"the file may have 4 bytes at most: .*a$"):
        files.read(tmp_path / "a", 4)
    with pytest.raises(FileNotFoundError):
        files.read(tmp_path / "b", 4)
    with pytest.raises(IsADirectoryError):
        files.read(tmp_path, 4)


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
@pytest.mark.parametrize("make", [pipe, lambda _: Path("/dev/zero"), lambda _: Path("/dev/null")], ids=["pipe", "zero", "null"])
def test_what_may_never_end_is_refused(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path)
    with pytest.raises(ValueError, match=f"only regular files are read, no pipe and no device; save it to one first: {path}"):
        files.open_file(path)


@given(st.text())
def test_plain_is_one_line_of_what_can_be_shown(text: str) -> None:
    shown = files.plain(text)
    assert shown.isprintable()
    assert files.plain(shown) == shown
    assert "".join(shown.split()) == "".join(c for c in text if c.isprintable() and not c.isspace())
    assert files.printable(text).count("\n") == text.count("\n")


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a", {"a": [1, None, "é\ud800"]})
    assert json.loads((tmp_path / "a").read_text(encoding="utf-8")) == {"a": [1, None, "é\ud800"]}
    assert (tmp_path / "a").read_text().endswith("}\n")
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a", float("nan"))
    assert os.listdir(tmp_path) == ["a"]
    assert json.loads((tmp_path / "a").read_text())["a"][0] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "f is not JSON: "),
        (b"\xff\xfe{", "f is not JSON: "),
        ("[" * 100_000, "f is nested too deeply"),
        ("[1]", "f must be a JSON object: it is list"),
        ("1" * 5000, "f is not JSON: "),
    ],
)
def test_what_is_no_json_object_is_refused(text: str | bytes, message: str) -> None:
    assert files.json_object('{"a": 1}', "f") == {"a": 1}
    with pytest.raises(ValueError, match=message):
        files.json_object(text, "f")


def unescaped(name: str) -> str:
    return re.sub("(?:%[0-9A-F]{2})+", lambda found: bytes.fromhex(found[0].replace("%", "")).decode(errors="surrogatepass"), name)


@given(st.text(min_size=1))
def test_any_text_names_a_file(text: str) -> None:
    name = files.file_name(text, ".json")
    assert name.isprintable()
    assert len(name.encode()) <= 255
    assert not set(name) & set('/\\:*?"<>|')
    assert not name.startswith(".")
    if len(text) <= 12:  # a byte takes three characters at most, and a character four bytes
        assert unescaped(name.removesuffix(".json")) == text


LONG = ["a" * 243, "鳥" * 80, "é" * 100 + "a", "é" * 100 + "b"]


@pytest.mark.parametrize("text", ["..", ".", "a/b", "a%2Fb", "\x1b[31m", "CON.", "\udcff", *LONG])
def test_names_are_taken_by_this_file_system(tmp_path: Path, text: str) -> None:
    files.write(tmp_path / files.file_name(text, ".json"), b"")
    assert os.listdir(tmp_path) == [files.file_name(text, ".json")]


def test_no_two_texts_have_one_name() -> None:
    texts = ["a/b", "a%2Fb", "a%b", "a", ".a", "%2Ea", "a" * 300, "a" * 301, "é" * 100 + "a", "é" * 100 + "b", "a\x01", "a\x02"]
    assert len({files.file_name(text) for text in texts}) == len(texts)
