//! Inputs that are no floats, for a program that is one region: what its first
//! nodes make of them is made before the region runs. Numbers become floats, or
//! choose rows of a table: the tokens of a text, say.

use super::indices::in_range;
use super::region::{Inputs, Lookup, Raw};
use crate::error::{self, Result};
use crate::kernels::{self, Aligned, Floats, Isa, Scale, as_bytes, as_bytes_mut};
use crate::model::Dequantize;
use crate::tensor::DType;
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::tract_smallvec::SmallVec;
use tract_onnx::tract_core::ops::array::Gather;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::source::TypedSource;

/// The memory that a program's inputs are read from.
pub trait Given: Inputs {
    /// The elements of input `index`, whatever they are; always the same.
    fn bytes(&self, index: usize) -> &[u8];
}

/// Where an input of a region comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Origin {
    /// An input of the program.
    Given(usize),
    /// What a feed makes of one.
    Fed(usize),
}

/// What is made of an input.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Feed {
    /// Which input of the program.
    input: usize,
    dtype: DType,
    count: usize,
    made: Made,
    /// Whose node made it.
    name: String,
}

#[derive(Debug, Serialize, Deserialize)]
enum Made {
    /// The same numbers.
    Floats,
    /// Rows of a table.
    Rows { table: Table, of: Which },
}

/// Rows of floats; or of 8-bit numbers that stand for them, as unsigned bytes, four in the
/// place of each float.
#[derive(Debug, Serialize, Deserialize)]
struct Table {
    cells: Floats,
    rows: usize,
    width: usize,
    bytes: Option<Scale>,
}

impl Table {
    fn floats(raw: Raw, width: usize) -> Option<Table> {
        let rows = raw.as_ref().len().checked_div(width)?;
        Some(Table { cells: raw.lines()?, rows, width, bytes: None })
    }

    /// Of the 8-bit numbers of a tensor.
    fn bytes(tensor: &Tensor, width: usize, scale: Scale) -> Option<Table> {
        let by = if tensor.datum_type() == i8::datum_type() { 0x80 } else { 0 };
        let (from, rows) = (tensor.as_bytes(), tensor.len().checked_div(width)?);
        let mut cells = Aligned::zeros(from.len().div_ceil(size_of::<f32>())).ok()?;
        let to = as_bytes_mut(cells.floats_mut());
        to.iter_mut().zip(from).for_each(|(to, from)| *to = from ^ by);
        Some(Table { cells: cells.into(), rows, width, bytes: Some(scale) })
    }

    fn is_sound(&self) -> bool {
        let cells = self.rows.checked_mul(self.width);
        let each = if self.bytes.is_some() { size_of::<f32>() } else { 1 };
        cells.is_some_and(|cells| cells.div_ceil(each) <= self.cells.len())
    }

    /// Writes the floats of a row.
    fn row(&self, row: usize, to: &mut [f32]) {
        let at = row * self.width..(row + 1) * self.width;
        match self.bytes {
            None => to.copy_from_slice(&self.cells[at]),
            Some(scale) => kernels::dequantize(Isa::best(), &as_bytes(&self.cells)[at], scale, to),
        }
    }
}

/// Which row an index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Which {
    /// As it counts, from the end where it is negative; others are refused.
    Counted,
    /// The first one is this; others are zeros.
    From(i64),
}

/// Calls `to` with each number, of a dtype that `is_integer` says is one.
fn numbers(dtype: DType, bytes: &[u8], mut to: impl FnMut(usize, i64)) {
    macro_rules! all {
        ($t:ty) => {
            for (at, bytes) in bytes.as_chunks::<{ size_of::<$t>() }>().0.iter().enumerate() {
                to(at, <$t>::from_ne_bytes(*bytes) as i64);
            }
        };
    }
    match dtype {
        DType::I64 => all!(i64),
        DType::I32 => all!(i32),
        DType::I16 => all!(i16),
        DType::I8 => all!(i8),
        DType::U32 => all!(u32),
        DType::U16 => all!(u16),
        DType::U8 => all!(u8),
        _ => {}
    }
}

/// The dtype of integers that are read here.
fn integer(dt: DatumType) -> Option<DType> {
    Some(match dt {
        DatumType::I64 => DType::I64,
        DatumType::I32 => DType::I32,
        DatumType::I16 => DType::I16,
        DatumType::I8 => DType::I8,
        DatumType::U32 => DType::U32,
        DatumType::U16 => DType::U16,
        DatumType::U8 => DType::U8,
        _ => return None,
    })
}

impl Feed {
    /// How many floats it makes.
    pub(super) fn floats(&self) -> usize {
        match &self.made {
            Made::Floats => self.count,
            Made::Rows { table, .. } => self.count * table.width,
        }
    }

