"""Benchmarks of ``tools/benchmark.py``: one module per sub-command, and common code.

A sub-command's module has ``add_arguments(parser)`` and ``run(args)``, which measures, most after a
comparison of results, and returns rows, figures and notes of ``timing``. Peers are imported where
they are needed, since some are only test requirements.
"""

import oneformer  # noqa: F401  before mmdet
