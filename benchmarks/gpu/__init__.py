"""What only a GPU can tell, section by section; ``tools/gpu_check.py`` runs them.

Each module is one section or two, whose functions take ``Check``. ``docs/gpu.md`` explains the
lines that they print.
"""
