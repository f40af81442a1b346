"""``convlab`` and ``python -m convlab``: start the command line, or say what it needs."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; without the `lab` extra, say in one line what is missing."""
    try:
        from .cli import run
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("rich", "PIL"):
            raise
        print(f'convlab: the command line needs {error.name}: pip install "convlab-engine[lab]"', file=sys.stderr)
        return 2
    try:
        return run(sys.argv[1:])
    except Exception:
        sys.excepthook(*sys.exc_info())
        return 3  # Python's own would be 1, which says that a checked function is wrong


if __name__ == "__main__":
    sys.exit(main())
