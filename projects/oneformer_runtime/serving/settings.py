"""Settings of the server, and its limits."""

import math
from dataclasses import dataclass
from pathlib import Path

from ..headers import KINDS

LOOPBACK = ('127.0.0.1', '::1', 'localhost')
ALL_KINDS = tuple(KINDS.replace(' and ', ', ').split(', '))
SAFE_KINDS = ('JPEG', 'PNG', 'WebP')
ASSETS = Path(__file__).resolve().parents[1] / 'page' / 'assets'

_MOST_SCANS = 100  # usual are 1 to 12


@dataclass(frozen=True)
class Pace:
    """The slowest pace at which bytes may come and go.

    Attributes:
        grace: Seconds that are free.
        rate: Bytes each second, beyond these.
    """

    grace: float
    rate: float

    def seconds(self, count: int) -> float:
        """Seconds in which ``count`` bytes have to be there."""
        return self.grace + count / self.rate


@dataclass(frozen=True)
class Settings:
    """Settings of the server; a wrong one is a ValueError that names its option.

    Attributes:
        host: Address to listen at.
        port: Port, 0 for a free one.
        max_bytes: Bytes of an image file at most.
        max_pixels: Pixels of an image at most.
        max_side: Pixels of a side at most: tables for resizing grow with it.
        max_scans: Scans of a JPEG at most: each takes the time of a whole image.
        timeout: Seconds from the end of the body to the answer, waiting included.
        body_timeout: Seconds in which a request has to begin, and grace of its body: see ``Pace``.
        rate: Bytes each second that have to come and go beyond that grace.
        queue: Images that may wait.
        workers: Images that are predicted at once.
        kinds: Kinds of files that are decoded.
        allow_hosts: Names in the header Host, beside loopback's and IP addresses.
        allow_origins: Origins of pages of others that may ask, such as ``https://example.org``.
        connections: Connections at once.
        assets: Folder of the page.
    """

    host: str = '127.0.0.1'
    port: int = 8000
    max_bytes: int = 1 << 25
    max_pixels: int = 1 << 24
    max_side: int = 1 << 14
    max_scans: int = _MOST_SCANS
    timeout: float = 60.0
    body_timeout: float = 10.0
    rate: float = 32_000
    queue: int = 16
    workers: int = 1
    kinds: tuple[str, ...] = SAFE_KINDS
    allow_hosts: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    connections: int = 256
    assets: Path = ASSETS

    def __post_init__(self) -> None:
        lowest = dict(max_bytes=1, max_pixels=1, max_side=1, queue=0, workers=1, connections=1)
        for name, least in lowest.items():
            value = getattr(self, name)
            if value < least:
                raise ValueError(f'{_option(name)} is {value}: it has to be at least {least}')
        for name in ('timeout', 'body_timeout'):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f'{_option(name)} is {value}: it has to be seconds above 0')
        if not 0 <= self.port < 1 << 16:
            raise ValueError(f'--port is {self.port}: it has to be from 0 (a free one) to 65535')
        for name in self.allow_hosts:
            if not name or set(name) & set('/:*@ ') and not _is_bracketed(name):
                raise ValueError(
                    f'--allow-host {name!r} is not the name of a host: give it without scheme, '
                    'port and *, such as segment.example.org'
                )
        for origin in self.allow_origins:
            scheme, _, rest = origin.partition('://')
            if origin != '*' and (scheme not in ('http', 'https') or not rest or '/' in rest):
                raise ValueError(
                    f'--allow-origin {origin!r} is not an origin: give scheme, host and maybe '
                    'port, such as https://example.org, or * for all'
                )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in LOOPBACK or self.host.startswith('127.')

    @property
    def pace(self) -> Pace:
        """The slowest pace of bodies and answers."""
        return Pace(self.body_timeout, self.rate)

    @property
    def held_bytes(self) -> int:
        """Bytes of bodies and answers that are held at once, at most."""
        return 8 * self.max_bytes


def _option(name: str) -> str:
    return f'--{name.replace("_", "-")}'


def _is_bracketed(name: str) -> bool:
    return name.startswith('[') and name.endswith(']')
