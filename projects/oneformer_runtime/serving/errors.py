"""Errors that clients are told: a code for programs, and what was found and what to do."""

from collections.abc import Mapping


class ApiError(Exception):
    """An answer above 399.

    Args:
        status: Status of HTTP.
        code: Word for programs, one of a fixed list: see ``docs/serve.md``.
        detail: What was found.
        remedy: What to do.
        headers: Further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        remedy: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.remedy = remedy
        self.headers = dict(headers or {})

    def content(self, request_id: str) -> dict:
        """Content of the answer."""
        return dict(error=self.code, detail=self.detail, remedy=self.remedy, request_id=request_id)


class ClientGone(Exception):
    """The client has hung up: nobody reads an answer."""


def internal() -> ApiError:
    """The error of a fault of the server, whose reason is in its log alone."""
    return ApiError(
        500,
        'internal',
        'the prediction failed inside the server',
        'look for request_id in the log of the server',
    )
