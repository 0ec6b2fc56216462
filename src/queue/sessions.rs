//! Batches on sessions of one model.
//!
//! A model can be batched when the first dim of every input and output is one symbol
//! that stands nowhere else. A batch then runs on a session of the next power of two of
//! rows, up to the most there are; rows that nobody uses are zeros. Other models run job
//! by job, on a session of the job's shapes. Sessions are made when they are first
//! needed, kept for the next batch of their shapes, and share the model's weights.
//!
//! The outputs of a batch belong to its jobs until the last of them is freed; then the
//! session writes there again.

use super::engine::{Engine, Fit, Jobs};
use super::job::Input;
use crate::error::{self, Result};
use crate::model::{Model, PortInfo};
use crate::plan::Value;
use crate::pool::Budget;
use crate::session::{Session, SessionOptions, check};
use crate::sync::Mutex;
use crate::tensor::{DType, MAX_RANK, Shape};
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// Sessions that rest are kept, so many.
const MOST_KEPT: usize = 32;
/// Answers of a session that are remembered while jobs have them.
const MOST_ANSWERS: usize = 64;

/// Sessions of a model.
pub struct Sessions {
    model: Arc<Model>,
    is_batched: bool,
    /// Jobs may differ in other dims than the first.
    is_open: bool,
    most_rows: u32,
    threads: usize,
    resting: Mutex<Vec<Place>>,
}

/// A session, and the outputs of its batches.
struct Place {
    /// The shapes of its inputs.
    shapes: Vec<Shape>,
    session: Session,
    /// Of batches whose jobs may still have them.
    answers: VecDeque<Arc<Vec<Value>>>,
}

/// Where a batch runs.
pub struct Lane<'a> {
    sessions: &'a Sessions,
    place: Option<Place>,
    /// Rows of the session; none where jobs run one by one.
    rows: Option<u32>,
    answer: Option<Arc<Vec<Value>>>,
}

/// What a job got of a batch.
pub struct Rows {
    values: Arc<Vec<Value>>,
    /// Which rows; none where the whole is the job's.
    rows: Option<(usize, usize)>,
}

/// The symbol that is the first dim of all inputs and outputs, and stands nowhere else.
fn batch_symbol(model: &Model) -> Option<&str> {
    let first = |port: &'_ PortInfo| port.dims.as_ref()?.first()?.symbol.clone();
    let ports = || model.inputs().iter().chain(model.outputs());
    let symbol = model.inputs().first()?.dims.as_ref()?.first()?.symbol.as_deref()?;
    let is_first = ports().all(|port| first(port).as_deref() == Some(symbol));
    let elsewhere = ports().flat_map(|port| port.dims.iter().flat_map(|dims| dims.iter().skip(1)));
    let mut elsewhere = elsewhere.filter(|dim| dim.symbol.as_deref() == Some(symbol));
    (is_first && elsewhere.next().is_none()).then_some(symbol)
}

