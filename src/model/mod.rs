//! Bytes → vetted protobuf → tract graph → [`Model`], immutable and shared.
//!
//! A load reads, checks and describes (`source`, `vet`, `weights`); it
//! does not build the graph, because a graph is only worth building once the
//! input dims and the constant inputs are known: that is `import`, called by
//! `plan` with a [`Specialisation`]. Weights are read once and shared by every
//! graph imported from the model.

mod branch;
mod describe;
mod functions;
mod geometry;
mod halves;
mod import;
#[cfg(target_os = "linux")]
mod isolate;
#[cfg(not(target_os = "linux"))]
#[path = "isolate/elsewhere.rs"]
mod isolate;
mod limits;
mod lower;
mod memo;
mod operators;
mod source;
mod stream;
mod vet;
mod weights;

pub use describe::{About, Dim, PortInfo, find_port, port};
pub(crate) use geometry::tiles_in_time;
pub use import::Imported;
#[cfg(all(test, feature = "capi", target_os = "linux"))]
pub(crate) use isolate::KINDS;
pub use isolate::use_helper;
pub use limits::Limits;
pub(crate) use lower::{Operands, Recur, codegen};
pub(crate) use memo::InputSpec;
pub use memo::Specialisation;
pub use source::{Isolation, LoadOptions, Source};
pub(crate) use weights::{fill, strings, zeros};

use crate::error::{self, Result};
use crate::host::{Open, Slice};
use crate::log::log_line;
use crate::pool::Account;
use crate::work;
use memo::Memo;
use source::Folder;
use std::collections::HashMap;
use std::ffi::CString;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stream::Streamed;
use tract_onnx::pb;
use tract_onnx::prelude::Tensor;

/// The model that [`Model::load_default`] loads.
const DEFAULT: &[u8] = include_bytes!("default.onnx");

/// A loaded model.
pub struct Model {
    name: CString,
    about: About,
    inputs: Vec<PortInfo>,
    outputs: Vec<PortInfo>,
    /// The graph without its weights.
    graph: pb::GraphProto,
    opsets: Vec<pb::OperatorSetIdProto>,
    weights: HashMap<String, Arc<Tensor>>,
    limits: Limits,
    memo: Memo,
    /// The last to go: all else is credited to it.
    account: Arc<Account>,
}

impl Model {
    /// Reads, checks and describes a model.
    pub fn load(source: Source<'_>, options: &LoadOptions) -> Result<Arc<Model>> {
        let name = options.name.clone().unwrap_or_else(|| source.name());
        let named = |e: error::Error| if e.detail().contains(&name) { e } else { e.at(&name) };
        let account = Arc::new(Account::open(None, &name, options.budget)?);
        let _charge = account.charge();
        let tried = match options.isolation {
            Isolation::None => None,
            Isolation::Process => Some(isolate::tried(&source, options, &name).map_err(named)?),
        };
        let budget = options.limits.budget();
        let read = || {
            let folder = source.folder(options);
            match &tried {
                None => {
                    let mut file = source.open(options)?;
                    Self::read(&mut *file, folder, options, &name, account.clone())
                }
                // The very bytes that were tried.
                Some(tried) => {
                    let folder = folder.expecting(tried.seen.clone());
                    let file = &mut Slice(&tried.bytes);
                    Self::read(file, folder, options, &name, account.clone())
                }
            }
        };
        let loaded = work::to_its_end(budget, "the load", read).map_err(named)?;
        log_line!(
            Info,
            "loaded {name}: {} nodes, {} bytes of weights",
            loaded.about.node_count,
            loaded.about.weight_bytes
        );
        Ok(Arc::new(loaded))
    }

    /// The built-in model: handwritten digits.
    pub fn load_default() -> Result<Arc<Model>> {
        let options = LoadOptions { name: Some("digits".into()), ..Default::default() };
        Self::load(Source::Memory(DEFAULT), &options)
    }

    fn read(
        file: &mut dyn Open,
        folder: Folder,
        options: &LoadOptions,
        name: &str,
        account: Arc<Account>,
    ) -> Result<Model> {
        let (begun, mut vetting) = (Instant::now(), vet::Spent::default());
        let Streamed { mut proto, payloads, hash } =
            stream::read(file, options.limits.weight_bytes)?;
        work::check()?;
        vetting.on(|| vet::check_counts(&proto, &options.limits))?;
        functions::inline(&mut proto, options.limits.nodes)?;
        vetting.on(|| vet::check(&proto, &options.limits))?;
        work::check()?;
        let mut about = describe::about(&proto, hash);
        let mut graph = proto.graph.take().ok_or_else(|| error::invalid_model("no graph"))?;
        let weights = weights::take(&mut graph, payloads, &folder, options.limits.weight_bytes)?;
        about.weight_bytes = weights.values().map(|w| w.as_bytes().len() as u64).sum();
        let (inputs, outputs) = (describe::inputs(&graph, &weights)?, describe::outputs(&graph)?);
        let took = begun.elapsed().as_micros();
        log_line!(Debug, "read {name} in {took} us, vetting {} us of it", vetting.micros());
        Ok(Model {
            name: describe::c_string(name),
            about,
            inputs,
            outputs,
            graph,
            opsets: proto.opset_import,
            weights,
            limits: options.limits,
            memo: Memo::default(),
            account,
        })
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        self.name.to_str().unwrap_or("model")
    }

    /// The same, for C.
    pub fn name_c(&self) -> &std::ffi::CStr {
        &self.name
    }

    /// What the file says of itself.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Its inputs, weights not among them.
    pub fn inputs(&self) -> &[PortInfo] {
        &self.inputs
    }

    /// Its outputs.
    pub fn outputs(&self) -> &[PortInfo] {
        &self.outputs
    }

    /// What `make` makes of this model at `spec`: made once, shared by all who
    /// ask for the same.
    pub(crate) fn specialised<T: Send + Sync + 'static>(
        self: &Arc<Self>,
        spec: &Specialisation,
        make: impl FnOnce(Imported) -> Result<T> + Send + 'static,
    ) -> Result<Arc<T>> {
        let patience = Duration::from_nanos(self.limits.load_time_ns);
        self.memo.get_or_make(spec, patience, || {
            let _charge = self.account.charge();
            let (model, spec) = (self.clone(), spec.clone());
            let import = move || make(import::import(&model, &spec)?);
            work::within(self.limits.budget(), "the import", import)
        })
    }

    /// Whom what it holds is credited to.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// What it may ask for.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }
}
