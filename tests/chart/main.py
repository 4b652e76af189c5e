"""Runs the tests of the chart; see `run`."""
import importlib
import re
import sys
import time
import traceback

import chart

MODES = {(): ["rendering", "conditions", "rules"], ("--cluster",): ["cluster"], ("--install",): ["install"]}


def tests_of(modules):
    for name in modules:
        module = importlib.import_module(name)
        for test, function in list(vars(module).items()):
            if test.startswith("test_") and function.__module__ == name:
                yield f"{name}::{test}", function
        if hasattr(module, "finish"):
            yield f"{name}::finish", module.finish


def run(tests):
    passed, failed = 0, []
    for name, function in tests:
        began = time.monotonic()
        try:
            function()
            passed += 1
            print(f"ok      {name} ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception as error:  # one failed test does not hide the others
            failed.append(name)
            print(f"FAILED  {name}", flush=True)
            text = str(error) if isinstance(error, AssertionError) and str(error) else traceback.format_exc()
            print("        " + text.rstrip().replace("\n", "\n        "), flush=True)
    print(f"\ntest result: {'FAILED' if failed else 'ok'}. {passed} passed; {len(failed)} failed; 0 ignored")
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed or not passed else 0


def main():
    arguments, only = tuple(sys.argv[1:]), None
    if len(arguments) > 1 and arguments[-2] == "--only":
        arguments, only = arguments[:-2], arguments[-1]
    if arguments == ("--write",):
        chart.write()
        return 0
    if arguments[:1] == ("--apply",) and len(arguments) == 2:
        import install
        return install.apply(arguments[1])
    if arguments not in MODES:
        print(f"unknown arguments {' '.join(arguments)}; see tests/chart/run", file=sys.stderr)
        return 2
    return run((name, test) for name, test in tests_of(MODES[arguments]) if only is None or re.search(only, name))


if __name__ == "__main__":
    sys.exit(main())
