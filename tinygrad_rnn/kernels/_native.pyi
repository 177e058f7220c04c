"""What `native/bindings.cpp` gives to Python. The arrays of each function have the dtype that ends its name."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from .check import Array, Lengths

Operand: TypeAlias = tuple[int, int, int, Sequence[int], float | None]  # (where, index, offset, strides, value)
Instruction: TypeAlias = tuple[str, Sequence[int], Operand, Sequence[Operand], Sequence[int]]
Arrays: TypeAlias = Sequence[Array | None]

def all_hold(guards: list[tuple[int, Any, Any]], missing: object, /) -> bool: ...

class Prepared: ...

class Loop:
    def __init__(
        self,
        dtype: str,
        slots: Sequence[tuple[int, int, int]],
        once: Sequence[Instruction],
        before: Sequence[Instruction],
        body: Sequence[Instruction],
        after: Sequence[Instruction],
        sequences: Sequence[tuple[bool, int, bool]],
        states: Sequence[tuple[int, int, int]],
        constants: Sequence[int],
        sums: Sequence[tuple[int, int, int, int, int, int, int, int]],
        accumulators: Sequence[tuple[int, int, int]],
        outers: Sequence[tuple[int, int, int, int, int, int, int]] = ...,
    ) -> None: ...
    def run(
        self,
        isa: str,
        B: int,
        T: int,
        lengths: Lengths | None,
        reverse: bool,
        backward: bool,
        sequences: Arrays,
        initial: Arrays,
        final: Arrays,
        constants: Sequence[Array],
        weights: Sequence[Array],
        targets: Arrays,
        accumulated: Sequence[Array],
        initials: Arrays,
        prepared: Prepared | None,
        time_major: bool = ...,
    ) -> None: ...
    def prepare(self, isa: str, weights: Sequence[Array]) -> Prepared: ...
    def stepper(
        self, isa: str, B: int, sequences: Arrays, states: Sequence[Array], weights: Sequence[Array]
    ) -> LoopStepper: ...

class LoopStepper:
    def step(self) -> None: ...

class Kept:
    @property
    def nbytes(self) -> int: ...

class Stepper_float32:
    def __init__(
        self,
        isa: str,
        cell: int,
        kernel: Array,
        recurrent: Array,
        bias: Array,
        recurrent_bias: Array | None,
        c: Array | None,
        h: Array,
    ) -> None: ...
    def step(self, x: Array, /) -> None: ...

class Stepper_float64:
    def __init__(
        self,
        isa: str,
        cell: int,
        kernel: Array,
        recurrent: Array,
        bias: Array,
        recurrent_bias: Array | None,
        c: Array | None,
        h: Array,
    ) -> None: ...
    def step(self, x: Array, /) -> None: ...

def forward_float32(
    isa: str,
    cell: int,
    reverse: bool,
    time_major: bool,
    torch: bool,
    save: int,
    x: Array,
    kernel: Array,
    recurrent: Array,
    bias: Array,
    recurrent_bias: Array | None,
    c0: Array | None,
    h0: Array | None,
    lengths: Lengths | None,
    outputs: Array,
    c: Array | None,
    h: Array,
) -> Kept | Literal[False] | None: ...
def forward_float64(
    isa: str,
    cell: int,
    reverse: bool,
    time_major: bool,
    torch: bool,
    save: int,
    x: Array,
    kernel: Array,
    recurrent: Array,
    bias: Array,
    recurrent_bias: Array | None,
    c0: Array | None,
    h0: Array | None,
    lengths: Lengths | None,
    outputs: Array,
    c: Array | None,
    h: Array,
) -> Kept | Literal[False] | None: ...
def backward_float32(
    kept: Kept,
    cell: int,
    reverse: bool,
    time_major: bool,
    torch: bool,
    x: Array,
    kernel: Array,
    recurrent: Array,
    bias: Array,
    recurrent_bias: Array | None,
    c0: Array | None,
    h0: Array | None,
    outputs: Array,
    d_outputs: Array | None,
    d_cells: Array | None,
    d_c: Array | None,
    d_h: Array | None,
    dx: Array | None,
    d_kernel: Array | None,
    d_recurrent: Array | None,
    d_bias: Array | None,
    d_recurrent_bias: Array | None,
    d_c0: Array | None,
    d_h0: Array | None,
) -> bool: ...
def backward_float64(
    kept: Kept,
    cell: int,
    reverse: bool,
    time_major: bool,
    torch: bool,
    x: Array,
    kernel: Array,
    recurrent: Array,
    bias: Array,
    recurrent_bias: Array | None,
    c0: Array | None,
    h0: Array | None,
    outputs: Array,
    d_outputs: Array | None,
    d_cells: Array | None,
    d_c: Array | None,
    d_h: Array | None,
    dx: Array | None,
    d_kernel: Array | None,
    d_recurrent: Array | None,
    d_bias: Array | None,
    d_recurrent_bias: Array | None,
    d_c0: Array | None,
    d_h0: Array | None,
) -> bool: ...
def trace_float32(
    kept: Kept,
    cell: int,
    reverse: bool,
    time_major: bool,
    torch: bool,
    which: int,
    x: Array,
    kernel: Array,
    recurrent: Array,
    bias: Array,
    out: Array,
    /,
) -> None: ...
def trace_float64(
    kept: Kept,
    cell: int,
    reverse: bool,
    time_major: bool,
    torch: bool,
    which: int,
    x: Array,
    kernel: Array,
    recurrent: Array,
    bias: Array,
    out: Array,
    /,
) -> None: ...
def activation_float32(isa: str, which: int, from_: Array, to: Array, /) -> None: ...
def activation_float64(isa: str, which: int, from_: Array, to: Array, /) -> None: ...
def empty_float32(shape: Sequence[int], /) -> Array: ...
def update_float32(
    isa: str, rule: int, parameters: list[tuple[Array, Array, Array, tuple[Array | None, ...], Sequence[float]]], /
) -> None: ...
def squares_float32(isa: str, arrays: list[Array], /) -> float: ...
def scale_float32(isa: str, factor: float, arrays: list[Array], outs: list[Array], /) -> None: ...
def cross_entropy_float32(
    isa: str, logits: Array, targets: Array, mask: Array | None, losses: Array, largest: Array, total: Array
) -> int: ...
def cross_entropy_back_float32(
    isa: str,
    logits: Array,
    targets: Array,
    mask: Array | None,
    largest: Array,
    total: Array,
    g: Array,
    weight: float,
    slope: Array,
) -> None: ...
def scatter_float32(isa: str, index: Array, values: Array, table: Array) -> None: ...
def empty_float64(shape: Sequence[int], /) -> Array: ...
def update_float64(
    isa: str, rule: int, parameters: list[tuple[Array, Array, Array, tuple[Array | None, ...], Sequence[float]]], /
) -> None: ...
def squares_float64(isa: str, arrays: list[Array], /) -> float: ...
def scale_float64(isa: str, factor: float, arrays: list[Array], outs: list[Array], /) -> None: ...
def cross_entropy_float64(
    isa: str, logits: Array, targets: Array, mask: Array | None, losses: Array, largest: Array, total: Array
) -> int: ...
def cross_entropy_back_float64(
    isa: str,
    logits: Array,
    targets: Array,
    mask: Array | None,
    largest: Array,
    total: Array,
    g: Array,
    weight: float,
    slope: Array,
) -> None: ...
def scatter_float64(isa: str, index: Array, values: Array, table: Array) -> None: ...
def saved_bytes() -> int: ...
def matmul_float32(isa: str, a: Array, b: Array, bias: Array | None, out: Array, accumulate: bool) -> None: ...
def matmul_float64(isa: str, a: Array, b: Array, bias: Array | None, out: Array, accumulate: bool) -> None: ...
def isas() -> list[str]: ...
def set_num_threads(n: int, /) -> None: ...
def get_num_threads() -> int: ...
def set_worth_a_thread(operations: float, /) -> None: ...
def compiler() -> str: ...
