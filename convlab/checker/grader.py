"""Start a grader, a process that checks files one after another for a folder's table: see `graders.py`.

A script, started in Python's isolated mode and elsewhere than where the submissions are: there a file named ``socket.py`` would be
imported in place of the library's. The package is loaded from where this file is, the rest from the path that the first line holds.
"""

import importlib.util
import json
import sys
from pathlib import Path


def main() -> None:
    sys.path[:] = json.loads(sys.stdin.buffer.readline())
    folder = Path(__file__).resolve().parents[1]
    spec = importlib.util.spec_from_file_location("convlab", folder / "__init__.py", submodule_search_locations=[str(folder)])
    assert spec is not None
    assert spec.loader is not None
    sys.modules["convlab"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    from convlab.checker.graders import serve

    serve()


if __name__ == "__main__":
    main()
