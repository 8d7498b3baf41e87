#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# "daxmf status" prints the driver, the holder and the bad bytes of each disk with DAX, and what to
# do next.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# shows DEVICE WORD... -- check that the line of the device has exactly these words.
shows() {
	is eval "daxmf status | sed -n '/^$/q; s/  */ /g; s/^$1 //p'" "${*:2}"
}

# next -- print the advice about DISK and DM.
next() {
	daxmf status | sed '1,/^$/d' | grep "$DISK\\b\|$DM\\b" || :
}

DM=none

nothing() {
	shows "$DISK" daxmf_pmem - - 0 0 0 0 && is next ''
}

# An ordinary user chooses the source of a mount of FUSE. Only the device number counts.
other_source() {
	mkdir "$TMP/other" && mount -t tmpfs "/dev/$DISK" "$TMP/other" && on_exit umount "$TMP/other" || return
	shows "$DISK" daxmf_pmem - - 0 0 0 0
}

# The name of the mount point has an escape sequence, a space and a byte that is not UTF-8.
hostile_mount_point() {
	local point=$TMP/$'a\e[2J \xff'

	mkdir "$point" && make_xfs "/dev/$DISK" && mount "/dev/$DISK" "$point" && on_exit umount "$point" || return
	shows "$DISK" daxmf_pmem "xfs on $TMP/a\\u{1b}[2J \\xff" - 0 0 0 0
}

mounted() {
	make_xfs "/dev/$DISK" && mount_dax "/dev/$DISK" && fill $MNT/file 16 || return
	shows "$DISK" daxmf_pmem "xfs on $MNT" - 0 0 0 0 && is next ''
}

failed() {
	poison_page $MNT/file 3 || return
	shows "$DISK" daxmf_pmem "xfs on $MNT" 0x1000 1 1 0 0 &&
		is next "$DISK has bad memory: 'daxmf owners $DISK' lists the affected files" &&
		write_page $MNT/file 3 oflag=direct && is next ''
}

partition() {
	cd / && unmount && make_partition && make_xfs "/dev/${DISK}p1" && mount "/dev/${DISK}p1" $MNT &&
		shows "$DISK" daxmf_pmem "xfs on $MNT" - 1 1 0 0
}

# advice -- print how "daxmf status" advises to attach DM.
advice() {
	echo "$DM is not attached to $DISK, so its holder is not notified of failures: 'daxmf stack attach $DM' attaches it"
}

mapped_partition() {
	cd / && unmount && map part <<<"$(linear 0 100 "${DISK}p1" 0)" || return
	shows "$DISK" daxmf_pmem "$DM (not attached)" - 1 1 0 0 && shows "$DM" on "$DISK" - - - - - - &&
		is next "$(advice)"
}

mapped() {
	cd / && unmount && map one <<<"$(linear 0 400 "$DISK" 16)" && make_xfs "/dev/$DM" &&
		mount_dax "/dev/$DM" || return
	shows "$DISK" daxmf_pmem "$DM (not attached)" - 1 1 0 0 && shows "$DM" on "$DISK" "xfs on $MNT" - - - - - &&
		is next "$(advice)"
}

# A bad page of the disk is a bad page of the attached device.
attached() {
	modprobe daxmf_stack && daxmf stack attach "$DM" && on_exit daxmf stack detach "$DM" &&
		fill $MNT/file 16 && is next '' || return
	poison $((START + (16 << 20) + $(file_sector $MNT/file 3) * 512)) || return
	shows "$DISK" daxmf_pmem "$DM" 0x1000 2 2 0 0 &&
		shows "$DM" on "$DISK" "xfs on $MNT" 0x1000 1 1 0 0
}

declined() {
	cd / && unmount && poison $((START + (16 << 20))) 2>/dev/null
	is eval "next | tail -n 1" "$DM: not all failures were handled: 'daxmf events $DM' shows why"
}

as_json() {
	daxmf status --json >"$TMP/json" && json_is status <"$TMP/json" && python3 - "$TMP/json" "$DISK" "$DM" <<-END
		import json, sys
		status = json.load(open(sys.argv[1]))
		disk, mapped = ([device for device in status["devices"] if device["device"] == name]
		                for name in sys.argv[2:])
		assert disk == [{"device": "$DISK", "driver": "daxmf_pmem", "below": [], "above": ["$DM"],
		    "attached": ["$DM"], "mount": None, "bad": {"bytes": 8192, "is_all": True, "ranges": 2},
		    "memory_failures": {"received": 3, "delivered": 2, "declined": 1, "failed": 0}}], disk
		assert mapped[0]["below"] == ["$DISK"] and mapped[0]["driver"] is None, mapped
		assert any("daxmf owners $DISK" in line for line in status["next"]), status
	END
}

other_driver() {
	ns_bind "$NS" nd_pmem && DISK=$(ns_disk "$NS") && shows "$DISK" nd_pmem - - - - - - &&
		is next "$DISK has the driver nd_pmem: install daxmf_pmem.conf to use daxmf_pmem instead"
}

refused() {
	fails_with "needs root" setpriv --reuid=1000 --clear-groups daxmf status &&
		fails_with "unexpected argument" daxmf status pmem0
}

begin 13
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_ns "$KIND"
require make_page_data
check "another driver" with_undo other_driver
require_disk "$KIND"
check "a disk without a holder" nothing
check "another filesystem with the disk as its source" with_undo other_source
check "a mount point with a hostile name" with_undo hostile_mount_point
check "a filesystem" mounted
check "bad memory until it is written" failed
check "a filesystem on a partition" partition
check "a mapped device on a partition that is not attached" with_undo mapped_partition
check "a mapped device that is not attached" mapped
check "a mapped device that is attached" attached
check "failures that were declined" declined
check "as JSON" as_json
check "ordinary users and wrong arguments are refused" refused
finish
