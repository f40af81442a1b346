"""What compiled code needs and Numba lacks: vectors, instructions, memory, threads, a cache. README.md beside this file has the walk."""
