#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A read() sleeps in the middle of a copy, while page faults move its file to other blocks. The
# read() must return the data of the file, and not what other files write to the old blocks.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# reads_own WHAT -- read a file of 4 pages of "a", whose reflinked copy is "other", into memory
# where the page fault waits for userfaultfd. Meanwhile store "b" to the pages of the file, and call
# the Python function WHAT. Then let the reader continue.
reads_own() {
	python3 - "$1" <<-END
		import ctypes, fcntl, mmap, os, struct, sys, threading

		SIZE = 4 * $PAGE
		SYS_userfaultfd = 323
		UFFDIO_API, UFFDIO_REGISTER, UFFDIO_ZEROPAGE = 0xc018aa3f, 0xc020aa00, 0xc020aa04

		def is_freed():
		    os.unlink("other")
		    with open("third", "wb", 0) as third:
		        try:
		            while third.write(b"c" * 65536):
		                pass
		        except OSError:
		            pass

		def is_written():
		    with open("other", "r+b", 0) as other:
		        other.write(b"c" * SIZE)

		def is_stored():
		    with open("other", "r+b", 0) as other, mmap.mmap(other.fileno(), SIZE) as memory:
		        memory[:] = b"c" * SIZE

		def is_swapped():
		    is_stored()
		    is_freed()

		# Memory that is not present yet
		libc = ctypes.CDLL(None, use_errno=True)
		memory = mmap.mmap(-1, SIZE)
		address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
		uffd = libc.syscall(SYS_userfaultfd, os.O_CLOEXEC)
		assert uffd >= 0
		fcntl.ioctl(uffd, UFFDIO_API, bytearray(struct.pack("QQQ", 0xaa, 0, 0)))
		fcntl.ioctl(uffd, UFFDIO_REGISTER, bytearray(struct.pack("QQQQ", address, SIZE, 1, 0)))

		file = os.open("file", os.O_RDWR)
		store = mmap.mmap(file, SIZE)
		done = []
		reader = threading.Thread(target=lambda: done.append(libc.pread(file, ctypes.c_void_p(address), SIZE, 0)))
		reader.start()
		os.read(uffd, 32)
		# The reader sleeps in the first page.
		store[:] = b"b" * SIZE
		globals()[sys.argv[1]]()
		fcntl.ioctl(uffd, UFFDIO_ZEROPAGE, bytearray(struct.pack("QQQQ", address, SIZE, 0, 0)))
		reader.join()
		assert done == [SIZE], done
		assert set(memory[:]) <= set(b"ab"), "it read %r" % set(memory[:])
		assert store[:] == b"b" * SIZE
	END
}

# case_of WHAT -- make the files, call reads_own, and check that all blocks are free afterwards.
case_of() {
	local free

	rm -f file other third && free=$(free_pages) && head -c $((4 * PAGE)) /dev/zero | tr '\0' a >file && share file other &&
		reads_own "$1" && rm -f file other third && is free_pages "$free" && remount_small &&
		is free_pages "$free"
}

remount_small() {
	cd / && unmount && fsck_clean "/dev/$DM" && mount -t mendfs "/dev/$DM" $MNT && cd $MNT || return
}

begin 4
[ -e /proc/sys/vm/unprivileged_userfaultfd ] || skip_all "needs userfaultfd()"
require_disk "$KIND"
# The device is so small that is_freed() can write to all of its blocks.
# shellcheck disable=SC2046 # these are words
require map small $(linear 0 16 "$DISK" 0)
require mkfs.mendfs -q -f "/dev/$DM"
require mount_mendfs "/dev/$DM"
cd $MNT || exit
on_exit cd /

check "the blocks that are read are freed and used again" case_of is_freed
check "the blocks that are read belong only to another file, which is written" case_of is_written
check "the blocks that are read are stored to through the mapping of another file" case_of is_stored
check "the blocks that are read are stored to through another file, and then freed" case_of is_swapped
finish
