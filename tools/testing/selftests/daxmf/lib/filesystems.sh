# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034 # the tests read START
#
# Makes, mounts and checks filesystems: XFS, ext4, mendfs.

# Make XFS with a reverse map, by which XFS finds the owners of a failed block.
make_xfs() {
	mkfs.xfs -q -f -m rmapbt=1,reflink=1 "$@"
}

# Make ext4. It supports DAX only if a block has the size of a page.
make_ext4() {
	mkfs.ext4 -q -F -b "$PAGE" "$@"
}

# unmount -- unmount MNT if it is a mount point. Read /proc/mounts, because stat() fails on a
# filesystem that is shut down.
unmount() {
	! grep -q " $MNT " /proc/mounts || umount "$MNT"
}

# mount_dax DEVICE -- mount with DAX, and check that DAX is on. Without DAX, XFS only warns.
mount_dax() {
	mkdir -p "$MNT"
	mount -o dax=always "$1" "$MNT" || return
	on_exit unmount
	findmnt -no OPTIONS "$MNT" | grep -q dax=always || fail "$1 has no DAX"
}

# xfs_on NS [OPTION...] -- bind the namespace, make XFS and mount it; sets DISK. The options are for
# mkfs.
xfs_on() {
	ns_bind "$1" || return
	DISK=$(ns_disk "$1")
	shift
	make_xfs "$@" "/dev/$DISK" && mount_dax "/dev/$DISK"
}

# ext4_on NS -- the same for ext4.
ext4_on() {
	ns_bind "$1" || return
	DISK=$(ns_disk "$1")
	make_ext4 "/dev/$DISK" && mount_dax "/dev/$DISK"
}

# mount_mendfs DEVICE [OPTION...] -- mount mendfs. The options are for mount.
mount_mendfs() {
	local device=$1

	shift
	mkdir -p "$MNT"
	modprobe mendfs && mount -t mendfs "$@" "$device" "$MNT" || return
	on_exit unmount
}

# mendfs_on NS [OPTION...] -- the same for mendfs.
mendfs_on() {
	ns_bind "$1" || return
	DISK=$(ns_disk "$1")
	shift
	mkfs.mendfs -q -f "$@" "/dev/$DISK" && mount_mendfs "/dev/$DISK"
}

# fsck_clean DEVICE -- check that fsck.mendfs finds no damage.
fsck_clean() {
	fsck.mendfs -n "$1"
}

# check_and_mount -- unmount mendfs, check it and mount it again.
check_and_mount() {
	unmount && fsck_clean "/dev/$DISK" && mount -t mendfs "/dev/$DISK" "$MNT"
}

# remount -- the same for a test whose working directory is MNT.
remount() {
	cd / && check_and_mount && cd "$MNT" || return
}

# use_mendfs NS [DRIVER] -- bind the namespace, make mendfs, mount it and change to MNT; sets NS,
# DISK and START.
use_mendfs() {
	cd / && unmount && ns_unbind "$1" && ns_bind "$1" "${2:-$DRIVER}" || return
	NS=$1
	DISK=$(ns_disk "$NS")
	START=$(ns_start "$NS")
	make_page_data
	mkfs.mendfs -q -f "/dev/$DISK" && mount_mendfs "/dev/$DISK" && cd "$MNT" && on_exit cd /
}

free_pages() {
	stat -f -c %f "$MNT"
}
