"""Who starts the processes of a run: what Slurm says, and starts that would run alone unnoticed.

``tools/*.sh`` run this file to ask, without the rest of the package: it imports nothing of it.
"""

import os
import re
import sys
from collections.abc import Mapping

# Slurm's own steps, such as the shell of salloc, have the highest ids
_FIRST_SPECIAL_STEP = 4294967280


def in_slurm_step(environ: Mapping[str, str]) -> bool:
    """Whether srun started this process, rather than a batch script or a shell."""
    return int(environ.get('SLURM_STEP_ID') or _FIRST_SPECIAL_STEP) < _FIRST_SPECIAL_STEP


def check_launch(launcher: str, environ: Mapping[str, str]) -> None:
    """Refuse what was asked to run as several processes and would not.

    Args:
        launcher: Launcher as ``oneformer train`` names it.
        environ: The environment.

    Raises:
        SystemExit: With what to do.
    """
    step = in_slurm_step(environ)
    if launcher == 'slurm' and not step:
        raise SystemExit(
            '--launcher slurm: srun did not start this process. Start it by tools/slurm_train.sh '
            'or tools/slurm_test.sh'
        )
    if launcher == 'pytorch' and 'RANK' not in environ:
        raise SystemExit(
            '--launcher pytorch: torchrun did not start this process. Start it by '
            'tools/dist_train.sh or tools/dist_test.sh'
        )
    if launcher != 'none':
        return
    processes = int(environ.get('WORLD_SIZE', 1))
    if processes > 1:
        raise SystemExit(
            f'WORLD_SIZE is {processes}, but without --launcher pytorch each process would run '
            'alone. Start by tools/dist_train.sh or tools/dist_test.sh'
        )
    tasks = int(environ.get('SLURM_STEP_NUM_TASKS' if step else 'SLURM_NTASKS', 1))
    if tasks > 1 and step:
        raise SystemExit(
            f'srun started {tasks} tasks, but without --launcher slurm each would run alone. Start '
            'by tools/slurm_train.sh or tools/slurm_test.sh'
        )
    if tasks > 1:
        raise SystemExit(
            f'this Slurm job has {tasks} tasks, and this would run on one. Start by '
            'tools/slurm_train.sh or tools/slurm_test.sh; to use one task on purpose, put '
            '"srun --ntasks=1" before the command'
        )


def meeting_point(environ: Mapping[str, str]) -> tuple[str, str]:
    """Address and port where the processes of a job step meet.

    Rank 0 runs on the step's first node; the node that srun was called on, which is what Slurm
    names an address of, may be another. The port follows from job and step, so that jobs that
    share a node do not meet.
    """
    # node03 of node[03-05,07],other1
    first = re.sub(r'\[([^],-]*)[^]]*]', r'\1', environ['SLURM_STEP_NODELIST']).split(',')[0]
    job, step = int(environ['SLURM_JOB_ID']), int(environ['SLURM_STEP_ID'])
    return first, str(20000 + (37 * job + step) % 10000)


def slurm_variables(environ: Mapping[str, str], gpus: int) -> dict[str, str]:
    """What torch and mmengine read to find the other processes of this job step, and the GPU.

    Args:
        environ: The environment.
        gpus: Number of GPUs that this task sees: those of the node, or its own one with srun's
            ``--gpus-per-task=1`` and ``--gpu-bind=single:1``.

    Returns:
        RANK, LOCAL_RANK and WORLD_SIZE; SLURM_LOCALID, by which mmengine chooses the GPU;
        MASTER_ADDR and MASTER_PORT as set, or else of ``meeting_point``.

    Raises:
        SystemExit: If there are more tasks than GPUs on this node.
    """
    place = int(environ['SLURM_LOCALID'])
    if gpus == 1:
        place = 0
    elif 0 < gpus <= place:
        raise SystemExit(
            f'task {place} of this node has no GPU, it has {gpus} for tasks 0 to {gpus - 1}: start '
            f'{gpus} tasks per node, by GPUS_PER_NODE={gpus} or --ntasks-per-node={gpus}'
        )
    address, port = meeting_point(environ)
    return dict(
        RANK=environ['SLURM_PROCID'],
        LOCAL_RANK=str(place),
        SLURM_LOCALID=str(place),
        WORLD_SIZE=environ['SLURM_STEP_NUM_TASKS'],
        MASTER_ADDR=environ.get('MASTER_ADDR', address),
        MASTER_PORT=environ.get('MASTER_PORT', port),
    )


if __name__ == '__main__':
    if sys.argv[1] == 'in-step':
        sys.exit(not in_slurm_step(os.environ))
    print(*meeting_point(os.environ))
