"""The converter as a function: from one file or folder of weights to another."""

from oneformer.weights import read, write


def convert(source, destination, target='plugin', trust_pickle=False, **options):
    """Write what is read; returns what ``write`` says."""
    return write(read(source, trust_pickle), destination, target, **options)
