// SPDX-License-Identifier: GPL-2.0

#include <linux/iversion.h>

u64 rust_helper_inode_peek_iversion(const struct inode *inode)
{
	return inode_peek_iversion(inode);
}

void rust_helper_inode_set_iversion_queried(struct inode *inode, u64 val)
{
	inode_set_iversion_queried(inode, val);
}
