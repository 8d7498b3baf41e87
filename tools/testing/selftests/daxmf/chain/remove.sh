#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The device is removed under a mounted filesystem: processes that map a file are signalled, and the
# filesystem can be unmounted.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

unmount_in_time() {
	timeout $DEADLINE umount $MNT
}

data_is_there() {
	ns_bind "$NS" && mount_dax "/dev/$(ns_disk "$NS")" && cmp "$TMP/shared" $MNT/shared
}

begin 5
require_ns "$KIND"
# One allocation group: with more, the number of pages to visit overflows in XFS
# (xfs_dax_notify_dev_failure() adds 1 to an agblock of all ones), and removal takes an hour.
require xfs_on "$NS" --unsupported -d agcount=1
require fill $MNT/shared 16
require share $MNT/shared $MNT/clone
require fill $MNT/other 16
cp $MNT/shared "$TMP/shared"

check "every process with a mapping is signalled" \
	owners_signalled unbind $MNT/shared,offset=8K $MNT/clone,offset=8K $MNT/other,late
check "the filesystem was notified before the removal" \
	log_says "XFS .*Device is about to be removed"
check "the filesystem can be unmounted" \
	unmount_in_time
check "the namespace has no driver and no disk" \
	fails_with "has no disk" ns_disk "$NS"
check "the namespace is bound again, and the data is there" \
	data_is_there
finish
