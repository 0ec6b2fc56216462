#!/usr/bin/env python3
"""What tests/triton.sh looks at, with the clients of the server's own makers:

    check.py --server PROGRAM --backends FOLDER --repository FOLDER --log FILE
"""

import argparse
import concurrent.futures
import json
import pathlib
import re
import shutil
import sys
import threading
import time
import traceback

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from server import Server

SERVED = ["policy", "digits", "joined", "dtypes", "multi_io", "scalar", "strings", "pair", "gather", "slow", "hungry",
          "isolated"]
# What must not load, and what the server's answer says of it.
REFUSED = {
    "garbage": "INVALID_MODEL: garbage: not an ONNX model",
    "garbage_isolated": "INVALID_MODEL: garbage_isolated: not an ONNX model",
    "missing": "NOT_FOUND",
    "unsupported": 'MaxRoiPool (node "pool"); com.microsoft.FusedMatMul (node "fused")',
    "wrong_type": "`observation` is TYPE_INT64, in the model it is TYPE_FP32",
    "wrong_dims": "`observation` is [-1,63] with its batch, in the model it is [-1,64]",
    "wrong_name": "`picture` is not in the model, which has `observation`",
    "wrong_batch": "max_batch_size is 4, but the first dim",
    "wrong_parameter": 'threads is "many", expected a number',
}
TESTS = []


def test(function):
    TESTS.append(function)
    return function


