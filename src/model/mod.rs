//! Bytes → vetted protobuf → tract graph → [`Model`], immutable and shared.
//!
//! A load reads, checks and describes (`source`, `vet`, `weights`); it
//! does not build the graph, because a graph is only worth building once the
//! input dims and the constant inputs are known: that is `import`, called by
//! `plan` with a [`Specialisation`]. Weights are read once and shared by every
//! graph imported from the model. Of a model that is found in a `cache` neither is
//! read before a graph is needed that was not compiled before.

mod branch;
mod cache;
mod describe;
mod forward;
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

pub(crate) use cache::Shelf;
pub use describe::{About, Dim, PortInfo, find_port, port};
pub(crate) use geometry::tiles_in_time;
pub use import::Imported;
#[cfg(all(test, feature = "capi", target_os = "linux"))]
pub(crate) use isolate::KINDS;
pub use isolate::use_helper;
pub use limits::Limits;
pub(crate) use lower::{
    Dequantize, DynamicQuantize, Given, Integers, Operands, QLayer, Quantize, Recur, absorb_moves,
    codegen, extreme, shared, simplify_some,
};
pub(crate) use memo::InputSpec;
pub use memo::Specialisation;
pub use source::{Isolation, LoadOptions, Source};
pub(crate) use weights::{fill, strings, zeros};

use crate::error::{self, Result};
use crate::host::{Identity, Open, Slice};
use crate::kernels::Shared;
use crate::log::log_line;
use crate::metrics::{self, Loaded, ModelMeter};
use crate::pool::Account;
use crate::sync::Mutex;
use crate::work;
use cache::Cache;
use memo::Memo;
use serde::{Deserialize, Serialize};
use source::Folder;
use std::collections::HashMap;
use std::ffi::CString;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use stream::Streamed;
use tract_onnx::pb;
use tract_onnx::prelude::Tensor;

/// The model that [`Model::load_default`] loads.
const DEFAULT: &[u8] = include_bytes!("default.onnx");

/// A loaded model.
pub struct Model {
    name: CString,
    told: Told,
    content: Mutex<Option<Arc<Content>>>,
    /// Where the content can be read again, when it is not there.
    origin: Option<Origin>,
    cache: Option<Cache>,
    /// Packed weights, by the programs of several shapes.
    shared: Mutex<Shared>,
    limits: Limits,
    memo: Memo,
    /// Once it is loaded.
    loaded: OnceLock<Loaded>,
    /// The last to go: all else is credited to it.
    account: Arc<Account>,
}

/// What is known of a model without its graph.
#[derive(Serialize, Deserialize)]
struct Told {
    about: About,
    inputs: Vec<PortInfo>,
    outputs: Vec<PortInfo>,
}

/// What graphs are made of.
#[derive(Clone)]
struct Content {
    /// Without its weights.
    graph: pb::GraphProto,
    opsets: Vec<pb::OperatorSetIdProto>,
    weights: HashMap<String, Arc<Tensor>>,
}

/// Where a model's content is read when it is first needed.
struct Origin {
    place: Place,
    options: LoadOptions,
}

enum Place {
    Path(String),
    Bytes(Vec<u8>),
}

impl Place {
    /// A path that stays the same when the folder of the process changes.
    fn file(path: &str) -> Place {
        let whole = std::path::absolute(path).ok();
        let whole = whole.and_then(|path| path.into_os_string().into_string().ok());
        Place::Path(whole.unwrap_or_else(|| path.to_owned()))
    }
}

impl Model {
    /// Reads, checks and describes a model.
    pub fn load(source: Source<'_>, options: &LoadOptions) -> Result<Arc<Model>> {
        let name = options.name.clone().unwrap_or_else(|| source.name());
        let load = metrics::Load::begin(source.told(&name, options))?;
        match Self::load_called(&name, source, options) {
            Ok(model) => {
                // (Set here only.)
                let _ = model.loaded.set(load.loaded(model.about().hash, &model.account));
                Ok(Arc::new(model))
            }
            Err(e) => {
                load.failed(&e);
                Err(e)
            }
        }
    }

