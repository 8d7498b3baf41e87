#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A mounted filesystem grows with its device: a volume of LVM, a mapped device, a partition.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# The default numbers of blocks before and after the growth.
OLD=4096 NEW=8192

# blocks N -- set the length of the mapped device.
blocks() {
	echo 0 $(($1 * 8)) linear "/dev/$A" 0 | reload resized
}

# go -- make and mount a filesystem of OLD blocks, extend the device to DEVICE or NEW blocks, and
# change to MNT.
go() {
	blocks $OLD && mkfs.mendfs -q -f "/dev/$DM" && mount_mendfs "/dev/$DM" &&
		blocks "${DEVICE:-$NEW}" && cd $MNT && on_exit cd /
}

grow() {
	mendfs grow $MNT "$@"
}

# resize BLOCKS -- call the ioctl directly.
resize() {
	python3 -c "import fcntl, os, struct
fcntl.ioctl(os.open('$MNT', os.O_RDONLY), 0x40086610, struct.pack('Q', $1))"
}

# size_is BLOCKS -- check that the superblock has this size, and that statfs() agrees.
size_is() {
	local shown data free

	shown=$(mendfs show --json "/dev/$DM") && read -r data free <<<"$(stat -f -c '%b %f' $MNT)" || return
	if [[ $shown != *'"blocks":'$1,* || $shown != *'"data_blocks":'$data,* || $free -gt $data ]]; then
		fail "wanted $1 blocks, statfs() has $data of data, $free of them free, and show $shown"
	fi
}

# checked -- check that fsck finds no damage, and that size and free space are the same after a
# mount.
checked() {
	local before DISK=$DM

	before=$(stat -f -c '%b %f' $MNT) && cd / && check_and_mount && cd $MNT &&
		is stat -f -c '%b %f' $MNT "$before"
}

# write_on -- write files until the file stop exists, each with an fsync(). Makes the file begun
# after ten files. Prints the number of files, and checks the last fifty.
write_on() {
	python3 - <<-'END'
		import os
		count = 0
		while not os.path.exists("stop"):
		    file = os.open(f"during.{count % 50}", os.O_CREAT | os.O_RDWR | os.O_TRUNC)
		    os.write(file, b"%09d\n" % count * 2000)
		    os.fsync(file)
		    os.close(file)
		    count += 1
		    if count == 10:
		        open("begun", "w").close()
		print(count)
		for n in range(max(0, count - 50), count):
		    with open(f"during.{n % 50}", "rb") as file:
		        assert file.read() == b"%09d\n" % n * 2000, n
	END
}

# While files are written, the filesystem grows twice, the second time onto another disk.
on_lvm() {
	local writer

	volume_group "/dev/$A" "/dev/$B" && volume lv -L 64M && daxmf stack attach /dev/vg/lv &&
		on_exit daxmf stack detach "$DM" && mkfs.mendfs -q -f "/dev/$DM" &&
		mount_mendfs "/dev/$DM" && cd $MNT && on_exit cd / && fill before 100 || return
	write_on >"$TMP/written" &
	writer=$!
	wait_for test -e begun && lvm_quietly lvextend -L 480M vg/lv && grow && size_is 122880 &&
		lvm_quietly lvextend -L 640M vg/lv && daxmf stack attach /dev/vg/lv && grow &&
		size_is 163840
	local status=$?

	touch stop
	wait $writer && cat "$TMP/written" && [ $status = 0 ] || return
	same_except before -1 && fallocate -l 520M gap && owners_notified 512 && same_except before -1 &&
		cat during.* >/dev/null && checked && same_except before -1
}

# owners_notified MIB -- make a page at or after this offset fail. Check that its owners are
# signalled, and that the page is repaired.
owners_notified() {
	fill last 16 && share last copy && [ "$(file_sector last 2)" -ge $(($1 * 2048)) ] &&
		owners_signalled corrupt-pfn last,offset=8K copy,offset=8K && rm last copy && repairs
}

# repairs -- wait until all bad blocks of both disks are repaired.
repairs() {
	DISK=$A wait_repaired && DISK=$B wait_repaired
}

# fill_up FILE -- write until there is no space.
fill_up() {
	dd if=/dev/zero of="$1" bs=64K status=none oflag=direct && return 1
	while dd if=/dev/zero of="$1" bs=4K count=1 oflag=append,direct conv=notrunc status=none; do :; done
	is stat -f -c %f $MNT 0
}

