"""Children under limits, through the C driver, and what their ends mean."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

OK, REFUSED, CRASHED, HUNG, OUT_OF_MEMORY = "ok", "refused", "crashed", "hung", "out_of_memory"
KINDS = (OK, REFUSED, CRASHED, HUNG, OUT_OF_MEMORY)
FINDINGS = (CRASHED, HUNG, OUT_OF_MEMORY)
WALL_MS, CPU_S, ADDRESS_MIB = 5000, 6, 2048


class Job(NamedTuple):
    """A run of the child."""

    id: str
    path: Path
    salt: int
    fixed: str = ""


class Outcome(NamedTuple):
    kind: str
    step: str
    """Where: the call that refused, or the step that did not end."""
    status: str = ""
    text: str = ""
    panicked: bool = False
    """The library caught a panic inside."""
    ms: int = 0
    output: str = ""
    """All that the child wrote."""

    @property
    def reason(self) -> str:
        """The outcome without what differs from case to case."""
        text = re.sub(r"0x[0-9a-f]+|\d+", "N", self.text)[:160]
        return f"{self.kind} at {self.step}: {text}"

    def told(self) -> str:
        if self.kind == OK:
            return f"{OK}: {self.text}"
        said = f"{self.status} {self.text}".strip()
        return f"{self.kind} at {self.step}: {said}"


class Children:
    """Runs jobs, `jobs` at a time. Give with `start`, take with `take`."""

    def __init__(self, binaries: Path, jobs: int, isolation: bool):
        limits = (str(jobs), str(WALL_MS), str(CPU_S), str(ADDRESS_MIB))
        command = [binaries / "driver", *limits, binaries / "child"]
        self._driver = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._isolation = "process" if isolation else "none"
        self.running: dict[str, Job] = {}

    def start(self, job: Job) -> None:
        fields = [job.id, str(job.path), str(job.salt), self._isolation, *([job.fixed] if job.fixed else [])]
        self.running[job.id] = job
        self._driver.stdin.write(("\t".join(fields) + "\n").encode())
        self._driver.stdin.flush()

    def take(self) -> tuple[Job, Outcome]:
        """Waits for the next child to end."""
        head = self._driver.stdout.readline().decode().rstrip("\n").split("\t")
        if len(head) != 6:
            raise RuntimeError("the driver died")
        name, how, code, ms, out, err = head
        out, err = (self._driver.stdout.read(int(n)).decode("utf-8", "replace") for n in (out, err))
        outcome = _outcome(how, int(code), out, err)
        return self.running.pop(name), outcome._replace(ms=int(ms), output=f"{out}\n{err}")

    def run(self, jobs: Iterator[Job] | list[Job]) -> Iterator[tuple[Job, Outcome]]:
        """All of them; endings come as they come."""
        for job in jobs:
            self.start(job)
            while len(self.running) > 48:
                yield self.take()
        while self.running:
            yield self.take()

    def close(self) -> None:
        self._driver.stdin.close()
        self._driver.wait()


def _outcome(how: str, code: int, out: str, err: str) -> Outcome:
    lines = out.splitlines()
    steps = [line[1:].partition("\t")[0] for line in lines if line.startswith("@")]
    step = steps[-1] if steps else "start"
    last = lines[-1].split("\t", 4) if lines else [""]
    if how == "late":
        return Outcome(HUNG, step, text=f"no end in {WALL_MS / 1000:g} s")
    if how == "exit" and code == 0 and last[0] in (OK, REFUSED) and len(last) == 5:
        return Outcome(last[0], last[2], last[3], last[4], last[1] == "1")
    if how == "exit":
        protocol = code == 3 and last[0] == "protocol"
        text = "protocol: " + "\t".join(last[1:]) if protocol else f"exit status {code}. {_said(err)}"
        return Outcome(CRASHED, step, text=text.strip())
    name = signal.Signals(code).name
    if name == "SIGXCPU":
        return Outcome(HUNG, step, text=f"more than {CPU_S} s of processor time")
    if name == "SIGABRT" and "memory allocation of" in err:
        return Outcome(OUT_OF_MEMORY, step, text=_said(err))
    return Outcome(CRASHED, step, text=f"{name}. {_said(err)}".strip())


def _said(err: str) -> str:
    """The beginning of standard error, without a backtrace."""
    return " ".join(err.partition("stack backtrace")[0].split())[:300]
