#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Devices that are too small, read-only, in use, or without DAX; unknown options.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# The smallest device that mkfs accepts without options, in blocks: 512 before the data, one of
# data, and the second copies of superblock, journal and metadata.
LEAST=$((512 + 1 + 1 + 64 + 16))

# resize SECTORS [FROM] -- set the size of the mapped device "small".
resize() {
	echo 0 "$1" linear "/dev/$DISK" "${2:-0}" | reload small
}

# blocks N [FROM] -- the same with the size in blocks.
blocks() {
	resize $(($1 * 8)) "$2"
}

make() {
	mkfs.mendfs -q -f "$@" "/dev/$DM"
}

# mounts [OPTION...] -- check that DM can be mounted with these options and written.
mounts() {
	mount_mendfs "/dev/$DM" "$@" && echo text >$MNT/file && sync && is cat $MNT/file text &&
		rm $MNT/file && unmount && fsck_clean "/dev/$DM"
}

# refuses WORDS [OPTION...] -- check that mount fails with these words, and leaves no mount.
refuses() {
	local words=$1

	shift
	modprobe mendfs && mkdir -p $MNT &&
		fails_with "$words" mount -t mendfs "$@" "/dev/$DM" $MNT && ! mountpoint -q $MNT
}

smallest() {
	blocks $((LEAST - 1)) && fails_with "too few or too many" make &&
		blocks $LEAST && make && mounts
}

largest() {
	truncate -s $((1 << 60)) "$TMP/image" &&
		fails_with "too few or too many" mkfs.mendfs "$TMP/image" && rm "$TMP/image"
}

# A filesystem is smaller than its device, and the device had a larger filesystem earlier.
shorter() {
	blocks 4096 && make && fails_with "it has 4096 blocks" make --blocks 4097 &&
		make --blocks 1024 && mounts && geometry_is 1024 && fsck_clean "/dev/$DM" &&
		is sh -c "tail -c $PAGE '/dev/$DM' | tr -d '\0' | wc -c" 0
}

# geometry_is BLOCKS -- check that the superblock has this number of blocks.
geometry_is() {
	is od -A n -t u8 -j 48 -N 8 "/dev/$DM" "$(printf %21d "$1")"
}

# The partition is not aligned, so huge pages cannot map it.
unaligned() {
	local output

	echo 2048,32768 | sfdisk -q -X dos "/dev/$DISK" && settle &&
		output=$(mkfs.mendfs -q -f "/dev/${DISK}p1" 2>&1) || return
	[[ $output == *"does not start at a multiple of 2 MiB"* ]] || fail "mkfs said '$output'" ||
		return
	mount_mendfs "/dev/${DISK}p1" && fallocate -l 4M $MNT/file &&
		xfs_io -c 'mmap 0 4m' -c 'mwrite -S 5 0 4m' -c 'msync -s' $MNT/file &&
		is sh -c "tr -d '\\5' <$MNT/file | wc -c" 0 && unmount && fsck_clean "/dev/${DISK}p1" &&
		wipefs -qa "/dev/$DISK" && blockdev --rereadpt "/dev/$DISK"
}

odd_sizes() {
	local output

	resize $((LEAST * 8 + 1)) && output=$(make 2>&1) || return
	[[ $output == *"not a multiple of 4 KiB"* ]] || fail "mkfs said '$output'" || return
	refuses "$DM: start or size is not a multiple of 4096 bytes"
}

truncated() {
	blocks 4096 && make && blocks 4095 && refuses "Structure needs cleaning" &&
		log_says 'mendfs: .*superblock: sizes that do not fit the device' &&
		fails_with "no superblock" fsck.mendfs -y "/dev/$DM" &&
		blocks 5000 && mounts && blocks 4096 && mounts
}

