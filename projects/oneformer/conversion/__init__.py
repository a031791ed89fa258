"""Checkpoints of the original and of Hugging Face to ours, and back."""

from .convert import Report, convert

__all__ = ['Report', 'convert']
