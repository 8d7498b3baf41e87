// SPDX-License-Identifier: GPL-2.0
/*
 * Rust cannot use non-trivial C macros, and cannot call inline C functions. The functions here
 * wrap those that the crate needs and that the kernel's rust/helpers/ lacks.
 *
 * Sorted alphabetically.
 */

#include "barrier.c"
#include "blkdev.c"
#include "dax.c"
#include "device.c"
#include "fileattr.c"
#include "fs.c"
#include "interval_tree.c"
#include "iversion.c"
#include "kdev_t.c"
#include "mce.c"
#include "mm.c"
#include "page-flags.c"
#include "posix_acl.c"
#include "rcupdate.c"
#include "sched.c"
#include "security.c"
#include "signal.c"
#include "siphash.c"
#include "string.c"
#include "trace.c"
