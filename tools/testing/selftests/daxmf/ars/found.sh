#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What a scrub finds goes to the filesystem: to mendfs at once, to XFS by choice.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# finds FILE PAGE -- the firmware reports it, and the kernel asks what there is.
finds() {
	in_firmware 7 1 "$(address "$1" "$2")" $PAGE
}

# own FILE PAGE -- a process that has the page mapped, and asked for early signals.
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

# state -- of the four counters, and the pages of which nobody was notified.
state() {
	echo "$(counters "$DISK") $(cat "/sys/block/$DISK/memory_failure/found_unnotified")"
}

xfs_is_not_told() {
	own file 2 && finds file 2 && wait_for is state "0 0 0 0 1" && cannot_read file 2 &&
		is_not_signalled
}

# The scrub finds the old error with the new one.
xfs_is_told_by_choice() {
	policy always && own file 3 && finds file 3 && is_signalled && wait_for is state "1 1 0 0 1"
}

told_again() {
	write_page file 3 && own file 3 && finds file 3 && is_signalled && wait_for is state "2 2 0 0 1"
}

filesystem_lives() {
	write_page file 2 && write_page file 3 && is bad_blocks "" && is injected "" && cd / && unmount
}

use_disk() {
	on_exit cd /
	START=$(($(ns_get "$NS" resource)))
	cd $MNT && fill file 16
}

mendfs_is_told() {
	ns_unbind "$NS" && mendfs_on "$NS" && use_disk && own file 2 && finds file 2 && is_signalled &&
		wait_for is state "1 1 0 0 0" && cannot_read file 2
}

# nfit lists it, too, when the failure was handled.
hit_is_told_once() {
	machine_check "$(address file 5)" && finds file 7 && wait_for is state "3 3 0 0 0"
}

# Metadata is written anew from its other copy.
metadata_is_mended() {
	for page in 2 5 7; do
		write_page file $page || return
	done
	geometry && in_firmware 7 1 $((START + $(metadata 0 0) * PAGE)) $PAGE &&
		wait_for is state "4 4 0 0 0" && mended && is injected "" && cd / && again && unmount
}

begin 7
require_scrubs
require page_data
require xfs_on "$NS"
require use_disk
check "XFS is not notified" xfs_is_not_told
check "XFS is notified by choice, of what is new" xfs_is_told_by_choice
check "and once more of what was written and fails anew" told_again
check "the filesystem lives" filesystem_lives
check "mendfs is notified" mendfs_is_told
check "what a process has hit is told once" hit_is_told_once
check "metadata of mendfs is mended" metadata_is_mended
finish
