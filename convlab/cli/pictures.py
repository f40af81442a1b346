"""Which pictures a user means: files, folders, or the photos that ship."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from .. import images, zoo
from .reading import RIGHT, WrongInput, complain, refusals

A_PICTURE = f"a file, or a folder of pictures; where there is none of that name, a shipped photo ({', '.join(zoo.photos())})"


def expanded(names: Sequence[str], err: Console, prog: str) -> tuple[list[tuple[str, Path]], int]:
    """Return the pictures that are meant, as (name to show, file), and the exit code so far; what means none is complained about."""
    found: list[tuple[str, Path]] = []
    code = RIGHT
    for name in names:
        try:
            with refusals():
                found += _meant(name)
        except WrongInput as error:
            complain(err, prog, error)
            code = max(code, error.code)
    return found, code


def _meant(name: str) -> list[tuple[str, Path]]:
    path, photos = Path(name), zoo.photos()
    if not name:  # a shell's variable that is not set; as a path it would be the working directory
        raise ValueError("a picture's name must not be empty: ''")
    if path.is_dir():
        endings = images.endings()
        inside = sorted(file for file in path.iterdir() if file.suffix.lower() in endings and file.is_file())
        if not inside:
            raise ValueError(f"no pictures in the folder {name}: none of its files ends in .jpg, .png or another picture's ending")
        return [(str(file), file) for file in inside]
    if path.exists() or path.is_symlink():
        return [(name, path)]
    if name not in photos:
        raise FileNotFoundError(f"no such file: {name} (shipped photos are {', '.join(photos)})")
    return [(name, photos[name])]
