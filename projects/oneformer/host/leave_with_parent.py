"""Worker processes that live as long as the process which started them, and no longer."""

import os
import signal
import threading
from multiprocessing import parent_process


def leave_with_parent() -> None:
    """Make a worker ignore Ctrl-C, which its parent handles, and end when the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def outlive_signals() -> None:
    """Make a worker ignore Slurm's signals, which reach all processes of a job.

    It still ends on a SIGTERM from its parent. Call it before the worker starts threads, which
    would get the signals otherwise.
    """
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    parent = parent_process()
    number = None if parent is None else parent.pid

    def obey() -> None:
        while signal.sigwaitinfo([signal.SIGTERM]).si_pid != number:
            pass
        os._exit(0)

    threading.Thread(target=obey, daemon=True).start()
