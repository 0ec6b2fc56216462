#!/usr/bin/env python3
"""Makes the model repository of tests/triton.sh, and what ONNX Runtime answers:

    tests/python.sh tests/triton/repository.py FOLDER
"""

import pathlib
import shutil
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "models"))
import make  # noqa: E402

# What each config.pbtxt has besides `backend: "inferno"`.
CONFIGS = {
    "policy": "",
    "digits": """
max_batch_size: 16
dynamic_batching { max_queue_delay_microseconds: 2000 }
instance_group [ { count: 3, kind: KIND_CPU } ]
parameters { key: "threads" value { string_value: "1" } }
""",
    "joined": "max_batch_size: 32\ndynamic_batching { max_queue_delay_microseconds: 200000 }\n",
    "dtypes": "",
    "multi_io": "",
    "scalar": "",
    "strings": "",
    "pair": "",
    "gather": "max_batch_size: 8\ndynamic_batching { max_queue_delay_microseconds: 200000 }\n",
    "slow": 'max_batch_size: 1024\nparameters { key: "run_timeout_ms" value { string_value: "1" } }\n',
    "hungry": 'parameters { key: "memory_limit_bytes" value { string_value: "33554432" } }\n',
    "isolated": 'parameters { key: "isolation" value { string_value: "process" } }\n',
    # What must not load.
    "garbage": "",
    "garbage_isolated": 'parameters { key: "isolation" value { string_value: "process" } }\n',
    "missing": "",
    "unsupported": "",
    "wrong_type": """
max_batch_size: 4
input [ { name: "observation" data_type: TYPE_INT64 dims: [ 64 ] } ]
output [ { name: "action" data_type: TYPE_FP32 dims: [ 16 ] } ]
""",
    "wrong_dims": """
max_batch_size: 4
input [ { name: "observation" data_type: TYPE_FP32 dims: [ 63 ] } ]
output [ { name: "action" data_type: TYPE_FP32 dims: [ 16 ] } ]
""",
    "wrong_name": """
max_batch_size: 4
input [ { name: "picture" data_type: TYPE_FP32 dims: [ 64 ] } ]
output [ { name: "action" data_type: TYPE_FP32 dims: [ 16 ] } ]
""",
    "wrong_batch": "max_batch_size: 4\n",
    "wrong_parameter": 'parameters { key: "threads" value { string_value: "many" } }\n',
}


def strings():
    """Strings, passed through."""
    return make.finish("strings", [make.node("Identity", ["text"], ["same"])],
                       [make.info("text", TensorProto.STRING, ["batch", 2])],
                       [make.info("same", TensorProto.STRING, ["batch", 2])])


def pair():
    """Two inputs of the same length, whatever it is, and no batch."""
    return make.finish("pair", [make.node("Add", ["x", "y"], ["sum"])],
                       [make.info("x", make.F32, [2, "length"]), make.info("y", make.F32, [2, "length"])],
                       [make.info("sum", make.F32, [2, "length"])])


def bytes_of(name):
    policy = make.MODELS["policy_mlp"]
    models = {
        "policy": policy, "isolated": policy, "wrong_type": policy, "wrong_dims": policy, "wrong_name": policy,
        "wrong_parameter": policy, "joined": policy, "dtypes": make.MODELS["dtypes"],
        "wrong_batch": make.MODELS["dtypes"], "multi_io": make.MODELS["multi_io"], "scalar": make.MODELS["scalar"],
        "gather": make.MODELS["gather_rows"], "slow": make.MODELS["slow"], "hungry": make.MODELS["hungry"],
        "unsupported": make.MODELS["unsupported_ops"], "strings": strings, "pair": pair,
    }
    if name == "digits":
        return (ROOT / "src" / "model" / "default.onnx").read_bytes()
    if name.startswith("garbage"):
        return bytes(range(256)) * 40
    return models[name]().SerializeToString(deterministic=True)


def reference(model, inputs):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


def main():
    folder = pathlib.Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    repository = folder / "models"
    for name, config in CONFIGS.items():
        version = repository / name / "1"
        version.mkdir(parents=True)
        (repository / name / "config.pbtxt").write_text('backend: "inferno"\n' + config)
        if name != "missing":
            (version / "model.onnx").write_bytes(bytes_of(name))
    random = np.random.default_rng(64)
    seen = random.standard_normal((256, 64), dtype=np.float32)
    pictures = random.integers(0, 17, (256, 64)).astype(np.float32)
    np.savez(folder / "reference.npz", seen=seen, pictures=pictures,
             actions=reference(bytes_of("policy"), {"observation": seen}),
             probabilities=reference(bytes_of("digits"), {"image": pictures}))


main()
