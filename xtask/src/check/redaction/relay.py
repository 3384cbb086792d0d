"""What Sentry's Relay takes out of texts: reads one JSON text a line, writes one JSON object a line.

Each object has, for each of Relay's rules that found something, the ranges of characters that it masked.
"""

import json
import sys

from sentry_relay.processing import pii_strip_event

TYPES = [
    "email", "ip", "creditcard", "iban", "mac", "uuid", "imei", "pemkey", "url_auth", "us_ssn", "userpath",
    "bearer", "password",
]
RULES = {kind: {"type": kind, "redaction": {"method": "mask"}} for kind in TYPES}
MARK = "*"


def masked(before, after):
    """The ranges in which `after` has marks that `before` has not."""
    ranges = []
    for at, (old, new) in enumerate(zip(before, after, strict=True)):
        if old == new:
            continue
        if ranges and all(before[i] == after[i] == MARK for i in range(ranges[-1][1], at)):
            ranges[-1][1] = at + 1
        else:
            ranges.append([at, at + 1])
    return ranges


def strip(text, kinds):
    """The text after the rules of `kinds`."""
    config = {"rules": RULES, "applications": {"$string": kinds}}
    # A key that says nothing: only the text is judged.
    return pii_strip_event(config, {"extra": {"text": text}})["extra"]["text"]


for line in sys.stdin:
    text = json.loads(line)
    found = {}
    if strip(text, TYPES) != text:
        for kind in TYPES:
            after = strip(text, [kind])
            if after != text:
                found[kind] = masked(text, after) if len(after) == len(text) else [[0, len(text)]]
    print(json.dumps(found))
