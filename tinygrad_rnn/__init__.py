"""Recurrent neural networks on a graph one can read."""
