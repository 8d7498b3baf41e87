// SPDX-License-Identifier: GPL-2.0

#include <asm/mce.h>
#include <asm/processor.h>

u64 rust_helper_MCI_ADDR_PHYSADDR(void)
{
	return MCI_ADDR_PHYSADDR;
}

u32 rust_helper_MCI_MISC_ADDR_LSB(u64 misc)
{
	return MCI_MISC_ADDR_LSB(misc);
}
