//! rten: weights packed at load, runs measured inside its pool of threads, so that none pays for
//! the way there.

use std::sync::Arc;

use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value, ValueOrView};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;

use super::{Engine, timed};
use crate::case::{Case, Dtype, Input};
use crate::machine;

pub struct Rten {
    model: Model,
    pool: Arc<ThreadPool>,
    inputs: Vec<(NodeId, Value)>,
    outputs: Vec<Value>,
}

/// It has no i64: its importer makes them i32.
fn value(input: &Input) -> Value {
    let shape = input.spec.shape();
    match input.spec.dtype {
        Dtype::F32 => Tensor::from_data(&shape, input.data.data::<f32>().to_vec()).into(),
        Dtype::I32 => Tensor::from_data(&shape, input.data.data::<i32>().to_vec()).into(),
        Dtype::I64 => {
            let narrow = input.data.data::<i64>().iter().map(|&v| v as i32).collect::<Vec<_>>();
            Tensor::from_data(&shape, narrow).into()
        }
    }
}

impl Rten {
    pub fn open(case: &Case, inputs: &[Input], threads: usize) -> Result<Rten, String> {
        let mut options = ModelOptions::with_all_ops();
        options.prepack_weights(true);
        let model = options.load_file(&case.path).map_err(|e| e.to_string())?;
        let inputs = model.input_ids().iter().copied().zip(inputs.iter().map(value)).collect();
        Ok(Rten {
            model,
            pool: Arc::new(ThreadPool::with_num_threads(threads)),
            inputs,
            outputs: vec![],
        })
    }

    fn run_here(&mut self) -> Result<(), String> {
        let inputs =
            self.inputs.iter().map(|(id, value)| (*id, ValueOrView::from(value))).collect();
        let mut options = RunOptions::default();
        options.thread_pool = Some(self.pool.clone());
        self.outputs = self
            .model
            .run(inputs, self.model.output_ids(), Some(options))
            .map_err(|e| e.to_string())?;
        Ok(())
    }

    fn inside<T: Send>(&mut self, work: impl FnOnce(&mut Rten) -> T + Send) -> T {
        let pool = self.pool.clone();
        pool.run(|| {
            machine::flush_to_zero();
            work(self)
        })
    }
}

impl Engine for Rten {
    fn run(&mut self) -> Result<(), String> {
        self.inside(Rten::run_here)
    }

    fn outputs(&self) -> Result<Vec<Vec<f32>>, String> {
        let read = |v: &Value| {
            v.as_tensor_view::<f32>().map(|t| t.to_vec()).ok_or("an output is not f32".into())
        };
        self.outputs.iter().map(read).collect()
    }

    fn time(&mut self, samples: usize, runs: usize) -> Result<Vec<f64>, String> {
        self.inside(|it| timed(|| it.run_here(), samples, runs))
    }
}
