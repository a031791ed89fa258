"""Experiments whose tables are in docs/, see ``oneformer study``."""
