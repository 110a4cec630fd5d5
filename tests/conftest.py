"""Notes how long each test took, for the table that `make test` ends with (tests/suite.py)."""

import json
import os
import resource
import time

import pytest


def cpu_seconds() -> float:
    """Of this process and of those that it has started and waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    notes = os.environ.get("HVD_AE_TEST_TIMES")
    if notes is None or os.environ.get("PMI_RANK", "0") != "0":
        return (yield)
    started, used = time.monotonic(), cpu_seconds()
    result = yield
    row = {"test": item.nodeid, "job": os.environ.get("HVD_AE_TEST_JOB"), "seconds": time.monotonic() - started,
           "cpu_seconds": cpu_seconds() - used}
    with open(notes, "a") as file:
        file.write(json.dumps(row) + "\n")
    return result
