// SPDX-License-Identifier: GPL-2.0

//! Records on the media: metadata blocks in two copies, and the journal that makes changes of
//! them durable.

pub(crate) mod cached;
pub(crate) mod chunks;
pub(crate) mod commit;
pub(crate) mod journal;
pub(crate) mod metadata;
pub(crate) mod mirror;
