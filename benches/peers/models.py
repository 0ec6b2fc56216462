#!/usr/bin/env python3
"""Makes the models of `benches/peers.sh`, with their inputs, and the list the program reads.

    models.py FETCHED DEST      what tests/models/fetch.py fetched, and where to put everything

Every engine gets the same file, with every shape fixed and no value_info. Weights and inputs come
from fixed seeds. `list.txt` has a line a model: its name, MFLOP a run (two for a multiplication
and an addition, of convolutions, products and recurrent layers), then `in` or `out` and TYPE:DIMS
for each input and output; the inputs' bytes are in NAME.0.bin and so on.
"""

import pathlib
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnxruntime import quantization
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "models"))

import make  # noqa: E402
import policy_mlp as policy  # noqa: E402

F32, I64 = TensorProto.FLOAT, TensorProto.INT64
MODELS = {}
WORDS = {"float32": "f32", "int32": "i32", "int64": "i64"}

node, info, const = helper.make_node, helper.make_tensor_value_info, make.const


def model(name, *shapes):
    """Registers what gives a model, whose inputs get these shapes."""
    def register(function):
        MODELS[name] = (function, shapes)
        return function
    return register


# ---- dense and recurrent ---------------------------------------------------

for batch in (1, 32, 1024):
    model(f"mlp_policy_{batch}", (batch, 64))(lambda _: policy.build())
for batch in (1, 32):
    model(f"mlp_tanh_{batch}", (batch, 64))(lambda _: make.MODELS["tanh_mlp"]())
model("mlp_wide_1", (1, 256))(lambda _: make.MODELS["mlp_512"]())
for steps in (1, 64):
    model(f"gru_{steps}", (steps, 1, 40), (1, 1, 128))(lambda _: make.MODELS["gru_sequence"]())
for steps in (1, 64):
    model(f"lstm_{steps}", (steps, 1, 40), (1, 1, 128), (1, 1, 128))(lambda _: make.MODELS["lstm_sequence"]())


# ---- convolutional ---------------------------------------------------------