impl Sessions {
    /// For batches of at most so many rows, and runs of so many threads.
    pub fn new(model: Arc<Model>, most_rows: u32, threads: usize) -> Result<Sessions> {
        let ports = model.inputs().iter().chain(model.outputs());
        if let Some(port) = ports.into_iter().find(|port| port.dtype == DType::String) {
            return Err(error::unsupported(format!(
                "{:?} is a string tensor: expected numbers, a queue carries no strings",
                port.name
            )));
        }
        let is_batched = batch_symbol(&model).is_some();
        if most_rows > 1 && !is_batched {
            return Err(error::unsupported(format!(
                "max_batch is {most_rows}, and {} cannot be batched: expected 1, or a model \
                 whose inputs and outputs all have the same symbol as their first dim, and \
                 nowhere else",
                model.name()
            )));
        }
        let first = usize::from(is_batched);
        let is_open = model.inputs().iter().any(|port| match &port.dims {
            Some(dims) => dims.iter().skip(first).any(|dim| dim.fixed.is_none()),
            None => true,
        });
        let resting = Mutex::default();
        Ok(Sessions { model, is_batched, is_open, most_rows, threads, resting })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Rows of a batch at the most.
    pub fn most_rows(&self) -> u32 {
        self.most_rows
    }

    /// Makes the sessions of all batch sizes now, where all other dims are known.
    pub fn prepare(&self) -> Result<()> {
        let Some(shapes) = self.known_shapes() else { return Ok(()) };
        let mut rows = 1;
        while self.is_batched && rows < self.most_rows {
            let place = self.make(&shapes, Some(rows))?;
            self.resting.lock().push(place);
            rows *= 2;
        }
        let place = self.make(&shapes, self.is_batched.then_some(self.most_rows))?;
        self.resting.lock().push(place);
        Ok(())
    }

    /// The shapes of a job of one row, when the model leaves no other dim open.
    fn known_shapes(&self) -> Option<Vec<Shape>> {
        let one = |port: &PortInfo| {
            let dims = port.dims.as_ref()?.iter().enumerate();
            let dims = dims.map(|(axis, dim)| match axis {
                0 if self.is_batched => Some(1),
                _ => dim.fixed,
            });
            Shape::new(&dims.collect::<Option<Vec<usize>>>()?).ok()
        };
        self.model.inputs().iter().map(one).collect()
    }

    /// Stands for the dims of inputs that have to be alike.
    fn key(&self, inputs: &[Input]) -> u64 {
        let mut hash = DefaultHasher::new();
        let first = usize::from(self.is_batched);
        inputs.iter().for_each(|input| input.shape()[first..].hash(&mut hash));
        hash.finish()
    }

    /// Rows of the session that a batch runs on.
    fn rows_of(&self, rows: u32) -> Option<u32> {
        self.is_batched.then(|| rows.next_power_of_two().min(self.most_rows))
    }

    fn make(&self, like: &[Shape], rows: Option<u32>) -> Result<Place> {
        let shapes = like.iter().map(|shape| with_rows(shape, rows)).collect::<Result<Vec<_>>>()?;
        let account = Session::open_account(&self.model, Budget::NONE)?;
        let names = self.model.inputs().iter().map(|port| port.name.clone());
        let options = SessionOptions {
            shapes: names.zip(shapes.iter().copied()).collect(),
            threads: self.threads,
            ..SessionOptions::default()
        };
        let session = Session::new(self.model.clone(), account, options)?;
        Ok(Place { shapes, session, answers: VecDeque::new() })
    }
}

fn with_rows(shape: &Shape, rows: Option<u32>) -> Result<Shape> {
    let Some(rows) = rows else { return Ok(*shape) };
    let mut dims = [0; MAX_RANK];
    let dims = &mut dims[..shape.len()];
    dims.copy_from_slice(shape);
    dims[0] = rows as usize;
    Shape::new(dims)
}

/// Whether `shape` is `like` but for the first dim.
fn is_like(shape: &Shape, like: &Shape, rows: Option<u32>) -> bool {
    match rows {
        None => shape == like,
        Some(rows) => shape[0] == rows as usize && shape[1..] == like[1..],
    }
}

impl Engine for Sessions {
    type Outputs = Rows;
    type Lane<'a> = Lane<'a>;

    fn inputs(&self) -> usize {
        self.model.inputs().len()
    }

    fn fit(&self, inputs: &[Input]) -> Result<Fit> {
        let mut rows = 1;
        for (index, (input, port)) in inputs.iter().zip(self.model.inputs()).enumerate() {
            check(port, input.dtype(), input.shape())?;
            if !self.is_batched {
                continue;
            }
            let own = u32::try_from(input.shape()[0]).unwrap_or(u32::MAX);
            if own == 0 || index > 0 && own != rows {
                return Err(error::shape_mismatch(format!(
                    "{:?}: {own} rows, expected at least 1, the same in all inputs",
                    port.name
                )));
            }
            rows = own;
        }
        Ok(Fit { rows, key: if self.is_open { self.key(inputs) } else { 0 } })
    }

    fn lane(&self, like: &[Input], rows: u32) -> Result<Lane<'_>> {
        let size = self.rows_of(rows);
        let fits = |place: &Place| {
            let mut pairs = place.shapes.iter().zip(like);
            pairs.all(|(shape, input)| is_like(shape, input.shape(), size))
        };
        let found = {
            let mut resting = self.resting.lock();
            let at = resting.iter().rposition(fits);
            at.map(|at| resting.swap_remove(at))
        };
        let place = match found {
            Some(place) => place,
            None => {
                let shapes: Vec<Shape> = like.iter().map(|input| *input.shape()).collect();
                self.make(&shapes, size)?
            }
        };
        Ok(Lane { sessions: self, place: Some(place), rows: size, answer: None })
    }