when_full() {
	go && fill before 16 && fill_up full && fails_with "No space left" fill after 16 &&
		is grow "$MNT: grown from $OLD to $NEW blocks of 4 KiB" && size_is $NEW &&
		is stat -f -c %f $MNT $((NEW - OLD)) && fill after 300 && same_except after -1 &&
		checked && same_except after -1 && same_except before -1 && rm full after before &&
		is stat -f -c %f $MNT "$(stat -f -c %b $MNT)" && checked
}

# The filesystem grows to a part of the device, then to the whole device.
to_a_size() {
	DEVICE=$((NEW + 1000)) go && grow 5000 && size_is 5000 && checked && size_is 5000 &&
		grow 28M && size_is 7168 && grow && size_is $((NEW + 1000)) && fill one 3900 &&
		fill other 3900 && checked && same_except one -1 && same_except other -1
}

refused() {
	go && fails_with "cannot become smaller" grow $((OLD - 1)) &&
		fails_with "make it larger first" grow $((NEW + 1)) &&
		fails_with "at least, not by 128" grow $((OLD + 128)) &&
		fails_with "multiple of 4K" grow 10K && fails_with "not a number" grow all &&
		fails_with "no mendfs is mounted here" mendfs grow / &&
		fails_with "not a directory" mendfs grow "/dev/$DM" &&
		fails_with "Invalid argument" resize $((OLD - 1)) && fails_with "Invalid argument" resize 0 &&
		fails_with "Invalid argument" resize $((OLD + 128)) &&
		fails_with "Invalid argument" resize $(((1 << 36) + 1)) &&
		fails_with "Invalid argument" resize '2**64 - 1' &&
		fails_with "Invalid argument" resize '2**52 + 8192' &&
		fails_with "No space left" resize $((NEW + 1)) && fails_with "No space left" resize $((1 << 36)) &&
		resize $OLD && fails_with "Bad address" bad_address && size_is $OLD || return
	fails_with "Operation not permitted" as_user resize $NEW &&
		fails_with "Operation not permitted" as_user resize $OLD &&
		mount -o remount,ro $MNT && fails_with "Read-only" resize $NEW &&
		fails_with "mounted read-only" grow && mount -o remount,rw $MNT && size_is $OLD &&
		checked && is grow --json "{\"blocks\":$NEW,\"blocks_before\":$OLD,\"directory\":\"$MNT\"}" &&
		is grow "$MNT: already has $NEW blocks of 4 KiB, nothing to do" && size_is $NEW && checked || return
	blocks $((NEW + 1000)) && fails_with "Input/output error" resize_shut_down $((NEW + 1000)) &&
		cd / && unmount && fsck_clean "/dev/$DM"
}

# resize_shut_down BLOCKS -- shut the filesystem down, then call the ioctl.
resize_shut_down() {
	python3 -c "import fcntl, os, struct
directory = os.open('$MNT', os.O_RDONLY)
fcntl.ioctl(directory, 0x8004587d, struct.pack('I', 2))
fcntl.ioctl(directory, 0x40086610, struct.pack('Q', $1))"
}

bad_address() {
	python3 -c "import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
if libc.ioctl(os.open('$MNT', os.O_RDONLY), ctypes.c_ulong(0x40086610), ctypes.c_void_p(8)):
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))"
}

# as_user COMMAND... -- run a command or a function as an ordinary user.
as_user() {
	# shellcheck disable=SC2163 # it has the name
	export -f "$1"
	MNT=$MNT setpriv --reuid 1000 --regid 1000 --clear-groups bash -c '"$@"' bash "$@"
}

# The new length of the device is not a whole number of blocks.
odd_device() {
	go && echo 0 $((NEW * 8 + 3)) linear "/dev/$A" 0 | reload resized && grow && size_is $NEW &&
		blocks $NEW && checked
}

# A resize waits while the filesystem is frozen. Several resizes at the same time succeed.
at_once() {
	local grower

	go && fsfreeze --freeze $MNT && on_exit thaw || return
	grow &
	grower=$!
	wait_for is_waiting && size_is $OLD && fsfreeze --unfreeze $MNT && wait $grower && size_is $NEW &&
		blocks $((2 * NEW)) && in_parallel resize $((2 * NEW)) $((2 * NEW)) $((2 * NEW)) &&
		size_is $((2 * NEW)) && checked
}

is_waiting() {
	grep -qs percpu_rwsem /proc/[0-9]*/stack
}

thaw() {
	fsfreeze --unfreeze $MNT 2>/dev/null || true
}

