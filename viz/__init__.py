"""Drawings of graphs."""
