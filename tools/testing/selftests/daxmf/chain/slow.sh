#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A write that repairs a page can wait for its source as long as the writing process wants, for
# example for a page of a FUSE filesystem. Meanwhile other processes can repair their pages.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# write_slowly FILE PAGE -- write from memory whose page fault waits until $TMP/go exists, for
# DEADLINE / 2 seconds at most. Makes $TMP/waits when the write waits, and $TMP/answered when the
# page fault ends. The userfaultfd stands for a FUSE filesystem, which any user can mount.
write_slowly() {
	python3 - "$1" "$2" "$TMP" $((DEADLINE / 2)) <<-'END'
		import ctypes, fcntl, mmap, os, struct, sys, threading, time

		SYS_USERFAULTFD, UFFDIO_API, UFFDIO_REGISTER, UFFDIO_ZEROPAGE = \
		    323, 0xc018aa3f, 0xc020aa00, 0xc020aa04
		libc = ctypes.CDLL(None, use_errno=True)
		file, page, folder = os.open(sys.argv[1], os.O_RDWR), int(sys.argv[2]), sys.argv[3]
		memory = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE)
		address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
		faults = libc.syscall(SYS_USERFAULTFD, os.O_CLOEXEC)
		fcntl.ioctl(faults, UFFDIO_API, bytearray(struct.pack("3Q", 0xaa, 0, 0)))
		fcntl.ioctl(faults, UFFDIO_REGISTER, bytearray(struct.pack("4Q", address, 4096, 1, 0)))

		def answer():
		    os.read(faults, 32)
		    open(folder + "/waits", "w").close()
		    end = time.monotonic() + int(sys.argv[4])
		    while not os.path.exists(folder + "/go") and time.monotonic() < end:
		        time.sleep(0.05)
		    open(folder + "/answered", "w").close()
		    fcntl.ioctl(faults, UFFDIO_ZEROPAGE, bytearray(struct.pack("4Q", address, 4096, 0, 0)))

		thread = threading.Thread(target=answer, daemon=True)
		thread.start()
		assert os.pwrite(file, memory, page * 4096) == 4096
		thread.join()
	END
}

another_repairs() {
	local slow status=0

	fill $MNT/slow 16 && poison_page $MNT/slow 5 && fill $MNT/other 16 && poison_page $MNT/other 5 || return
	write_slowly $MNT/slow 5 &
	slow=$!
	make_page_data
	wait_for test -e "$TMP/waits" && write_page $MNT/other 5 && has_page $MNT/other 5 || status=1
	[ ! -e "$TMP/answered" ] || fail "the other page was repaired only after the slow write ended" || status=1
	touch "$TMP/go"
	wait $slow && dax_read $MNT/slow 5 && same_except $MNT/other 5 && [ $status = 0 ] && wait_repaired
}

begin 1
[ -e /dev/userfaultfd ] || skip_all "needs userfaultfd"
require_disk "$KIND"
require xfs_on "$NS"

check "a page is repaired while another write waits for its source" \
	another_repairs
finish
