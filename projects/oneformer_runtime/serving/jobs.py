"""Jobs: work that waits in a line, runs on a thread, and has a time limit."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from .errors import ApiError, ClientGone
from .line import Line

T = TypeVar('T')


class Job(Generic[T]):
    """Work of several steps, which stops before the next one when nobody wants its result.

    Args:
        work: The steps; calls ``check`` between them.

    Attributes:
        started: Time of ``time.monotonic`` at which it began, None before.
        wanted: Whether somebody waits for the result.
    """

    def __init__(self, work: Callable[['Job'], T]) -> None:
        self._work: Callable[[Job], T] | None = work
        self.started: float | None = None
        self.wanted = True

    def check(self) -> None:
        """Raise ClientGone if nobody waits for the result."""
        if not self.wanted:
            raise ClientGone

    def __call__(self) -> T:
        """Do the work, once."""
        work, self._work = self._work, None
        assert work is not None, 'a job runs once'
        self.check()
        self.started = time.monotonic()
        return work(self)


class Jobs:
    """Runs jobs on threads.

    Args:
        workers: Threads.
        queue: Jobs that may wait.

    Attributes:
        line: Their line.
    """

    def __init__(self, workers: int, queue: int) -> None:
        self.line = Line(workers, queue)
        self._pool = ThreadPoolExecutor(workers, 'predict')
        self._usual = 1.0  # seconds of a job, a running mean

    @property
    def retry_after(self) -> int:
        """Seconds in which a place is likely to be free, from 1 to 60."""
        jobs = self.line.length + self.line.running
        return min(max(math.ceil(self._usual * jobs / self.line.places), 1), 60)

    def check(self) -> None:
        """Raise ApiError if no job may come."""
        self.line.check(self.retry_after)

    async def run(
        self, job: Job[T], limit: float, spent: float, gone: Callable[[], Awaitable[None]]
    ) -> T:
        """Result of a job.

        A job that waits is dropped after the time limit and when the client has gone. One that
        runs goes on to its next step, and keeps its place until then.

        Args:
            job: The job.
            limit: Time limit in seconds, waiting included.
            spent: Seconds of it that are over.
            gone: Returns when the client has gone.

        Raises:
            ApiError: If the line is full, or the time is over.
            ClientGone: When the client has gone.
        """
        running = asyncio.ensure_future(self._run(job))
        leaving = asyncio.ensure_future(gone())
        try:
            done, _ = await asyncio.wait(
                {running, leaving},
                timeout=max(limit - spent, 0),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if running in done:
                return running.result()
            if leaving in done:
                raise ClientGone
            raise _too_long(job, limit)
        finally:
            job.wanted = False
            leaving.cancel()
            running.cancel()

    async def _run(self, job: Job[T]) -> T:
        await self.line.take(self.retry_after)
        loop = asyncio.get_running_loop()
        future = self._pool.submit(job)

        def finished() -> None:
            self.line.give()
            if job.started is not None:
                self._usual += 0.2 * (time.monotonic() - job.started - self._usual)

        future.add_done_callback(lambda _: _soon(loop, finished))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Send away what waits; what runs goes on."""
        self.line.close()

    def join(self) -> None:
        """Wait for what runs."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _soon(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:  # the loop is closed: nobody waits any more
        return


def _too_long(job: Job, seconds: float) -> ApiError:
    if job.started is None:
        found = f'the image waited for {seconds:g} s, which is the time limit, and was dropped'
        remedy = 'send it again when the server has less to do'
    else:
        found = f'the prediction was not there after {seconds:g} s, which is the time limit'
        remedy = 'send a smaller image, or ask for fewer tasks'
    return ApiError(504, 'too_long', found, f'{remedy}; who runs the server may raise --timeout')
