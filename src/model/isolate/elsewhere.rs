//! Where there is no helper: an isolated load is refused.

use super::source::{LoadOptions, Seen, Source};
use crate::error::{self, Result};
use std::borrow::Cow;

pub(super) struct Tried<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    pub(super) seen: Seen,
}

pub(super) fn tried<'a>(_: &Source<'a>, _: &LoadOptions, _: &str) -> Result<Tried<'a>> {
    Err(error::unsupported("an isolated load: expected Linux, whose kernel can lock a process in"))
}

/// There is none to use.
pub fn use_helper(_: Option<&str>) {}
