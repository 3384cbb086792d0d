"""Prints every thread's frames as gdb sees them, one JSON object a thread."""

import json

import gdb

KINDS = {gdb.SIGTRAMP_FRAME: "signal", gdb.INLINE_FRAME: "inline", gdb.TAILCALL_FRAME: "tailcall"}

for thread in sorted(gdb.selected_inferior().threads(), key=lambda t: t.num):
    thread.switch()
    frames, frame = [], gdb.newest_frame()
    while frame is not None and len(frames) < 20000:
        kind = KINDS.get(frame.type(), "normal")
        line = frame.find_sal().line if frame.find_sal().symtab else 0
        frames.append({"ip": "%#x" % frame.pc(), "kind": kind, "name": frame.name(), "line": line})
        try:
            frame = frame.older()
        except gdb.error:
            frame = None
    print(json.dumps({"tid": thread.ptid[1], "frames": frames}))
