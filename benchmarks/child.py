"""Runs one measuring function in the environment of its interpreter, and prints the result as JSON.

Usage: python -P child.py package.module:function '{"argument": value}'
"""

import importlib
import inspect
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import cast

HIREDIS_VARIABLE = "REDBIKE_BENCHMARK_HIREDIS"


def main() -> None:
    """Import the function, call it and print its result."""
    # 0.13.1 logs to stdout: keep the real stdout for the answer.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if HIREDIS_VARIABLE not in os.environ:
        # Read replies in pure Python. Otherwise the result would depend on whether hiredis is installed.
        sys.modules["hiredis"] = cast(ModuleType, None)
    # Last on the path: the checkout provides the module `benchmarks`, but never replaces an installed redbike.
    sys.path.append(str(Path(__file__).resolve().parent.parent))
    path, arguments = sys.argv[1:]
    module, _, name = path.partition(":")
    function = getattr(importlib.import_module(module), name)
    # An older checkout measures with its own functions, which may lack an option.
    known = inspect.signature(function).parameters
    json.dump(function(**{name: value for name, value in json.loads(arguments).items() if name in known}), answer)
    answer.close()


if __name__ == "__main__":
    main()
