"""Runs of tools/train.py that can be killed, of a small model, without an import for each."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

CONFIG = """
_base_ = {base!r}
data_root = {data_root!r}
model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNet',
        depth=18,
        base_channels=8,
        stem_channels=8,
        norm_cfg=dict(type='BN'),
    ),
    panoptic_head=dict(
        in_channels=[8, 16, 32, 64],
        feat_channels=32,
        pixel_decoder=dict(
            encoder=dict(
                num_layers=1,
                layer_cfg=dict(self_attn_cfg=dict(embed_dims=32), ffn_cfg=dict(embed_dims=32)),
            ),
            positional_encoding=dict(num_feats=16),
        ),
        transformer_decoder=dict(num_layers=1),
    ),
    text_mapper=dict(embed_dims=32),
)
pipeline = [
    dict(type='LoadPhoto'),
    dict(type='LoadSegmentMap'),
    dict(type='ResizeShortEdge', short_edges=[64, 80, 96], max_size=320),
    dict(type='RandomCrop', crop_size=(64, 64), allow_negative_crop=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Pad', size=(64, 64), pad_val=dict(img=(128, 128, 128), seg=0)),
    dict(type='SampleTask'),
    dict(type='PackSegmentInputs'),
]
train_dataloader = dict(batch_size=2, dataset=dict(data_root=data_root, pipeline=pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
max_iters = {iters}
train_cfg = dict(max_iters=max_iters, val_begin=1000)
param_scheduler = [dict(type='PolyLR', power=0.9, by_epoch=False, end=max_iters)]
default_hooks = dict(
    checkpoint=dict(interval=1, max_keep_ckpts=2),
    logger=dict(interval=1),
    curves=None,  # drawn in half a second
)
"""

# forks children for each line of arguments; prints their process ids, then how they ended
SERVER = """
import json, os, runpy, sys, traceback

tool = sys.argv[1]
predictions = os.fdopen(os.dup(1), 'w')
os.dup2(2, 1)  # what packages print when they are imported
sys.path.insert(0, os.path.join(os.path.dirname(tool), '../projects'))
import oneformer, torch
import mmdet.engine, mmdet.evaluation, mmdet.visualization

torch.set_num_threads(1)
for line in sys.stdin:
    arguments, log, processes, port = json.loads(line)
    children = []
    for rank in range(processes):
        child = os.fork()
        if child:
            children.append(child)
            continue
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0), os.dup2(file, 1), os.dup2(file, 2)
        if processes > 1:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes))
            os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
            arguments += ['--launcher', 'pytorch']
        sys.argv = [tool, *arguments]
        code = 0
        try:
            runpy.run_path(tool, run_name='__main__')
        except SystemExit as error:
            code = error.code
            if isinstance(code, str):
                print(code, file=sys.stderr)
                code = 1
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code or 0)
    print(json.dumps(children), file=predictions, flush=True)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print(json.dumps(codes), file=predictions, flush=True)
"""


def write_config(path, config_dir, data_root, iters, more=''):
    """A config that trains on ``data_root`` and saves after every iteration."""
    base = str(config_dir / 'oneformer_efficientnet-lite0_quickstart.py')
    path.write_text(CONFIG.format(base=base, data_root=f'{data_root}/', iters=iters) + more)
    return path


class Trainer:
    """Starts training in processes of their own, one after the other."""

    def __init__(self, root_dir):
        self.process = subprocess.Popen(
            [sys.executable, '-c', SERVER, root_dir / 'tools/train.py'],
            env={**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    def run(self, config, work_dir, *arguments, until=None, number=signal.SIGKILL, processes=1):
        """Train, and send a signal when ``until`` is true. Returns how it ended, and its log.

        Args:
            config: See ``write_config``.
            work_dir: Of the run.
            *arguments: Of tools/train.py.
            until: Called all the time.
            number: The signal. SIGTERM goes to the workers that load data as well, as Slurm's does.
            processes: That train together, of which the last gets the signal.
        """
        log = work_dir.with_suffix('.log')
        before = log.stat().st_size if log.exists() else 0
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        arguments = [str(config), '--work-dir', str(work_dir), *map(str, arguments)]
        self.process.stdin.write(json.dumps([arguments, str(log), processes, port]) + '\n')
        self.process.stdin.flush()
        target = json.loads(self.process.stdout.readline())[-1]
        while until is not None and os.path.exists(f'/proc/{target}/fd/0'):
            if until():
                workers = Path(f'/proc/{target}/task/{target}/children').read_text().split()
                for process in [*(workers if number == signal.SIGTERM else ()), target]:
                    os.kill(int(process), number)
                break
            time.sleep(0.005)
        codes = set(json.loads(self.process.stdout.readline()))
        return codes.pop() if len(codes) == 1 else codes, log.read_text()[before:]


def unfinished(work_dir):
    """Files of checkpoints that are not finished."""
    return list(work_dir.glob('.*.tmp'))


def kill_often(trainer, config, work_dir, generator, kills, duration):
    """Kill a training at random moments and in random writes, in turn, and end it undisturbed.

    Args:
        trainer: A ``Trainer``.
        config: See ``write_config``.
        work_dir: Of the run.
        generator: Of numpy.
        kills: How many.
        duration: Seconds after the first save of a run, at the latest, until it is killed.

    Returns:
        How many kills hit the writing of a checkpoint.
    """
    hits = 0
    for number in range(kills):
        in_writing = number % 2 == 1
        delay = generator.uniform(0, 0.05 if in_writing else duration)
        code, said = trainer.run(
            config, work_dir, '--resume', until=after_a_save(work_dir, in_writing, delay)
        )
        assert code == -signal.SIGKILL, said[-3000:]
        hits += bool(unfinished(work_dir))
    code, said = trainer.run(config, work_dir, '--resume')
    assert code == 0, said[-3000:]
    return hits


def after_a_save(work_dir, in_writing, delay):
    """Becomes true ``delay`` seconds after a run has saved, or has begun to write once more."""
    pointer, start, begun = work_dir / 'last_checkpoint', time.time(), []

    def is_time():
        has_saved = pointer.exists() and pointer.stat().st_mtime > start
        if not begun and has_saved and (unfinished(work_dir) or not in_writing):
            begun.append(time.time())
        return bool(begun) and time.time() > begun[0] + delay

    return is_time
