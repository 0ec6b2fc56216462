"""Which inputs of an operator are parameters.

A parameter says how the operator works: axes, sizes, counts, scales, zero points, bounds.
ONNX makes it an input so that it may be computed, but exporters nearly always store it as
an initializer. Learned weights, indices into data and the data itself are no parameters,
so they are never in this table.

The table is by operator of the default domain. A position that another version of the
operator uses for something else gets a table of its own by version; today none does.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

_AXES = (1,)
_SEQUENCE_LENS = (4,)
_WINDOW_SIZE = (0,)

POSITIONS: dict[str, tuple[int, ...]] = {
    # Axes.
    "ReduceL1": _AXES,
    "ReduceL2": _AXES,
    "ReduceLogSum": _AXES,
    "ReduceLogSumExp": _AXES,
    "ReduceMax": _AXES,
    "ReduceMean": _AXES,
    "ReduceMin": _AXES,
    "ReduceProd": _AXES,
    "ReduceSum": _AXES,
    "ReduceSumSquare": _AXES,
    "CumProd": _AXES,
    "CumSum": _AXES,
    "Squeeze": _AXES,
    "Unsqueeze": _AXES,
    # Shapes, sizes and repeats.
    "AffineGrid": (1,),  # size
    "CenterCropPad": (1,),  # shape
    "Col2Im": (1, 2),  # image_shape, block_shape
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "MaxUnpool": (2,),  # output_shape
    "Reshape": (1,),
    "Tile": (1, 2),  # repeats; in opset 1 tiles and axis
    # Ranges within the data.
    "Pad": (1, 2, 3),  # pads, constant_value, axes
    "Slice": (1, 2, 3, 4),  # starts, ends, axes, steps
    "Split": (1,),
    "SplitToSequence": (1,),
    "Trilu": (1,),  # k
    # Resampling.
    "Resize": (1, 2, 3),  # roi, scales, sizes; in opset 10 scales alone
    "Upsample": (1,),  # scales
    # Bounds and counts.
    "Clip": (1, 2),  # min, max
    "NonMaxSuppression": (2, 3, 4),  # max_output_boxes_per_class, both thresholds
    "OneHot": (1, 2),  # depth, values
    "TopK": (1,),  # k
    # Quantisation: scales and zero points.
    "ConvInteger": (2, 3),
    "DequantizeLinear": (1, 2),
    "MatMulInteger": (2, 3),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "QuantizeLinear": (1, 2),
    # Sequences and control flow.
    "GRU": _SEQUENCE_LENS,
    "LSTM": _SEQUENCE_LENS,
    "RNN": _SEQUENCE_LENS,
    "ReverseSequence": (1,),  # sequence_lens
    "Loop": (0, 1),  # trip count, condition
    "SequenceAt": (1,),  # position
    "SequenceErase": (1,),  # position
    "SequenceInsert": (2,),  # position
    # Generators.
    "BlackmanWindow": _WINDOW_SIZE,
    "HammingWindow": _WINDOW_SIZE,
    "HannWindow": _WINDOW_SIZE,
    "MelWeightMatrix": (0, 1, 2, 3, 4),
    "Range": (0, 1, 2),  # start, limit, delta
    # Signals.
    "DFT": (1, 2),  # dft_length, axis
    "STFT": (1, 2, 3),  # frame_step, window, frame_length
    # The rest.
    "CastLike": (1,),  # only its type counts
    "Dropout": (1, 2),  # ratio, training_mode
}


def parameters(model: onnx.ModelProto) -> set[str]:
    """The graph inputs that feed a parameter, in the graph or in its sub-graphs."""
    fed = {
        node.input[position]
        for node in nodes(model.graph)
        if node.domain in ("", "ai.onnx")
        for position in POSITIONS.get(node.op_type, ())
        if position < len(node.input)
    }
    return fed & {value.name for value in model.graph.input}


def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes of a graph, those of its sub-graphs after the node that has them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from nodes(inner)