    /// Memory for what it makes.
    pub(super) fn room(&self) -> Result<Aligned> {
        Aligned::zeros(self.floats()).map_err(|e| e.at("what is made of an input"))
    }

    /// Makes it.
    pub(super) fn run(&self, inputs: &dyn Given, to: &mut Aligned) -> Result<()> {
        let bytes = inputs.bytes(self.input);
        if bytes.len() != self.count * self.dtype.size_bytes() {
            return Err(error::internal("an input of another size than its program's"));
        }
        let to = &mut to.floats_mut()[..self.floats()];
        let Made::Rows { table, of } = &self.made else {
            numbers(self.dtype, bytes, |at, v| to[at] = v as f32);
            return Ok(());
        };
        let Table { rows, width, .. } = *table;
        let mut wrong = None;
        numbers(self.dtype, bytes, |at, index| {
            let row = match of {
                Which::Counted if index < 0 => index.checked_add(rows as i64),
                Which::Counted => Some(index),
                Which::From(first) => index.checked_sub(*first),
            };
            let row = row.and_then(|row| usize::try_from(row).ok()).filter(|row| *row < rows);
            let to = &mut to[at * width..(at + 1) * width];
            match row {
                Some(row) => table.row(row, to),
                None => {
                    to.fill(0.0);
                    wrong = wrong.or((*of == Which::Counted).then_some(index));
                }
            }
        });
        match wrong {
            None => Ok(()),
            Some(index) => in_range(index, 0, rows).map_err(|e| {
                error::run_failed(format!("{e:#}")).at(format_args!("node {}", self.name))
            }),
        }
    }

    /// Whether it is of one of so many inputs, and its table has all rows.
    pub(super) fn is_sound(&self, inputs: usize) -> bool {
        let table = match &self.made {
            Made::Floats => true,
            Made::Rows { table, .. } => table.is_sound(),
        };
        self.input < inputs && table
    }
}

/// A graph whose inputs are all floats, and what becomes of the others.
pub(super) struct Fed {
    pub(super) graph: TypedModel,
    pub(super) feeds: Vec<Feed>,
    /// Of each input of the graph.
    pub(super) origins: Vec<Origin>,
}

/// What is made of integers that a node reads as its input `slot`, and the node that gives
/// it: that one, or one after it.
fn made(graph: &TypedModel, node: &TypedNode, slot: usize) -> Option<(Made, usize)> {
    if let Some(lookup) = node.op_as::<Lookup>() {
        let (rows, width, first) = lookup.rows();
        let table = Table::floats(rows.clone(), width)?;
        return Some((Made::Rows { table, of: Which::From(first) }, node.id));
    }
    if node.op_as::<Cast>().is_some_and(|cast| cast.to == f32::datum_type()) {
        return Some((Made::Floats, node.id));
    }
    let gather = node.op_as::<Gather>()?;
    let table = graph.outlet_fact(node.inputs[0]).ok()?.konst.clone()?;
    if gather.axis != 0 || gather.output_type.is_some() || slot != 1 || table.rank() == 0 {
        return None;
    }
    let width: usize = table.shape()[1..].iter().product();
    let (table, by) = match Raw::of(&table) {
        Some(raw) => (Table::floats(raw, width)?, node.id),
        None => {
            let [reader] = node.outputs[0].successors[..] else { return None };
            let after = &graph.nodes[reader.node];
            let scale = after.op_as::<Dequantize>()?.scale(table.datum_type())?;
            (Table::bytes(&table, width, scale)?, after.id)
        }
    };
    Some((Made::Rows { table, of: Which::Counted }, by))
}

/// Whether a node gives the numbers that it reads as they are.
fn is_same(node: &TypedNode) -> bool {
    let axes = node.op_as::<AxisOp>().is_some_and(|op| !matches!(op, AxisOp::Move(..)));
    axes || node.op_as::<Cast>().is_some_and(|cast| cast.to == i64::datum_type())
}

