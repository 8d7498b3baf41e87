// SPDX-License-Identifier: GPL-2.0

//! The directories in configfs by which users attach devices: `LOWER/UPPER`.

use kernel::{
    configfs::{
        configfs_attrs,
        AttributeOperations,
        Group,
        GroupOperations,
        Subsystem, //
    },
    debugfs::Dir,
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc, //
};

use crate::{
    disk::Disk,
    graph::Graph,
    lower::{
        Attachment,
        Lower, //
    },
    statistics::Statistics, //
};

/// The top directory.
pub(crate) struct Root {
    debugfs: Dir,
    graph: Arc<Graph<Disk>>,
}

impl Root {
    pub(crate) fn subsystem() -> impl PinInit<Subsystem<Self>, Error> {
        let kind = configfs_attrs! {
            container: Subsystem<Root>,
            data: Root,
            child: LowerGroup,
            attributes: [],
        };

        Subsystem::new(c"daxmf_stack", kind, Self::new())
    }

    fn new() -> Result<Self> {
        Ok(Self {
            debugfs: Dir::new(c"daxmf_stack"),
            graph: Arc::pin_init(Graph::new(), GFP_KERNEL)?,
        })
    }
}

#[vtable]
impl GroupOperations for Root {
    type Child = LowerGroup;

    fn make_group(&self, name: &CStr) -> Result<impl PinInit<Group<LowerGroup>, Error>> {
        let kind = configfs_attrs! {
            container: Group<LowerGroup>,
            data: LowerGroup,
            child: UpperGroup,
            attributes: [],
        };
        let lower = Lower::new(name, self.graph.clone()).inspect_err(|error| {
            pr_err!("{name:?} cannot be a lower device: {error:?}\n");
        })?;
        let debugfs = self.debugfs.subdir(name);

        Ok(Group::new(
            name.try_into()?,
            kind,
            LowerGroup::new(lower, debugfs),
        ))
    }
}

/// The directory of a lower device.
#[pin_data]
pub(crate) struct LowerGroup {
    lower: Arc<Lower>,
    #[pin]
    statistics: Statistics,
}

impl LowerGroup {
    fn new(lower: Arc<Lower>, debugfs: Dir) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            statistics <- Statistics::new(debugfs, lower.counters().clone()),
            lower,
        })
    }
}

#[vtable]
impl GroupOperations for LowerGroup {
    type Child = UpperGroup;

    fn make_group(&self, name: &CStr) -> Result<impl PinInit<Group<UpperGroup>, Error>> {
        let kind = configfs_attrs! {
            container: Group<UpperGroup>,
            data: UpperGroup,
            attributes: [
                state: 0,
            ],
        };
        let attachment = self.lower.attach(name).inspect_err(|error| {
            pr_err!(
                "{name:?} cannot be attached above {:?}: {error:?}\n",
                self.lower.name()
            );
        })?;
        let debugfs = self.statistics.dir().subdir(name);

        Ok(Group::new(
            name.try_into()?,
            kind,
            UpperGroup::new(attachment, debugfs),
        ))
    }
}

/// The directory of an upper device.
#[pin_data]
pub(crate) struct UpperGroup {
    attachment: Attachment,
    #[pin]
    _statistics: Statistics,
}

impl UpperGroup {
    fn new(attachment: Attachment, debugfs: Dir) -> impl PinInit<Self, Error> {
        let counters = attachment.counters().clone();

        try_pin_init!(Self {
            _statistics <- Statistics::new(debugfs, counters),
            attachment,
        })
    }
}

/// `state`: `stale` if one of the two attached devices was removed, otherwise `attached`.
#[vtable]
impl AttributeOperations<0> for UpperGroup {
    type Data = Self;

    fn show(group: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        let state: &[u8] = match group.attachment.is_stale() {
            true => b"stale\n",
            false => b"attached\n",
        };

        page.get_mut(..state.len())
            .ok_or(EINVAL)?
            .copy_from_slice(state);
        Ok(state.len())
    }
}
