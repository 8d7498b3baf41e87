#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A module in use cannot be unloaded. A module that is not in use can be unloaded and loaded again.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

data_is_there() {
	ns_bind "$NS" && mount_dax "/dev/$(ns_disk "$NS")" && cmp "$TMP/file" $MNT/file
}

# A holder takes no reference to the driver's module. The unload notifies the holder of the removal.
unload_under_holder() {
	local size

	size=$(printf '%#x' "$(blockdev --getsize64 "/dev/$DISK")")
	hold "$DISK" && unload "$DRIVER" || return
	log_says "rust_dax_holder: memory failure at offset 0x0 length $size flags 0x80" || return
	release
}

begin 7
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_ns "$KIND"
# One allocation group, see remove.sh, in case the driver is unloaded by mistake.
require xfs_on "$NS" --unsupported -d agcount=1
require fill $MNT/file 64
cp $MNT/file "$TMP/file"

check "the driver stays while a filesystem is mounted" \
	fails_with "in use" rmmod "$DRIVER"
check "the mounted filesystem still works" \
	cmp "$TMP/file" $MNT/file
check "the crate stays while the driver uses it" \
	fails_with "in use by" rmmod daxmf
require unmount
check "the driver is unloaded when nothing is mounted" \
	unload "$DRIVER"
check "its namespaces have no driver" \
	fails_with "has no disk" ns_disk "$NS"
check "the driver is loaded again, and the data is there" \
	data_is_there
require unmount
check "the driver is unloaded under a holder, which is notified" \
	unload_under_holder
finish
