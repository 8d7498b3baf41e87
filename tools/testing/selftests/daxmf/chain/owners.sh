#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# "daxmf owners" lists the owners of the bad ranges of a disk, and the processes that map them. The
# cases are: XFS on a volume of LVM, XFS without a reverse map, ext4 on a mapped device of two
# segments, and mendfs on a partition.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# --- Sectors on the disk ---

in_volume() { # sector
	echo $(($1 + FROM))
}

# place FILE PAGE -- print the page's sector on the disk.
place() {
	local sector

	sector=$(file_sector "$1" "$2") && "$IN_DISK" "$sector"
}

# add_bad FILE PAGE -- add the page to the bad blocks.
add_bad() {
	local sector

	sector=$(place "$@") && echo "$sector 8" >"/sys/block/$DISK/badblocks"
}

# --- The output ---

# owners [LINE...] -- check that the table for the bad ranges, or for RANGE, has these lines, with
# one space between columns and without addresses.
owners() {
	# shellcheck disable=SC2086 # two words
	daxmf owners "$DISK" $RANGE >"$TMP/report" || return
	cat "$TMP/report"
	printf '%s\n' "$@" | sed '/^$/d' >"$TMP/wanted"
	sed '1,/^KIND/d' "$TMP/report" | tr -s ' ' | sed 's/ at 0x.*//' | diff "$TMP/wanted" -
}

# owners_at FILE PAGE [LINE...] -- the same for a page that is not bad.
owners_at() {
	local sector

	sector=$(place "$1" "$2") && RANGE="$((sector * 512)) $PAGE" owners "${@:3}"
}

# in_json EXPRESSION -- check that the expression is true for the JSON report, r.
in_json() {
	daxmf owners --json "$DISK" >"$TMP/json"
	cat "$TMP/json" && json_is owners <"$TMP/json" || return
	python3 -c "import json; r = json.load(open('$TMP/json')); assert ($1), r"
}

# maps FILE PAGE -- start a process that maps this page, until the end of the case; sets PID.
maps() {
	python3 - "$@" <<-'END' >"$TMP/mapped" &
		import mmap, os, signal, sys
		file = os.open(sys.argv[1], os.O_RDWR)
		memory = mmap.mmap(file, mmap.PAGESIZE, offset=int(sys.argv[2]) * mmap.PAGESIZE)
		print("mapped", flush=True)
		signal.pause()
	END
	PID=$!
	on_exit end_process $PID && wait_for grep -q mapped "$TMP/mapped"
}

# --- Cases ---

nothing_is_bad() {
	daxmf owners "$DISK" | grep -F "$DISK: no bad ranges"
}

# The table lists all files that share a page, and the processes that map the page. One file has a
# newline in its name.
shared() {
	local name=$'a\nb'

	fill "$name" 16 && share "$name" clone && add_bad clone 5 && maps clone 5 || return
	owners "file 0x5000 0x1000 $MNT/a\\nb" "file 0x5000 0x1000 $MNT/clone" \
		" mapped by $PID (python3)" &&
		in_json "[(o['path'], o['offset'], o['length'], [p['pid'] for p in o['processes']])
			for o in r['filesystems'][0]['owners']]
			== [('$MNT/a\\nb', 0x5000, 0x1000, []), ('$MNT/clone', 0x5000, 0x1000, [$PID])]" &&
		clear_bad_blocks "$DISK"
}

# The file has no name any more, but a process maps it.
deleted() {
	local inode

	fill deleted 16 && inode=$(stat -c %i deleted) && add_bad deleted 3 && maps deleted 3 &&
		rm deleted && owners "file 0x3000 0x1000 inode $inode, without a name" \
		" mapped by $PID (python3)" && clear_bad_blocks "$DISK"
}

