"""What keeps a process in: namespaces, another user, fewer rights, limits. Only the standard library.

Linux has all of them, if the system permits them to whoever grades:

* a *PID namespace*: the processes in it cannot name those outside, so cannot signal them; when its first process
  ends, the kernel ends all others. With a ``/proc`` of its own they do not see those outside either, and what they write into
  their folder, however much and however deep, is in memory and goes with them;
* *another user*, where root grades: its signals reach nobody else. Of root's rights it keeps those over files, so that what could be
  read still can.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct
import sys

NEW_MOUNTS, NEW_USERS, NEW_PIDS = 0x20000, 0x10000000, 0x20000000
NOBODY = 65534

LARGEST_FILE = 2**30
FOLDER, MOST_FILES = 2**29, 2**16
"""Bytes and files that a submission's folder takes, where it is in memory."""
MOST_PROCESSES = 1024
"""Of all submissions together, where they run as another user."""

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_KEEPCAPS = 1, 4, 8
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 36, 38, 47, 2
_PRIVATE_BELOW, _PLAIN_FILES = 0x4000 | 0x40000, 2 | 4 | 8  # MS_REC | MS_PRIVATE, MS_NOSUID | MS_NODEV | MS_NOEXEC
_NO_RIGHTS, _DETACH = 2 | 4, 2  # MS_NOSUID | MS_NODEV, MNT_DETACH
_OVER_FILES = 0b11111
"""CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID."""


def _system(name: str, *arguments: object) -> None:
    """Call a function of the C library that returns 0 when it succeeds."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)


def _prctl(option: int, *values: int) -> None:
    _system("prctl", option, *map(ctypes.c_ulong, (*values, 0, 0, 0, 0)[:4]))


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent ends; a change of user undoes it."""
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own is gone, so that daemons can be found."""
    if sys.platform == "linux":
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


# Namespaces


def namespace_refused(folder: str) -> str:
    """Return why there is no PID namespace to be had, "" if there is; tried in a process that ends at once."""
    if sys.platform != "linux":
        return "only Linux has PID namespaces"
    reads, writes = os.pipe()
    child = os.fork()
    if child:
        os.close(writes)
        with open(reads, "rb") as answer:
            refused = answer.read().decode()
        os.waitpid(child, 0)
        return refused if refused != "granted" else ""
    said = "no answer"
    try:
        leave()
        first = os.fork()  # not before now is it known that the new namespace takes processes
        if first == 0:
            enter(folder)
            os._exit(0)
        said = "granted" if os.waitpid(first, 0)[1] == 0 else "a process in a PID namespace of its own cannot mount there"
    except OSError as error:
        said = f"{error.filename}: {error.strerror}"
    finally:
        os.write(writes, said.encode())
        os._exit(0)


def leave() -> None:
    """Leave for namespaces of its own; the next child is the first process in them.

    Raises
    ------
    OSError
        If the system does not permit it.
    """
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        _system("unshare", NEW_PIDS | NEW_MOUNTS)
        return
    _system("unshare", NEW_USERS | NEW_PIDS | NEW_MOUNTS)
    for file, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{file}", "w") as opened:
            opened.write(line)


def enter(folder: str = "") -> None:
    """Be the first process of the new namespaces: /proc shows these processes alone, and a folder is in memory, gone when they are.

    Raises
    ------
    OSError
        If the system does not permit it.
    """
    _system("mount", None, b"/", None, ctypes.c_ulong(_PRIVATE_BELOW), None)
    _system("mount", b"proc", b"/proc", b"proc", ctypes.c_ulong(_PLAIN_FILES), None)
    if folder:
        options = f"size={FOLDER},nr_inodes={MOST_FILES},mode=700".encode()
        _system("mount", b"convlab", os.fsencode(folder), b"tmpfs", ctypes.c_ulong(_NO_RIGHTS), options)


def uncover(folder: str) -> None:
    """Take away the folder in memory, so that the one below it can be removed."""
    _system("umount2", os.fsencode(folder), _DETACH)


# Rights


def become_nobody(folder: str) -> str:
    """Give up every right but those over files, and root's name where it has it; return why that cannot be, "" if it can.

    Parameters
    ----------
    folder : str
        Becomes its own.
    """
    if sys.platform != "linux":
        return "only Linux can change the user and keep its rights over files"
    root = os.geteuid() == 0
    refused = "" if root else "only root can change the user"
    if not refused:
        try:
            os.chown(folder, NOBODY, -1)
            _prctl(_PR_SET_KEEPCAPS, 1)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            _prctl(_PR_SET_DUMPABLE, 1)  # or its own /proc/self is closed to it
        except OSError as error:
            refused = str(error.strerror)
    with contextlib.suppress(OSError):  # an older kernel, or a sandbox that forbids to ask: it has no rights worth taking then
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        _keep_rights(_OVER_FILES if root else 0)
    return refused


def _keep_rights(mask: int) -> None:
    """Keep those capabilities of a mask that this process has, also in the programs that it starts, and no other."""
    head = struct.pack("=Ii", 0x20080522, 0)
    data = ctypes.create_string_buffer(24)  # effective, permitted, inheritable, twice: the lower 32 bits of each, then the upper
    _system("capget", head, data)
    mask &= struct.unpack("=6I", data.raw)[1]
    _system("capset", head, struct.pack("=6I", mask, mask, mask, 0, 0, 0))
    for number in range(32):
        if mask >> number & 1:
            _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number)


def limit(memory: int) -> None:
    """Limit the size of this process's memory and files; elsewhere than on Linux the system refuses or ignores a limit of memory."""
    import resource

    limits = {resource.RLIMIT_FSIZE: LARGEST_FILE, resource.RLIMIT_CORE: 0}
    if sys.platform == "linux":
        limits[resource.RLIMIT_AS] = memory
        if os.geteuid() == NOBODY:
            limits[resource.RLIMIT_NPROC] = MOST_PROCESSES
    for kind, value in limits.items():
        _, hard = resource.getrlimit(kind)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
