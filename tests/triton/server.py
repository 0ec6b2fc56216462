"""A Triton server of the test's own, on loopback and free ports."""

import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Server:
    """Starts with `with`; `kill` and `start` again use the same ports."""

    def __init__(self, program, backends, repository, log, models):
        self.http, self.grpc, self.metrics = free_ports(3)
        self.log = pathlib.Path(log)
        self.log.write_text("")
        self.process = None
        self.command = [
            str(program), f"--model-repository={repository}", f"--backend-directory={backends}",
            "--model-control-mode=explicit", "--exit-on-error=false",
            "--backend-config=inferno,default-max-batch-size=8",
            "--http-address=127.0.0.1", f"--http-port={self.http}", "--grpc-address=127.0.0.1",
            f"--grpc-port={self.grpc}", "--metrics-address=127.0.0.1", f"--metrics-port={self.metrics}",
            "--allow-gpu-metrics=false", "--allow-cpu-metrics=false",
            *[f"--load-model={model}" for model in models],
        ]

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()

    def start(self):
        """Seconds until it was ready."""
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=environment,
                                            start_new_session=True)
        begin = time.monotonic()
        while time.monotonic() - begin < 60:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}; see {self.log}")
            if self.get("/v2/health/ready") is not None:
                return time.monotonic() - begin
            time.sleep(0.05)
        raise RuntimeError(f"the server was not ready after 60 s; see {self.log}")

    def get(self, path, port=None):
        """What it answers, or None."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port or self.http}{path}", timeout=10) as answer:
                return answer.read().decode()
        except (urllib.error.URLError, OSError):
            return None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Asks it to end; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def leftovers(self):
        """Processes of its session that are still there."""
        left = []
        for entry in pathlib.Path("/proc").iterdir():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (OSError, IndexError):
                continue
            if entry.name.isdigit() and int(fields[3]) == self.process.pid and fields[0] != "Z":
                left.append(int(entry.name))
        return left

    def resident_bytes(self):
        pages = int(pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def maps(self):
        """What is mapped into its memory."""
        return pathlib.Path(f"/proc/{self.process.pid}/maps").read_text()

    def sockets(self):
        """The two addresses of each of its sockets, as /proc/net has them."""
        own = set()
        for fd in pathlib.Path(f"/proc/{self.process.pid}/fd").iterdir():
            try:
                own.add(os.readlink(fd))
            except OSError:
                pass
        found = set()
        for table in ("tcp", "tcp6", "udp", "udp6"):
            for line in pathlib.Path(f"/proc/{self.process.pid}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if f"socket:[{fields[9]}]" in own:
                    found.add((fields[1].rpartition(":")[0], fields[2].rpartition(":")[0]))
        return found