# Adjacent pages are one range. Pages with a gap between them are two.
ranges() {
	fill ranges 16 && add_bad ranges 3 && add_bad ranges 4 && add_bad ranges 9 &&
		owners "file 0x3000 0x2000 $MNT/ranges" "file 0x9000 0x1000 $MNT/ranges" &&
		clear_bad_blocks "$DISK" && owners_at ranges 7 "file 0x7000 0x1000 $MNT/ranges"
}

# A file with two names is listed once.
two_names() {
	fill first 16 && ln first second && add_bad first 3 && daxmf owners "$DISK" >"$TMP/report" &&
		is grep -c "^file " "$TMP/report" 1 && clear_bad_blocks "$DISK"
}

# --pfn lists the same as the offset of the page frame.
page_frame() {
	local offset

	fill frame 16 && offset=$(($(place frame 7) * 512)) &&
		daxmf owners "$DISK" $offset $PAGE >"$TMP/by-offset" &&
		daxmf owners --pfn "$(printf %#x $(((START + offset) / PAGE)))" | diff "$TMP/by-offset" - &&
		grep -q "$MNT/frame" "$TMP/by-offset"
}

# fails -- check that "daxmf owners" fails and does not wait for a lease.
fails() {
	local status=0

	timeout $DEADLINE daxmf owners "$DISK" >"$TMP/report" 2>"$TMP/errors" || status=$?
	cat "$TMP/report" "$TMP/errors"
	[ $status = 1 ] || fail "the status is $status"
}

# A file with a lease cannot be searched. The other files are searched.
leased() {
	fill leased 16 && fill other 16 && add_bad leased 3 && add_bad other 3 && hold_lease leased &&
		fails && grep "^file .* 0x3000 .* $MNT/other$" "$TMP/report" &&
		grep "^unknown .* no owner was found$" "$TMP/report" &&
		grep -F "daxmf: $MNT/leased: not searched: a process has a lease" "$TMP/errors" &&
		rm leased && fails && grep "^file .* 0x3000 .* $MNT/other$" "$TMP/report" &&
		grep -F "daxmf: $MNT/leased (deleted): not searched: a process has a lease" "$TMP/errors" &&
		clear_bad_blocks "$DISK"
}

# The directory is so large that it has its own blocks.
directory() {
	mkdir directory && touch directory/{1..300} && sync && echo text >file && sync file &&
		daxmf owners "$DISK" 0 "$(blockdev --getsize64 "/dev/$DISK")" >"$TMP/report" &&
		grep "^directory .* 0x0 .* $MNT/directory$" "$TMP/report" &&
		grep "^file .* 0x0 .* $MNT/file$" "$TMP/report"
}

# others NOTE -- check that metadata in the first page is listed with NOTE, and free space as free.
others() {
	local at

	at=$("$IN_DISK" 0) && RANGE="$((at * 512)) $PAGE" owners "metadata 0x0 0x1000 $1" &&
		fill free 4 && at=$(place free 1) && rm free && sync &&
		RANGE="$((at * 512)) $PAGE" wait_for free_there
}

free_there() {
	owners | grep -q "^free .* free space$"
}

refuses() {
	fails_with "needs root" setpriv --reuid 65534 --clear-groups daxmf owners "$DISK" &&
		fails_with "none: not a block device" daxmf owners none &&
		fails_with "$MNT: not a block device" daxmf owners $MNT &&
		fails_with "no such range" daxmf owners "$DISK" 0 0x4000000000000000 &&
		fails_with "no such range" daxmf owners "$DISK" 0 0 &&
		fails_with "LENGTH" daxmf owners "$DISK" 4096 &&
		fails_with "not part of a persistent-memory disk" daxmf owners --pfn 1 &&
		fails_with "not part of a persistent-memory disk" daxmf owners --pfn 0xffffffffffffffff &&
		fails_with "cannot be used with" daxmf owners --pfn 1 "$DISK" &&
		fails_with "invalid value" daxmf owners "$DISK" -- -1 4096
}