class Context:
    def __init__(self, server, repository):
        self.server = server
        self.reference = np.load(pathlib.Path(repository).parent / "reference.npz")
        self.http = tritonclient.http.InferenceServerClient(f"127.0.0.1:{server.http}", concurrency=8)
        self.grpc = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc}")

    def infer(self, model, arrays, client=None, outputs=None):
        """A request with these inputs by name; its outputs by name."""
        client = client or self.http
        kind = tritonclient.grpc if isinstance(client, tritonclient.grpc.InferenceServerClient) else tritonclient.http
        inputs = []
        for name, array in arrays.items():
            inputs.append(kind.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
            inputs[-1].set_data_from_numpy(array)
        asked = [kind.InferRequestedOutput(name) for name in outputs] if outputs else None
        answer = client.infer(model, inputs, outputs=asked)
        document = answer.get_response(as_json=True) if kind is tritonclient.grpc else answer.get_response()
        return {one["name"]: answer.as_numpy(one["name"]) for one in document["outputs"]}

    def refused(self, model, arrays, text):
        try:
            self.infer(model, arrays)
        except InferenceServerException as error:
            assert text in error.message(), f"{error.message()!r} does not say {text!r}"
            return error.message()
        raise AssertionError(f"{model} answered; expected an error that says {text!r}")

    def not_loaded(self, model, text, config=None):
        """A load that fails, and says why."""
        try:
            self.http.load_model(model, config=config)
        except InferenceServerException as error:
            assert text in error.message(), f"{model}: {error.message()!r} does not say {text!r}"
            return error.message()
        raise AssertionError(f"{model} was loaded with {config}; expected an error that says {text!r}")

    def at_once(self, model, requests):
        """All requests at the same time, a thread and a connection each; an answer or an error for each."""
        gate = threading.Barrier(len(requests))

        def ask(arrays):
            client = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{self.server.grpc}")
            try:
                client.is_server_live()
                gate.wait()
                return self.infer(model, arrays, client)
            except InferenceServerException as error:
                return error
            finally:
                client.close()

        with concurrent.futures.ThreadPoolExecutor(len(requests)) as pool:
            return list(pool.map(ask, requests))

    def counts(self, model):
        return settled(lambda: self.http.get_inference_statistics(model)["model_stats"][0])

    def metrics(self):
        return settled(lambda: self.server.get("/metrics", self.server.metrics))

    def metric(self, name, model):
        found = [line for line in self.metrics().splitlines()
                 if line.startswith(name + "{") and f'model="{model}"' in line]
        assert found, f"/metrics has no {name} of {model}"
        return sum(float(line.rpartition(" ")[2]) for line in found)


def settled(read):
    """What is read twice: a request is counted after it is answered."""
    last = None
    while True:
        now = read()
        if now == last:
            return now
        last = now
        time.sleep(0.2)


def close(a, b):
    return np.allclose(a, b, rtol=1e-4, atol=1e-5)


@test
def ready(to):
    """The server and its models are ready."""
    assert to.http.is_server_live() and to.http.is_server_ready()
    for model in SERVED:
        assert to.http.is_model_ready(model), model


@test
def configuration_is_completed(to):
    """Inputs, outputs, batch size and batcher come from the model where the file says nothing."""
    config = to.http.get_model_config("policy")
    assert config["max_batch_size"] == 8 and "dynamic_batching" in config, config
    [seen], [action] = config["input"], config["output"]
    assert (seen["name"], seen["data_type"], seen["dims"]) == ("observation", "TYPE_FP32", [64]), seen
    assert (action["name"], action["data_type"], action["dims"]) == ("action", "TYPE_FP32", [16]), action
    assert [group["count"] for group in config["instance_group"]] == [1], config["instance_group"]
    fixed = to.http.get_model_config("dtypes")
    assert fixed["max_batch_size"] == 0 and "dynamic_batching" not in fixed, fixed
    assert [one["dims"] for one in fixed["input"]] == [[2, 3]] * 12, fixed["input"]
    best = to.http.get_model_config("multi_io")["output"][1]
    assert best["dims"] == [1] and best["reshape"]["shape"] == [], best


@test
def metadata(to):
    """What the KServe v2 protocol tells of a model."""
    told = to.grpc.get_model_metadata("policy", as_json=True)
    assert told["inputs"] == [{"name": "observation", "datatype": "FP32", "shape": ["-1", "64"]}], told
    assert told["outputs"] == [{"name": "action", "datatype": "FP32", "shape": ["-1", "16"]}], told
    assert to.http.get_model_metadata("joined")["inputs"][0]["shape"] == [-1, 64]


@test
def one_request(to):
    """One row, over HTTP and gRPC, against ONNX Runtime."""
    seen, actions = to.reference["seen"], to.reference["actions"]
    for client in (to.http, to.grpc):
        for row in range(8):
            answer = to.infer("policy", {"observation": seen[row:row + 1]}, client)
            assert close(answer["action"], actions[row:row + 1]), row


@test
def rows_of_a_request(to):
    """Requests of 1 to 8 rows, and one too many."""
    seen, actions = to.reference["seen"], to.reference["actions"]
    for rows in range(1, 9):
        answer = to.infer("policy", {"observation": seen[:rows]}, to.grpc)["action"]
        assert answer.shape == (rows, 16) and close(answer, actions[:rows]), rows
    to.refused("policy", {"observation": seen[:9]}, "batch-size must be <= 8")


@test
def requests_are_joined(to):
    """32 requests at once become few runs, each with its own answer."""
    seen, actions = to.reference["seen"], to.reference["actions"]
    to.infer("joined", {"observation": seen[:1]})
    before = to.counts("joined")
    answers = to.at_once("joined", [{"observation": seen[row:row + 1]} for row in range(32)])
    for row, answer in enumerate(answers):
        assert isinstance(answer, dict), answer
        assert close(answer["action"], actions[row:row + 1]), row
    after = to.counts("joined")
    rows = after["inference_count"] - before["inference_count"]
    runs = after["execution_count"] - before["execution_count"]
    largest = max(int(batch["batch_size"]) for batch in after["batch_stats"])
    assert rows == 32 and runs <= 8 and largest >= 4, f"{rows} rows in {runs} runs, the largest of {largest}"
    print(f"  32 requests in {runs} runs, the largest of {largest} rows")


@test
def several_inputs_and_outputs(to):
    """Two inputs, three outputs of three dtypes, joined too, and some of the outputs only."""
    random = np.random.default_rng(2)
    requests = [{"a": random.random((rows, 5), np.float32), "b": random.random((rows, 5), np.float32)}
                for rows in (1, 3, 2, 1)]
    for arrays, answer in zip(requests, to.at_once("multi_io", requests)):
        assert isinstance(answer, dict), answer
        a, b = arrays["a"], arrays["b"]
        assert close(answer["sum"], a + b)
        assert (answer["best"] == a.argmax(axis=1)[:, None]).all() and answer["best"].dtype == np.int64
        assert (answer["more"] == (a > b)).all() and answer["more"].dtype == bool
    assert list(to.infer("multi_io", requests[1], outputs=["more"])) == ["more"]


@test
def every_dtype(to):
    """Twelve dtypes, passed through, over both protocols."""
    values = np.arange(6).reshape(2, 3)
    names = {"f32": "f4", "f64": "f8", "f16": "f2", "i8": "i1", "i16": "i2", "i32": "i4", "i64": "i8", "u8": "u1",
             "u16": "u2", "u32": "u4", "u64": "u8", "bool": "?"}
    arrays = {name: (values % 2).astype("?") if name == "bool" else values.astype(code) for name, code in names.items()}
    for client in (to.http, to.grpc):
        answer = to.infer("dtypes", arrays, client)
        for name, array in arrays.items():
            got = answer[name + "_out"]
            assert got.dtype == array.dtype and (got == array).all(), name


@test
def strings(to):
    """Strings of any length and alphabet; one with a NUL is refused."""
    text = np.array([["", "größer"], ["a" * 5000, "日本"]], dtype=object)
    requests = [{"text": np.array([[one.encode() for one in row] for row in text], dtype=object)}] * 3
    for answer in to.at_once("strings", requests):
        assert isinstance(answer, dict), answer
        assert [[one.decode() for one in row] for row in answer["same"]] == text.tolist()
    to.refused("strings", {"text": np.array([[b"a\0b", b""]], dtype=object)}, "a string has a NUL in it")


@test
def scalars(to):
    """A tensor without dims is [1] to clients."""
    answer = to.infer("scalar", {"x": np.array([3], np.float32)})["y"]
    assert answer.shape == (1,) and answer[0] == 9, answer


@test
def wrong_requests(to):
    """What does not fit is refused with a reason, by the server or by Inferno, and the next one is answered."""
    to.refused("policy", {"observation": np.zeros((1, 63), np.float32)}, "unexpected shape for input 'observation'")
    to.refused("policy", {"observation": np.zeros((1, 64), np.float64)}, "observation")
    three, four = np.ones((2, 3), np.float32), np.ones((2, 4), np.float32)
    told = to.refused("pair", {"x": three, "y": four}, "inferno: ")
    assert "sum" in told and "3" in told and "4" in told, told
    print(f"  {told}")
    assert (to.infer("pair", {"x": four, "y": four})["sum"] == 2).all()
    for count in range(1, 40):  # more shapes than sessions are kept for
        array = np.ones((2, count), np.float32)
        assert to.infer("pair", {"x": array, "y": array})["sum"].shape == (2, count)


@test
def one_bad_request_of_a_batch(to):
    """An index out of range fails its own request and none of those that were joined with it."""
    to.infer("gather", {"index": np.array([[1]], np.int64)})
    before = to.counts("gather")
    indices = [1, 2, 3, 77, 4, 5, 6, 7]
    answers = to.at_once("gather", [{"index": np.array([[index]], np.int64)} for index in indices])
    for index, answer in zip(indices, answers):
        if index == 77:
            assert isinstance(answer, InferenceServerException) and "RUN_FAILED" in answer.message(), answer
            print(f"  {answer.message()}")
        else:
            assert isinstance(answer, dict), f"{index}: {answer}"
            assert (answer["rows"][0] == np.arange(4) + 4 * index).all(), answer
    stats = to.counts("gather")["inference_stats"]
    failed = stats["fail"]["count"] - before["inference_stats"]["fail"]["count"]
    good = stats["success"]["count"] - before["inference_stats"]["success"]["count"]
    assert (failed, good) == (1, 7), stats


@test
def bounds(to):
    """Parameters for time and memory are kept, and say so."""
    to.refused("slow", {"x": np.ones((1000, 256), np.float32)}, "DEADLINE_EXCEEDED")
    to.refused("hungry", {"x": np.ones((1, 1), np.float32)}, "OUT_OF_BUDGET")
    seen = to.reference["seen"][:1]
    assert close(to.infer("isolated", {"observation": seen})["action"], to.reference["actions"][:1])


@test
def instances(to):
    """Three instances of one model share its work, and answer right."""
    pictures, right = to.reference["pictures"], to.reference["probabilities"]
    requests = [{"image": pictures[row:row + 4]} for row in range(0, 128, 4)]
    used = set()
    for _ in range(10):
        for number, answer in enumerate(to.at_once("digits", requests)):
            assert isinstance(answer, dict), answer
            assert close(answer["probabilities"], right[4 * number:4 * number + 4]), number
        runs = re.findall(r'^inferno_runs_total{instance="(digits_0_\d)",.*} ([1-9].*)$', to.metrics(), re.M)
        used = {name for name, _ in runs}
        if len(used) == 3:
            break
    assert used == {"digits_0_0", "digits_0_1", "digits_0_2"}, used


@test
def hostile_models(to):
    """What cannot be served is refused with Inferno's own text; the others go on."""
    for model, text in REFUSED.items():
        to.not_loaded(model, text)
        assert not to.http.is_model_ready(model)
    one_request(to)


@test
def bad_overrides(to):
    """Configurations that a client sends with a load are held against the model, too."""
    base = {"backend": "inferno"}
    for config, text in [
        ({"instance_group": [{"kind": "KIND_MODEL", "count": 2}]}, None),
        ({"default_model_filename": "../../dtypes/1/model.onnx"}, "default_model_filename"),
        ({"parameters": {"isolation": {"string_value": "maybe"}}}, "expected \"none\" or \"process\""),
        ({"model_transaction_policy": {"decoupled": True}}, "decoupled"),
        ({"max_batch_size": 2}, None),
    ]:
        whole = json.dumps({**base, **config})
        if text is None:
            to.http.load_model("policy", config=whole)
        else:
            to.not_loaded("policy", text, whole)
    assert to.http.get_model_config("policy")["max_batch_size"] == 2
    to.http.unload_model("policy")
    to.http.load_model("policy")
    assert to.http.get_model_config("policy")["max_batch_size"] == 8
    one_request(to)


@test
def loads(to):
    """A second load maps what the first one compiled; one past its time is refused, and says so."""
    cache = to.server.log.parent / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir()

    def config(**parameters):
        given = {name: {"string_value": text} for name, text in parameters.items()}
        return json.dumps({"backend": "inferno", "parameters": given})

    def kept():
        return {one: one.stat().st_mtime_ns for one in cache.rglob("*") if one.is_file()}

    to.http.unload_model("policy")
    to.http.load_model("policy", config=config(cache_dir=str(cache)))
    one_request(to)
    first = kept()
    to.http.unload_model("policy")
    to.http.load_model("policy", config=config(cache_dir=str(cache)))
    one_request(to)
    mapped = [one for one in first if str(one) in to.server.maps()]
    assert first and mapped and kept() == first, (first, mapped, kept())
    told = to.not_loaded("slow", "load_time_ns", config(load_timeout_ms="1"))
    assert "DEADLINE_EXCEEDED" in told, told
    print(f"  {told}")
    for model in ("policy", "slow"):
        to.http.load_model(model)
    one_request(to)


@test
def metrics(to):
    """/metrics has the server's counts, and Inferno's, and they agree."""
    seen = to.reference["seen"]
    names = ("nv_inference_count", "nv_inference_exec_count", "inferno_run_rows_total", "inferno_runs_total",
             "inferno_run_padding_rows_total", "nv_inference_request_success")
    before = [to.metric(name, "joined") for name in names]
    for rows in (1, 2, 3):
        to.infer("joined", {"observation": seen[:rows]})
    grown = [to.metric(name, "joined") - was for name, was in zip(names, before)]
    assert grown == [6, 3, 6, 3, 1, 3], dict(zip(names, grown))
    assert to.metric("inferno_run_failures_total", "gather") >= 1
    assert to.metric("inferno_model_memory_bytes", "joined") > 50_000


@test
def nothing_grows(to):
    """Thousands of answers, errors and loads leave the server's memory as it was."""
    seen, bad = to.reference["seen"][:1], {"index": np.array([[77]], np.int64)}

    def work(rounds):
        for _ in range(rounds):
            to.infer("policy", {"observation": seen}, to.grpc)
            try:
                to.infer("pair", {"x": np.ones((2, 3), np.float32), "y": np.ones((2, 4), np.float32)}, to.grpc)
            except InferenceServerException:
                pass

    def reload(times):
        for _ in range(times):
            to.http.load_model("scalar")
            # A server of this version ends with a signal now and then when an instance is stopped in the
            # moment in which it starts, with an empty backend, too.
            time.sleep(0.03)
            to.http.unload_model("scalar")
            try:
                to.http.load_model("garbage")
            except InferenceServerException:
                pass

    to.refused("gather", bad, "RUN_FAILED")
    work(500)
    reload(20)
    before = to.server.resident_bytes()
    work(2000)
    worked = to.server.resident_bytes()
    reload(100)
    after = to.server.resident_bytes()
    print(f"  resident: {before >> 10} KiB, {(worked - before) >> 10:+} after 4000 requests, "
          f"{(after - worked) >> 10:+} after 100 loads and 100 refused ones")
    assert worked - before < 4 << 20 and after - worked < 12 << 20
    to.http.load_model("scalar")


@test
def loopback_only(to):
    """The server listens on loopback, and talks to nobody else."""
    sockets = to.server.sockets()
    local = {"0100007F", "0000000000000000FFFF00000100007F"}
    nobody = {"0" * 8, "0" * 32}
    assert sockets and all(own in local and other in local | nobody for own, other in sockets), sockets


@test
def a_killed_server(to):
    """A server that is killed amid requests and started again answers the rest of them."""
    seen, actions = to.reference["seen"], to.reference["actions"]
    done, failed, over = [], [], threading.Event()

    def ask(row):
        while not over.is_set():
            client = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{to.server.grpc}")
            try:
                answer = to.infer("policy", {"observation": seen[row:row + 1]}, client)
                assert close(answer["action"], actions[row:row + 1])
                done.append((time.monotonic(), row))
                if time.monotonic() > restarted[0]:
                    return
            except InferenceServerException:
                failed.append(time.monotonic())
                time.sleep(0.05)
            finally:
                client.close()

    restarted = [float("inf")]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, row) for row in range(8)]
        try:
            time.sleep(0.5)
            killed = time.monotonic()
            to.server.kill()
            time.sleep(0.3)
            seconds = to.server.start()
            restarted[0] = time.monotonic()
            for one in asked:
                one.result(timeout=30)
        finally:
            over.set()
    before = sum(at < killed for at, _ in done)
    after = {row for at, row in done if at > restarted[0]}
    assert before > 0 and failed and after == set(range(8)), (before, len(failed), after)
    print(f"  {before} answers, killed, {len(failed)} refused, ready again after {seconds:.1f} s, "
          "all 8 clients answered")


@test
def it_stops(to):
    """Asked to end it ends well, with instances, models and the backend, and leaves no process."""
    to.http.close()
    to.grpc.close()
    assert to.server.stop() == 0
    assert not to.server.leftovers(), to.server.leftovers()
    text = to.server.log.read_text()
    for model in SERVED:
        assert f"successfully unloaded '{model}' version 1" in text, f"{model} was not unloaded"
    assert not re.search(r"Signal \((?!15\))", text), "the server's log tells of a crash"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("server", "backends", "repository", "log"):
        parser.add_argument("--" + name, required=True)
    args = parser.parse_args()
    passed = failed = 0
    with Server(args.server, args.backends, args.repository, args.log, SERVED) as server:
        to = Context(server, args.repository)
        for one in TESTS:
            begin = time.monotonic()
            try:
                one(to)
                passed += 1
                result = "ok"
            except Exception:
                failed += 1
                result = "FAILED\n" + traceback.format_exc()
            print(f"{one.__name__:28} {time.monotonic() - begin:5.1f} s  {result}", flush=True)
    print(f"triton: passed={passed} failed={failed}")
    sys.exit(failed != 0)


main()
