"""Puts this folder on the path, so that tests share `common`; names the kernels that run in pytest's header."""

import sys
from pathlib import Path

from tinygrad_rnn import kernels

sys.path.insert(0, str(Path(__file__).parent))


def pytest_report_header():
    return f"kernels: {kernels.info()}, of {', '.join(kernels.implementations())}"
