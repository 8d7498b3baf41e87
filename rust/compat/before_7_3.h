/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Functions that Linux 7.3 added to the kernel's headers. For older kernels,
 * Kbuild includes this file in our C source.
 */
#ifndef _DAXMF_BEFORE_7_3_H
#define _DAXMF_BEFORE_7_3_H

#include <linux/fs.h>

static inline bool __must_check iput_if_not_last(struct inode *inode)
{
	return atomic_add_unless(&inode->i_count, -1, 1);
}

#endif /* _DAXMF_BEFORE_7_3_H */