# The log of XFS has no owners to look up.
log_device() {
	map data <<<"$(linear 0 310 "$DISK" 16)" && map log <<<"$(linear 0 80 "$DISK" 330)" &&
		make_xfs -l logdev=/dev/mapper/log /dev/mapper/data && mkdir -p $MNT &&
		mount -o logdev=/dev/mapper/log /dev/mapper/data $MNT && on_exit unmount || return
	fails_with "mount option logdev" daxmf owners "$DISK" $((330 << 20)) $PAGE &&
		fails_with "see the errors" daxmf owners "$DISK" $((330 << 20)) $PAGE &&
		daxmf owners "$DISK" 0 $PAGE | grep -F "no mounted filesystem uses the bad ranges"
}

# A device of md or bcache has slaves, too.
other_device() {
	mkdir "$TMP/slaves" "$TMP/slaves/other" && mount --bind "$TMP/slaves" "/sys/block/$DISK/slaves" &&
		on_exit umount "/sys/block/$DISK/slaves" || return
	fails_with "$DISK: devices on other devices are not supported" daxmf owners "$DISK"
}

nothing_mounted() {
	echo "64 8" >"/sys/block/$DISK/badblocks" &&
		daxmf owners "$DISK" | grep -F "no mounted filesystem uses the bad ranges" && clear_bad_blocks "$DISK"
}

# --- Filesystems ---

xfs_on_volume() {
	IN_DISK=in_volume
	require volume_group "/dev/$DISK"
	require volume lv -l 100%FREE
	FROM=$(dmsetup table "/dev/$DM" | cut -d' ' -f5)
	require make_xfs "/dev/$DM"
	require mount_dax "/dev/$DM"
	require cd $MNT
	on_exit cd /
	check "xfs on a volume: nothing is bad" nothing_is_bad
	check "xfs on a volume: all owners of a shared page" with_undo shared
	check "xfs on a volume: a file without a name" with_undo deleted
	check "xfs on a volume: ranges" ranges
	check "xfs on a volume: a page frame" with_undo page_frame
	check "xfs on a volume: a directory" directory
	check "xfs on a volume: metadata and free space" others superblock
}

ext4_on_mapped() {
	IN_DISK=in_swapped
	require swap_halves
	require make_ext4 "/dev/$DM"
	require mount_dax "/dev/$DM"
	require cd $MNT
	on_exit cd /
	check "ext4 on a mapped device: a file without a name" with_undo deleted
	check "ext4 on a mapped device: ranges" ranges
	check "ext4 on a mapped device: a file with a lease" with_undo leased
	check "ext4 on a mapped device: a directory" directory
	check "ext4 on a mapped device: metadata and free space" others superblock
}

# Without a reverse map, "daxmf owners" searches all files.
xfs_without_map() {
	IN_DISK=in_volume
	FROM=0
	require mkfs.xfs -q -f -m rmapbt=0,reflink=1 "/dev/$DISK"
	require mount_dax "/dev/$DISK"
	require cd $MNT
	on_exit cd /
	check "xfs without a reverse map: all owners of a shared page" with_undo shared
	check "xfs without a reverse map: a file with two names" two_names
}

mendfs_on_partition() {
	IN_DISK=in_volume
	require make_partition
	require mkfs.mendfs -q -f "/dev/${DISK}p1"
	require mount_mendfs "/dev/${DISK}p1"
	require cd $MNT
	on_exit cd /
	check "mendfs on a partition: all owners of a shared page" with_undo shared
	check "mendfs on a partition: ranges" ranges
	check "mendfs on a partition: metadata and free space" others metadata
}

begin 21
require_disk "$KIND"
with_undo xfs_on_volume
with_undo xfs_without_map
with_undo ext4_on_mapped
with_undo mendfs_on_partition
check "the log device of a filesystem" with_undo log_device
check "a device on other devices that is not a mapped device" with_undo other_device
check "no filesystem is mounted" nothing_mounted
check "invalid arguments are refused" refuses
finish
