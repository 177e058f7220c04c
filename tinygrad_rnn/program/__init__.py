"""A step as data: traced once into a program, planned around the loop over time, differentiated, and run.

In reading order:

- program: the data: slots, instructions, programs. tree: nested tuples of arrays and their signatures.
- tracer: stand-ins for tensors, and the recorder of the ops called on them. trace: a step on two small batches of different
  size -> Program. naming: `rnn.gate`.
- gradient: the backward program, from the ops' own vjps.
- plan: which instructions run before, in and after the loop over time.
- run: a plan in NumPy, op by op. node: the op `scan`: forward, vjp and expansion. scan: `tg.scan`, which finds or makes the
  program of a step and calls the op. steps: the same step by step, for steps that cannot be traced.
- environment, guards, walk: what a step reads besides its arguments, and whether it has changed since the trace.
- view, lowering, lowering_stages, lowering_rules, native: the plan for the C++ interpreter.
- fuse, fused: `tg.fuse`. stepper: streaming. flops: counts for drawings. samples: inputs for the gradient checks.

What a call of `tg.scan` goes through: `TracedStep` (a step's program for one signature) -> `Prepared` (the instructions on
weights alone, and the loops, for some options) -> `Loops` (the plan and what runs it) -> `Plan` (three `Loop`s: forward,
forward that saves for backward, backward; each has instructions before, in and after the loop over time). A `Call` is a
`Prepared` bound to shapes and dtypes, so that the next call like it looks up nothing else; a `Scan` is one run.
"""
