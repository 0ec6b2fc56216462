//! A model from choices: inputs, weights, and nodes whose operators come from a
//! list, with inputs that exist and attributes of the right kind, mostly.

use fuzz::bytes::Bytes;
use fuzz::onnx::*;

/// The largest weight, in elements.
const LARGEST: i64 = 4096;

const OPSETS: [i64; 16] = [17, 13, 11, 9, 7, 10, 12, 14, 15, 16, 18, 19, 20, 21, 22, 1];
const DTYPES: [i32; 13] = [F32, I64, BOOL, 6, F16, F64, 2, 3, 4, 5, 12, 13, STRING];

/// An operator, how many inputs it takes at most, its outputs, its attributes:
/// each `i`nt, `f`loat, `s`tring, i`I`nts, `t`ensor or `g`raph, then the name.
type Op = (&'static str, u8, u8, &'static str);

/// The last operator's index, for seeds.
pub const LAST_OP: u8 = OPS.len() as u8 - 1;

#[rustfmt::skip]
const OPS: &[Op] = &[
    ("Add", 2, 1, ""), ("Mul", 2, 1, ""), ("Sub", 2, 1, ""), ("Div", 2, 1, ""), ("Pow", 2, 1, ""),
    ("Mod", 2, 1, "ifmod"), ("Relu", 1, 1, ""), ("Neg", 1, 1, ""), ("Sqrt", 1, 1, ""),
    ("MatMul", 2, 1, ""), ("Gemm", 3, 1, "falpha,fbeta,itransA,itransB"),
    ("Conv", 3, 1, "sauto_pad,Idilations,igroup,Ikernel_shape,Ipads,Istrides"),
    ("ConvTranspose", 3, 1, "sauto_pad,Idilations,igroup,Ikernel_shape,Ioutput_padding,Ioutput_shape,Ipads,Istrides"),
    ("ConvInteger", 4, 1, "sauto_pad,Idilations,igroup,Ikernel_shape,Ipads,Istrides"),
    ("MaxPool", 1, 2, "sauto_pad,iceil_mode,Idilations,Ikernel_shape,Ipads,istorage_order,Istrides"),
    ("AveragePool", 1, 1, "sauto_pad,iceil_mode,icount_include_pad,Ikernel_shape,Ipads,Istrides"),
    ("LpPool", 1, 1, "Ikernel_shape,ip,Ipads,Istrides"), ("GlobalAveragePool", 1, 1, ""),
    ("BatchNormalization", 5, 1, "fepsilon,fmomentum,itraining_mode"),
    ("InstanceNormalization", 3, 1, "fepsilon"), ("LayerNormalization", 3, 3, "iaxis,fepsilon"),
    ("LRN", 1, 1, "falpha,fbeta,fbias,isize"), ("Softmax", 1, 1, "iaxis"), ("Hardmax", 1, 1, "iaxis"),
    ("Flatten", 1, 1, "iaxis"), ("Reshape", 2, 1, "iallowzero"), ("Transpose", 1, 1, "Iperm"),
    ("Squeeze", 2, 1, "Iaxes"), ("Unsqueeze", 2, 1, "Iaxes"), ("Expand", 2, 1, ""),
    ("Concat", 3, 1, "iaxis"), ("Split", 2, 3, "iaxis,Isplit,inum_outputs"),
    ("Slice", 5, 1, "Istarts,Iends,Iaxes"), ("Pad", 4, 1, "smode,Ipads,fvalue"),
    ("Tile", 2, 1, ""), ("Gather", 2, 1, "iaxis"), ("GatherElements", 2, 1, "iaxis"),
    ("GatherND", 2, 1, "ibatch_dims"), ("ScatterElements", 3, 1, "iaxis,sreduction"),
    ("ScatterND", 3, 1, "sreduction"), ("OneHot", 3, 1, "iaxis"), ("TopK", 2, 2, "iaxis,ilargest,isorted,ik"),
    ("ArgMax", 1, 1, "iaxis,ikeepdims,iselect_last_index"), ("ReduceSum", 2, 1, "Iaxes,ikeepdims"),
    ("ReduceMean", 2, 1, "Iaxes,ikeepdims"), ("ReduceMax", 2, 1, "Iaxes,ikeepdims"),
    ("CumSum", 2, 1, "iexclusive,ireverse"), ("Cast", 1, 1, "ito"), ("Shape", 1, 1, "istart,iend"),
    ("Size", 1, 1, ""), ("ConstantOfShape", 1, 1, "tvalue"), ("Constant", 0, 1, "tvalue,Ivalue_ints"),
    ("Range", 3, 1, ""), ("EyeLike", 1, 1, "idtype,ik"), ("Where", 3, 1, ""), ("NonZero", 1, 1, ""),
    ("Clip", 3, 1, "fmin,fmax"), ("Equal", 2, 1, ""), ("Not", 1, 1, ""), ("And", 2, 1, ""),
    ("BitShift", 2, 1, "sdirection"), ("Einsum", 2, 1, "sequation"), ("Dropout", 3, 2, "iseed"),
    ("RNN", 6, 2, "sdirection,ihidden_size"), ("LSTM", 8, 3, "sdirection,ihidden_size,finput_forget"),
    ("GRU", 6, 2, "sdirection,ihidden_size,ilinear_before_reset"),
    ("Resize", 4, 1, "smode,scoordinate_transformation_mode,snearest_mode,Iaxes"),
    ("Upsample", 2, 1, "smode"), ("DepthToSpace", 1, 1, "iblocksize,smode"),
    ("SpaceToDepth", 1, 1, "iblocksize"), ("QuantizeLinear", 3, 1, "iaxis"),
    ("DequantizeLinear", 3, 1, "iaxis"), ("DynamicQuantizeLinear", 1, 3, ""),
    ("QLinearMatMul", 8, 1, ""), ("QLinearConv", 9, 1, "sauto_pad,Idilations,igroup,Ipads,Istrides"),
    ("MatMulInteger", 4, 1, ""), ("DFT", 3, 1, "iaxis,iinverse,ionesided"),
    ("STFT", 4, 1, "ionesided"), ("MelWeightMatrix", 5, 1, ""), ("HannWindow", 1, 1, "iperiodic"),
    ("Trilu", 2, 1, "iupper"), ("ReverseSequence", 2, 1, "ibatch_axis,itime_axis"),
    ("NonMaxSuppression", 5, 1, "icenter_point_box"), ("Multinomial", 1, 1, "isample_size,idtype"),
    ("RandomUniform", 0, 1, "Ishape,idtype,flow,fhigh"), ("Identity", 1, 1, ""),
    ("If", 1, 1, "gthen_branch,gelse_branch"), ("Loop", 3, 2, "gbody"),
    ("Scan", 2, 2, "gbody,inum_scan_inputs,Iscan_input_axes"),
];

