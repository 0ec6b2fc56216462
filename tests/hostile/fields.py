"""Mutations of attributes."""

from __future__ import annotations

from random import Random

import onnx
from onnx import AttributeProto, helper

from wild import (EXTREMES, a_node, an_attribute, nodes, wild_float, wild_int, wild_text)

# What to set on a node of this operator, be it there or not.
AIMED = {
    "Conv": ("pads", "dilations", "strides", "kernel_shape", "group", "auto_pad"),
    "ConvTranspose": ("pads", "dilations", "strides", "output_padding", "output_shape", "group"),
    "MaxPool": ("pads", "dilations", "strides", "kernel_shape", "storage_order", "ceil_mode"),
    "AveragePool": ("pads", "dilations", "strides", "kernel_shape", "count_include_pad"),
    "LayerNormalization": ("axis", "epsilon", "stash_type"),
    "Transpose": ("perm",),
    "Softmax": ("axis",),
    "Concat": ("axis", "new_axis"),
    "Split": ("axis", "num_outputs", "split"),
    "Gather": ("axis", "batch_dims"),
    "GatherElements": ("axis",),
    "GatherND": ("batch_dims",),
    "Flatten": ("axis",),
    "ArgMax": ("axis", "keepdims", "select_last_index"),
    "TopK": ("axis", "largest", "k"),
    "OneHot": ("axis",),
    "Resize": ("antialias", "axes", "cubic_coeff_a", "extrapolation_value", "mode"),
    "DepthToSpace": ("blocksize", "mode"),
    "SpaceToDepth": ("blocksize",),
    "Scan": ("num_scan_inputs", "scan_input_axes", "scan_output_axes", "scan_input_directions"),
    "GRU": ("hidden_size", "direction", "layout", "activations", "clip"),
    "LSTM": ("hidden_size", "direction", "layout", "activations", "input_forget"),
    "RNN": ("hidden_size", "direction", "layout", "activations"),
    "Attention": ("q_num_heads", "kv_num_heads", "scale", "is_causal", "softcap"),
    "Cast": ("to", "saturate"),
    "QuantizeLinear": ("axis", "block_size", "output_dtype"),
    "DequantizeLinear": ("axis", "block_size"),
    "Einsum": ("equation",),
    "Reshape": ("allowzero",),
    "Shape": ("start", "end"),
    "TfIdfVectorizer": ("ngram_counts", "ngram_indexes", "max_gram_length", "max_skip_count", "pool_int64s"),
    "TreeEnsembleRegressor": ("n_targets", "nodes_treeids", "nodes_truenodeids", "nodes_featureids",
                              "target_ids", "nodes_modes", "nodes_falsenodeids", "base_values"),
    "LabelEncoder": ("keys_strings", "values_int64s", "keys_int64s"),
    "BatchNormalization": ("epsilon", "training_mode"),
    "Gemm": ("alpha", "transA", "transB"),
}
LISTS = {"pads", "dilations", "strides", "kernel_shape", "perm", "output_padding", "output_shape", "split",
         "axes", "scan_input_axes", "scan_output_axes", "scan_input_directions", "ngram_counts",
         "ngram_indexes", "pool_int64s", "nodes_treeids", "nodes_truenodeids", "nodes_falsenodeids",
         "nodes_featureids", "target_ids", "values_int64s", "keys_int64s"}
REALS = {"epsilon", "alpha", "clip", "scale", "softcap", "cubic_coeff_a", "extrapolation_value"}
TEXTS = {"auto_pad": ("VALID", "SAME_UPPER", "SAME_LOWER", "NOTSET", "X"),
         "mode": ("nearest", "linear", "cubic", "DCR", "CRD", "TF", "X"),
         "direction": ("forward", "reverse", "bidirectional", "X"),
         "equation": ("", "->", "ij->", "i->ii", "...,...->...", "ab,ac->abcdefghijklmnopq", "bi,bj->bijz", ",")}
TEXT_LISTS = {"activations": ("Tanh", "Sigmoid", "Affine", "X"), "keys_strings": ("a", "", "\u00e9"),
              "nodes_modes": ("LEAF", "BRANCH_LEQ", "X")}
SCALARS = (AttributeProto.INT, AttributeProto.INTS)


def attr_int_extreme(model: onnx.ModelProto, rng: Random):
    attribute = an_attribute(model, rng, *SCALARS)
    if attribute is None:
        return False
    if attribute.type == AttributeProto.INT:
        attribute.i = wild_int(rng, attribute.i)
    elif attribute.ints:
        k = rng.randrange(len(attribute.ints))
        attribute.ints[k] = wild_int(rng, attribute.ints[k])
    else:
        attribute.ints.append(wild_int(rng))


def attr_aimed(model: onnx.ModelProto, rng: Random):
    """An attribute that matters to the operator, set to something wild."""
    candidates = [n for n in nodes(model) if n.op_type in AIMED]
    if not candidates:
        return False
    node = rng.choice(candidates)
    name = rng.choice(AIMED[node.op_type])
    had = [a for a in node.attribute if a.name == name]
    length = len(had[0].ints) if had and had[0].ints else rng.choice((1, 2, 2, 3, 4, 4, 5))
    for attribute in had:
        node.attribute.remove(attribute)
    node.attribute.append(helper.make_attribute(name, _aimed_value(name, length, rng),
                                                attr_type=_aimed_type(name)))


