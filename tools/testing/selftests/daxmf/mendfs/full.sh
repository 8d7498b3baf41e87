#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Full devices, full metadata that cannot grow, and changes that are larger than the journal.
# Operations that need space fail and change nothing. Operations that free space succeed. At the end
# all space is free again.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# make OPTION... -- make a filesystem on the mapped device and mount it; sets EMPTY.
make() {
	mkfs.mendfs -q -f "$@" "/dev/$DM" && mount_mendfs "/dev/$DM" && cd $MNT &&
		on_exit cd / && EMPTY=$(room)
}

# room -- print the numbers of free blocks and inodes.
room() {
	stat -f -c '%f %d' $MNT
}

no_room() {
	fails_with "No space left" "$@"
}

# mounted_again -- unmount, check that fsck finds no damage, and mount.
mounted_again() {
	local DISK=$DM

	cd / && check_and_mount && cd $MNT || return
}

# checked -- the same, and check that the free space does not change.
checked() {
	local before

	before=$(room) && mounted_again && is room "$before"
}

# emptied -- remove all files, and check that the free space is the same as at the start.
emptied() {
	rm -rf ./* && sync -f . && is room "$EMPTY" && checked
}

# --- Data ---

full_of_data() {
	local sum

	make && fill shared 4 && share shared clone && truncate -s 1M sparse || return
	no_room dd if=/dev/zero of=big bs=64K && is stat -f -c %f . 0 || return
	sum=$(sha256sum <shared)
	no_room dd if=/dev/zero of=sparse bs=$PAGE seek=9 count=1 conv=notrunc,fsync &&
		no_room fallocate -l 1M other && no_room xfs_io -c 'pwrite 0 10' clone &&
		! xfs_io -c 'mmap 0 1m' -c 'mwrite 0 1' sparse &&
		! xfs_io -c 'mmap 0 16k' -c 'mwrite 0 1' clone &&
		is sh -c 'sha256sum <shared' "$sum" && is sh -c 'sha256sum <clone' "$sum" &&
		is sh -c 'tr -d "\0" <sparse | wc -c' 0 &&
		xfs_io -c 'pwrite -q 0 64k' big && touch empty && mkdir directory && checked &&
		xfs_io -c 'fpunch 8k 4k' big && xfs_io -c 'pwrite -q 0 10' clone &&
		is stat -f -c %f . 0 && truncate -s 1M big && emptied
}

# --- Metadata ---

# make_narrow [BLOCKS] -- make a filesystem whose metadata cannot grow: the file room takes the free
# space, and the remaining BLOCKS are too few for two copies of a chunk.
make_narrow() {
	make -m 1 && touch room && fallocate -l $((($(stat -f -c %f .) - ${1:-0}) * PAGE)) room &&
		is stat -f -c %f . "${1:-0}"
}

full_of_inodes() {
	make_narrow && until_full "os.mknod(str(n))" && no_room mkdir directory &&
		no_room ln -s a link && no_room mknod pipe p && no_room cp 0 copy && checked &&
		turnover && no_room touch more && checked && rm new.0 && mkdir directory &&
		rmdir directory && emptied
}

# turnover -- check that the space of a removed file is free at once for the next file.
turnover() {
	python3 - <<-'END'
		import os
		for n in range(10):
		    os.unlink(str(n))
		    os.mknod(f"new.{n}")
	END
}

full_of_names() {
	make_narrow && touch file && until_full "os.link('file', str(n))" && no_room ln file other &&
		no_room setfattr -n user.a -v b file && no_room touch more && checked &&
		rm 0 && setfattr -n user.a -v b file && emptied
}

attribute() {
	setfattr -n "user.$1" -v "$(printf 'x%.0s' {1..400})" file
}

full_of_attributes() {
	make_narrow && touch file && until_full "os.setxattr('file', f'user.{n}', b'x' * 400)" &&
		no_room attribute 0 && checked &&
		setfattr -x user.0 file && attribute 0 && emptied
}

# block NUMBER -- write a block of the file "file". A hole follows, so the block becomes an extent.
block() {
	xfs_io -c "pwrite -q $((2 * $1 * PAGE)) 1" file
}

# A store to a shared page raises SIGBUS if there is no space for the extent of the copy. The block of
# the copy stays reserved until the next mount.
full_of_extents() {
	local n sum

	make_narrow 60 && fill source 4 && share source copy && sum=$(sha256sum <copy) &&
		touch file && fallocate -l 64K long || return
	for n in {1..25}; do
		ln file "file.$n" || return
	done
	until_full "os.pwrite(3, b'x', 2 * n * $PAGE)" 3<>file &&
		no_room xfs_io -c 'fpunch 4k 4k' long && no_room cp --reflink=always long clone &&
		is stat -c %s long 65536 && [ "$(stat -f -c %f .)" -gt 0 ] &&
		! xfs_io -c 'mmap 0 16k' -c 'mwrite 0 1' copy &&
		is sh -c 'sha256sum <copy' "$sum" && is sh -c 'sha256sum <source' "$sum" &&
		mounted_again && is sh -c 'sha256sum <copy' "$sum" && checked &&
		xfs_io -c 'fpunch 0 4k' long && xfs_io -c 'fpunch 60k 4k' long &&
		truncate -s 8K file && block 1 && emptied
}

# --- The journal ---

# holes FILE BLOCKS -- make a file in which every other block is a hole.
holes() {
	python3 - "$@" <<-'END'
		import os, sys
		f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
		for n in range(0, int(sys.argv[2]), 2):
		    os.pwrite(f, b"%d" % n, 4096 * n)
	END
}

larger_than_journal() {
	local number

	make -j 8 && holes a 2000 && cp --reflink=always a b && cp --reflink=always a c &&
		cp --reflink=always a d && truncate -s 8M e && checked || return
	rm a && truncate -s 0 b && xfs_io -c 'fpunch 0 8m' c && is stat -c %b c 0 &&
		xfs_io -c 'reflink e 0 0 8m' d && is stat -c %b d 0 && checked || return
	holes a 2000 && xfs_io -c 'falloc 0 8m' a && is stat -c %b a 16384 && touch file || return
	for number in {1..40}; do
		attribute "$number" || return
	done
	emptied
}

# copy_media -- copy the device as a crash would leave it.
copy_media() {
	dd "if=/dev/$DM" "of=/dev/$COPY" bs=1M oflag=direct status=none
}

# has_orphans -- check that the copy has inodes without a name.
has_orphans() {
	fsck.mendfs -nv "/dev/$COPY" | grep -q "removed while open"
}

# After a crash, a mount evicts files that were removed while open, however large they are.
orphans() {
	make -m 300 && make_self_shared many 4096 && touch file && setfattr -n user.a -v b file &&
		exec 8<file 9<many && rm file many && sync -f . && copy_media
	local status=$?

	exec 8<&- 9<&-
	cd / && unmount && [ $status = 0 ] && fsck_clean "/dev/$COPY" && has_orphans &&
		mount_mendfs "/dev/$COPY" && is room "$EMPTY" && unmount && fsck_clean "/dev/$COPY"
}

no_orphans() {
	copy_media && ! has_orphans
}

# The inode of a removed empty file is freed by the next change, by a sync, or after some time.
removed_later() {
	make && touch a b c d && mkdir e && rm a && touch f && no_orphans &&
		rm b && sync -f . && no_orphans && rm c d && rmdir e && wait_for no_orphans &&
		rm f && emptied
}

# A clone for which only a part of the records fits fails. Otherwise cp would report a whole copy.
cloned_in_part() {
	local n

	make -m 1 -j 8 && touch room file copy && holes many 80 || return
	for n in {1..30}; do
		ln file "file.$n" || return
	done
	fallocate -l $((($(stat -f -c %f .) - 20) * PAGE)) room &&
		until_full "os.link('file', str(n))" && rm file.* || return
	python3 - <<-'END' || return
		import errno, fcntl, os
		FICLONE = 0x40049409
		source, copy = os.open("many", os.O_RDONLY), os.open("copy", os.O_RDWR)
		try:
		    fcntl.ioctl(copy, FICLONE, source)
		except OSError as error:
		    assert error.errno == errno.ENOSPC, error
		else:
		    raise AssertionError("the clone succeeded")
		assert os.fstat(copy).st_blocks > 0, "nothing was shared"
	END
	checked && emptied
}

begin 9
require_ns "$KIND"
require ns_bind "$NS"
require map copy 0 65536 linear "/dev/$(ns_disk "$NS")" 65536
COPY=$DM
require map small 0 65536 linear "/dev/$(ns_disk "$NS")" 0

check "full of data" with_undo full_of_data
check "full of inodes" with_undo full_of_inodes
check "full of names" with_undo full_of_names
check "full of attributes" with_undo full_of_attributes
check "full of extents" with_undo full_of_extents
check "changes larger than the journal" with_undo larger_than_journal
check "a clone that fits in part fails" with_undo cloned_in_part
check "orphans at a mount" with_undo orphans
check "inodes of empty files" with_undo removed_later
finish
