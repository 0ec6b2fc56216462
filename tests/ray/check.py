#!/usr/bin/env python3
"""The job of examples-c/hosts/ray on a cluster of four nodes, one of which is killed amid it:

    check.py FOLDER     with what reference.py made there

The nodes are processes here, each with a loopback address of its own. Actors note each batch in a file;
after a few batches they wait until the node is dead, so that it dies while rows are done, under way, and
not begun.
"""

import os
import pathlib
import shutil
import signal
import sys
import threading
import time

import numpy as np
import pyarrow
import pyarrow.parquet
import ray
import ray.cluster_utils
import ray.data

import map_batches
from map_batches import Runner, answer

FILES, ROWS = 20, 250
BEFORE = 3  # batches of an actor until it waits for the kill
LIMIT_S = 200


class Watched(Runner):
    """Notes what it does: `start` and `done` lines with the node's address, the process, rows and the time."""

    folder = None  # set before the class goes to the cluster
    batches = 0

    def note(self, what, rows):
        address = ray.util.get_node_ip_address()
        with (self.folder / "notes").open("a") as notes:
            notes.write(f"{what} {address} {os.getpid()} {rows} {time.time()}\n")

    def __call__(self, columns):
        rows = len(columns["id"])
        self.note("start", rows)
        end = time.monotonic() + 60
        while self.batches >= BEFORE and not (self.folder / "killed").exists() and time.monotonic() < end:
            time.sleep(0.01)
        answers = super().__call__(columns)
        self.batches += 1
        self.note("done", rows)
        return answers


def notes_of(folder):
    path = folder / "notes"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(what, address, int(pid), int(rows), float(at)) for what, address, pid, rows, at in map(str.split, lines)]


def write_input(folder, seen):
    (folder / "input").mkdir(parents=True)
    for number, rows in enumerate(np.split(np.arange(len(seen)), FILES)):
        table = pyarrow.table({"id": rows, "observation": list(seen[rows])})
        pyarrow.parquet.write_table(table, folder / "input" / f"{number:03}.parquet")


def start_cluster():
    """A head, which reads and writes, and three workers with room for one actor each: one more than there are."""
    common = {"object_store_memory": 400 << 20, "include_dashboard": False}
    cluster = ray.cluster_utils.Cluster(
        initialize_head=True, head_node_args={**common, "num_cpus": 2, "node_ip_address": "127.0.0.2"})
    nodes = [cluster.add_node(node_ip_address=address, num_cpus=1, resources={"worker": 1}, **common)
             for address in ("127.0.0.3", "127.0.0.4", "127.0.0.5")]
    ray.init(address=cluster.address, _node_ip_address="127.0.0.2", log_to_driver=False)
    return cluster, nodes


def kill(node, folder):
    """Kills a node as a power cut does: its raylet, and the actors that run there."""
    pids = {pid for _, address, pid, _, _ in notes_of(folder) if address == node.node_ip_address}
    pids |= {info.process.pid for info in node.all_processes["raylet"]}
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    at = time.time()
    (folder / "killed").touch()
    return at


def wait_until_under_way(folder, job):
    """Until two actors have done rows, and are amid others."""
    end = time.monotonic() + 150
    while time.monotonic() < end and job.is_alive():
        notes = notes_of(folder)
        started = [(address, pid) for what, address, pid, _, _ in notes if what == "start"]
        waiting = {one for one in started if started.count(one) > BEFORE}
        if len({address for address, _ in waiting}) == 2:
            return notes
        time.sleep(0.02)
    raise RuntimeError(f"the job was not under way on two workers: {notes_of(folder)}")


def outside(pids):
    """Peers of these processes' sockets that are not on loopback."""
    found = set()
    for pid in pids:
        try:
            own = {os.readlink(fd) for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir()}
            lines = pathlib.Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            peer = fields[2].partition(":")[0]
            if f"socket:[{fields[9]}]" in own and peer != "00000000" and not peer.endswith("7F"):
                found.add(peer)
    return found


def session_pids():
    """All processes of this session: Ray's too."""
    mine, pids = os.getsid(0), []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getsid(int(entry.name)) == mine:
                    pids.append(int(entry.name))
            except OSError:
                pass
    return pids


def count_right(output, actions):
    """Rows of the output, and those whose answer is right; an id that is there twice counts as wrong."""
    data = ray.data.read_parquet(str(output))
    right, ids = 0, []
    for batch in data.iter_batches(batch_size=4096, batch_format="numpy"):
        got = np.stack(batch["action"])
        right += int(np.isclose(got, actions[batch["id"]], rtol=1e-4, atol=1e-5).all(axis=1).sum())
        ids.append(batch["id"])
    ids = np.concatenate(ids)
    return len(ids), right - (len(ids) - len(np.unique(ids)))


def main():
    base = pathlib.Path(sys.argv[1]).resolve()
    folder = base / "work"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    reference = np.load(base / "reference.npz")
    write_input(folder, reference["seen"])
    begin = time.monotonic()
    cluster, nodes = start_cluster()
    print(f"cluster head {cluster.address}, workers {[node.node_ip_address for node in nodes]}, "
          f"{time.monotonic() - begin:.0f} s", flush=True)

    Watched.folder = folder
    failure = []

    def run():
        try:
            answer(str(base / "policy.onnx"), str(folder / "input"), str(folder / "output"), rows=ROWS,
                   runner=Watched, resources={"worker": 1})
        except Exception as error:
            failure.append(error)

    job = threading.Thread(target=run, daemon=True)
    job.start()
    notes = wait_until_under_way(folder, job)
    done = sum(rows for what, _, _, rows, _ in notes if what == "done")
    lost = next(node for node in nodes if node.node_ip_address == notes[0][1])
    killed_at = kill(lost, folder)
    print(f"killed {lost.node_ip_address} when {done} rows were done", flush=True)
    job.join(LIMIT_S)
    if job.is_alive() or failure:
        raise SystemExit(f"ray: failed: the job did not finish: {failure or 'no end'}")

    notes = notes_of(folder)
    after = sum(rows for what, address, _, rows, at in notes
                if what == "done" and at > killed_at and address != lost.node_ip_address)
    addresses = {address for what, address, *_ in notes if what == "done"}
    rows, right = count_right(folder / "output", reference["actions"])
    # The program as a user calls it, on what is left of the cluster.
    few = folder / "input" / "007.parquet"
    map_batches.main([str(base / "policy.onnx"), str(few), str(folder / "few"), "--workers", "1", "--rows", "300"])
    assert count_right(folder / "few", reference["actions"]) == (1000, 1000)
    pids = session_pids()
    strangers = outside(pids)
    print(f"workers {sorted(addresses)} ran {sum(n[3] for n in notes if n[0] == 'done')} rows in all, "
          f"{time.monotonic() - begin:.0f} s; {len(pids)} processes", flush=True)
    ray.shutdown()
    cluster.shutdown()
    if strangers:
        raise SystemExit(f"ray: failed: sockets to {strangers}, which are not on loopback")
    end = time.monotonic() + 30
    while session_pids() != [os.getpid()]:
        if time.monotonic() > end:
            raise SystemExit(f"ray: failed: processes are left: {session_pids()}")
        time.sleep(0.2)
    print(f"ray: rows={rows} right={right} killed=1 after_kill={after}")
    total = len(reference["seen"])
    sys.exit(not (rows == right == total and 0 < done < total and after >= total - done - ROWS * BEFORE))


main()
