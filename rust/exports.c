// SPDX-License-Identifier: GPL-2.0
/*
 * Exports the symbols of the crate to the modules that use it, as rust/exports.c of the kernel
 * does for its own crates.
 *
 * All symbols are exported as GPL-only, like those that they are built on.
 */

#include <linux/export.h>

#define EXPORT_SYMBOL_RUST_GPL(sym) extern int sym; EXPORT_SYMBOL_GPL(sym)

#include "exports_generated.h"
