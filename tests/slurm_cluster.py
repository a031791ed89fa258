"""A Slurm of one node on this machine, all of it in a temporary folder, with two GPUs that are not.

Its GPUs are names only, so that the launchers can ask for them; nothing opens them.
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PATH = os.pathsep.join((os.environ['PATH'], '/usr/sbin', '/sbin'))
USER = pwd.getpwuid(os.getuid()).pw_name
TIMEOUT = 300  # seconds, of anything that a slow machine takes long for
DAEMONS = ('munged', 'slurmctld', 'slurmd')

# credentials expire soon, since a requeued job waits for that
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1
KillWait=5
GresTypes=gpu
NodeName=localhost NodeHostname={host} NodeAddr=127.0.0.1 CPUs=2 Gres=gpu:2
PartitionName=debug Nodes=localhost Default=YES
"""
GPUS = ''.join(f'Name=gpu File=/dev/{name} Flags=no_gpu_env\n' for name in ('null', 'zero'))


def _free_ports(number):
    sockets = [socket.create_server(('127.0.0.1', 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class SlurmCluster:
    """Runs while the ``with`` block does; its commands find it by ``environment``."""

    def __init__(self):
        # short, since a socket's path has at most 107 letters; munge wants others to enter it
        self.folder = Path(tempfile.mkdtemp(prefix='slurm-'))
        self.folder.chmod(0o755)
        self.processes = []
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith('SLURM_')},
            'PATH': PATH,
            'SLURM_CONF': str(self.folder / 'slurm.conf'),
        }

    def __enter__(self):
        folder = self.folder
        (folder / 'slurm.conf').write_text(
            CONFIG.format(
                host=socket.gethostname().split('.')[0],
                user=USER,
                folder=folder,
                ports=_free_ports(2),
            )
        )
        (folder / 'gres.conf').write_text(GPUS)
        (folder / 'cgroup.conf').write_text('CgroupPlugin=cgroup/v1\n')  # or slurmd looks for it
        (folder / 'munge.key').write_bytes(os.urandom(128))
        (folder / 'munge.key').chmod(0o600)
        for name in ('state', 'spool'):
            (folder / name).mkdir()
        try:
            # --force: the folder is in /tmp, which others may write to
            self._start(
                'munged',
                '--foreground',
                '--force',
                f'--key-file={folder}/munge.key',
                f'--socket={folder}/munge.socket',
                f'--pid-file={folder}/munged.pid',
                f'--seed-file={folder}/munged.seed',
            )
            self._wait((folder / 'munge.socket').exists)
            self._start('slurmctld', '-D')
            self._start('slurmd', '-D', '-N', 'localhost')
            self._wait(lambda: self.run('sinfo', '-h', '-o', '%t').stdout.strip() == 'idle')
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error):
        if len(self.processes) == len(DAEMONS):
            self.run('scancel', '--full', '--signal=KILL', '--user', USER)
            self.run('scancel', '--user', USER)
            deadline = time.monotonic() + 15
            while self.run('squeue', '-h').stdout.strip() and time.monotonic() < deadline:
                time.sleep(0.5)
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, name, *arguments):
        with open(self.folder / f'{name}.out', 'w') as out:
            self.processes.append(
                subprocess.Popen(
                    [shutil.which(name, path=PATH), *arguments],
                    env=self.environment,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                )
            )

    def _wait(self, ready):
        deadline = time.monotonic() + 30
        while not ready():
            ended = any(process.poll() is not None for process in self.processes)
            if ended or time.monotonic() > deadline:
                logs = ''.join(path.read_text()[-1500:] for path in self.folder.glob('*.out'))
                raise RuntimeError(f'Slurm does not start:\n{logs}')
            time.sleep(0.2)

    def run(self, *command, **variables):
        """Run a command that talks to this Slurm, with these environment variables in addition."""
        return subprocess.run(
            [str(part) for part in command],
            env={**self.environment, **variables},
            text=True,
            capture_output=True,
            timeout=TIMEOUT,
        )

    def field(self, job, name):
        """A field of ``scontrol show job``, such as JobState."""
        shown = self.run('scontrol', '--oneliner', 'show', 'job', job).stdout
        return dict(pair.split('=', 1) for pair in shown.split() if '=' in pair).get(name)

    def wait_for(self, job, *states):
        """Wait until the job is in one of these states; AssertionError if it ends in another."""
        ended = ('COMPLETED', 'FAILED', 'CANCELLED', 'TIMEOUT', 'NODE_FAIL')
        deadline = time.monotonic() + TIMEOUT
        while (state := self.field(job, 'JobState')) not in states:
            assert state not in ended and time.monotonic() < deadline, f'job {job} is {state}'
            time.sleep(0.3)
