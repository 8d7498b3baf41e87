#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The driver notifies the filesystem of errors that a scrub found: mendfs always, XFS only with the
# policy "always".

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# finds FILE PAGE -- inject an error in the page. The firmware notifies the kernel, which starts a
# scrub.
finds() {
	call_firmware 7 1 "$(address "$1" "$2")" $PAGE
}

# own FILE PAGE -- start a process that maps the page and has early signals enabled; sets OWNER.
own() {
	rm -f "$TMP/owner"
	python3 - "$1" "$2" >"$TMP/owner" <<-END &
		import ctypes, mmap, os, signal, sys
		ctypes.CDLL(None).prctl(33, 1, 1, 0, 0) # PR_MCE_KILL, PR_MCE_KILL_SET, EARLY
		memory = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 65536)
		memory[int(sys.argv[2]) * $PAGE]
		print("ready", flush=True)
		signal.pause()
	END
	OWNER=$!
	wait_for grep -q ready "$TMP/owner"
}

ended() {
	! kill -0 "$OWNER"
}

is_signalled() {
	wait_for ended && wait "$OWNER"
	is echo $? $((128 + 7))
}

is_not_signalled() {
	kill "$OWNER"
	wait "$OWNER"
	is echo $? $((128 + 15))
}

policy() {
	echo "$1" >"/sys/block/$DISK/memory_failure/found"
}

# state -- print the four counters, and the number of pages without a notification.
state() {
	echo "$(counters "$DISK") $(cat "/sys/block/$DISK/memory_failure/found_unnotified")"
}

xfs_is_not_notified() {
	own file 2 && finds file 2 && wait_for is state "0 0 0 0 1" && cannot_read file 2 &&
		is_not_signalled
}

# The scrub finds the old error together with the new one. XFS is notified of the new one only.
xfs_is_notified() {
	policy always && own file 3 && finds file 3 && is_signalled && wait_for is state "1 1 0 0 1"
}

notified_again() {
	write_page file 3 && own file 3 && finds file 3 && is_signalled && wait_for is state "2 2 0 0 1"
}

filesystem_lives() {
	write_page file 2 && write_page file 3 && is bad_blocks "" && is firmware_errors "" && cd / && unmount
}

use_disk() {
	on_exit cd /
	START=$(($(ns_get "$NS" resource)))
	cd $MNT && fill file 16
}

mendfs_is_notified() {
	ns_unbind "$NS" && mendfs_on "$NS" && use_disk && own file 2 && finds file 2 && is_signalled &&
		wait_for is state "1 1 0 0 0" && cannot_read file 2
}

# nfit lists page 5 after the kernel has handled the failure. The holder is notified only once.
consumed_error_once() {
	raise_machine_check "$(address file 5)" && finds file 7 && wait_for is state "3 3 0 0 0"
}

# mendfs repairs the metadata from its other copy.
metadata_is_repaired() {
	for page in 2 5 7; do
		write_page file $page || return
	done
	read_geometry && call_firmware 7 1 $((START + $(metadata 0 0) * PAGE)) $PAGE &&
		wait_for is state "4 4 0 0 0" && wait_repaired && is firmware_errors "" && cd / && check_and_mount && unmount
}

begin 7
require_scrubs
require make_page_data
require xfs_on "$NS"
require use_disk
check "XFS is not notified" xfs_is_not_notified
check "XFS is notified of new errors with policy always" xfs_is_notified
check "XFS is notified again of a page that was written and fails again" notified_again
check "the filesystem still works" filesystem_lives
check "mendfs is notified" mendfs_is_notified
check "an error that a process consumed is notified once" consumed_error_once
check "metadata of mendfs is repaired" metadata_is_repaired
finish
