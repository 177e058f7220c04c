"""A step as data: traced once into a program, planned around the loop over time, differentiated, and run.

trace: a step on two small batches -> Program. environment: what a step reads besides its arguments. plan: which
instructions run before, in and after the loop. gradient: the backward program, from the ops' own vjps. run: NumPy, op by
op. native: the same plan for the C++ interpreter. scan: the op.
"""
