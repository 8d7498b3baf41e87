// SPDX-License-Identifier: GPL-2.0

#include <linux/kdev_t.h>

u64 rust_helper_huge_encode_dev(dev_t dev)
{
	return huge_encode_dev(dev);
}

dev_t rust_helper_huge_decode_dev(u64 dev)
{
	return huge_decode_dev(dev);
}

u32 rust_helper_new_encode_dev(dev_t dev)
{
	return new_encode_dev(dev);
}
