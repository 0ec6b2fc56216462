//! A model of the list, its inputs, and memory for tensors.

use std::path::{Path, PathBuf};
use std::{env, fs, slice};

#[derive(Clone, Copy, PartialEq)]
pub enum Dtype {
    F32,
    I32,
    I64,
}

impl Dtype {
    pub fn bytes(self) -> usize {
        if self == Dtype::I64 { 8 } else { 4 }
    }
}

#[derive(Clone)]
pub struct Spec {
    pub dtype: Dtype,
    pub dims: Vec<i64>,
}

impl Spec {
    pub fn bytes(&self) -> usize {
        self.dims.iter().product::<i64>() as usize * self.dtype.bytes()
    }

    pub fn shape(&self) -> Vec<usize> {
        self.dims.iter().map(|&d| d as usize).collect()
    }
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "reached by address")] [u8; 64]);

/// Memory aligned as every engine likes it.
pub struct Block {
    lines: Vec<Line>,
    bytes: usize,
}

impl Block {
    pub fn zeroed(bytes: usize) -> Block {
        Block { lines: vec![Line([0; 64]); bytes.div_ceil(64).max(1)], bytes }
    }

    pub fn holding(data: &[u8]) -> Block {
        let mut block = Block::zeroed(data.len());
        // SAFETY: the block is at least as long, and its own.
        unsafe { block.pointer().copy_from_nonoverlapping(data.as_ptr(), data.len()) };
        block
    }

    pub fn pointer(&mut self) -> *mut u8 {
        self.lines.as_mut_ptr().cast()
    }

    pub fn data<T: Plain>(&self) -> &[T] {
        // SAFETY: aligned to 64, initialised, and T is plain.
        unsafe { slice::from_raw_parts(self.lines.as_ptr().cast(), self.bytes / size_of::<T>()) }
    }
}

/// Types that any bytes are a value of.
pub trait Plain: Copy {}
impl Plain for u8 {}
impl Plain for f32 {}
impl Plain for i32 {}
impl Plain for i64 {}

pub struct Input {
    pub spec: Spec,
    pub data: Block,
}

pub struct Case {
    pub name: String,
    pub mflop: f64,
    pub path: PathBuf,
    pub inputs: Vec<Spec>,
    pub outputs: Vec<Spec>,
}

fn spec(word: &str) -> Option<Spec> {
    let (dtype, dims) = word.split_once(':')?;
    let dtype = match dtype {
        "f32" => Dtype::F32,
        "i32" => Dtype::I32,
        "i64" => Dtype::I64,
        _ => return None,
    };
    let dims = dims.split(',').map(|d| d.parse().ok()).collect::<Option<_>>()?;
    Some(Spec { dtype, dims })
}

fn line(folder: &Path, line: &str) -> Option<Case> {
    let mut words = line.split_whitespace();
    let name = words.next()?.to_string();
    let mflop = words.next()?.parse().ok()?;
    let path = folder.join(format!("{name}.onnx"));
    let mut case = Case { name, mflop, path, inputs: vec![], outputs: vec![] };
    while let Some(kind) = words.next() {
        let into = if kind == "in" { &mut case.inputs } else { &mut case.outputs };
        into.push(spec(words.next()?)?);
    }
    Some(case)
}

impl Case {
    /// Whether the model computes with 8-bit numbers.
    pub fn is_quantised(&self) -> bool {
        ["_qdq", "_qop", "_dyn"].iter().any(|end| self.name.ends_with(end))
    }

    /// Every model there is, in the list's order.
    pub fn all() -> Result<Vec<Case>, String> {
        let folder = PathBuf::from(env::var_os("PEERS_MODELS").ok_or("PEERS_MODELS is not set")?);
        let list = folder.join("list.txt");
        let text = fs::read_to_string(&list).map_err(|e| format!("{}: {e}", list.display()))?;
        text.lines()
            .map(|l| {
                line(&folder, l).ok_or_else(|| format!("{}: {l}: not understood", list.display()))
            })
            .collect()
    }

    pub fn named(name: &str) -> Result<Case, String> {
        Case::all()?
            .into_iter()
            .find(|c| c.name == name)
            .ok_or_else(|| format!("{name}: no such model"))
    }

    pub fn read_inputs(&self) -> Result<Vec<Input>, String> {
        let read = |(i, spec): (usize, &Spec)| {
            let path = self.path.with_extension(format!("{i}.bin"));
            let data = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            if data.len() != spec.bytes() {
                return Err(format!(
                    "{}: {} bytes, expected {}",
                    path.display(),
                    data.len(),
                    spec.bytes()
                ));
            }
            Ok(Input { spec: spec.clone(), data: Block::holding(&data) })
        };
        self.inputs.iter().enumerate().map(read).collect()
    }
}
