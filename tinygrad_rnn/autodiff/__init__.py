"""The graph: tensors, nodes, ops, the reverse sweep, and derivatives of any order.

In reading order:

- node: what a tensor refers to: leaves, calls of ops, and their outputs.
- op: how an op is declared with its vjp, called, and recorded. arguments: separates its inputs from its options.
- tensor: the array with its node, its operators and NumPy's protocols. sparse: gradients of a few rows.
- engine: the reverse sweep, from a loss to the leaves.
- functional: grad, jacobian, hessian, hvp, jvp and vjp.
- state: recording, scopes, training mode and random numbers. steps: names of the states in a loop over time.
- graph: a recorded graph as plain data, and the expansion of fused ops.
- rows, work: what an op declares about batch rows (for program/) and about its operations and memory (for drawings).
"""