# fail_and_resize BLOCK... SIZE -- make these blocks fail, and resize at once. mendfs repairs the
# blocks one second later.
fail_and_resize() {
	python3 - $MNT "$@" <<-END
		import fcntl, os, struct, sys
		directory = os.open(sys.argv[1], os.O_RDONLY)
		poison = os.open("/sys/kernel/debug/hwpoison/corrupt-pfn", os.O_WRONLY)
		*blocks, size = map(int, sys.argv[2:])
		for block in blocks:
		    try:
		        os.write(poison, hex($START // $PAGE + block).encode())
		    except OSError:
		        pass
		fcntl.ioctl(directory, 0x40086610, struct.pack("Q", size))
	END
}

# grown_clean -- check that the filesystem has grown, and that all failed blocks are repaired and
# free.
grown_clean() {
	size_is $NEW && repairs && wait_for is stat -f -c %f $MNT "$(stat -f -c %b $MNT)" && checked
}

# First, blocks fail in the new part of the device. Then, blocks fail where the second copies were.
# Last, blocks fail where the growth writes the new second copies.
bad_memory() {
	go && fail_and_resize $((OLD + 1000)) $((NEW - 200)) $NEW && grown_clean && cd / && unmount &&
		go && fail_and_resize $((OLD - 1)) $((OLD - 3)) $((OLD - 100)) $NEW && grown_clean &&
		cd / && unmount &&
		go && fail_and_resize $((NEW - 1)) $((NEW - 3)) $((NEW - 100)) $NEW && grown_clean
}

# The first superblock decides which size is valid, so growth fails if this superblock is bad.
first_superblock_bad() {
	go && fails_with "Input/output error" fail_and_resize 0 $NEW && log_says "first superblock is bad" &&
		repairs && size_is $OLD && grow && grown_clean
}

# Blocks fail again and again, in the new part and in the first copies.
while_memory_fails() {
	local failing size last=$((4 * NEW))

	DEVICE=$last go && fill before 100 || return
	while [ ! -e "$TMP/stop" ]; do
		poison $((START + (OLD + RANDOM % (last - OLD)) * PAGE))
		[ $((RANDOM % 8)) != 0 ] || poison $((START + (65 + RANDOM % 64) * PAGE))
	done 2>/dev/null &
	failing=$!
	for ((size = OLD + 3000; size < last; size += 3000)); do
		wait_for grow $size || break
		# The write can fail, too.
		fill "during.$size" 20
	done
	touch "$TMP/stop"
	wait $failing
	rm "$TMP/stop" && [ "$size" -ge $last ] && wait_for grow $last && size_is $last &&
		rm -f during.* && repairs && same_except before -1 && checked && same_except before -1
}

# Fill the device after the filesystem with garbage.
scribble() {
	tr '\0' x </dev/zero | dd of="/dev/$DM" bs=1M seek=$((OLD * PAGE)) count=$(((DEVICE - OLD) * PAGE)) \
		iflag=fullblock,count_bytes oflag=direct,seek_bytes status=none
}

# put IMAGE BLOCK COUNT [TO] -- write blocks of an image to the same blocks of the device, or to
# block TO.
put() {
	dd if="$1" of="/dev/$DM" bs=1M skip=$(($2 * PAGE)) seek=$((${4:-$2} * PAGE)) count=$(($3 * PAGE)) \
		iflag=fullblock,skip_bytes,count_bytes oflag=direct,seek_bytes conv=notrunc status=none
}

# left SIZE -- check that the filesystem has this size and its files after a crash, and can grow.
left() {
	[ "${TORN-}" ] || fsck_clean "/dev/$DM" || return
	mount_mendfs "/dev/$DM" -o noatime && size_is "$1" && same_except $MNT/before -1 &&
		[ "$(find $MNT/many -type f | wc -l)" = 300 ] && unmount && ! has_rest && fsck_clean "/dev/$DM" ||
		return
	[ "$1" = "$NEW" ] || { mount_mendfs "/dev/$DM" -o noatime && grow "$NEW" && size_is "$NEW" &&
		same_except $MNT/before -1 && unmount && fsck_clean "/dev/$DM"; }
}

# has_rest -- check that fsck finds blocks of an interrupted growth.
has_rest() {
	fsck.mendfs -nv "/dev/$DM" | grep 'interrupted growth'
}

# interrupted BLOCKS -- put the device into the state that a crash leaves at each step of a growth,
# and check the filesystem. The device is longer than the new size by BLOCKS.
interrupted() {
	local OLD=1024 NEW=2048 copies=81 n
	local DEVICE=$((NEW + $1)) new=$((NEW - copies)) last=$((NEW + $1 - 1))

	blocks $OLD && mkfs.mendfs -q -f "/dev/$DM" && mount_mendfs "/dev/$DM" -o noatime && fill $MNT/before 100 &&
		mkdir $MNT/many && for ((n = 0; n < 300; n++)); do : >$MNT/many/$n; done && unmount &&
		blocks $DEVICE && scribble && dd if="/dev/$DM" of="$TMP/old" bs=1M iflag=direct status=none &&
		mount_mendfs "/dev/$DM" -o noatime && grow $NEW && unmount && fsck_clean "/dev/$DM" &&
		dd if="/dev/$DM" of="$TMP/new" bs=1M iflag=direct status=none || return

	is sh -c "cmp -l '$TMP/old' '$TMP/new' | awk '\$1 > $PAGE && \$1 <= $((new * PAGE))' | wc -l" 0 || return
	echo "some of the second copies"
	put "$TMP/old" 0 $DEVICE && put "$TMP/new" $((new + 20)) 40 && left $OLD || return
	echo "the second superblock is torn"
	but_the_first && tear "$TMP/old" $last && left $OLD || return
	echo "all but the first superblock"
	but_the_first && has_rest && left $OLD || return
	echo "all but the first superblock, and fsck runs first"
	but_the_first && fsck.mendfs -y "/dev/$DM" && ! has_rest && left $OLD || return
	echo "the first superblock is torn"
	but_the_first && tear "$TMP/new" 0 && TORN=1 left $NEW || return
	echo "the first superblock is torn, and fsck runs first"
	but_the_first && tear "$TMP/new" 0 &&
		fails_with "superblock 0: wrong checksum" fsck.mendfs -p "/dev/$DM" && left $NEW || return
	echo "all but the blocks that are cleared at the end"
	put "$TMP/new" 0 $DEVICE && put "$TMP/new" $((NEW - 1)) 1 $last && left $NEW || return
	echo "a size without its second superblock is refused"
	but_the_first && put "$TMP/old" $((OLD + 1)) 1 $((OLD - 1)) &&
		fails_with "Structure needs cleaning" mount -t mendfs "/dev/$DM" $MNT
}

# but_the_first -- write all blocks of the growth to the device, except the first superblock.
but_the_first() {
	put "$TMP/old" 0 "$DEVICE" && put "$TMP/new" "$new" "$copies" &&
		put "$TMP/new" $((NEW - 1)) 1 "$last"
}

# tear IMAGE BLOCK -- overwrite 32 bytes of a block with those of the image, as a torn write does.
tear() {
	dd if="/dev/$DM" of="$TMP/torn" bs=$PAGE skip="$2" count=1 iflag=direct status=none &&
		dd if="$1" of="$TMP/torn" bs=32 skip=$(($2 * PAGE / 32)) count=1 conv=notrunc status=none &&
		dd if="$TMP/torn" of="/dev/$DM" bs=$PAGE seek="$2" oflag=direct conv=notrunc status=none
}

# The partition is in use, so only its size can change.
on_partition() {
	local DM=${A}p1

	printf 'label: gpt\nsize=64M\n' | sfdisk -q --wipe always "/dev/$A" && settle &&
		on_exit sfdisk -q --delete "/dev/$A" && mkfs.mendfs -q -f "/dev/$DM" && mount_mendfs "/dev/$DM" &&
		cd $MNT && on_exit cd / && fill before 100 && fails_with "busy" blockdev --rereadpt "/dev/$A" &&
		echo size=128M | sfdisk -q --no-reread --no-tell-kernel -N 1 "/dev/$A" && settle &&
		partx -u -n 1 "/dev/$A" && grow && size_is 32768 && fallocate -l 100M gap &&
		owners_notified 64 && checked && same_except before -1
}

begin 12
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require modprobe hwpoison-inject
require_disks
require modprobe daxmf_stack

check "a volume of LVM grows twice while files are written" with_undo on_lvm
check "a partition" with_undo on_partition
require map resized 0 $((OLD * 8)) linear "/dev/$A" 0
require daxmf stack attach "/dev/$DM"
on_exit daxmf stack detach "$DM"
check "a full filesystem grows" with_undo when_full
check "growth to a given size" with_undo to_a_size
check "invalid sizes and ordinary users are refused" with_undo refused
check "a device that is not a whole number of blocks" with_undo odd_device
check "growth during a freeze, and several at once" with_undo at_once
check "growth over bad memory" with_undo bad_memory
check "the first superblock is bad" with_undo first_superblock_bad
check "growth while memory fails" with_undo while_memory_fails
check "growth is interrupted" with_undo interrupted 0
check "growth is interrupted on a longer device" with_undo interrupted 500
finish