without_dax() {
	local output DM

	truncate -s 8M "$TMP/image" && DM=$(losetup -f --show "$TMP/image") || return
	DM=${DM#/dev/}
	output=$(make 2>&1) && [[ $output == *"warning: it has no DAX"* ]] &&
		refuses "$DM: the device does not support DAX"
	local status=$?

	losetup -d "/dev/$DM" && rm "$TMP/image" || return
	[ $status = 0 ] || fail "mkfs said '$output'"
}

read_only_device() {
	local before

	make && mount_mendfs "/dev/$DM" && echo text >$MNT/file && unmount &&
		blockdev --setro "/dev/$DM" && before=$(sha256sum <"/dev/$DM") || return
	fails_with "it is read-only" make &&
		fails_with "it is read-only" fsck.mendfs -y "/dev/$DM" && fsck_clean "/dev/$DM" &&
		mount_mendfs "/dev/$DM" && is cat $MNT/file text &&
		fails_with "Read-only file system" touch $MNT/other &&
		fails_with "write-protected" mount -o remount,rw $MNT &&
		blockdev --setrw "/dev/$DM" &&
		fails_with "was read-only when it was mounted" mount -o remount,rw $MNT &&
		unmount && is sh -c "sha256sum <'/dev/$DM'" "$before"
	local status=$?

	blockdev --setrw "/dev/$DM"
	return $status
}

read_only_mount() {
	make && mount_mendfs "/dev/$DM" -o ro && fails_with "Read-only" touch $MNT/file &&
		mount -o remount,rw $MNT && touch $MNT/file && mount -o remount,ro $MNT &&
		fails_with "Read-only" touch $MNT/other && unmount && fsck_clean "/dev/$DM"
}

in_use() {
	make && mount_mendfs "/dev/$DM" && fails_with "it is mounted" make &&
		fails_with "it is mounted" fsck.mendfs -y "/dev/$DM" &&
		fails_with "it is mounted" fsck.mendfs -p "/dev/$DM" && fsck_clean "/dev/$DM" &&
		unmount
}

# Two mounts of a device are the same filesystem.
twice() {
	mkdir -p "$TMP/second" && make && mount_mendfs "/dev/$DM" &&
		fails_with "already mounted" mount -t mendfs -o ro "/dev/$DM" "$TMP/second" &&
		mount -t mendfs "/dev/$DM" "$TMP/second" && echo text >$MNT/file &&
		is cat "$TMP/second/file" text && unmount && is cat "$TMP/second/file" text &&
		umount "$TMP/second" && fsck_clean "/dev/$DM"
}

# zero_ends -- zero both ends of 400 MiB, so that mkfs finds no old filesystem.
zero_ends() {
	local mib

	for mib in 0 399; do
		dd if=/dev/zero "of=/dev/$DM" bs=1M seek=$mib count=1 oflag=direct status=none ||
			return
	done
}

# keeps WORDS COMMAND... -- the command writes to the device. Check that mkfs overwrites the result
# only with -f.
keeps() {
	local words=$1

	shift
	zero_ends && "$@" "/dev/$DM" &&
		fails_with "there is a $words on it" mkfs.mendfs "/dev/$DM" &&
		mkfs.mendfs -q -f "/dev/$DM" && fsck_clean "/dev/$DM" && mounts
}

keeps_others() {
	resize $((400 * 2048)) && keeps "mendfs filesystem" mkfs.mendfs -qf &&
		keeps "ext4 filesystem" make_ext4 && keeps "xfs filesystem" make_xfs &&
		keeps "swap filesystem" mkswap -q && keeps "dos partition table" partition
}

partition() {
	echo 2048,4096 | sfdisk -q --no-reread --no-tell-kernel -X dos "$1"
}

bad_options() {
	blocks 4096 && make && refuses "Unknown parameter 'colour'" -o colour=blue &&
		refuses "only dax=always" -o dax=never && refuses "only dax=always" -o dax=inode &&
		mounts -o dax=always && mounts -o dax,noatime,nodev && mount_mendfs "/dev/$DM" &&
		findmnt -no OPTIONS $MNT | grep -w dax=always && unmount
}

bad_arguments() {
	fails_with "longer than 32 bytes" make -L "$(printf 'x%.0s' {1..33})" &&
		make -L "$(printf 'x%.0s' {1..32})" &&
		fails_with "invalid value" make -U nothing && fails_with "invalid value" make -j=-2 &&
		fails_with "sizes that do not fit" make -j 7 && fails_with "sizes that" make -j 6 &&
		fails_with "sizes that" make -j 4098 && fails_with "sizes that" make -m 0 &&
		fails_with "sizes that" make -m 4000 &&
		fails_with "No such file" mkfs.mendfs /dev/nothing &&
		fails_with "neither a block device nor a file" mkfs.mendfs $MNT &&
		fails_with "No such file" fsck.mendfs /dev/nothing &&
		make -j 8 -m 1 && mounts
}

# A device without a mendfs superblock.
nothing_there() {
	dd if=/dev/zero "of=/dev/$DM" bs=1M count=16 oflag=direct status=none &&
		refuses "wrong fs type" &&
		log_says 'mendfs: .*superblock: not a structure of this filesystem' &&
		fails_with "no superblock" fsck.mendfs -y "/dev/$DM"
}

# set_in_superblock OFFSET NUMBER -- write 4 bytes in both copies, and correct the checksum.
set_in_superblock() {
	python3 - "/dev/$DM" "$@" <<-'END'
		import os, struct, sys
		device = os.open(sys.argv[1], os.O_RDWR)
		last = os.lseek(device, 0, os.SEEK_END) - 4096
		for start in (0, last):
		    block = bytearray(os.pread(device, 4096, start))
		    struct.pack_into("<I", block, int(sys.argv[2]), int(sys.argv[3]))
		    crc = 0xffffffff
		    for byte in block[4:]:
		        crc ^= byte
		        for _ in range(8):
		            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
		    struct.pack_into("<I", block, 0, crc ^ 0xffffffff)
		    os.pwrite(device, block, start)
		os.fsync(device)
	END
}

# A filesystem of another version or with unknown features is refused, and not changed.
other_formats() {
	local advice="copy the files with the mendfs of that version, and make the filesystem anew"
	local before version

	make || return
	for version in 1 3; do
		set_in_superblock 40 $version && before=$(sha256sum <"/dev/$DM") &&
			refuses "wrong fs type" &&
			log_says "mendfs: .*superblock: format version $version, .*: $advice" &&
			fails_with "format version $version, and only 2 is known: $advice" \
				fsck.mendfs -y "/dev/$DM" &&
			is sh -c "sha256sum <'/dev/$DM'" "$before" || return
	done
	set_in_superblock 40 2 && set_in_superblock 124 8 && refuses "wrong fs type" &&
		log_says "mendfs: .*superblock: features 0x800000000 are not known" &&
		fails_with "features 0x800000000 are not known" fsck.mendfs -n "/dev/$DM" &&
		fails_with "mendfs filesystem on it" mkfs.mendfs "/dev/$DM" &&
		set_in_superblock 124 0 && mounts
}

# image NAME OPTION... -- make a small image with a fixed time and UUID.
image() {
	truncate -s 16M "$TMP/$1" &&
		SOURCE_DATE_EPOCH=1700000000 mkfs.mendfs -q -U 12345678-1234-1234-1234-123456789abc \
			"${@:2}" "$TMP/$1"
}

same_image() {
	local secret=0123456789abcdef0123456789abcdef

	image one --secret $secret && image other --secret $secret && image third &&
		cmp "$TMP/one" "$TMP/other" && ! cmp -s "$TMP/one" "$TMP/third" &&
		fsck_clean "$TMP/one" && fsck_clean "$TMP/third" || return
	! fsck.mendfs -nv --json "$TMP/one" | grep -i 0123456789abcdef || fail "it prints the secret" ||
		return
	! fsck.mendfs --list "$TMP/one" | grep -i 0123456789abcdef || fail "it prints the secret" ||
		return
	fails_with "invalid value" image one -f --secret 0123 && rm "$TMP/"{one,other,third}
}

begin 17
require_ns "$KIND"
require ns_bind "$NS"
DISK=$(ns_disk "$NS")
require modprobe loop
check "a device that huge pages cannot map" with_undo unaligned
require map small 0 $((LEAST * 8)) linear "/dev/$DISK" 0

check "the smallest device" with_undo smallest
check "a device that is too large" with_undo largest
check "a filesystem that is smaller than its device" with_undo shorter
check "a device that does not lie on whole pages is refused" with_undo odd_sizes
check "a truncated device is refused, a grown one is mounted" with_undo truncated
check "a device without DAX is refused" with_undo without_dax
require blocks 4096
check "a read-only device is read, and not written" with_undo read_only_device
check "a mount can be changed between read-only and read-write" with_undo read_only_mount
check "mkfs and fsck leave a mounted device alone" with_undo in_use
check "two mounts are one filesystem" with_undo twice
check "mkfs overwrites other contents only with -f" with_undo keeps_others
check "mount options" with_undo bad_options
check "arguments of mkfs and fsck" with_undo bad_arguments
check "a device without a filesystem" with_undo nothing_there
check "other versions and features are refused with advice" with_undo other_formats
check "images are reproducible" with_undo same_image
finish
