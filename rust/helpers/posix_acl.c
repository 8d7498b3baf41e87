// SPDX-License-Identifier: GPL-2.0

#include <linux/posix_acl.h>

void rust_helper_cache_no_acl(struct inode *inode)
{
	cache_no_acl(inode);
}

void rust_helper_posix_acl_release(struct posix_acl *acl)
{
	posix_acl_release(acl);
}