const TEXTS: [&str; 24] = [
    "SAME_UPPER",
    "SAME_LOWER",
    "VALID",
    "NOTSET",
    "constant",
    "reflect",
    "edge",
    "wrap",
    "nearest",
    "linear",
    "cubic",
    "align_corners",
    "asymmetric",
    "half_pixel",
    "floor",
    "add",
    "mul",
    "LEFT",
    "bidirectional",
    "reverse",
    "ij,jk->ik",
    "...i->i",
    "DCR",
    "",
];

/// The whole model.
pub fn model(bytes: &mut Bytes) -> Vec<u8> {
    let opset = bytes.pick(&OPSETS);
    let mut builder = Builder { bytes, names: Vec::new(), made: 0, depth: 0 };
    let graph = builder.graph(1);
    fuzz::onnx::model(graph, "built", opset, Pb::default())
}

struct Builder<'a, 'b> {
    bytes: &'a mut Bytes<'b>,
    /// The values that a node may use.
    names: Vec<String>,
    made: usize,
    depth: usize,
}

impl Builder<'_, '_> {
    fn fresh(&mut self) -> String {
        self.made += 1;
        format!("v{}", self.made)
    }

    /// A graph of at least `inputs` inputs.
    fn graph(&mut self, inputs: usize) -> Pb {
        let mut graph = Pb::default();
        for _ in 0..inputs + self.bytes.below(2) {
            let (name, dtype) = (self.fresh(), self.dtype());
            graph = graph.message(11, self.port(&name, dtype));
            self.names.push(name);
        }
        for _ in 0..self.bytes.below(4) {
            let name = self.fresh();
            graph = graph.message(5, self.weight(&name));
            self.names.push(name);
        }
        let mut last = self.names.last().cloned().unwrap_or_default();
        for _ in 0..1 + self.bytes.below(if self.depth == 0 { 10 } else { 3 }) {
            if self.bytes.is_empty() && self.made > 8 {
                break;
            }
            let (node, outputs) = self.node();
            graph = graph.message(1, node);
            last.clone_from(&outputs[0]);
            self.names.extend(outputs);
        }
        graph = graph.message(12, value_info(&last, F32, None));
        for _ in 0..self.bytes.below(3) {
            let (name, dtype) = (self.some_name(), self.dtype());
            graph = graph.message(12, self.port(&name, dtype));
        }
        graph
    }

    fn dtype(&mut self) -> i32 {
        // Most operators take floats, and many i64s beside them.
        match self.bytes.byte() {
            n @ 0..140 => [F32, F32, I64][n as usize % 3],
            n => DTYPES[n as usize % DTYPES.len()],
        }
    }

