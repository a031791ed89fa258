"""A stand-in for the Python command: it forks from a process that has imported everything.

Importing the stack takes longer than most of what a test then does there. ``Interpreter`` starts a
server and makes a small command, ``python``, that asks it for a fork with its arguments, working
folder, environment and standard streams. Signals that the command gets go on to the fork, and the
fork ends with it.
"""

import atexit
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path

STACK = ('mmdet.engine', 'mmdet.evaluation', 'mmdet.visualization', 'torch.distributed.run')
CLIENT = """#!{python} -IS
import array, json, os, signal, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect({address!r})
order = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
streams = array.array('i', [0, 1, 2])
rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)]
connection.sendmsg([len(order).to_bytes(4, 'big')], rights)
connection.sendall(order)
child = int.from_bytes(connection.recv(4), 'big')
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
    signal.signal(number, lambda number, frame: os.kill(child, number))
code = int.from_bytes(connection.recv(4), 'big', signed=True)
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


def _receive(connection):
    """Arguments, folder, environment and streams of an order."""
    size, streams, *_ = socket.recv_fds(connection, 4, 3)
    size, order = int.from_bytes(size, 'big'), b''
    while len(order) < size:
        order += connection.recv(size - len(order))
    return *json.loads(order), streams


def _run(arguments):
    """What the Python command does with its arguments."""
    while arguments[0] == '-u':
        arguments = arguments[1:]
    kind, rest = arguments[0], arguments[1:]
    if kind == '-m':
        sys.argv, sys.path[0] = rest, os.getcwd()
        runpy.run_module(rest[0], run_name='__main__', alter_sys=True)
    elif kind == '-c':
        sys.argv, sys.path[0] = ['-c', *rest[1:]], os.getcwd()
        exec(compile(rest[0], '<string>', 'exec'), dict(__name__='__main__'))
    else:
        sys.argv, sys.path[0] = arguments, str(Path(kind).resolve().parent)
        runpy.run_path(kind, run_name='__main__')


def _become(arguments, folder, environment, streams, command):
    """Run as a fork, and never return."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment, PYTHON_EXEC=command)  # which torchrun starts
    sys.path[1:1] = filter(None, environment.get('PYTHONPATH', '').split(os.pathsep))
    code = 0
    try:
        _run(arguments)
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code or 0)


def _import_everything():
    sys.path[0] = os.environ['ONEFORMER_PROJECTS']
    for name in ('oneformer', *STACK):  # oneformer before mmdet
        importlib.import_module(name)
    importlib.import_module('torch').set_num_threads(1)
    sys.path[0] = ''


class Server:
    """Forks for every connection to a socket, until standard input is closed.

    Args:
        address: Path of the socket.
        command: Path of the command that connects to it.
    """

    def __init__(self, address, command):
        self.command = command
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(address)
        self.listener.listen()
        self.connections = {}  # by process id
        self.ended, end = os.pipe()  # readable when a fork has ended
        os.set_blocking(end, False)
        signal.set_wakeup_fd(end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self.loop = selectors.DefaultSelector()
        for source in (self.listener, self.ended, 0):
            self.loop.register(source, selectors.EVENT_READ)

    def serve(self):
        while True:
            for source in [key.fileobj for key, _ in self.loop.select()]:
                if source == 0:
                    for child in self.connections:
                        os.kill(child, signal.SIGKILL)
                    return
                if source is self.listener:
                    self.fork(source.accept()[0])
                elif source == self.ended:
                    os.read(source, 1000)
                    self.tell_codes()
                else:  # the command was killed
                    self.loop.unregister(source)
                    for child, connection in self.connections.items():
                        if connection is source:
                            os.kill(child, signal.SIGKILL)

    def fork(self, connection):
        *order, streams = _receive(connection)
        child = os.fork()
        if not child:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for one in (self.loop, self.listener, connection, *self.connections.values()):
                one.close()
            _become(*order, streams, self.command)
        for stream in streams:
            os.close(stream)
        self.connections[child] = connection
        self.loop.register(connection, selectors.EVENT_READ)
        connection.sendall(child.to_bytes(4, 'big'))

    def tell_codes(self):
        while self.connections:
            child, status = os.waitpid(-1, os.WNOHANG)
            if not child:
                break
            connection = self.connections.pop(child)
            if connection in self.loop.get_map():
                self.loop.unregister(connection)
                code = os.waitstatus_to_exitcode(status)
                connection.sendall(code.to_bytes(4, 'big', signed=True))
            connection.close()


class Interpreter:
    """The server and its command.

    Args:
        folder: Folder for the command and the socket.
        projects: Folder of the package under test.
        python: Python that imports it.

    Attributes:
        command: Path of the command.
    """

    def __init__(self, folder, projects, python=sys.executable):
        self.command = folder / 'python'
        address = str(folder / 'socket')
        self.command.write_text(CLIENT.format(python=sys.executable, address=address))
        self.command.chmod(0o755)
        self.server = subprocess.Popen(
            [python, __file__, address, self.command],
            env={
                **os.environ,
                'OMP_NUM_THREADS': '1',
                'CUDA_VISIBLE_DEVICES': '',
                'ONEFORMER_PROJECTS': str(projects),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for line in self.server.stdout:
            if line == 'ready\n':
                return
        raise RuntimeError(f'the server ended with {self.server.wait()}')

    def close(self):
        """End the server and all forks."""
        self.server.stdin.close()
        self.server.wait()


if __name__ == '__main__':
    _import_everything()
    server = Server(*sys.argv[1:])
    print('ready', flush=True)
    server.serve()
