// SPDX-License-Identifier: GPL-2.0

#include <linux/string.h>

void rust_helper_memcpy_flushcache(void *dst, const void *src, size_t cnt)
{
	memcpy_flushcache(dst, src, cnt);
}
