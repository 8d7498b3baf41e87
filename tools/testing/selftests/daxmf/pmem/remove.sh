#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A namespace of every kind goes away with a mounted filesystem, files mapped and I/O in flight; bound
# again, what was synced is there.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# mounted [OPTION...] -- XFS of one allocation group, as in chain/remove, with a file.
mounted() {
	ns_bind "$NS" && DISK=$(ns_disk "$NS") || return
	make_xfs --unsupported -d agcount=1 "/dev/$DISK" && mkdir -p $MNT && mount "$@" "/dev/$DISK" $MNT &&
		on_exit unmount && fill $MNT/file 16 && cp $MNT/file "$TMP/file"
}

# busy -- write to the filesystem and to the disk until they go.
busy() {
	while dd if=/dev/zero of=$MNT/busy bs=64K count=64 oflag=direct status=none; do :; done 2>/dev/null &
	WRITER=$!
	while dd if="/dev/$DISK" of=/dev/null bs=1M count=16 iflag=direct status=none; do :; done 2>/dev/null &
	READER=$!
	wait_for test -s $MNT/busy
}

survives() {
	wait "$WRITER" "$READER"
	fails_with "has no disk" ns_disk "$NS" && timeout $DEADLINE umount $MNT || return
	ns_bind "$NS" && mount "$@" "/dev/$(ns_disk "$NS")" $MNT && cmp "$TMP/file" $MNT/file && unmount
}

with_dax() {
	mounted -o dax=always && fill $MNT/mapped 16 && busy &&
		told unbind $MNT/file,offset=8K $MNT/mapped,late && survives -o dax=always
}

without_dax() {
	mounted && busy && ns_unbind "$NS" && survives
}

begin 3
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_labels
require label $((128 << 20)) $((16 << 20))
on_exit unlabel
require make_fsdax "$NS" pmem
check "fsdax" \
	clean with_dax
require make_sector "$NS"
check "sector" \
	clean without_dax
require unlabel
require label $(((128 << 20) - PAGE)) $PAGE
check "raw, not aligned" \
	clean without_dax
finish
