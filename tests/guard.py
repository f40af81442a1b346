"""Arrays between forbidden pages: a read or a write one byte outside, and the process dies on the spot."""

import ctypes
import mmap

import numpy as np

PAGE = mmap.PAGESIZE


class Guarded:
    """A copy of an array that ends where memory ends."""

    def __init__(self, values):
        values = np.ascontiguousarray(values)
        pages = -(-max(values.nbytes, 1) // PAGE)
        self._map = mmap.mmap(-1, (pages + 2) * PAGE)
        whole = np.frombuffer(self._map, np.uint8)
        end = PAGE * (pages + 1)
        self.array = whole[end - values.nbytes : end].view(values.dtype).reshape(values.shape)
        self.array[...] = values
        self.address = self.array.ctypes.data
        libc = ctypes.CDLL(None, use_errno=True)
        for guard in (whole.ctypes.data, whole.ctypes.data + end):
            if libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(PAGE), 0):
                raise OSError(ctypes.get_errno(), "mprotect failed")
        self._unlock = lambda: libc.mprotect(ctypes.c_void_p(whole.ctypes.data), ctypes.c_size_t(len(whole)), 3)

    def free(self):
        self._unlock()
