"""Runs of mmengine in one process after another."""

from mmengine.logging import MessageHub, MMLogger

from oneformer.visualization import OneFormerVisualizer


def forget_runs():
    """The next run gets its own logger, message hub and visualizer.

    mmengine finds them by the name of the experiment, which holds the time in seconds: the second
    of two runs within a second would write to the streams and the folder of the first.
    """
    for kind in (MMLogger, MessageHub, OneFormerVisualizer):
        kind._instance_dict.clear()
