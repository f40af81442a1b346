"""A file under test runs in a process of its own, so that nothing it does can hang or end the grader.

The walk: `file.check_file` makes a `submission.Submission`, which is called like the function; that starts a `process.Process`, which by
way of `start.py` is a `keeper`, whose `child` loads the file behind `walls` and a `fence`. `wire` says how values travel, `folder` how a
submission's own is removed.

It is no sandbox. The file runs with the rights over files of whoever grades it: it can read them, open connections and write wherever
they may. Against a hostile program put a container or a virtual machine around the whole grader.
"""

from .file import EXAMPLES, FileReport, check_file
from .limits import STANDARD, Limits
from .submission import Submission, require_processes

__all__ = ["EXAMPLES", "STANDARD", "FileReport", "Limits", "Submission", "check_file", "require_processes"]
