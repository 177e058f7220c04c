"""Data-parallel training: one model on many processes, each with its own part of every batch, over MPI (mpi4py)."""

from .faults import fail
from .launch import detect, rank
from .mpi import MPI
from .serial import Serial

__all__ = ["MPI", "Serial", "detect", "fail", "rank"]
