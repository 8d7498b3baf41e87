#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Memory that fails while a filesystem is being mounted or unmounted: none of it is lost.

KIND=${KIND:-virtio}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

ROUNDS=5

# middle COPY -- the address of the metadata block in the middle of a copy.
middle() {
	echo $((START + $(metadata "$1" $((METADATA / 2))) * PAGE))
}

start_mount() {
	mount -t mendfs "/dev/$DISK" $MNT &
	MOUNT=$!
}

# fails_meanwhile ADDRESS -- the filesystem takes the failure, and is not mounted yet.
fails_meanwhile() {
	until poison "$1" 2>/dev/null; do
		kill -0 "$MOUNT" || return
	done
	if mountpoint -q $MNT || ! kill -0 "$MOUNT"; then
		fail "it was mounted already"
	fi
}

# mounts -- and does what it has to.
mounts() {
	wait "$MOUNT" && cd $MNT || return
}

leaves() {
	cd / && unmount && fsck_clean "/dev/$DISK"
}

# heals -- page 5 of the file, which may move.
heals() {
	write_page file 5 && has_page file 5 && address file 5 >"$TMP/file" && mended
}

data_fails() {
	start_mount && fails_meanwhile "$(cat "$TMP/file")" && mounts && cannot_read file 5 &&
		cannot_touch file 5 && same_but file 5 && heals && leaves
}

# metadata_fails COPY
metadata_fails() {
	start_mount && fails_meanwhile "$(middle "$1")" && mounts && mended && touch new &&
		rm new && leaves
}

free_fails_meanwhile() {
	start_mount && fails_meanwhile "$(cat "$TMP/unused")" && mounts && mended &&
		is free_pages "$(cat "$TMP/free")" && leaves
}

# The device goes: there is nothing to mount.
removed() {
	start_mount && fails_meanwhile "$(cat "$TMP/unused")" && ns_unbind "$NS" || return
	! wait $MOUNT || fail "it was mounted" || return
	ns_bind "$NS" && DISK=$(ns_disk "$NS") && fsck_clean "/dev/$DISK" && start_mount && mounts &&
		leaves
}

# What fails before an unmount is mended and written down by it.
before_unmount() {
	start_mount && mounts && poison "$(cat "$TMP/file")" && poison "$(middle 0)" &&
		poison "$(cat "$TMP/unused")" && leaves || return
	is sh -c "wc -l <'/sys/block/$DISK/badblocks'" 1 && start_mount && mounts &&
		cannot_read file 5 && heals && leaves
}

# What fails afterwards is nobody's, until the next mount.
after_unmount() {
	local before

	before=$(counters "$DISK")
	fails_with busy poison "$(cat "$TMP/file")" && fails_with busy poison "$(cat "$TMP/unused")" &&
		counters_moved "$DISK" "$before" 0 2 0 && start_mount && mounts &&
		cannot_read file 5 && heals && is free_pages "$(cat "$TMP/free")" && leaves
}

# fail_pages ADDRESS... -- one after the other, until told to stop; writes down how many.
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
	[ $((now[0] - was[0])) = "$(cat "$TMP/failures")" ] || fail "not all were received" || return
	[ $((now[1] + now[2])) = "${now[0]}" ] || fail "some have failed, or were lost" || return
	[ "${now[1]}" -gt "${was[1]}" ] || fail "none was delivered" || return
	[ "${now[2]}" -gt "${was[2]}" ] || fail "none was declined" || return
	start_mount && mounts && cannot_read file 5 && heals &&
		is sh -c 'ls -d dir.* | wc -l' $ROUNDS && rmdir dir.* && leaves && mend "$DISK"
}

# make BLOCKS -- a filesystem with so many blocks of metadata.
make() {
	mkfs.mendfs -q -f -m "$1" "/dev/$DISK" && geometry && start_mount && mounts && fill file 16 &&
		fill unused 64 && address file 5 >"$TMP/file" && address unused 63 >"$TMP/unused" &&
		rm unused && free_pages >"$TMP/free" && leaves
}

begin 8
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require modprobe hwpoison-inject
require_ns "$KIND"
require use_mendfs "$NS"
require cd /
require unmount

# So many that a mount takes a while.
require make 10000
check "a page of a file fails while it is mounted" data_fails
check "the first copy of metadata fails while it is mounted" metadata_fails 0
check "the second copy of metadata fails while it is mounted" metadata_fails 1
check "a free page fails while it is mounted" free_fails_meanwhile
check "the device is removed while it is mounted" removed
check "memory fails just before it is unmounted" before_unmount
check "memory fails after it was unmounted" after_unmount
require make 100
check "memory fails all the time" storm
finish
