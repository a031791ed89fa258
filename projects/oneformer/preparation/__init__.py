"""Builds the files that the official downloads of the datasets lack."""

from .prepare import PREPARATIONS, prepare

__all__ = ['PREPARATIONS', 'prepare']
