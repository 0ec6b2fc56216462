//! tract as it comes, optimised for its shapes. One state serves all runs where no operator keeps
//! anything in it; the recurrent layers' would carry their state on, so there each run makes its own.

use std::sync::Arc;

use tract_onnx::prelude::*;

use super::Engine;
use crate::case::{Case, Dtype, Input};

pub struct Tract {
    plan: Arc<TypedRunnableModel>,
    state: Option<TypedSimpleState>,
    inputs: TVec<TValue>,
    outputs: TVec<TValue>,
}

fn tensor(input: &Input) -> TractResult<Tensor> {
    let shape = input.spec.shape();
    match input.spec.dtype {
        Dtype::F32 => Tensor::from_shape::<f32>(&shape, input.data.data()),
        Dtype::I32 => Tensor::from_shape::<i32>(&shape, input.data.data()),
        Dtype::I64 => Tensor::from_shape::<i64>(&shape, input.data.data()),
    }
}

fn open(case: &Case, inputs: &[Input]) -> TractResult<Tract> {
    let plan = tract_onnx::onnx().model_for_path(&case.path)?.into_optimized()?.into_runnable()?;
    let inputs = inputs
        .iter()
        .map(|i| Ok(TValue::from_const(Arc::new(tensor(i)?))))
        .collect::<TractResult<_>>()?;
    let state = plan.spawn()?;
    let stateless = state.op_states.iter().all(Option::is_none);
    Ok(Tract { plan, state: stateless.then_some(state), inputs, outputs: tvec!() })
}

impl Tract {
    pub fn open(case: &Case, inputs: &[Input]) -> Result<Tract, String> {
        open(case, inputs).map_err(|e| format!("{e:#}"))
    }
}

impl Engine for Tract {
    fn run(&mut self) -> Result<(), String> {
        let inputs = self.inputs.clone();
        let done = match &mut self.state {
            Some(state) => state.run(inputs),
            None => self.plan.run(inputs),
        };
        self.outputs = done.map_err(|e| format!("{e:#}"))?;
        Ok(())
    }

    fn outputs(&self) -> Result<Vec<Vec<f32>>, String> {
        let read = |t: &TValue| t.to_plain_array_view::<f32>().map(|v| v.iter().copied().collect());
        self.outputs.iter().map(read).collect::<TractResult<_>>().map_err(|e| format!("{e:#}"))
    }
}
