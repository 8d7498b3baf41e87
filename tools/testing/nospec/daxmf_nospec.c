// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that cannot be read, for tests. While this module is loaded, a page frame is not in the
 * kernel's linear map, as after a machine check. A read by copy_mc_to_kernel() stops at this frame,
 * as at bad memory. A write or any other read is an oops.
 *
 * The module is in C because a Rust interface could not be safe: any other code in the kernel can
 * access the unmapped frame.
 */
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/set_memory.h>

static ulong address;
module_param(address, ulong, 0444);
MODULE_PARM_DESC(address, "physical address of a byte of the frame, which must be device memory");

static int __init nospec_init(void)
{
	unsigned long pfn = PHYS_PFN(address);

	/* The kernel itself uses frames that are not device memory. */
	if (!pfn_valid(pfn) || !is_zone_device_page(pfn_to_page(pfn)))
		return -ENXIO;

	return set_mce_nospec(pfn);
}

static void __exit nospec_exit(void)
{
	clear_mce_nospec(PHYS_PFN(address));
}

module_init(nospec_init);
module_exit(nospec_exit);
MODULE_DESCRIPTION("A page frame that cannot be read");
MODULE_LICENSE("GPL");
