#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Full devices, metadata that is full and cannot grow, and changes larger than the journal: what cannot be done fails and
# leaves no trace, what makes room goes on working, and all room comes back.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# make OPTION... -- a filesystem on the mapped device, mounted; sets EMPTY.
make() {
	mkfs.mendfs -q -f "$@" "/dev/$DM" && mount_mendfs "/dev/$DM" && cd $MNT &&
		on_exit cd / && EMPTY=$(room)
}

# room -- free blocks and inodes.
room() {
	stat -f -c '%f %d' $MNT
}

no_room() {
	fails_with "No space left" "$@"
}

# checked -- all is well on the media, and after a mount there is what there was.
checked() {
	local before DISK=$DM

	before=$(room) && cd / && again && cd $MNT && is room "$before"
}

# emptied -- without files, all room is back.
emptied() {
	rm -rf ./* && sync -f . && is room "$EMPTY" && checked
}

# until_full CALL -- a call of Python's, with n from 0 on, until it fails for lack of room.
until_full() {
	python3 - "$1" <<-'END'
		import errno, os, sys
		call = compile(sys.argv[1], "call", "eval")
		for n in range(10000):
		    try:
		        eval(call)
		    except OSError as error:
		        assert error.errno == errno.ENOSPC, error
		        assert n > 0, "there was no room at all"
		        break
		else:
		    sys.exit(f"'{sys.argv[1]}' never fails")
	END
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

# make_narrow [BLOCKS] -- a filesystem whose metadata cannot grow: a file has the room for that, and
# there are only so many other blocks, which no two copies of more metadata fit.
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

# turnover -- the room of a file that is removed is there for the next at once, each time.
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

# block NUMBER -- it is followed by a hole, and so an extent of its own.
block() {
	xfs_io -c "pwrite -q $((2 * $1 * PAGE)) 1" file
}

full_of_extents() {
	local n

	make_narrow 47 && touch file && fallocate -l 64K long || return
	for n in {1..25}; do
		ln file "file.$n" || return
	done
	until_full "os.pwrite(3, b'x', 2 * n * $PAGE)" 3<>file &&
		no_room xfs_io -c 'fpunch 4k 4k' long && no_room cp --reflink=always long clone &&
		is stat -c %s long 65536 && checked &&
		xfs_io -c 'fpunch 0 4k' long && xfs_io -c 'fpunch 60k 4k' long &&
		truncate -s 8K file && block 1 && emptied
}

# --- The journal ---

# holes FILE BLOCKS -- every other block is one.
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

# copy_media -- what is on the media at this moment.
copy_media() {
	dd "if=/dev/$DM" "of=/dev/$COPY" bs=1M oflag=direct status=none
}

# has_orphans -- the copy has inodes without a link.
has_orphans() {
	fsck.mendfs -nv "/dev/$COPY" | grep -q "removed while open"
}

# What was removed while it was open is gone after a crash, however much there is of it.
orphans() {
	make -m 300 && make_many many 4096 && touch file && setfattr -n user.a -v b file &&
		exec 8<file 9<many && rm file many && sync -f . && copy_media
	local status=$?

	exec 8<&- 9<&-
	cd / && unmount && [ $status = 0 ] && fsck_clean "/dev/$COPY" && has_orphans &&
		mount_mendfs "/dev/$COPY" && is room "$EMPTY" && unmount && fsck_clean "/dev/$COPY"
}

no_orphans() {
	copy_media && ! has_orphans
}

# The inode of an empty file goes with the next change, when the filesystem is synced, and by itself.
removed_later() {
	make && touch a b c d && mkdir e && rm a && touch f && no_orphans &&
		rm b && sync -f . && no_orphans && rm c d && rmdir e && wait_for no_orphans &&
		rm f && emptied
}

begin 8
require_ns "$KIND"
require ns_bind "$NS"
require map copy 0 65536 linear "/dev/$(ns_disk "$NS")" 65536
COPY=$DM
require map small 0 65536 linear "/dev/$(ns_disk "$NS")" 0

check "full of data" clean full_of_data
check "full of inodes" clean full_of_inodes
check "full of names" clean full_of_names
check "full of attributes" clean full_of_attributes
check "full of extents" clean full_of_extents
check "changes larger than the journal" clean larger_than_journal
check "files without a name at a mount" clean orphans
check "inodes of empty files" clean removed_later
finish
