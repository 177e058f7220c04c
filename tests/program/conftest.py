"""Puts this folder on the path, so that tests share `scan_cases`; what runs programs is named in pytest's header."""

import sys
from pathlib import Path

import pytest

from tinygrad_rnn import kernels

sys.path.insert(0, str(Path(__file__).parent))
from scan_cases import BACKENDS


def pytest_report_header():
    return f"programs run in: {', '.join(BACKENDS)}"


@pytest.fixture(params=BACKENDS)
def backend(request):
    """The implementations that run a program: NumPy ("reference") and the native interpreter, if installed."""
    with kernels.using(request.param):
        yield request.param
