// SPDX-License-Identifier: GPL-2.0

#include <linux/dax.h>

bool rust_helper_daxdev_mapping_supported(const struct vm_area_desc *desc,
					  const struct inode *inode,
					  struct dax_device *dax_dev)
{
	return daxdev_mapping_supported(desc, inode, dax_dev);
}
