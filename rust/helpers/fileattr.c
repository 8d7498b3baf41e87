// SPDX-License-Identifier: GPL-2.0

#include <linux/fileattr.h>

bool rust_helper_fileattr_has_fsx(const struct file_kattr *fa)
{
	return fileattr_has_fsx(fa);
}
