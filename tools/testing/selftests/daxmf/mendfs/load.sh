#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Memory fails while a filesystem is mounted or unmounted. Every failure is handled.

KIND=${KIND:-virtio}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

ROUNDS=5

# middle COPY -- print the address of the metadata block in the middle of a copy.
middle() {
	echo $((START + $(metadata "$1" $((METADATA / 2))) * PAGE))
}

start_mount() {
	mount -t mendfs "/dev/$DISK" $MNT &
	MOUNT=$!
}

# fails_meanwhile ADDRESS -- make the page fail, and check that the filesystem handles the failure
# before the mount ends.
fails_meanwhile() {
	until poison "$1" 2>/dev/null; do
		kill -0 "$MOUNT" || return
	done
	if mountpoint -q $MNT || ! kill -0 "$MOUNT"; then
		fail "the mount has already ended"
	fi
}

# mounts -- wait until the mount succeeds, and change to MNT.
mounts() {
	wait "$MOUNT" && cd $MNT || return
}

unmounts() {
	cd / && unmount && fsck_clean "/dev/$DISK"
}

# repairs -- repair page 5 of the file by a write, which can move the page to another block.
repairs() {
	write_page file 5 && has_page file 5 && address file 5 >"$TMP/file" && wait_repaired
}

data_fails() {
	start_mount && fails_meanwhile "$(cat "$TMP/file")" && mounts && cannot_read file 5 &&
		cannot_touch file 5 && same_except file 5 && repairs && unmounts
}

# metadata_fails COPY -- a metadata block of this copy fails during the mount.
metadata_fails() {
	start_mount && fails_meanwhile "$(middle "$1")" && mounts && wait_repaired && touch new &&
		rm new && unmounts
}

free_fails_meanwhile() {
	start_mount && fails_meanwhile "$(cat "$TMP/unused")" && mounts && wait_repaired &&
		is free_pages "$(cat "$TMP/free")" && unmounts
}

# The device is removed during the mount, which fails.
removed() {
	start_mount && fails_meanwhile "$(cat "$TMP/unused")" && ns_unbind "$NS" || return
	! wait $MOUNT || fail "it was mounted" || return
	ns_bind "$NS" && DISK=$(ns_disk "$NS") && fsck_clean "/dev/$DISK" && start_mount && mounts &&
		unmounts
}

# An unmount repairs memory that failed before. It does not repair bad pages of files, which mendfs
# records on the media.
before_unmount() {
	start_mount && mounts && poison "$(cat "$TMP/file")" && poison "$(middle 0)" &&
		poison "$(cat "$TMP/unused")" && unmounts || return
	is sh -c "wc -l <'/sys/block/$DISK/badblocks'" 1 && start_mount && mounts &&
		cannot_read file 5 && repairs && unmounts
}

# Failures after the unmount are declined. The next mount finds the bad memory.
after_unmount() {
	local before

	before=$(counters "$DISK")
	fails_with busy poison "$(cat "$TMP/file")" && fails_with busy poison "$(cat "$TMP/unused")" &&
		counters_moved "$DISK" "$before" 0 2 0 && start_mount && mounts &&
		cannot_read file 5 && repairs && is free_pages "$(cat "$TMP/free")" && unmounts
}

# fail_pages ADDRESS... -- fail the pages in turn until the file stop exists; write the number to
# the file failures.
fail_pages() {
	local n=0 address

	until [ -e "$TMP/stop" ]; do
		for address; do
			poison "$address"
			n=$((n + 1))
		done
	done 2>/dev/null
	echo $n >"$TMP/failures"
}

storm() {
	local i
	local -a was now

	read -ra was <<<"$(counters "$DISK")"
	fail_pages "$(cat "$TMP/file")" "$(cat "$TMP/unused")" "$(middle 0)" &
	for ((i = 0; i < ROUNDS; i++)); do
		if ! { mount -t mendfs "/dev/$DISK" $MNT && mkdir $MNT/dir.$i && umount $MNT; }; then
			break
		fi
	done
	touch "$TMP/stop"
	wait
	read -ra now <<<"$(counters "$DISK")"
	echo "received delivered declined failed: ${was[*]}, then ${now[*]}"
	[ $i = $ROUNDS ] || fail "it could not be mounted or unmounted" || return
	[ $((now[0] - was[0])) = "$(cat "$TMP/failures")" ] || fail "not all failures were received" || return
	[ $((now[1] + now[2])) = "${now[0]}" ] || fail "some failures were neither delivered nor declined" || return
	[ "${now[1]}" -gt "${was[1]}" ] || fail "no failure was delivered" || return
	[ "${now[2]}" -gt "${was[2]}" ] || fail "no failure was declined" || return
	start_mount && mounts && cannot_read file 5 && repairs &&
		is sh -c 'ls -d dir.* | wc -l' $ROUNDS && rmdir dir.* && unmounts && clear_bad_blocks "$DISK"
}

# make BLOCKS -- make a filesystem with this number of metadata blocks, and two files.
make() {
	mkfs.mendfs -q -f -m "$1" "/dev/$DISK" && read_geometry && start_mount && mounts && fill file 16 &&
		fill unused 64 && address file 5 >"$TMP/file" && address unused 63 >"$TMP/unused" &&
		rm unused && free_pages >"$TMP/free" && unmounts
}

begin 8
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require modprobe hwpoison-inject
require_ns "$KIND"
require use_mendfs "$NS"
require cd /
require unmount

# The filesystem has so much metadata that memory can fail during its mount.
require make 10000
check "a page of a file fails during a mount" data_fails
check "the first copy of metadata fails during a mount" metadata_fails 0
check "the second copy of metadata fails during a mount" metadata_fails 1
check "a free page fails during a mount" free_fails_meanwhile
check "the device is removed during a mount" removed
check "memory fails just before an unmount" before_unmount
check "memory fails after an unmount" after_unmount
require make 100
check "memory fails all the time during mounts and unmounts" storm
finish
