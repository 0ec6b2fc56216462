//! The engines, behind one trait: each is opened with a model and its inputs, bound once, in the
//! way that costs it least per run.

mod inferno;
mod openvino;
mod ort;
mod rten;
mod tract;

use std::any::Any;
use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

use libloading::Library;

use crate::case::{Case, Input};

/// Ours first; the one whose answers the others' are compared with next.
pub const NAMES: [&str; 5] = ["inferno", "ort", "openvino", "tract", "rten"];

/// Those that have no threads inside a run, as they come.
pub const ONE_THREAD: [&str; 1] = ["tract"];

pub trait Engine {
    fn run(&mut self) -> Result<(), String>;

    /// Of the last run.
    fn outputs(&self) -> Result<Vec<Vec<f32>>, String>;

    /// Seconds of a run, `samples` times, each the mean of `runs` that follow each other.
    fn time(&mut self, samples: usize, runs: usize) -> Result<Vec<f64>, String> {
        timed(|| self.run(), samples, runs)
    }
}

fn timed(
    mut run: impl FnMut() -> Result<(), String>,
    samples: usize,
    runs: usize,
) -> Result<Vec<f64>, String> {
    let mut all = Vec::with_capacity(samples);
    for _ in 0..samples {
        let start = Instant::now();
        for _ in 0..runs {
            run()?;
        }
        all.push(start.elapsed().as_secs_f64() / runs as f64);
    }
    Ok(all)
}

pub fn open(
    name: &str,
    case: &Case,
    inputs: &[Input],
    threads: usize,
) -> Result<Box<dyn Engine>, String> {
    guarded(|| {
        Ok(match name {
            "inferno" => {
                // (For a load with a cache.)
                let cache = std::env::var("PEERS_CACHE").ok().and_then(|c| CString::new(c).ok());
                let it = inferno::Inferno::open(case, inputs, threads, cache.as_deref())?;
                Box::new(it) as Box<dyn Engine>
            }
            "ort" => Box::new(ort::Ort::open(case, inputs, threads)?),
            "openvino" => Box::new(openvino::OpenVino::open(case, inputs, threads)?),
            "tract" => Box::new(tract::Tract::open(case, inputs)?),
            "rten" => Box::new(rten::Rten::open(case, inputs, threads)?),
            _ => return Err(format!("{name}: no such engine")),
        })
    })
}

/// A panic of an engine's is its failure.
pub fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(format!("panicked: {}", text(&*panic))))
}

fn text(panic: &(dyn Any + Send)) -> String {
    let known = panic.downcast_ref::<String>().cloned();
    known.or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string())).unwrap_or_default()
}

/// The shared object that an environment variable names; it stays loaded.
fn library(variable: &str) -> Result<&'static Library, String> {
    let path = std::env::var_os(variable).ok_or_else(|| format!("{variable} is not set"))?;
    // SAFETY: the engines' initialisers are trusted.
    let library = unsafe { Library::new(&path) }.map_err(|e| e.to_string())?;
    Ok(Box::leak(Box::new(library)))
}

/// A function of a library that stays loaded.
///
/// # Safety
/// `F` has to be the function's type.
unsafe fn symbol<F: Copy>(library: &'static Library, name: &str) -> Result<F, String> {
    // SAFETY: the caller's.
    unsafe { library.get::<F>(name.as_bytes()) }.map(|f| *f).map_err(|e| e.to_string())
}

/// A struct of a C API's functions, each found by its name.
macro_rules! functions {
    ($name:ident { $($function:ident: fn($($argument:ty),*) -> $result:ty,)* }) => {
        struct $name {
            $($function: unsafe extern "C" fn($($argument),*) -> $result,)*
        }

        impl $name {
            fn load(variable: &str) -> Result<&'static $name, String> {
                let library = crate::engines::library(variable)?;
                // SAFETY: the types are those of the engine's header.
                unsafe {
                    let found = $name {
                        $($function: crate::engines::symbol(library, stringify!($function))?,)*
                    };
                    Ok(Box::leak(Box::new(found)))
                }
            }
        }
    };
}
use functions;

fn c_path(path: &Path) -> Result<CString, String> {
    CString::new(path.as_os_str().as_encoded_bytes()).map_err(|e| e.to_string())
}
