// SPDX-License-Identifier: GPL-2.0

//! Records on the media: two copies of each metadata block, and the journal, which makes changes of
//! records durable.

pub(crate) mod cached;
pub(crate) mod chunks;
pub(crate) mod commit;
pub(crate) mod journal;
pub(crate) mod metadata;
pub(crate) mod mirror;