    fn load_called(name: &str, source: Source<'_>, options: &LoadOptions) -> Result<Model> {
        let named = |e: error::Error| if e.detail().contains(name) { e } else { e.at(name) };
        let account = Arc::new(Account::open(None, name, options.budget)?);
        let _charge = account.charge();
        let cache = match &options.cache {
            Some(folder) => Some(Cache::open(folder, options).map_err(named)?),
            None => None,
        };
        // Which file it is; or its bytes, where it needs all of them at once.
        let (mut file, mut whole) = (None, None);
        let known = match (&cache, &source) {
            (None, _) => None,
            (Some(cache), Source::Path(path)) => {
                file = Identity::of(path);
                file.as_ref().and_then(|file| cache.known(file))
            }
            (Some(_), _) => {
                let bytes = whole.insert(source.whole(options).map_err(named)?);
                Some(*blake3::hash(bytes).as_bytes())
            }
        };
        let known = cache.as_ref().zip(known).and_then(|(cache, hash)| cache.about(&hash));
        let made = |told, content, origin| Model {
            name: describe::c_string(name),
            told,
            content: Mutex::new(content),
            origin,
            cache: cache.clone(),
            shared: Mutex::default(),
            limits: options.limits,
            memo: Memo::default(),
            loaded: OnceLock::new(),
            account: account.clone(),
        };
        if let Some(told) = known {
            let place = match (source, whole) {
                (Source::Path(path), _) => Place::file(&path),
                (_, whole) => Place::Bytes(whole.unwrap_or_default().into_owned()),
            };
            log_line!(Info, "found {name} in the cache");
            return Ok(made(told, None, Some(Origin { place, options: options.clone() })));
        }
        let tried = match options.isolation {
            Isolation::None => None,
            Isolation::Process => Some(isolate::tried(&source, options, name).map_err(named)?),
        };
        let read = || {
            let folder = source.folder(options);
            match (&tried, &whole) {
                // The very bytes that were tried.
                (Some(tried), _) => {
                    let folder = folder.expecting(tried.seen.clone());
                    read(&mut Slice(&tried.bytes), folder, options, name)
                }
                (None, Some(bytes)) => read(&mut Slice(bytes), folder, options, name),
                (None, None) => read(&mut *source.open(options)?, folder, options, name),
            }
        };
        let (told, content, alone) =
            work::to_its_end(options.limits.budget(), "the load", read).map_err(named)?;
        let about = &told.about;
        log_line!(
            Info,
            "loaded {name}: {} nodes, {} bytes of weights",
            about.node_count,
            about.weight_bytes
        );
        // (What else it was read from is in no hash.)
        if let Some(cache) = cache.as_ref().filter(|_| alone) {
            cache.keep_about(&about.hash, &told);
            file.inspect(|file| cache.note(file, &about.hash));
        }
        // Files that were tried are not trusted twice.
        let origin = match (&source, alone && tried.is_none()) {
            (Source::Path(path), true) => {
                Some(Origin { place: Place::file(path), options: options.clone() })
            }
            _ => None,
        };
        let cache = cache.clone().filter(|_| alone);
        let mut model = made(told, Some(Arc::new(content)), origin);
        model.cache = cache;
        Ok(model)
    }

    /// The built-in model: handwritten digits.
    pub fn load_default() -> Result<Arc<Model>> {
        let options = LoadOptions { name: Some("digits".into()), ..Default::default() };
        Self::load(Source::Memory(DEFAULT), &options)
    }

