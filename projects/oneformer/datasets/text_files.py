"""Text files in the encodings that people save: with a byte order mark, or in UTF-16."""

import codecs
import json
from collections.abc import Callable
from typing import Any

_MARKS = {  # longest first, since the mark of UTF-32 starts with that of UTF-16
    codecs.BOM_UTF32_LE: ('UTF-32', 'utf-32'),
    codecs.BOM_UTF32_BE: ('UTF-32', 'utf-32'),
    codecs.BOM_UTF8: ('UTF-8', 'utf-8-sig'),
    codecs.BOM_UTF16_LE: ('UTF-16', 'utf-16'),
    codecs.BOM_UTF16_BE: ('UTF-16', 'utf-16'),
}


def byte_order_mark(content: bytes) -> tuple[str, str] | None:
    """Name of the encoding of the mark at the start, and Python's name of it; None without mark."""
    return next((found for mark, found in _MARKS.items() if content.startswith(mark)), None)


def describe_mark(content: bytes, path: str) -> str | None:
    """The message about the byte order mark of a text; None if it has none."""
    found = byte_order_mark(content)
    return found and (
        f'{path} starts with a byte order mark and is read as {found[0]}: other programs may '
        'refuse it, so save it as UTF-8 without the mark'
    )


def decode_text(content: bytes) -> str:
    """A text by its byte order mark, UTF-8 without one; UnicodeDecodeError for anything else."""
    found = byte_order_mark(content)
    return content.decode(found[1] if found else 'utf-8')


def parse_json(content: bytes, path: str, tell: Callable[[str], None] | None = None) -> Any:
    """Content of a JSON, with or without a byte order mark, of which ``tell`` gets a sentence.

    Raises:
        ValueError: If it is not a JSON.
    """
    try:
        found = json.loads(decode_text(content) if byte_order_mark(content) else content)
    except (ValueError, RecursionError) as error:  # RecursionError: thousands of brackets
        raise ValueError(
            f'{path} is not valid JSON, or a damaged one ({error}): replace the file'
        ) from error
    mark = describe_mark(content, path)
    if mark and tell is not None:
        tell(mark)
    return found
