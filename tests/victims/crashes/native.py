"""A crash in C that Python called; with an argument in another thread."""

import ctypes
import os
import sys
import threading


def reach(depth):
    return ctypes.string_at(0) if depth == 0 else reach(depth - 1)


if sys.argv[1:] == ["thread"]:
    threading.Thread(target=reach, args=(2,)).start()
elif sys.argv[1:] == ["abort"]:
    sorted([2, 1], key=lambda _: os.abort())
else:
    reach(3)