    /// What graphs are made of; read now, if it is not there.
    fn content(&self) -> Result<Arc<Content>> {
        // (The lock is not held while it is read: who reads may be left behind.)
        if let Some(content) = &*self.content.lock() {
            return Ok(content.clone());
        }
        let origin = self.origin.as_ref();
        let Origin { place, options } = origin.ok_or_else(|| error::internal("no content"))?;
        let source = match place {
            Place::Path(path) => Source::Path(path.clone()),
            Place::Bytes(bytes) => Source::Memory(bytes),
        };
        let mut file = source.open(options)?;
        let (told, content, _) = read(&mut *file, source.folder(options), options, self.name())?;
        if told.about.hash != self.about().hash {
            return Err(error::io(format!(
                "{}: it is not the file any more that was loaded",
                source.name()
            )));
        }
        let content = Arc::new(content);
        *self.content.lock() = Some(content.clone());
        Ok(content)
    }

    /// The same for a graph: taken, where no other graph is expected and it could be read
    /// again, so that weights go as the graph lets go of them.
    fn content_for_graph(&self) -> Result<Content> {
        let content = self.content()?;
        let on_disk = matches!(self.origin, Some(Origin { place: Place::Path(_), .. }));
        if on_disk && self.shared().is_none() {
            *self.content.lock() = None;
        }
        Ok(Arc::try_unwrap(content).unwrap_or_else(|content| (*content).clone()))
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
        &self.told.about
    }

    /// Its inputs, weights not among them.
    pub fn inputs(&self) -> &[PortInfo] {
        &self.told.inputs
    }

    /// Its outputs.
    pub fn outputs(&self) -> &[PortInfo] {
        &self.told.outputs
    }

    /// What `make` makes of this model at `spec`: made once, shared by all who
    /// ask for the same.
    pub(crate) fn specialised<T: Send + Sync + 'static>(
        &self,
        spec: &Specialisation,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        let patience = Duration::from_nanos(self.limits.load_time_ns);
        let mut is_found = true;
        let made = self.memo.get_or_make(spec, patience, || {
            is_found = false;
            let _charge = self.account.charge();
            make()
        })?;
        if is_found {
            self.meter()?.reused();
        }
        Ok(made)
    }

    /// What `compile` makes of the graph of this model at `spec`.
    pub(crate) fn imported<T: Send + Sync + 'static>(
        self: &Arc<Self>,
        spec: &Specialisation,
        compile: impl FnOnce(Imported) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (model, spec) = (self.clone(), spec.clone());
        let import = move || compile(import::import(&model, &spec)?);
        let meter = self.meter()?;
        let begun = meter.compiling();
        let made = work::within(self.limits.budget(), "the import", import);
        meter.compiled(begun);
        made
    }

    /// What its programs have in common; nowhere where all shapes are known, so that
    /// there will be one.
    pub(crate) fn shared(&self) -> Option<&Mutex<Shared>> {
        let is_open = |port: &PortInfo| port.fixed_shape().is_none();
        self.inputs().iter().any(is_open).then_some(&self.shared)
    }

    /// Where what is compiled of this model at `spec` is kept, if anywhere.
    pub(crate) fn shelf(&self, spec: &Specialisation) -> Option<Shelf> {
        self.cache.as_ref()?.shelf(&self.about().hash, spec)
    }

    /// What it is counted by.
    pub fn meter(&self) -> Result<&ModelMeter> {
        let loaded = self.loaded.get().map(Loaded::meter);
        loaded.ok_or_else(|| error::internal("a model that was not loaded"))
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

/// A model from its file, and whether it is all in there.
fn read(
    file: &mut dyn Open,
    folder: Folder,
    options: &LoadOptions,
    name: &str,
) -> Result<(Told, Content, bool)> {
    let (begun, mut vetting) = (Instant::now(), vet::Spent::default());
    let Streamed { mut proto, payloads, hash } = stream::read(file, options.limits.weight_bytes)?;
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
    let told = Told { about, inputs, outputs };
    Ok((told, Content { graph, opsets: proto.opset_import, weights }, !folder.was_read()))
}
