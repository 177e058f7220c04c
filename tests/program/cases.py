"""Collects the steps of one test file, ways to mislead a trace, and makes the tests that run them.

Each step runs fused with the results of the plain loop, call after call while the values it reads change, or it is refused with
a reason that names the file and line of the step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from scan_cases import compare_with_unrolled, run, seeded

Make = Callable[[], Any]


class Cases:
    """The steps of a file, by name; `file`: its name. fused, refused and refused_first are decorators."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.fused_steps: dict[str, Make] = {}
        self.refused_steps: dict[str, Make] = {}
        self.refused_first_steps: dict[str, Make] = {}  # refused until a call no longer changes anything outside

    def fused(self, make: Make) -> Make:
        """Add a step that must run fused."""
        return self._add(self.fused_steps, make)

    def refused(self, make: Make) -> Make:
        """Add a step that must be refused."""
        return self._add(self.refused_steps, make)

    def refused_first(self, make: Make) -> Make:
        """Add a step that must be refused at its first call."""
        return self._add(self.refused_first_steps, make)

    @staticmethod
    def _add(steps: dict[str, Make], make: Make) -> Make:
        assert make.__name__ not in steps
        steps[make.__name__] = make
        return make

    def test_of_fused(self) -> Any:
        """The test of the fused steps."""

        @pytest.mark.parametrize("name", self.fused_steps)
        def test(name: str) -> None:
            for path, reason in compare_with_unrolled(self.fused_steps[name]):
                assert path == "fused", reason

        return test

    def test_of_refused(self) -> Any:
        """The test of the refused steps."""

        @pytest.mark.parametrize("name", self.refused_steps)
        def test(name: str) -> None:
            for path, reason in compare_with_unrolled(self.refused_steps[name]):
                assert path == "unrolled"
                assert f"{self.file}:" in reason, reason
            scan_case = seeded(self.refused_steps[name])
            with pytest.raises(ValueError, match="impl='fused' cannot run this step") as caught:
                run(scan_case, "fused")
            assert f"{self.file}:" in str(caught.value)

        return test

    def test_of_refused_first(self) -> Any:
        """The test of the steps that are refused at first."""

        @pytest.mark.parametrize("name", self.refused_first_steps)
        def test(name: str) -> None:
            (path, reason), *_ = compare_with_unrolled(self.refused_first_steps[name])
            assert path == "unrolled"
            assert f"{self.file}:" in reason, reason

        return test
