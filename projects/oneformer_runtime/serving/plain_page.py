"""The API as a plain page, of its own description, without scripts or files of others."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any


def _rows(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [f'<tr>{"".join(f"<th>{escape(cell)}</th>" for cell in head)}</tr>']
    lines += [f'<tr>{"".join(f"<td>{escape(cell)}</td>" for cell in row)}</tr>' for row in rows]
    return f'<table border="1">\n{chr(10).join(lines)}\n</table>'


def _operation(path: str, method: str, about: Mapping[str, Any]) -> str:
    parts = [f'<h2>{escape(method.upper())} {escape(path)}</h2>']
    parts += [f'<p>{escape(about[key])}</p>' for key in ('summary', 'description') if key in about]
    if body := about.get('requestBody'):
        parts.append(f'<p>Body: {escape(body["description"])}.</p>')
    if parameters := about.get('parameters'):
        rows = [(p['name'], p['schema']['type'], p['description']) for p in parameters]
        parts.append(_rows(('parameter', 'type', 'meaning'), rows))
    answers = [(code, answer['description']) for code, answer in about['responses'].items()]
    parts.append(_rows(('status', 'answer'), answers))
    return '\n'.join(parts)


def plain_page(openapi: Mapping[str, Any]) -> str:
    """HTML of an API.

    Args:
        openapi: Its description in OpenAPI.
    """
    title = escape(f'{openapi["info"]["title"]} {openapi["info"]["version"]}')
    operations = [
        _operation(path, method, about)
        for path, methods in openapi['paths'].items()
        for method, about in methods.items()
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width"></head>\n<body><main>\n'
        f'<h1>{title}</h1>\n<p>{escape(openapi["info"].get("description", ""))} '
        '<a href="openapi.json">openapi.json</a> has the form of each answer.</p>\n'
        f'{chr(10).join(operations)}\n</main></body></html>\n'
    )
