"""Tests in this folder run on every rank of a job at once: communicate first, assert after the last collective."""

import os

import pytest

from hvd_ae.collectives.start import start


@pytest.fixture(scope="session")
def comm():
    """The engine under test, started once per process."""
    return start(os.environ.get("HVD_AE_TEST_ENGINE"), threads=1)
