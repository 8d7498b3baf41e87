/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Functions that 7.3 added to the kernel's headers. Kbuild has this included
 * for older kernels where the source of ours calls them.
 */
#ifndef _DAXMF_BEFORE_7_3_H
#define _DAXMF_BEFORE_7_3_H

#include <linux/fs.h>

static inline bool __must_check iput_if_not_last(struct inode *inode)
{
	return atomic_add_unless(&inode->i_count, -1, 1);
}

#endif /* _DAXMF_BEFORE_7_3_H */
