// SPDX-License-Identifier: GPL-2.0

//! The guard that keeps a namespace bound cannot outlive the namespace.

use daxmf::nvdimm::Namespace;
use kernel::sync::Arc;

fn unbind(namespace: Arc<Namespace>) {
    let bound = namespace.bound();

    drop(namespace); //~ E0505 cannot move out of `namespace` because it is borrowed
    let _is_bound = bound.is_some();
}
