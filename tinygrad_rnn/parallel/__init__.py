"""Data-parallel training: one model on many processes, each with its own part of every batch, over MPI (mpi4py)."""

from .launch import detect
from .mpi import MPI
from .serial import Serial

__all__ = ["MPI", "Serial", "detect"]
