"""Let mmengine and mmdet read checkpoints as ``read`` does: anybody's, without running a pickle.

mmengine loads any pickle that torch's safe loading refuses, and so runs code of whoever wrote the
file. After ``use_safe_loaders`` all that goes through its loaders of files and URLs is read here:
``load_from``, ``resume``, testing, and mmdet's ``init_detector`` and ``DetInferencer``.
"""

from collections.abc import Mapping

from mmengine.runner import CheckpointLoader

from .classes import meta_of
from .differences import add_known_base
from .reading import Weights, current_name, read_with_content


def use_safe_loaders(trust: bool = False) -> None:
    """Replace mmengine's loaders of files and URLs in this process.

    Our tools call it. Call it once after ``import oneformer`` to give ``init_detector`` or a
    ``Runner`` files of the original or of Hugging Face.

    Args:
        trust: Load pickles of more than tensors, which may run any code, see ``read_pickle``.
    """

    # mmengine's log prints this name from its eleventh letter on
    @CheckpointLoader.register_scheme(('', 'http://', 'https://'), force=True)
    def load_from_local(filename: str, map_location=None):
        return load_checkpoint(filename, trust, map_location)


def load_checkpoint(source: str, trust: bool = False, map_location=None) -> dict:
    """Content of a checkpoint as mmengine has it, its weights under our names.

    A OneFormer also has ``weights``, what was read, for ``ReuseWeights``. Another model is left as
    it is, but for the check of its values.

    Args:
        source: See ``read``.
        trust: See ``read``.
        map_location: Argument of ``torch.load``.

    Raises:
        CheckpointError: See ``read``.
    """
    weights, content = read_with_content(source, trust, map_location, Weights.of_oneformer)
    if weights is None:
        return content
    add_known_base(weights)
    if weights.layout == 'plugin':
        loaded = dict(content) if 'state_dict' in content else {}
        ema = loaded.get('ema_state_dict')
        if isinstance(ema, Mapping):
            loaded['ema_state_dict'] = {current_name(key): value for key, value in ema.items()}
    else:
        loaded = dict(meta=meta_of(weights))
    return dict(loaded, state_dict=weights.tensors, weights=weights)