def _aimed_value(name: str, length: int, rng: Random):
    if name in LISTS:
        return [wild_int(rng, 1) for _ in range(length)]
    if name in REALS:
        return wild_float(rng)
    if name in TEXTS:
        return rng.choice(TEXTS[name])
    if name in TEXT_LISTS:
        return [rng.choice(TEXT_LISTS[name]) for _ in range(length)]
    if name == "base_values":
        return [wild_float(rng) for _ in range(length)]
    return wild_int(rng, 1)


def _aimed_type(name: str) -> int:
    if name in LISTS:
        return AttributeProto.INTS
    if name in REALS:
        return AttributeProto.FLOAT
    if name in TEXTS:
        return AttributeProto.STRING
    if name in TEXT_LISTS:
        return AttributeProto.STRINGS
    return AttributeProto.FLOATS if name == "base_values" else AttributeProto.INT


def attr_list_length(model: onnx.ModelProto, rng: Random):
    """A list shortened, lengthened, emptied, doubled, with an entry twice, or permuted."""
    attribute = an_attribute(model, rng, AttributeProto.INTS, AttributeProto.FLOATS, AttributeProto.STRINGS)
    if attribute is None:
        return False
    field = {AttributeProto.INTS: "ints", AttributeProto.FLOATS: "floats"}.get(attribute.type, "strings")
    entries = list(getattr(attribute, field)) or [0 if field != "strings" else b""]
    how = rng.randrange(6)
    if how == 0:
        entries = entries[: rng.randrange(len(entries))]
    elif how == 1:
        entries += [rng.choice(entries) for _ in range(rng.choice((1, 1, 2, 30, 3000)))]
    elif how == 2:
        entries = []
    elif how == 3:
        entries += entries
    elif how == 4:
        entries[rng.randrange(len(entries))] = rng.choice(entries)
    else:
        rng.shuffle(entries)
    attribute.ClearField(field)
    getattr(attribute, field).extend(entries)


def attr_type_change(model: onnx.ModelProto, rng: Random):
    """Another type, with or without its value; or a type that no value fits."""
    attribute = an_attribute(model, rng)
    if attribute is None:
        return False
    name = attribute.name
    if rng.random() < 0.3:
        attribute.type = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14))
        return None
    value = rng.choice((wild_int(rng), 0.5, "text", [1, 2], [0.5], ["a"],
                        helper.make_tensor("t", onnx.TensorProto.FLOAT, [1], [1.0])))
    attribute.CopyFrom(helper.make_attribute(name, value))


def attr_removed(model: onnx.ModelProto, rng: Random):
    found = [n for n in nodes(model) if n.attribute]
    if not found:
        return False
    node = rng.choice(found)
    del node.attribute[rng.randrange(len(node.attribute))]


def attr_added(model: onnx.ModelProto, rng: Random):
    """One that the operator may not know, or one twice."""
    node = a_node(model, rng)
    if node is None:
        return False
    if node.attribute and rng.random() < 0.3:
        node.attribute.append(rng.choice(node.attribute))
        return None
    name = rng.choice(("axis", "axes", "perm", "keepdims", "to", "mode", "group", wild_text(rng)))
    value = [wild_int(rng) for _ in range(3)] if name in ("axes", "perm") else wild_int(rng)
    node.attribute.append(helper.make_attribute(name, value))


def attr_float_extreme(model: onnx.ModelProto, rng: Random):
    attribute = an_attribute(model, rng, AttributeProto.FLOAT, AttributeProto.FLOATS)
    if attribute is None:
        return False
    if attribute.type == AttributeProto.FLOAT:
        attribute.f = wild_float(rng)
    elif attribute.floats:
        attribute.floats[rng.randrange(len(attribute.floats))] = wild_float(rng)


def attr_text(model: onnx.ModelProto, rng: Random):
    attribute = an_attribute(model, rng, AttributeProto.STRING, AttributeProto.STRINGS)
    if attribute is None:
        return False
    text = rng.choice((b"", b"\xff\xfe", b"NOTSET", b"x" * 10000, b"\0", wild_text(rng).encode()))
    if attribute.type == AttributeProto.STRING:
        attribute.s = text
    elif attribute.strings:
        attribute.strings[rng.randrange(len(attribute.strings))] = text


def attr_all_extreme(model: onnx.ModelProto, rng: Random):
    """One extreme for a whole list."""
    attribute = an_attribute(model, rng, AttributeProto.INTS)
    if attribute is None or not attribute.ints:
        return False
    attribute.ints[:] = [rng.choice(EXTREMES)] * len(attribute.ints)


CLASSES = ((10, attr_int_extreme), (14, attr_aimed), (5, attr_list_length), (3, attr_type_change),
           (3, attr_removed), (2, attr_added), (2, attr_float_extreme), (2, attr_text), (3, attr_all_extreme))
