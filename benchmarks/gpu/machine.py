"""The device and its rates, and what is installed."""

import platform

import torch

from oneformer.host.lines import installed_version
from oneformer.kernels.attention_paths import PATHS, choose_path, find_obstacle
from oneformer.kernels.precision import network_precision

from .report import Check
from .settings import attention_paths, precisions

_PACKAGES = (
    'torch',
    'triton',
    'numpy',
    'transformers',
    'onedl-mmcv',
    'mmcv',
    'deformops',
    'natten',
)


def machine(check: Check) -> None:
    """Names and versions; rates of matrix products and of copying."""
    path, reason = choose_path(check.device)
    versions = {name: installed_version(name) for name in _PACKAGES}
    facts: dict = dict(
        python=platform.python_version(),
        versions={name: number for name, number in versions.items() if number},
        attention=path,
        reason=reason,
        paths=attention_paths(check.device),
        obstacles={path: why for path in PATHS if (why := find_obstacle(path, check.device))},
    )
    if check.on_gpu:
        card = torch.cuda.get_device_properties(check.device)
        facts.update(
            gpu=card.name,
            capability=[card.major, card.minor],
            memory_gib=card.total_memory / 2**30,
            cuda=torch.version.cuda,
            cudnn=torch.backends.cudnn.version(),
        )
    side = 128 if check.tiny else 8192
    square = torch.randn(side, side, device=check.device)
    for kind in precisions(check.device):
        with network_precision(kind, check.device):
            best = check.measure(lambda: square @ square, 0.5)['best_ms']
        facts[f'tflops_{kind}'] = 2 * side**3 / best / 1e9
    large = torch.empty(2**20 if check.tiny else 2**28, device=check.device)
    best = check.measure(large.clone, 0.3)['best_ms']
    facts['copy_gb_s'] = 2 * large.numel() * 4 / best / 1e6
    check.say(**facts)
