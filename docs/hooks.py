"""What mkdocs lacks for these pages: README, changelog and files of the repository in the site.

Links in the pages are those of the repository, so that they work where it is read without a site.
Here they are turned: README.md is the first page, and a file outside of docs/ that some page links
to gets a page that shows it.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
# of the repository: in the site
PAGES = {
    'README.md': 'index.md',
    'CHANGELOG.md': 'changelog.md',
    'CONTRIBUTING.md': 'contributing.md',
}
LINK = re.compile(r'(\]\()([^)#\s:]+)(#[^)\s]*)?(\))')
LANGUAGES = {'.py': 'python', '.sh': 'bash', '.sbatch': 'bash', '.yml': 'yaml', '.toml': 'toml'}


def _origin(uri: str) -> str:
    """Path in the repository of a page of the site."""
    return next((path for path, page in PAGES.items() if page == uri), f'docs/{uri}')


def _page(path: str) -> str | None:
    """Page or file of the site for a path in the repository, None if there is no such path."""
    if path in PAGES:
        return PAGES[path]
    if not (ROOT / path).exists() or path.startswith('..'):
        return None
    return path.removeprefix('docs/') if path.startswith('docs/') else f'repository/{path}.md'


def _target(link: str, origin: str) -> str:
    """Path in the repository that a link leads to."""
    return os.path.normpath(PurePosixPath(origin).parent / link)


def turn_links(markdown: str, uri: str, origin: str) -> str:
    """The text of a page with links that lead to pages of the site.

    Links to what does not exist are left, so that mkdocs names them.

    Args:
        markdown: The text.
        uri: Place of the page in the site.
        origin: Path of the text in the repository.
    """

    def turn(match: re.Match) -> str:
        opening, link, anchor, closing = match.groups()
        page = _page(_target(link, origin))
        if page is None:
            return match[0]
        return f'{opening}{os.path.relpath(page, PurePosixPath(uri).parent)}{anchor or ""}{closing}'

    return LINK.sub(turn, markdown)


def _links(text: str, origin: str) -> Iterator[str]:
    """Paths outside of docs/ that a page links to."""
    for match in LINK.finditer(text):
        path = _target(match[2], origin)
        if (page := _page(path)) and page.startswith('repository/'):
            yield path


def _notebook(path: Path) -> str:
    cells = json.loads(path.read_text())['cells']
    texts = [(cell['cell_type'], ''.join(cell['source'])) for cell in cells]
    return '\n\n'.join(
        text if kind == 'markdown' else f'```python\n{text}\n```' for kind, text in texts
    )


def _shown(path: str) -> str:
    """A file of the repository as a page."""
    file = ROOT / path
    head = f'---\nsearch: {{exclude: true}}\n---\n\n# {path}\n\n'
    if file.is_dir():
        names = sorted(p.name for p in file.iterdir() if p.suffix in LANGUAGES)
        return head + '\n'.join(f'* [{name}]({file.name}/{name}.md)' for name in names)
    if file.suffix == '.ipynb':
        return f'{head}{turn_links(_notebook(file), f"repository/{path}.md", path)}\n'
    return f'{head}````{LANGUAGES.get(file.suffix, "")}\n{file.read_text()}\n````\n'


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add README, changelog, and pages of the files that are linked to."""
    texts = {f'docs/{file.src_uri}': file.content_string for file in files.documentation_pages()}
    texts |= {path: (ROOT / path).read_text() for path in PAGES}
    for path, page in PAGES.items():
        files.append(File.generated(config, page, content=texts[path]))
    linked = {path for origin, text in texts.items() for path in _links(text, origin)}
    for folder in [ROOT / path for path in linked if (ROOT / path).is_dir()]:
        linked |= {str(p.relative_to(ROOT)) for p in folder.iterdir() if p.suffix in LANGUAGES}
    for path in sorted(linked):
        page = File.generated(
            config,
            f'repository/{path}.md',
            content=_shown(path),
            inclusion=InclusionLevel.NOT_IN_NAV,
        )
        files.append(page)
    return files


def on_page_markdown(markdown: str, page: Page, **kwargs) -> str:
    """Turn the links of a page."""
    uri = page.file.src_uri
    return markdown if uri.startswith('repository/') else turn_links(markdown, uri, _origin(uri))