class Net:
    """A network being written down: He-initialised weights, the batch norms folded away."""

    def __init__(self, seed):
        self.random = np.random.RandomState(seed)
        self.nodes, self.weights, self.wide = [], [], {"image": 3}
        self.limits = None

    def add(self, op, inputs, **attributes):
        out = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(node(op, inputs, [out], f"{out}_node", **attributes))
        self.wide[out] = self.wide.get(inputs[0])
        return out

    def weight(self, array):
        name = f"w{len(self.weights)}"
        self.weights.append(const(np.asarray(array, np.float32), name))
        return name

    def normal(self, shape, gain):
        return self.weight(self.random.standard_normal(shape) * (gain / np.prod(shape[1:])) ** 0.5)

    def conv(self, x, wide, kernel, stride=1, group=1, gain=2.0):
        w = self.normal((wide, self.wide[x] // group, kernel, kernel), gain)
        b = self.weight(self.random.standard_normal(wide) * 0.05)
        y = self.add("Conv", [x, w, b], kernel_shape=[kernel] * 2, strides=[stride] * 2, group=group,
                     pads=[kernel // 2] * 4)
        self.wide[y] = wide
        return y

    def relu6(self, x):
        self.limits = self.limits or [self.weight(0.0), self.weight(6.0)]
        return self.add("Clip", [x, *self.limits])

    def finish(self, name, x):
        x = self.add("Flatten", [self.add("GlobalAveragePool", [x])])
        w = self.normal((1000, self.wide[x]), 1.0)
        self.nodes.append(node("Gemm", [x, w, self.weight(np.zeros(1000))], ["logits"], "head", transB=1))
        return make.finish(name, self.nodes, [info("image", F32, [1, 3, 224, 224])],
                           [info("logits", F32, [1, 1000])], self.weights)


@model("mobilenet_v2", (1, 3, 224, 224))
def mobilenet_v2(_):
    net = Net(2)
    x = net.relu6(net.conv("image", 32, 3, stride=2))
    for widen, wide, repeats, first in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
                                        (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)):
        for i in range(repeats):
            stride, inside, y = first if i == 0 else 1, net.wide[x] * widen, x
            if widen != 1:
                y = net.relu6(net.conv(y, inside, 1))
            y = net.relu6(net.conv(y, inside, 3, stride, group=inside))
            y = net.conv(y, wide, 1, gain=0.5 if stride == 1 and wide == net.wide[x] else 1.0)
            x = net.add("Add", [x, y]) if stride == 1 and wide == net.wide[x] else y
    return net.finish("mobilenet_v2", net.relu6(net.conv(x, 1280, 1)))


def resnet(name, seed, blocks, bottleneck):
    net = Net(seed)
    x = net.add("Relu", [net.conv("image", 64, 7, stride=2)])
    x = net.add("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for stage, count in enumerate(blocks):
        inner = 64 << stage
        wide = inner * 4 if bottleneck else inner
        for i in range(count):
            stride = 2 if stage and i == 0 else 1
            if bottleneck:
                y = net.add("Relu", [net.conv(x, inner, 1)])
                y = net.add("Relu", [net.conv(y, inner, 3, stride)])
                y = net.conv(y, wide, 1, gain=0.3)
            else:
                y = net.add("Relu", [net.conv(x, wide, 3, stride)])
                y = net.conv(y, wide, 3, gain=0.3)
            if stride != 1 or net.wide[x] != wide:
                x = net.conv(x, wide, 1, stride, gain=1.0)
            x = net.add("Relu", [net.add("Add", [x, y])])
    return net.finish(name, x)


@model("resnet18", (1, 3, 224, 224))
def resnet18(_):
    return resnet("resnet18", 18, (2, 2, 2, 2), False)


@model("resnet50", (1, 3, 224, 224))
def resnet50(_):
    return resnet("resnet50", 50, (3, 4, 6, 3), True)


# ---- a text encoder --------------------------------------------------------

def minilm(tokens):
    """Six layers of 384, twelve heads, a feed-forward of 1536, a vocabulary of 1000."""
    random = np.random.RandomState(384)
    wide, heads, words = 384, 12, 1000
    nodes, weights = [], []

    def weight(array, dtype=np.float32):
        weights.append(const(np.asarray(array, dtype), f"w{len(weights)}"))
        return weights[-1].name

    def add(op, *inputs, **attributes):
        nodes.append(node(op, list(inputs), [f"v{len(nodes)}"], f"{op.lower()}{len(nodes)}", **attributes))
        return nodes[-1].output[0]

    def dense(x, rows, columns):
        product = add("MatMul", x, weight(policy.uniform(random, rows, columns)))
        return add("Add", weight(policy.uniform(random, columns) * 0.1), product)

    def norm(x):
        return add("LayerNormalization", x, weight(np.ones(wide)),
                   weight(policy.uniform(random, wide) * 0.1), axis=-1, epsilon=1e-12)

    one, half, root = weight(1), weight(0.5), weight(2 ** 0.5)
    split = weight([0, 0, heads, wide // heads], np.int64)
    join = weight([0, 0, wide], np.int64)
    far = add("Mul", add("Sub", one, add("Cast", "mask", to=F32)), weight(-10000))
    far = add("Unsqueeze", far, weight([1, 2], np.int64))
    x = add("Gather", weight(random.standard_normal((words, wide))), "ids")
    x = norm(add("Add", x, weight(random.standard_normal((tokens, wide)) * 0.1)))
    for _ in range(6):
        parts = []
        for order in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
            parts.append(add("Transpose", add("Reshape", dense(x, wide, wide), split), perm=order))
        scores = add("Div", add("MatMul", parts[0], parts[1]), weight((wide // heads) ** 0.5))
        scores = add("Softmax", add("Add", scores, far), axis=-1)
        mixed = add("Transpose", add("MatMul", scores, parts[2]), perm=[0, 2, 1, 3])
        x = norm(add("Add", dense(add("Reshape", mixed, join), wide, wide), x))
        up = dense(x, wide, 4 * wide)
        gelu = add("Mul", add("Mul", up, add("Add", add("Erf", add("Div", up, root)), one)), half)
        x = norm(add("Add", dense(gelu, 4 * wide, wide), x))
    nodes.append(node("Identity", [x], ["hidden"]))
    return make.finish(f"minilm_{tokens}", nodes,
                       [info("ids", I64, [1, tokens]), info("mask", I64, [1, tokens])],
                       [info("hidden", F32, [1, tokens, wide])], weights)


for count in (16, 128):
    model(f"minilm_{count}", (1, count), (1, count))(lambda _, count=count: minilm(count))


# ---- 8 bits ----------------------------------------------------------------

class Images(quantization.CalibrationDataReader):
    """Three images to calibrate with."""

    def __init__(self):
        self.images = (np.random.RandomState(seed).standard_normal((1, 3, 224, 224)) for seed in (1, 2, 3))

    def get_next(self):
        return next(({"image": image.astype(np.float32)} for image in self.images), None)


def quantised(build, quantise):
    """The model that `quantise` makes of the file of another one."""
    with tempfile.TemporaryDirectory() as folder:
        plain, made = pathlib.Path(folder, "plain.onnx"), pathlib.Path(folder, "made.onnx")
        onnx.save(build, plain)
        quantise(str(plain), str(made))
        return onnx.load(made)


def static(plain, made):
    """u8 between operators, s8 weights by filter, in QDQ form."""
    quantization.quantize_static(plain, made, Images(), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
                                 activation_type=quantization.QuantType.QUInt8,
                                 weight_type=quantization.QuantType.QInt8)


def dynamic(plain, made):
    """s8 weights; u8 activations, quantised at each run."""
    quantization.quantize_dynamic(plain, made, weight_type=quantization.QuantType.QInt8)


for name, build in (("mobilenet_v2", mobilenet_v2), ("resnet18", resnet18)):
    model(f"{name}_qdq", (1, 3, 224, 224))(lambda _, build=build: quantised(build(_), static))
for count in (16, 128):
    model(f"minilm_{count}_dyn", (1, count), (1, count))(lambda _, count=count: quantised(minilm(count), dynamic))


# ---- real files ------------------------------------------------------------

for name, file, *shapes in (
    ("silero_vad", "silero_vad_openvino_16k", (1, 576), (2, 1, 128)),
    ("magika", "magika_standard_v3_3", (1, 2048)),
    ("ppocr_det", "ppocrv4_det", (1, 3, 480, 640)),
    ("ppocr_rec", "ppocrv4_rec", (1, 3, 48, 320)),
    ("ppocr_cls", "ppocr_cls", (1, 3, 48, 192)),
):
    model(name, *shapes)(lambda fetched, file=file: onnx.load(fetched / f"{file}.onnx"))


# ---- what they take, give and cost -----------------------------------------

def feed(name, value):
    """A realistic input of a fixed seed."""
    random = np.random.RandomState(7)
    shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
    dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    if value.name == "mask":
        return np.ones(shape, dtype)
    if dtype.kind == "i":
        return random.randint(0, 256, shape).astype(dtype)
    if name.startswith("silero") and value.name == "state":
        return np.zeros(shape, dtype)
    scale = 0.05 if name.startswith("silero") else 1.0
    return (random.standard_normal(shape) * scale).astype(dtype)


def run_all(model, feeds):
    """Every value of the graph, by name, as ONNX Runtime computes them."""
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    have = {o.name for o in whole.graph.output}
    whole.graph.output.extend(onnx.ValueInfoProto(name=o) for n in whole.graph.node for o in n.output
                              if o and o not in have)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(whole.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds)))
    return {**values, **feeds, **{i.name: numpy_helper.to_array(i) for i in model.graph.initializer}}


def flop(graph, values):
    """Of what multiplies matrices; a sub-graph's own values are not known and do not count."""
    total = 0
    for n in graph.node:
        shape = [values[i].shape if i in values else () for i in n.input]
        out = values[n.output[0]].size if n.output[0] in values else 0
        if n.op_type == "Conv":
            total += 2 * out * int(np.prod(shape[1][1:]))
        elif n.op_type == "ConvTranspose":
            total += 2 * int(np.prod(shape[0])) * int(np.prod(shape[1][1:]))
        elif n.op_type in ("MatMul", "MatMulInteger", "Gemm"):
            turned = any(a.name == "transA" and a.i for a in n.attribute)
            total += 2 * out * shape[0][0 if turned else -1]
        elif n.op_type in ("GRU", "LSTM", "RNN"):
            steps, batch = shape[0][:2]
            total += 2 * steps * batch * int(np.prod(shape[1]) + np.prod(shape[2]))
    return total


def fixed(model, shapes):
    """The model with the shapes of its inputs fixed, and nothing said of what follows from them."""
    graph = model.graph
    names = {i.name for i in graph.initializer}
    inputs = [i for i in graph.input if i.name not in names]
    del graph.value_info[:]
    for value, shape in zip(inputs, shapes, strict=True):
        value.CopyFrom(info(value.name, value.type.tensor_type.elem_type, shape))
    return inputs


def words(kind, array):
    return f"{kind} {WORDS[array.dtype.name]}:{','.join(map(str, array.shape))}"


def main():
    fetched, dest = map(pathlib.Path, sys.argv[1:])
    dest.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, (build, shapes) in MODELS.items():
        made = build(fetched)
        inputs = fixed(made, shapes)
        feeds = {i.name: feed(name, i) for i in inputs}
        values = run_all(made, feeds)
        for value in made.graph.output:
            value.CopyFrom(info(value.name, value.type.tensor_type.elem_type, values[value.name].shape))
        for i, array in enumerate(feeds.values()):
            (dest / f"{name}.{i}.bin").write_bytes(array.tobytes())
        (dest / f"{name}.onnx").write_bytes(made.SerializeToString(deterministic=True))
        ends = [words("in", a) for a in feeds.values()] + [words("out", values[o.name]) for o in made.graph.output]
        lines.append(" ".join([name, f"{flop(made.graph, values) / 1e6:.3f}", *ends]))
    # Last, so that what was broken off is made again.
    (dest / "list.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
