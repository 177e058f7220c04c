"""The graph: tensors, nodes, ops, the reverse sweep, derivatives of any order, gradient checks."""
