// SPDX-License-Identifier: GPL-2.0
/*
 * Exports the symbols of the crate to the modules that use it, as the kernel's rust/exports.c
 * exports the symbols of the kernel's crates.
 *
 * All symbols are GPL-only, because the kernel's symbols that they use are GPL-only.
 */

#include <linux/export.h>

#define EXPORT_SYMBOL_RUST_GPL(sym) extern int sym; EXPORT_SYMBOL_GPL(sym)

#include "exports_generated.h"
