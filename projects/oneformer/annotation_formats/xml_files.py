"""Read XML without the parts of it that can harm: document types and entities."""

import xml.etree.ElementTree as ET
from pathlib import Path

from ..images.image_files import read_file


class _Builder(ET.TreeBuilder):
    """Builds a tree, and refuses the declaration that entities are in."""

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        """Refuse a document type."""
        raise ValueError(f'it declares a document type ({name}), as no annotation tool does')


def read_xml(path: Path, what: str = 'annotation file') -> ET.Element:
    """The root of an XML file; ValueError or OSError name the file and the line."""
    parser = ET.XMLParser(target=_Builder())
    try:
        parser.feed(read_file(str(path), what))
        return parser.close()
    except (ET.ParseError, ValueError) as error:
        raise ValueError(
            f'{path} is not an XML file, or a damaged one ({error}): replace the file'
        ) from error
