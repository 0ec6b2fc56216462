"""Runs each piece of work in a child process: its end, however bad, is an answer."""

from __future__ import annotations

import json
import os
import resource
import selectors
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, NamedTuple, TypeVar

Item = TypeVar("Item")


class Ending(NamedTuple):
    """How a child ended: the answer of its work, or else why there is none."""

    answer: dict | None
    reason: str = ""


class _Child(NamedTuple):
    item: object
    pid: int
    errors: BinaryIO
    """What it writes to standard error."""
    deadline: float
    answer: bytearray


def run_all(
    items: Sequence[Item],
    work: Callable[[Item], dict],
    jobs: int,
    timeout: float,
    address_space: int,
) -> Iterator[tuple[Item, Ending]]:
    """Does `work` on each item in a fork of this process, `jobs` at a time.

    A child may use `address_space` bytes and `timeout` seconds. Endings come as they come.
    """
    waiting = list(reversed(items))
    running = selectors.DefaultSelector()
    try:
        while waiting or running.get_map():
            while waiting and len(running.get_map()) < jobs:
                item = waiting.pop()
                pipe, child = _start(item, work, timeout, address_space)
                running.register(pipe, selectors.EVENT_READ, child)
            for key in _ready(running):
                child = key.data
                part = os.read(key.fd, 1 << 16) if time.monotonic() < child.deadline else b""
                child.answer.extend(part)
                if not part:
                    running.unregister(key.fd)
                    os.close(key.fd)
                    yield child.item, _end(child, timeout)
    finally:
        for key in list(running.get_map().values()):
            os.kill(key.data.pid, signal.SIGKILL)
            os.waitpid(key.data.pid, 0)


def _start(item: object, work: Callable, timeout: float, address_space: int) -> tuple[int, _Child]:
    read, write = os.pipe()
    errors = tempfile.TemporaryFile()
    pid = os.fork()
    if pid:
        os.close(write)
        return read, _Child(item, pid, errors, time.monotonic() + timeout, bytearray())
    status = 1
    try:
        os.close(read)
        null = os.open(os.devnull, os.O_RDWR)
        for source, target in ((null, 0), (null, 1), (errors.fileno(), 2)):
            os.dup2(source, target)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
        answer = json.dumps(work(item)).encode()
        with open(write, "wb") as pipe:
            pipe.write(answer)
        status = 0
    except BaseException:  # whatever it is, the child must not return into the parent's code
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def _ready(running: selectors.BaseSelector) -> list[selectors.SelectorKey]:
    """Waits for children with something to read, or past their deadline."""
    keys = running.get_map().values()
    first = min(key.data.deadline for key in keys)
    ready = [key for key, _ in running.select(max(0.0, first - time.monotonic()))]
    return ready or [key for key in keys if key.data.deadline <= time.monotonic()]


def _end(child: _Child, timeout: float) -> Ending:
    """Collects a child that closed its pipe or whose time is up."""
    late = time.monotonic() >= child.deadline
    if late:
        os.kill(child.pid, signal.SIGKILL)
    _, waited = os.waitpid(child.pid, 0)
    code = os.waitstatus_to_exitcode(waited)
    with child.errors as errors:
        errors.seek(0, os.SEEK_END)
        errors.seek(max(0, errors.tell() - 2000))
        said = " ".join(errors.read().decode("utf-8", "replace").split())
    if late:
        return Ending(None, f"no end within {timeout:g} s. {said}".strip())
    if code < 0:
        return Ending(None, f"killed by {signal.Signals(-code).name}. {said}".strip())
    if code > 0:
        return Ending(None, f"exit status {code}. {said}".strip())
    return Ending(json.loads(child.answer))
