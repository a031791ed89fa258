"""Load checkpoints of training without running what they contain.

mmengine loads any pickle that torch's safe loading refuses, and so runs code of whoever wrote the
file. Its loaders of files and URLs are replaced here, for everything that goes through them:
``load_from``, ``resume``, testing, and mmdet's ``init_detector``.
"""

from collections.abc import Mapping

from mmengine.runner import CheckpointLoader
from torch import Tensor

from ..checkpoints.content import check_tensors
from ..host.unpickling import read_pickle
from .sources import local_path


def read_training_checkpoint(source: str, trust: bool = False, map_location=None):
    """Load what mmengine saves: weights, optimizer, schedulers and curves.

    Args:
        source: File or URL.
        trust: Load anything, which may run any code.
        map_location: Of ``torch.load``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not trusted and holds more than the above, is not a file of torch, or
            its weights are not finite.
    """
    path = local_path(source)
    if path.is_dir() or path.suffix in ('.safetensors', '.pkl'):
        raise ValueError(
            f'{path} is of another library; convert it first: python tools/convert_checkpoint.py '
            f'{path} OUT.pth'
        )
    if not path.is_file():
        raise FileNotFoundError(f'there is no checkpoint {path}')
    content = read_pickle(path, trust, map_location)
    weights = content.get('state_dict') if isinstance(content, Mapping) else None
    if isinstance(weights, Mapping):
        check_tensors({k: v for k, v in weights.items() if isinstance(v, Tensor)}, path)
    return content


def register_loaders(trust: bool = False) -> None:
    """Replace mmengine's loaders of files and URLs.

    Args:
        trust: Load pickles of anything, which may run any code.
    """

    # mmengine's log prints this name from its eleventh letter on
    @CheckpointLoader.register_scheme(('', 'http://', 'https://'), force=True)
    def load_from_local(filename: str, map_location=None):
        return read_training_checkpoint(filename, trust, map_location)
