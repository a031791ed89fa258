"""What only a GPU can tell, section by section; ``tools/gpu_check.py`` runs them.

Each module but ``report`` and ``settings`` has one to three sections, which are functions
that take ``Check``. ``docs/gpu.md`` explains the lines that they print.
"""
