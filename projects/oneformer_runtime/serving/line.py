"""Places for what runs, and a line of bounded length for what waits."""

import asyncio
from collections import deque

from .errors import ApiError


class Line:
    """Places that are taken in turn.

    What waits leaves the line at once when its task is cancelled.

    Args:
        places: What may run at once.
        waiting: What may wait at most.
    """

    def __init__(self, places: int, waiting: int) -> None:
        self.places, self.most = places, waiting
        self._free = places
        self._waiting: deque[asyncio.Future] = deque()
        self._closed = False

    @property
    def length(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many run."""
        return self.places - self._free

    @property
    def is_closed(self) -> bool:
        """Whether nothing is let in any more."""
        return self._closed

    def check(self, retry_after: int) -> None:
        """Raise ApiError if it is full or closed.

        Args:
            retry_after: Seconds after which a client may try again.
        """
        if self._closed:
            raise shutting_down()
        if not self._free and len(self._waiting) >= self.most:
            raise ApiError(
                429,
                'queue_full',
                f'{self.running} images are being predicted and {self.length} wait, which is all '
                'that this server lets wait',
                f'send it again in {retry_after} s; who runs the server may raise --queue',
                {'Retry-After': str(retry_after)},
            )

    async def take(self, retry_after: int = 1) -> None:
        """Take a place, when those before have theirs.

        Raises:
            ApiError: If the line is full or closed, or is closed while this waits.
        """
        self.check(retry_after)
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif not turn.cancelled() and turn.exception() is None:  # it was its turn just now
                self.give()
            raise

    def give(self) -> None:
        """Give a place back."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def close(self) -> None:
        """Send away what waits, and let nothing in any more; what runs goes on."""
        self._closed = True
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(shutting_down())


def shutting_down() -> ApiError:
    """The error of a server that stops."""
    return ApiError(
        503,
        'shutting_down',
        'the server is shutting down',
        'send it again in a moment, when another has started',
        {'Retry-After': '5'},
    )
