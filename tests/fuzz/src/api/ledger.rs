//! What a single lane knows that must hold: which handles live, which views
//! are still valid, what outputs are bound to. With several lanes nobody knows.

use fuzz::check::{ensure, text, touch};
use fuzz::onnx::STRING;
use inferno::ffi::tensor::inferno_tensor;
use std::collections::{HashMap, HashSet};
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

#[derive(Default)]
pub struct Ledger {
    pub models: HashSet<usize>,
    pub sessions: HashSet<usize>,
    /// Buffer and size of each bound output.
    pub bound: HashMap<(usize, usize), (usize, usize)>,
    views: Vec<View>,
}

impl Ledger {
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
