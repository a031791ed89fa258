"""What the official downloads of the benchmarks lack, built from them."""

from .prepare import PREPARATIONS, prepare

__all__ = ['PREPARATIONS', 'prepare']
