"""The learning rate follows the number of images that a step sees."""

import pytest
from mmengine.config import Config

from oneformer.host import learning_rate


def scaled(monkeypatch, processes, launcher, accumulated=None, enable=True):
    """Config with 3 images per process, made for 16 images at a rate of 1e-4."""
    monkeypatch.setenv('WORLD_SIZE', str(processes))
    cfg = Config(
        dict(
            launcher=launcher,
            train_dataloader=dict(batch_size=3),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-4)),
            auto_scale_lr=dict(enable=enable, base_batch_size=16),
        )
    )
    if accumulated:
        cfg.optim_wrapper.accumulative_counts = accumulated
    learning_rate.scale_learning_rate(cfg)
    return cfg


@pytest.mark.parametrize(
    'processes, launcher, accumulated, images',
    [(8, 'none', None, 3), (8, 'pytorch', None, 24), (2, 'slurm', None, 6), (2, 'slurm', 4, 24)],
)
def test_the_rate_is_in_proportion_to_the_images_of_a_step(
    monkeypatch, processes, launcher, accumulated, images
):
    told = []
    monkeypatch.setattr(learning_rate, 'print_log', lambda text, logger: told.append(text))
    cfg = scaled(monkeypatch, processes, launcher, accumulated)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(1e-4 * images / 16)
    assert cfg.auto_scale_lr.enable is False  # mmengine would scale it again
    assert f'a step sees {images} images, and the config is for 16' in told[0]


def test_the_config_that_a_run_wrote_down_is_scaled_from_the_same_rate(monkeypatch):
    cfg = scaled(monkeypatch, 8, 'pytorch')
    for processes, images in ((8, 24), (2, 6)):
        monkeypatch.setenv('WORLD_SIZE', str(processes))
        cfg.auto_scale_lr.enable = True  # --auto-scale-lr once more
        learning_rate.scale_learning_rate(cfg)
        assert cfg.optim_wrapper.optimizer.lr == pytest.approx(1e-4 * images / 16)
        assert cfg.auto_scale_lr.scaled_from == 1e-4


def test_nothing_changes_unless_asked_for(monkeypatch):
    assert scaled(monkeypatch, 8, 'pytorch', enable=False).optim_wrapper.optimizer.lr == 1e-4
