//! What a single lane knows that must hold: which handles live, which views
//! are still valid, what outputs are bound to, what may be held. With several
//! lanes nobody knows.

use fuzz::check::{ensure, text, touch};
use fuzz::onnx::STRING;
use inferno::ffi::{memory::INFERNO_NO_BUDGET, tensor::inferno_tensor};
use std::collections::HashMap;
use std::ffi::c_char;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Input,
    Output,
}

struct View {
    session: usize,
    side: Side,
    index: usize,
    tensor: inferno_tensor,
}

// SAFETY: what a view points to belongs to a session, which any thread may use.
unsafe impl Send for View {}

/// What an account may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    pub soft: u64,
    pub hard: u64,
}

impl Budget {
    pub const NONE: Budget = Budget { soft: INFERNO_NO_BUDGET, hard: INFERNO_NO_BUDGET };
}

impl Default for Budget {
    fn default() -> Budget {
        Budget::NONE
    }
}

/// Whose budget it is.
#[derive(Clone, Copy)]
pub enum Holder {
    Runtime,
    Model(usize),
    Session(usize),
}

/// A live session's budget, and the place of its model's, which goes on to hold
/// when the model's handle is freed.
struct Opened {
    budget: Budget,
    model: usize,
}

#[derive(Default)]
pub struct Ledger {
    /// Live models, and the place of each one's budget in `budgets`.
    models: HashMap<usize, usize>,
    sessions: HashMap<usize, Opened>,
    budgets: Vec<Budget>,
    /// The runtime's budget.
    pub runtime: Budget,
    /// Memory comes from the host.
    pub host: bool,
    /// Buffer and size of each bound output.
    pub bound: HashMap<(usize, usize), (usize, usize)>,
    views: Vec<View>,
}

impl Ledger {
    pub fn model_lives(&self, model: usize) -> bool {
        self.models.contains_key(&model)
    }

    pub fn session_lives(&self, session: usize) -> bool {
        self.sessions.contains_key(&session)
    }

    pub fn model_began(&mut self, model: usize, budget: Budget) {
        self.budgets.push(budget);
        let before = self.models.insert(model, self.budgets.len() - 1);
        ensure(before.is_none(), || "a load gave a live handle again".into());
    }

    pub fn model_ended(&mut self, model: usize) {
        self.models.remove(&model);
    }

    pub fn session_began(&mut self, session: usize, model: usize, budget: Budget) {
        let Some(model) = self.models.get(&model).copied() else {
            return; // (It is told as a finding that the dead one was taken.)
        };
        let before = self.sessions.insert(session, Opened { budget, model });
        ensure(before.is_none(), || "session_new gave a live handle".into());
    }

    /// The budget of what lives.
    pub fn budget(&mut self, of: Holder) -> Option<&mut Budget> {
        match of {
            Holder::Runtime => Some(&mut self.runtime),
            Holder::Model(model) => self.budgets.get_mut(*self.models.get(&model)?),
            Holder::Session(session) => Some(&mut self.sessions.get_mut(&session)?.budget),
        }
    }

    /// The budgets that hold for `of`, its own first.
    pub fn chain(&self, of: Holder) -> Vec<Budget> {
        let model = |at: usize| self.budgets.get(at).copied();
        let (own, above) = match of {
            Holder::Runtime => (None, None),
            Holder::Model(handle) => (self.models.get(&handle).and_then(|at| model(*at)), None),
            Holder::Session(handle) => match self.sessions.get(&handle) {
                Some(opened) => (Some(opened.budget), model(opened.model)),
                None => (None, None),
            },
        };
        own.into_iter().chain(above).chain([self.runtime]).collect()
    }

    /// The live model that a session was made over.
    pub fn model_of(&self, session: usize) -> Option<usize> {
        let place = self.sessions.get(&session)?.model;
        self.models.iter().find(|(_, at)| **at == place).map(|(handle, _)| *handle)
    }

    /// A view that the library has just given. Earlier ones stay valid.
    pub fn saw(&mut self, session: usize, side: Side, index: usize, tensor: inferno_tensor) {
        self.views.push(View { session, side, index, tensor });
        if self.views.len() > 32 {
            self.views.remove(0);
        }
    }

    /// The views of one side of a session have ended, or may have.
    pub fn ended(&mut self, session: usize, side: Side) {
        self.views.retain(|v| (v.session, v.side) != (session, side));
    }

    /// A value of `dims` was set: the views end unless the shape is the same.
    pub fn set(&mut self, session: usize, index: usize, dims: Option<&[i64]>) {
        let same = self.views.iter().any(|v| {
            (v.session, v.side, v.index) == (session, Side::Input, index)
                && dims == Some(&v.tensor.dims[..v.tensor.rank as usize])
        });
        if !same {
            self.ended(session, Side::Input);
            self.ended(session, Side::Output);
        }
    }

    pub fn session_ended(&mut self, session: usize) {
        self.sessions.remove(&session);
        self.views.retain(|v| v.session != session);
        self.bound.retain(|(s, _), _| *s != session);
    }

    /// The runtime was shut down: no handle lives.
    pub fn all_ended(&mut self) {
        *self = Ledger::default();
    }

    /// After a run that succeeded: what was bound holds what the view shows.
    pub fn bound_holds(&self, session: usize, index: usize, view: &inferno_tensor) {
        let Some((data, size)) = self.bound.get(&(session, index)) else {
            return;
        };
        ensure(*size == view.size_bytes, || format!("{size} bytes were bound to {view:?}"));
        if *size > 0 {
            // SAFETY: the lane's own buffer, and a view that is valid.
            let (bound, seen) = unsafe {
                let bound = std::slice::from_raw_parts(*data as *const u8, *size);
                (bound, std::slice::from_raw_parts(view.data.cast::<u8>(), *size))
            };
            ensure(bound == seen, || "a bound output differs from its view".into());
        }
    }

    /// Reads every view that is valid, and writes those of inputs.
    pub fn touch(&self, pattern: u8) {
        for view in &self.views {
            let (data, size) = (view.tensor.data.cast::<u8>(), view.tensor.size_bytes);
            // SAFETY: by the header the view is still valid.
            unsafe {
                touch(data, size);
                if view.tensor.dtype == STRING {
                    let count = size / size_of::<*const c_char>();
                    (0..count).for_each(|i| _ = text(*data.cast::<*const c_char>().add(i)));
                } else if view.side == Side::Input && size > 0 {
                    data.write_bytes(pattern, size);
                }
            }
        }
    }
}
