"""Whole models made to hurt: those of makers.py with values drawn by lot."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import onnx

import makers as make
from build import I8, I32, I64, U8
from tensors import odd_param
from wild import EXTREMES, NEARBY, wild_float, wild_int

MODES = ("nearest", "linear", "cubic")
LARGE = (1 << 33, 1 << 40, 1 << 62, 1 << 31, (1 << 63) - 1, 1 << 20, 1 << 28)


def resize_wild(rng: Random):
    dims = rng.choice(((1, 1, 4, 4), (1, 1, "height", "width"), ("n", 2, 3), (1, 1, 2, 2, 2)))
    rank = len(dims) + (rng.random() < 0.1)
    mode = rng.choice(MODES)
    extra = {"coordinate_transformation_mode": rng.choice(
        ("asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel", "tf_crop_and_resize"))}
    if rng.random() < 0.5:
        scales = [rng.choice((1.0, 2.0, float(1 << 62), math.nan, -1.0, 0.0, math.inf, 1e-30, 0.3, 3e9))
                  for _ in range(rank)]
        return make.resize(scales, None, mode, dims, **extra)
    return make.resize(None, [rng.choice((1, 2, *EXTREMES)) for _ in range(rank)], mode, dims, **extra)


def _window(rng: Random, extreme: float = 0.4) -> dict:
    """Attributes of a convolution or a pool, one or two of them wild."""
    found = {}
    for name, usual in (("pads", 0), ("strides", 1), ("dilations", 1)):
        if rng.random() < extreme:
            length = rng.choice((2, 2, 2, 4, 1)) * (2 if name == "pads" else 1)
            found[name] = [usual if rng.random() < 0.4 else wild_int(rng, usual) for _ in range(length)]
    if rng.random() < 0.1:
        found["auto_pad"] = rng.choice(("SAME_UPPER", "SAME_LOWER", "VALID"))
    return found


def conv_window(rng: Random):
    op = rng.choice(("Conv", "Conv", "ConvTranspose"))
    dims = rng.choice((("n", 1, "height", "width"), (1, 1, 4, 4), (1, 1, "height", 2)))
    extra = {"group": wild_int(rng, 1)} if rng.random() < 0.2 else {}
    return make.conv(rng.choice(((3, 3), (1, 1), (7, 2))), dims, op, **_window(rng), **extra)


def conv_small(rng: Random):
    """Valid: the input may be smaller than the kernel."""
    kernel = rng.choice(((3, 3), (5, 5), (9, 1), (64, 64)))
    extra = {"dilations": [rng.choice((1, 2, 9))] * 2} if rng.random() < 0.3 else {}
    extra |= {"strides": [rng.choice((1, 2, 3))] * 2} if rng.random() < 0.3 else {}
    return make.conv(kernel, op=rng.choice(("Conv", "Conv", "ConvTranspose")), **extra)


def pool_window(rng: Random):
    op = rng.choice(("MaxPool", "AveragePool", "LpPool"))
    kernel = rng.choice(((3, 3), (2, 2), (wild_int(rng, 2), 2), (9, 9)))
    dims = rng.choice((("n", 1, "height", "width"), (1, 1, 4, 4)))
    return make.pool(kernel, dims, op, **_window(rng, 0.3), ceil_mode=rng.randrange(2))


def layernorm_axis(rng: Random):
    return make.layernorm(wild_int(rng, -1))


def perm_wild(rng: Random):
    length = rng.choice((3, 3, 3, 2, 4, 40))
    if rng.random() < 0.5:
        return make.transpose([rng.randrange(3) for _ in range(length)])
    return make.transpose([wild_int(rng, 1) for _ in range(length)])


def scan_counts(rng: Random):
    directions = [wild_int(rng, 0)] if rng.random() < 0.3 else []
    axes = [wild_int(rng, 0)] if rng.random() < 0.3 else []
    return make.scan(wild_int(rng, 1) if rng.random() < 0.7 else 1, directions, axes)


def loop_long(rng: Random):
    times = rng.choice((1 << 62, 1 << 40, -1, 0, 1 << 20, 30, None, -(1 << 63)))
    return make.loop(times, rng.choice((True, True, False, None)), rng.random() < 0.8, rng.random() < 0.5,
                     rng.random() < 0.4)


def product_wild(rng: Random):
    """Inner dims that differ, ranks that differ, nothing to multiply."""
    op = rng.choice(("Gemm", "MatMul", "MatMul"))
    sides = []
    for _ in range(2):
        rank = 2 if op == "Gemm" else rng.choice((0, 1, 2, 3))
        sizes = (0, 1, 2, 3, 16, 128, 1536) if rank < 3 else (0, 1, 2, 3, 16)
        sides.append([rng.choice(sizes) for _ in range(rank)])
    if sides[0] and len(sides[1]) > 1 and rng.random() < 0.3:
        sides[1][-2] = sides[0][-1]
    extra = {"transA": rng.randrange(2), "transB": rng.randrange(2)} if op == "Gemm" else {}
    return make.product(op, *sides, rng.random() < 0.6, **extra)


def counts_large(rng: Random):
    op = rng.choice(("Tile", "Expand", "ConstantOfShape", "Reshape"))
    if rng.random() < 0.2:
        return make.counts(op, "2")
    length = 2 if op in ("Tile", "Expand") else rng.choice((1, 2, 3, 9))
    return make.counts(op, [rng.choice((1, 2, 0, -1, *LARGE)) for _ in range(length)])


def range_long(rng: Random):
    if rng.random() < 0.4:
        values = [wild_float(rng) for _ in range(3)]
        return make.arange(*values, dtype=np.float32)
    pick = [wild_int(rng) for _ in range(3)]
    return make.arange(*["" if rng.random() < 0.3 else v for v in pick])


def index_outside(rng: Random):
    op = rng.choice(("Gather", "GatherElements", "GatherND", "ScatterND", "ScatterElements", "OneHot"))
    axis = rng.choice((0, 1, -1, 0, wild_int(rng)))
    if op == "OneHot":
        return make.one_hot(rng.choice((6, 0, -1, "", 1 << 33, 1 << 62)), axis)
    if op in ("Gather", "GatherElements"):
        return make.gather(op, axis=axis)
    if op == "GatherND":
        return make.gather(op, batch_dims=rng.choice((0, 0, 1, wild_int(rng))))
    extra = {"axis": axis} if op == "ScatterElements" else {}
    return make.scatter(op, **extra, reduction=rng.choice(("none", "add", "max")))


def division(rng: Random):
    op = rng.choice(("Div", "Mod", "Mod"))
    kind = rng.choice((I64, I32, I8, U8))
    extra = {"fmod": rng.randrange(2)} if op == "Mod" else {}
    return make.division(op, kind, rng.choice(("input", "zero", "minus_one") if kind != U8 else ("input", "zero")),
                         **extra)


def pad_wild(rng: Random):
    sizes = (0, 1, -1, -9, 7, 1 << 31, 1 << 40, 1 << 62, -(1 << 62))
    pads = [rng.choice(sizes) for _ in range(rng.choice((4, 4, 4, 2, 5)))]
    mode = rng.choice(("constant", "reflect", "edge", "wrap"))
    return make.pad("4" if rng.random() < 0.2 else pads, mode)


def slice_wild(rng: Random):
    length = rng.choice((1, 1, 2, 3))
    return make.sliced(*([wild_int(rng, k) for _ in range(length)] for k in (0, 3, 1, 1)))


def topk_wild(rng: Random):
    return make.topk([rng.choice((1, 3, 7, *EXTREMES))] if rng.random() < 0.7 else "1", wild_int(rng, -1))


def einsum_letters(rng: Random):
    if rng.random() < 0.5:
        return make.many_letters(rng.choice((4, 8, 12, 16, 22, 26, 40, 52)))
    equation = rng.choice(("ab,cd->abcd", "ab,cd->abcdz", "aa,bb->ab", "ab,ab->", "a...,...b->ab", "->", "ab,cd",
                           "ab,cd->aab", "AB,ab->ABab", "ab,,cd->a", "ab,cd->" + "a" * 3000, "...,...->..."))
    return make.einsum(equation, [[rng.choice((2, "n", 3, 60000)), rng.choice((2, "m", 4))] for _ in range(2)])


def dim_param_wild(rng: Random):
    return make.dim_param(odd_param(rng), rng.choice((1, 2, 5)))


def long_chain(rng: Random):
    return make.long_chain(rng.choice((500, 3000, 10000, 50000)), rng.choice(("Relu", "Add", "Identity", "Max", "Neg")))


def wide_fan(rng: Random):
    if rng.random() < 0.2:
        return make.wide_fan_out(rng.choice((100, 3000, 20000)))
    return make.wide_fan_in(rng.choice((50, 1000, 10000, 100000)), rng.choice(("Sum", "Concat", "Einsum", "Max")))


def deep_subgraphs(rng: Random):
    return make.deep_subgraphs(rng.choice((4, 10, 17, 30, 33, 100, 1000)))


def functions_wild(rng: Random):
    if rng.random() < 0.3:
        return make.function_cycle(rng.choice((1, 2, 3)))
    return make.function_doubling(rng.choice((2, 5, 10, 14, 20, 40)))


def value_doubling(rng: Random):
    if rng.random() < 0.5:
        return make.doubling_concat(rng.choice((10, 24, 32, 64, 100)))
    return make.broadcast_product(*rng.choice(((2, 3000), (3, 1000), (4, 1000), (6, 40), (8, 256), (12, 8))))


def recurrent_wild(rng: Random):
    op, gates = rng.choice((("GRU", 3), ("LSTM", 4), ("RNN", 1)))
    extra = {"direction": rng.choice(("reverse", "bidirectional"))} if rng.random() < 0.3 else {}
    extra |= {"layout": rng.choice((1, wild_int(rng)))} if rng.random() < 0.3 else {}
    return make.recurrent(op, wild_int(rng, 2), gates, **extra)


def signal_wild(rng: Random):
    op = rng.choice(("STFT", "DFT", "HannWindow", "HammingWindow", "BlackmanWindow", "MelWeightMatrix"))
    return make.signal(op, rng.choice((4, 0, -1, *EXTREMES, *NEARBY)), rng.choice((1, 2, 0, -1, wild_int(rng))))


def tree_wild(rng: Random):
    count = rng.choice((2, 3, 50))
    true_ids = [rng.choice((0, count - 1, rng.randrange(count), wild_int(rng))) for _ in range(count)]
    return make.tree(count, true_ids, rng.choice((1, 1, 2, 0, -1, 1 << 40, 1 << 62)), rng.choice((0, 1, wild_int(rng))))


def initializer_lies(rng: Random):
    dims = [rng.choice((1, 2, *EXTREMES)) for _ in range(rng.choice((0, 1, 2, 3, 40)))]
    return make.initializer(dims, rng.choice((1, 7, 8, 9, 10, 11, 16, 22, 0)), bytes(rng.choice((0, 1, 8, 64))))


BOMBS = ((5, product_wild), (7, resize_wild), (8, conv_window), (6, conv_small), (7, pool_window),
         (2, layernorm_axis), (3, perm_wild), (3, scan_counts), (3, loop_long), (6, counts_large), (4, range_long),
         (6, index_outside), (4, division), (5, pad_wild), (4, slice_wild), (4, topk_wild), (4, einsum_letters),
         (4, dim_param_wild), (1, long_chain), (1, wide_fan), (2, deep_subgraphs), (2, functions_wild),
         (2, value_doubling), (3, recurrent_wild), (4, signal_wild), (2, tree_wild), (3, initializer_lies))


def some_bomb(rng: Random) -> tuple[str, bytes]:
    bomb = rng.choices(BOMBS, [w for w, _ in BOMBS])[0][1]
    made = bomb(rng)
    return bomb.__name__, made.SerializeToString() if isinstance(made, onnx.ModelProto) else made
