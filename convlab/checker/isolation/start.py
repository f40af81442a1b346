"""Start the keeper: a script, so that a process begins without the package, which would load all of it.

The files are loaded as `_convlab`, bare folders without their ``__init__.py``: a submission that imports `convlab` gets the real one.
"""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType


def bare(name: str, folder: Path) -> None:
    """Make a folder a package without running anything of it."""
    package = ModuleType(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package


def main() -> None:
    here = Path(__file__).resolve().parent
    bare("_convlab", here.parents[1])
    bare("_convlab.checker", here.parent)
    bare("_convlab.checker.isolation", here)
    import_module("_convlab.checker.isolation.keeper").main()


if __name__ == "__main__":
    main()
