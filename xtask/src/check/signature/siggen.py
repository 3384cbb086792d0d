"""siggen's word on names of functions. Reads a JSON list of [name, file] from standard input, and writes two lists: the cases
that its own tests publish, as [name, file, expected], and what it makes of each name that was read."""

import json
import sys

from siggen.rules import CSignatureTool
from siggen.tests.test_rules import TestCSignatureTool as Published


def cases(test, file):
    for function, _line, expected in test.pytestmark[0].args[1]:
        yield [function, file, expected]


published = [
    *cases(Published.test_normalize_cpp_function, "a.cpp"),
    *cases(Published.test_normalize_rust_function, "a.rs"),
]
tool = CSignatureTool()
# Which rules are for a frame siggen tells by the file's name in a repository, which we have not.
normalized = [
    (tool.normalize_rust_function if file.endswith(".rs") else tool.normalize_cpp_function)(function, "1")
    for function, file in json.load(sys.stdin)
]
json.dump([published, normalized], sys.stdout)
