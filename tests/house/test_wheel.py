"""What the wheel holds: the package, the notebooks and the stored results, and nothing that belongs to the checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    """Build it as an installer would, with the build backend that is installed here."""
    pytest.importorskip("hatchling", reason='building the wheel needs hatchling: pip install ".[test]"')
    place = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    (file,) = place.iterdir()
    return zipfile.Path(file)


def names(wheel: zipfile.Path, above: str) -> set[str]:
    """Return the files below a folder of the wheel, relative to it."""
    files = {name for name in wheel.root.namelist() if not name.endswith("/")}
    return {name.removeprefix(f"{above}/") for name in files if name.startswith(f"{above}/")}


def test_it_holds_the_package_the_notebooks_and_the_results(wheel: zipfile.Path) -> None:
    package = {path.relative_to(ROOT / "convlab").as_posix() for path in (ROOT / "convlab").rglob("*") if path.is_file()}
    wanted = {name for name in package if "__pycache__" not in name}
    wanted |= {f"notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")}
    wanted |= {f"notebooks/results/{path.name}" for path in (ROOT / "benchmarks" / "results").glob("*.json")}
    assert names(wheel, "convlab") == wanted


def test_it_holds_nothing_else(wheel: zipfile.Path) -> None:
    (described,) = {name.partition("/")[0] for name in wheel.root.namelist()} - {"convlab"}
    assert described.startswith("convlab_engine-")
    assert described.endswith(".dist-info")


def test_the_distribution_is_not_called_as_another_project_is(wheel: zipfile.Path) -> None:
    (described,) = (part for part in wheel.iterdir() if part.name.endswith(".dist-info"))
    said: Message = Parser().parsestr((described / "METADATA").read_text(encoding="utf-8"))
    assert said["Name"] == "convlab-engine"
    assert "convlab = convlab.__main__:main" in (described / "entry_points.txt").read_text(encoding="utf-8")
    needs = said.get_all("Requires-Dist")
    assert needs
    assert [need for need in needs if need.startswith("convlab") and not need.startswith("convlab-engine")] == []
