"""The formats that annotations can be converted from, by name."""

from .annotated import AnnotationSource

FORMATS: dict[str, type[AnnotationSource]] = {}