    fn some_name(&mut self) -> String {
        // Recent values more often: graphs are mostly chains.
        let back = match self.bytes.byte() {
            n @ 0..180 => n as usize % 4,
            n => n as usize,
        };
        let at = self.names.len().saturating_sub(1 + back % self.names.len().max(1));
        self.names.get(at).cloned().unwrap_or_default()
    }

    fn port(&mut self, name: &str, dtype: i32) -> Pb {
        if self.bytes.rarely(12) {
            return value_info(name, dtype, None);
        }
        let dims = (0..self.bytes.below(6)).map(|_| match self.bytes.byte() {
            n @ 0..200 => (n % 5).to_string(),
            n @ 200..225 => ["n", "m", "?", "2*n", "n+1"][n as usize % 5].to_owned(),
            _ => self.bytes.dim().to_string(),
        });
        let dims = dims.collect::<Vec<_>>().join(",");
        value_info(name, dtype, Some(&dims))
    }

    fn weight(&mut self, name: &str) -> Pb {
        let dtype = self.dtype();
        let dims: Vec<i64> = (0..self.bytes.below(5)).map(|_| self.bytes.dim()).collect();
        let wide = match dtype {
            2 | 3 | BOOL => 1,
            4 | 5 | F16 => 2,
            1 | 6 | 12 => 4,
            _ => 8,
        };
        let count = dims.iter().try_fold(1i64, |n, d| n.checked_mul(*d)).unwrap_or(LARGEST);
        let count = count.clamp(0, LARGEST) as usize;
        let odd = self.bytes.rarely(8);
        let mut element = |i: usize| -> i64 {
            if odd { self.bytes.odd() } else { (self.bytes.byte() as i64 + i as i64) % 7 - 2 }
        };
        let data: Vec<u8> = (0..count)
            .flat_map(|i| {
                let n = element(i);
                let float = (n as f32 / 2.0).to_le_bytes();
                let bits = if dtype == F32 { u32::from_le_bytes(float).into() } else { n as u64 };
                bits.to_le_bytes().into_iter().take(wide)
            })
            .collect();
        let cut = if self.bytes.rarely(16) { self.bytes.below(9) } else { 0 };
        tensor(name, dtype, &dims, &data[..data.len().saturating_sub(cut)])
    }

    fn node(&mut self) -> (Pb, Vec<String>) {
        let (op, most, outputs, attributes) = self.bytes.pick(OPS);
        let most = most as usize;
        let fewer = if self.bytes.rarely(3) { self.bytes.below(most + 1) } else { 0 };
        let inputs: Vec<String> = (0..most - fewer)
            .map(|at| if at > 0 && self.bytes.rarely(9) { String::new() } else { self.some_name() })
            .collect();
        let outputs: Vec<String> =
            (0..=self.bytes.below(outputs as usize)).map(|_| self.fresh()).collect();
        let attributes: Vec<Pb> = split(attributes).filter_map(|a| self.attribute(a)).collect();
        let node = inputs.iter().fold(Pb::default(), |n, i| n.text(1, i));
        let node = outputs.iter().fold(node, |n, o| n.text(2, o)).text(4, op);
        (attributes.into_iter().fold(node, |n, a| n.message(5, a)), outputs)
    }

    fn attribute(&mut self, what: &str) -> Option<Pb> {
        let (kind, name) = what.split_at(1);
        // Graphs are hardly ever optional.
        if kind != "g" && !self.bytes.byte().is_multiple_of(3) {
            return None;
        }
        // Now and then the value is of another kind than the operator expects.
        let kind = if self.bytes.rarely(20) { "ifsItg" } else { kind };
        let kind = kind.as_bytes()[self.bytes.below(kind.len())];
        Some(match kind {
            b'i' => int_attribute(name, self.number()),
            b'f' => attribute(name, 1, Pb::default().float(2, self.number() as f32 / 2.0)),
            b's' => attribute(name, 3, Pb::default().text(4, self.bytes.pick(&TEXTS))),
            b'I' => {
                let count = self.bytes.below(6);
                attribute(name, 7, (0..count).fold(Pb::default(), |v, _| v.int(8, self.number())))
            }
            b't' => attribute(name, 4, Pb::default().message(5, self.weight("value"))),
            _ if self.depth > 2 => return None,
            _ => {
                let known = self.names.len();
                let inputs = if name == "body" { 2 + self.bytes.below(2) } else { 0 };
                self.depth += 1;
                let graph = self.graph(inputs);
                self.depth -= 1;
                self.names.truncate(known);
                graph_attribute(name, graph)
            }
        })
    }

    fn number(&mut self) -> i64 {
        match self.bytes.byte() {
            n @ 0..150 => n as i64 % 4,
            n @ 150..220 => n as i64 % 20 - 5,
            _ => self.bytes.odd(),
        }
    }
}
