"""The graph: tensors, nodes, ops, the reverse sweep, and derivatives of any order."""
