// SPDX-License-Identifier: GPL-2.0

#include <linux/blkdev.h>

bool rust_helper_bdev_read_only(struct block_device *bdev)
{
	return bdev_read_only(bdev);
}