/// A graph without its inputs that are no floats, when all that reads them can be done
/// before it. None when there are no such inputs, too.
pub(super) fn fed(graph: &TypedModel) -> Option<Fed> {
    let inputs = graph.input_outlets().ok()?;
    let (mut feeds, mut origins, mut sources, mut leaves) = (vec![], vec![], vec![], vec![]);
    for (index, input) in inputs.iter().enumerate() {
        let fact = graph.outlet_fact(*input).ok()?;
        if fact.datum_type == f32::datum_type() {
            origins.push(Origin::Given(index));
            sources.push(*input);
            continue;
        }
        let dtype = integer(fact.datum_type)?;
        let count = fact.shape.as_concrete()?.iter().product();
        let mut same = vec![*input];
        while let Some(outlet) = same.pop() {
            if graph.outputs.contains(&outlet) {
                return None;
            }
            for to in &graph.nodes[outlet.node].outputs[outlet.slot].successors {
                let node = &graph.nodes[to.node];
                match made(graph, node, to.slot) {
                    Some((made, by)) => {
                        let name = format!("{:?} {}", node.name, node.op().name());
                        feeds.push(Feed { input: index, dtype, count, made, name });
                        leaves.push(by);
                    }
                    None if is_same(node) => same.push(OutletId::new(to.node, 0)),
                    None => return None,
                }
            }
        }
    }
    // (A node that reads the same numbers twice is none of these.)
    if feeds.is_empty() || (1..leaves.len()).any(|i| leaves[..i].contains(&leaves[i])) {
        return None;
    }
    let mut graph = graph.clone();
    for (feed, id) in leaves.into_iter().enumerate() {
        for outlet in std::mem::take(&mut graph.nodes[id].inputs) {
            let output = &mut graph.nodes[outlet.node].outputs[outlet.slot];
            let others = output.successors.iter().copied().filter(|to| to.node != id);
            output.successors = others.collect::<SmallVec<_>>();
        }
        let node = &mut graph.nodes[id];
        let fact = node.outputs[0].fact.clone();
        if fact.shape.as_concrete()?.iter().product::<usize>() != feeds[feed].floats() {
            return None;
        }
        node.op = Box::new(TypedSource::new(fact));
        origins.push(Origin::Fed(feed));
        sources.push(OutletId::new(id, 0));
    }
    graph.set_input_outlets(&sources).ok()?;
    graph.compact().ok()?;
    Some(Fed { graph, feeds, origins })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One(Vec<u8>);

    impl Inputs for One {
        fn floats(&self, _: usize) -> &[f32] {
            &[]
        }
    }

    impl Given for One {
        fn bytes(&self, _: usize) -> &[u8] {
            &self.0
        }
    }

    fn run(feed: &Feed, bytes: Vec<u8>) -> Result<Vec<f32>> {
        let mut room = feed.room().unwrap();
        feed.run(&One(bytes), &mut room)?;
        Ok(room.floats()[..feed.floats()].to_vec())
    }

    fn bytes(numbers: &[i64]) -> Vec<u8> {
        numbers.iter().flat_map(|n| n.to_ne_bytes()).collect()
    }

    #[test]
    fn numbers_become_floats_and_rows() {
        let feed = |dtype, count, made| Feed { input: 0, dtype, count, made, name: "n".into() };
        let cast = feed(DType::I64, 3, Made::Floats);
        assert_eq!(run(&cast, bytes(&[-2, 0, 1 << 40])).unwrap(), [-2.0, 0.0, 1.0995116e12]);
        let small = feed(DType::U8, 2, Made::Floats);
        assert_eq!(run(&small, vec![255, 7]).unwrap(), [255.0, 7.0]);
        assert!(run(&cast, bytes(&[1])).is_err(), "of another size");

        let table = Raw::of(&tensor1(&[1f32, 2.0, 3.0, 4.0, 5.0, 6.0]).into_arc_tensor()).unwrap();
        let rows = |of| Made::Rows { table: Table::floats(table.clone(), 2).unwrap(), of };
        let counted = rows(Which::Counted);
        let counted = feed(DType::I64, 3, counted);
        assert_eq!(run(&counted, bytes(&[2, 0, -1])).unwrap(), [5.0, 6.0, 1.0, 2.0, 5.0, 6.0]);
        for past in [3, -4, i64::MIN, i64::MAX] {
            let refused = run(&counted, bytes(&[0, past, 1])).unwrap_err();
            assert!(refused.detail().contains(&format!("index {past} is out of range")));
        }
        let from = rows(Which::From(10));
        let from = feed(DType::I64, 3, from);
        let rows = run(&from, bytes(&[11, 13, i64::MIN])).unwrap();
        assert_eq!(rows, [3.0, 4.0, 0.0, 0.0, 0.0, 0.0]);
        assert!(from.is_sound(1) && !from.is_sound(0));

        let small = tensor1(&[-128i8, 0, 3, 127, 1, 2]);
        let scale = Scale { scale: 0.5, zero: 129 };
        let made =
            Made::Rows { table: Table::bytes(&small, 3, scale).unwrap(), of: Which::Counted };
        let small = feed(DType::I64, 2, made);
        assert!(small.is_sound(1));
        let rows = run(&small, bytes(&[1, 0])).unwrap();
        assert_eq!(rows, [63.0, 0.0, 0.5, -64.5, -0.5, 1.0]);
    }
}
