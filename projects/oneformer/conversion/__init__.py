"""Checkpoints of the original and of Hugging Face to ours, and back."""

from .convert import Report, convert
from .layout import ConversionError

__all__ = ['ConversionError', 'Report', 'convert']
