// SPDX-License-Identifier: GPL-2.0

#include <linux/security.h>

/* The function is inline only if the kernel has no CONFIG_SECURITY. */
#ifndef CONFIG_SECURITY
int rust_helper_security_inode_init_security(struct inode *inode,
					     struct inode *dir,
					     const struct qstr *qstr,
					     const initxattrs xattrs,
					     void *fs_data)
{
	return security_inode_init_security(inode, dir, qstr, xattrs, fs_data);
}
#endif
