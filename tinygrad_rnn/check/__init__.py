"""Gradient checks by finite differences: of any function (`gradcheck`), and of an op on its own samples (`check_op`)."""

from .gradients import gradcheck, gradgradcheck
from .ops import check_op

__all__ = ["check_op", "gradcheck", "gradgradcheck"]
