"""The repros that have a name: one model for each known way of hurting a runtime."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx

import makers as make
import seeds
from build import F32, I8, I32, one_node

K, G = 1 << 10, 1 << 30


class Named(NamedTuple):
    name: str
    data: bytes
    fixed: str = ""
    """Dims and values, as the child takes them; integers: 0 small, 2 extremes, 4 zeros."""


def _broken_seed(change) -> onnx.ModelProto:
    model = onnx.ModelProto.FromString(seeds.seed("mlp"))
    change(model)
    return model


def _opset(version: int) -> onnx.ModelProto:
    return _broken_seed(lambda m: setattr(m.opset_import[0], "version", version))


def _domain() -> onnx.ModelProto:
    return _broken_seed(lambda m: setattr(m.graph.node[1], "domain", "who.knows"))


def _ghost() -> onnx.ModelProto:
    return _broken_seed(lambda m: m.graph.node[1].input.__setitem__(0, "ghost"))


def _cycle() -> onnx.ModelProto:
    return _broken_seed(lambda m: m.graph.node[0].input.__setitem__(0, "a1"))


def _escape() -> onnx.ModelProto:
    model = onnx.ModelProto.FromString(seeds.seed("external"))
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../../../../../etc/passwd"
    return model


SMALL = "n=1,height=2,width=2"


def named() -> list[Named]:
    made = [
        ("resize_scale_2_62", make.resize([1, 1, float(1 << 62), float(1 << 62)])),
        ("resize_scale_2_62_linear", make.resize([1, 1, float(1 << 62), 1], mode="linear")),
        ("resize_scale_2_31", make.resize([1, 1, float(1 << 31), 2])),
        ("resize_scale_nan", make.resize([1, 1, float("nan"), float("nan")])),
        ("resize_scale_negative", make.resize([1, 1, -2.0, -2.0])),
        ("resize_sizes_2_62", make.resize(None, [1, 1, 1 << 62, 4])),
        ("resize_scales_of_the_host", make.resize("4")),
        ("conv_dynamic_smaller_than_kernel", make.conv((3, 3)), SMALL),
        ("conv_fixed_smaller_than_kernel", make.conv((3, 3), dims=(1, 1, 2, 2))),
        ("conv_transpose_pads", make.conv((3, 3), op="ConvTranspose", pads=[9, 9, 9, 9]), SMALL),
        ("conv_empty_input", make.conv((3, 3)), "n=1,height=0,width=0"),
        ("conv_group_zero", make.conv((3, 3), group=0), SMALL),
        ("conv_stride_zero", make.conv((3, 3), strides=[0, 0]), "n=1,height=8,width=8"),
        ("maxpool_smaller_than_kernel", make.pool((3, 3)), SMALL),
        ("averagepool_smaller_than_kernel", make.pool((3, 3), op="AveragePool"), SMALL),
        ("pool_kernel_2_40", make.pool((1 << 40, 1 << 40)), SMALL),
        ("layernorm_axis", make.layernorm(1 << 40)),
        ("layernorm_axis_negative", make.layernorm(-(1 << 62))),
        ("pads_2_31", make.conv((3, 3), pads=[1 << 31] * 4), "n=1,height=8,width=8"),
        ("pads_2_31_fixed", make.conv((3, 3), dims=(1, 1, 8, 8), pads=[1 << 31] * 4)),
        ("pads_negative", make.conv((3, 3), dims=(1, 1, 8, 8), pads=[-9] * 4)),
        ("pads_short", make.conv((3, 3), dims=(1, 1, 8, 8), pads=[1])),
        ("dilation_2_40", make.conv((3, 3), dilations=[1 << 40] * 2), "n=1,height=8,width=8"),
        ("dilation_2_40_fixed", make.conv((3, 3), dims=(1, 1, 8, 8), dilations=[1 << 40] * 2)),
        ("pad_2_40", make.pad([0, 1 << 40, 0, 0])),
        ("pad_2_62_twice", make.pad([1 << 62, 0, 1 << 62, 0])),
        ("scan_counts", make.scan(1 << 40)),
        ("scan_counts_negative", make.scan(-1)),
        ("scan_counts_three", make.scan(3)),
        ("duplicate_permutation", make.transpose([0, 0, 0])),
        ("permutation_out_of_range", make.transpose([0, 1, 1 << 40])),
        ("deep_dim_param", make.dim_param("(" * 20000 + "a+b" + ")*2" * 20000)),
        ("deep_dim_param_minus", make.dim_param("-" * 50000 + "n")),
        ("dim_param_many_terms", make.dim_param("*".join(f"(a{k}+b{k})" for k in range(40)))),
        ("dim_param_zero_division", make.dim_param("n/0")),
        ("long_chain", make.long_chain(50_000)),
        ("long_chain_add", make.long_chain(50_000, "Add")),
        ("long_chain_short_of_the_limit", make.long_chain(5_000)),
        ("wide_fan_in", make.wide_fan_in(100_000)),
        ("wide_fan_in_concat", make.wide_fan_in(100_000, "Concat")),
        ("wide_fan_in_einsum", make.wide_fan_in(4_000, "Einsum")),
        ("wide_fan_out", make.wide_fan_out(100_000)),
        ("loop_never_ends", make.loop(None, None)),
        ("loop_2_62_turns", make.loop(1 << 62, True)),
        ("loop_collects_for_ever", make.loop(None, True, collects=True)),
        ("loop_grows", make.loop(1000, True, grows=True), "n=1"),
        ("if_without_an_element", make.condition(["k"]), "n=3,k=0"),
        ("if_with_two_elements", make.condition(["k"]), "n=3,k=2"),
        ("deep_subgraphs", make.deep_subgraphs(30)),
        ("deeper_subgraphs", make.deep_subgraphs(1000)),
        ("huge_constant_of_shape", make.counts("ConstantOfShape", [1 << 31, 1 << 31])),
        ("constant_of_shape_40_gib", make.counts("ConstantOfShape", [10 * G])),
        ("tile_2_33", make.counts("Tile", [1 << 33, 1])),
        ("tile_of_nothing_2_28", make.counts("Tile", [0, 1 << 28])),
        ("tile_2_62", make.counts("Tile", [1 << 62, 1 << 62])),
        ("tile_product_wraps", make.counts("Tile", [1 << 62, 1 << 28])),
        ("expand_2_33", make.counts("Expand", [1 << 33, 1])),
        ("range_2_40", make.arange(0, 1 << 40, 1)),
        ("range_step_zero", make.arange(0, 10, 0)),
        ("range_of_the_host", make.arange("", "", ""), "integers=2"),
        ("gather_out_of_range", make.gather(), "n=4,integers=2"),
        ("gather_elements_out_of_range", make.gather("GatherElements"), "integers=2"),
        ("gather_nd_out_of_range", make.gather("GatherND"), "n=4,integers=2"),
        ("scatter_nd_out_of_range", make.scatter("ScatterND"), "integers=2"),
        ("scatter_elements_out_of_range", make.scatter("ScatterElements"), "integers=2"),
        ("one_hot_out_of_range", make.one_hot(6), "n=4,integers=2"),
        ("one_hot_depth_2_40", make.one_hot(1 << 40), "n=4"),
        ("integer_division_by_zero", make.division(), "n=4,integers=4"),
        ("integer_division_by_zero_constant", make.division(by="zero"), "n=4"),
        ("integer_division_overflow", make.division(dtype=I32, by="minus_one"), "n=64,integers=2"),
        ("integer_modulo_by_zero", make.division("Mod", I8), "n=4,integers=4"),
        ("topk_more_than_there_are", make.topk([7]), "n=2"),
        ("topk_2_62", make.topk([1 << 62]), "n=2"),
        ("slice_step_zero", make.sliced([0], [3], [1], [0])),
        ("slice_extremes", make.sliced([-(1 << 63)], [(1 << 63) - 1], [1], [-(1 << 63)])),
        ("einsum_many_letters", make.many_letters(52)),
        ("einsum_26_letters", make.many_letters(26)),
        ("einsum_22_letters", make.many_letters(22)),
        ("einsum_unknown_letter", make.einsum("ab,cd->abz", [[2, 2], [2, 2]])),
        ("function_doubling", make.function_doubling(30)),
        ("function_recursive", make.function_cycle(1)),
        ("function_cycle", make.function_cycle(3)),
        ("concat_doubling", make.doubling_concat(60), "n=1"),
        ("broadcast_2_40", make.broadcast_product(4, K)),
        ("hidden_size_2_62", make.recurrent("LSTM", 1 << 62, 4)),
        ("stft_frame_2_40", make.signal("STFT", 1 << 40)),
        ("stft_step_zero", make.signal("STFT", 4, 0)),
        ("dft_2_40", make.signal("DFT", 1 << 40)),
        ("window_2_40", make.signal("HannWindow", 1 << 40)),
        ("tree_cycle", make.tree(3, [0, 0, 0], 1, 0)),
        ("tree_feature_2_40", make.tree(3, [2, 2, 2], 1, 1 << 40)),
        ("tree_targets_2_40", make.tree(3, [2, 2, 2], 1 << 40, 0)),
        ("gemm_of_constants_that_differ", make.product("Gemm", [1, 16], [1, 1 << 20], transB=1)),
        ("gemm_that_differs", make.product("Gemm", [1, 16], [4, 1 << 20], constant=False, transB=1)),
        ("matmul_of_constants_that_differ", make.product("MatMul", [128, 1536], [128, 128])),
        ("matmul_that_differs", make.product("MatMul", [128, 1536], [128, 128], constant=False)),
        ("batch_norm_of_a_scalar", make.batch_norm([], [8] * 4)),
        ("batch_norm_other_channels", make.batch_norm([1, 9000, 2], [8] * 4)),
        ("batch_norm_lengths_differ", make.batch_norm([1, 9000, 2], [9000, 1, 1, 1])),
        ("batch_norm_other_dtype", make.batch_norm([1, 9000, 2], [9000] * 4, np.int8)),
        ("gather_nd_by_a_scalar", make.normal("GatherND", [4, 4], 1)),
        ("layer_norm_of_a_scalar", make.normal("LayerNormalization", [], [1.0], 3)),
        ("layer_norm_axis_below_rank", make.normal("LayerNormalization", [2, 4], [1.0] * 4, 3, axis=-5)),
        ("rms_norm_of_a_scalar", make.normal("RMSNormalization", [], [1.0])),
        ("stft_of_a_scalar", make.normal("STFT", [], 2)),
        ("depth_to_space_zero", one_node("DepthToSpace", [("x", F32, [1, 4, 2, 2])], [("y", F32, None)], blocksize=0)),
        ("split_axis", one_node("Split", [("x", F32, ["n", 4])], [("y", F32, None)], axis=1 << 40, num_outputs=1)),
        ("cum_sum_axis", one_node("CumSum", [("x", F32, ["n", 4]), 1 << 40], [("y", F32, None)])),
        ("initializer_overflow", make.initializer([1 << 32, 1 << 32])),
        ("initializer_negative", make.initializer([-1, -2])),
        ("initializer_16_gib_claimed", make.initializer([4 * G])),
        ("opset_99", _opset(99)),
        ("opset_minus_one", _opset(-1)),
        ("unknown_domain", _domain()),
        ("name_of_nobody", _ghost()),
        ("cycle_of_two", _cycle()),
        ("external_escape", _escape()),
        ("input_2_62", one_node("Relu", [("x", F32, [1 << 62])], [("y", F32, None)])),
        ("truncated_file", seeds.seed("convnet")[:1500]),
        ("empty_file", b""),
        ("noise", bytes((k * k * 7 + 13) % 251 for k in range(5000))),
    ]
    return [Named(name, _bytes(data), *rest) for name, data, *rest in made]


def _bytes(data) -> bytes:
    return data.SerializeToString() if isinstance(data, onnx.ModelProto) else data