    fn fill(&self, lane: &mut Lane<'_>, jobs: Jobs<'_>) -> Result<()> {
        let size = lane.rows.map(|rows| rows as usize);
        let mut entered = lane.place()?.session.enter()?;
        let mut row = 0;
        jobs(&mut |inputs| {
            let mut rows = 1;
            for (index, input) in inputs.iter().enumerate() {
                let (to, from) = (entered.input_bytes(index)?, input.bytes());
                let mut at = 0;
                if self.is_batched {
                    rows = input.shape()[0];
                    at = from.len() / rows * row;
                }
                let to = to.get_mut(at..at + from.len());
                let past = || error::internal("a job past the end of its batch");
                to.ok_or_else(past)?.copy_from_slice(from);
            }
            row += rows;
            Ok(())
        })?;
        // What nobody uses is of no batch before.
        if let Some(size) = size.filter(|size| *size > row) {
            for index in 0..self.inputs() {
                let to = entered.input_bytes(index)?;
                let from = to.len() / size * row;
                to[from..].fill(0);
            }
        }
        Ok(())
    }

    fn run(&self, lane: &mut Lane<'_>) -> Result<()> {
        let place = lane.place()?;
        let mut answer = place.rested_answer();
        let fresh = || error::internal("an answer that somebody has");
        let values = Arc::get_mut(&mut answer).ok_or_else(fresh)?;
        place.session.enter()?.give_outputs(values);
        place.session.run(Duration::ZERO)?;
        place.session.enter()?.take_outputs(values)?;
        let wrong = |value: &&Value| {
            lane.rows.is_some_and(|rows| value.shape().first() != Some(&(rows as usize)))
        };
        if let Some(value) = values.iter().find(wrong) {
            return Err(error::run_failed(format!(
                "an output of dims {} came of a batch of {} rows: this model cannot be batched",
                value.shape(),
                lane.rows.unwrap_or(1)
            )));
        }
        lane.answer = Some(answer);
        Ok(())
    }

    fn outputs(&self, lane: &Lane<'_>, row: u32, rows: u32) -> Rows {
        let values = lane.answer.clone().unwrap_or_default();
        Rows { values, rows: self.is_batched.then_some((row as usize, rows as usize)) }
    }
}

impl Place {
    /// An answer that no job has any more, or a new one.
    fn rested_answer(&mut self) -> Arc<Vec<Value>> {
        // (The oldest are the first to be freed.)
        let at = self.answers.iter_mut().take(8).position(|a| Arc::get_mut(a).is_some());
        at.and_then(|at| self.answers.remove(at)).unwrap_or_default()
    }
}

impl Lane<'_> {
    fn place(&mut self) -> Result<&mut Place> {
        self.place.as_mut().ok_or_else(|| error::internal("a batch without a session"))
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        let Some(mut place) = self.place.take() else { return };
        if let Some(answer) = self.answer.take() {
            if place.answers.len() >= MOST_ANSWERS {
                place.answers.pop_front();
            }
            place.answers.push_back(answer);
        }
        let mut resting = self.sessions.resting.lock();
        let old = (resting.len() >= MOST_KEPT).then(|| resting.remove(0));
        resting.push(place);
        drop(resting);
        drop(old);
    }
}

impl Rows {
    /// An output: its type, the dims of the batch's, and, of these, which bytes of the
    /// first dim's how many rows. Valid as long as this is there.
    pub fn part(&self, index: usize) -> Result<Part<'_>> {
        let value = self.values.get(index);
        let value = value.ok_or_else(|| error::internal("an output that is not there"))?;
        let (dtype, shape, bytes) = (value.dtype(), value.shape(), value.bytes());
        let Some((row, rows)) = self.rows else {
            return Ok(Part { dtype, shape, rows: shape.first().copied(), bytes });
        };
        let one = bytes.len() / shape[0].max(1);
        let bytes = &bytes[row * one..(row + rows) * one];
        Ok(Part { dtype, shape, rows: Some(rows), bytes })
    }
}

/// Rows of an output.
pub struct Part<'a> {
    /// Element type.
    pub dtype: DType,
    /// The dims of the whole.
    pub shape: &'a Shape,
    /// How many of the first dim there are; none of a scalar.
    pub rows: Option<usize>,
    /// The elements.
    pub bytes: &'a [u8],
}
