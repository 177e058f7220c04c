"""Data-parallel training over MPI (mpi4py): every process computes its part of each batch for one model."""

from .faults import fail
from .launch import detect, rank
from .mpi import MPI
from .serial import Serial

__all__ = ["MPI", "Serial", "detect", "fail", "rank"]
