"""What the comparisons with other programs share: a private cluster with tasks, runs that alternate, and files that must be alike."""

import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path


def arguments(tasks):
    """The program, the number of tasks, unless it is said, and that of runs, nine unless it is said."""
    numbers = [int(number) for number in sys.argv[2:]]
    return sys.argv[1], *numbers, *(tasks, 9)[len(numbers):]


@contextmanager
def cluster(program, tasks):
    """Keeps a private cluster with so many tasks up. Has its URL, an environment for the program, and a directory."""
    with tempfile.TemporaryDirectory() as directory:
        # PostgreSQL does not run as root, and must get to its directory.
        os.chmod(directory, 0o755)
        server = subprocess.Popen(
            [program, "database", "--data-dir", f"{directory}/data", "--log", "warn"],
            stdout=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
        )
        try:
            url = server.stdout.readline().strip()
            environment = {**os.environ, "DATABASE_URL": url, "CMMS_LOG": "warn"}
            for command in (["migrate"], ["seed", f"--tasks={tasks}"]):
                subprocess.run([program, *command], env=environment, check=True, capture_output=True)
            yield url, environment, Path(directory)
        finally:
            server.terminate()
            server.wait()


def seconds(ways, file, runs):
    """The seconds of each way, by name, in runs that alternate; `file(name)` is where a way writes. First, all must write the same
    lines."""
    wanted = None
    for name, run in ways.items():
        run()
        found = lines(file(name))
        wanted = wanted or found
        if found != wanted:
            sys.exit(f"{name} writes other lines than {next(iter(ways))}")
    taken = {name: [] for name in ways}
    order = list(ways)
    for _ in range(runs):
        for name in order:
            begin = time.perf_counter()
            ways[name]()
            taken[name].append(time.perf_counter() - begin)
        order = order[1:] + order[:1]
    return taken


def lines(path):
    """The file's lines, in no order, without the quotes that one writes and another does not."""
    with open(path, "rb") as file:
        digests = sorted(hashlib.blake2b(line.replace(b'"', b"").replace(b"\\N", b""), digest_size=8).digest() for line in file)
    return hashlib.sha256(b"".join(digests)).hexdigest()


def spread(values, digits=2):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}…{max(values):.{digits}f})"
