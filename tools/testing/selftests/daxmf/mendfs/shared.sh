#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Processes fault the same page through several files that share it, while other such files are made
# and removed.
#
#   RUNTIME=SECONDS	duration [10]

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

RUNTIME=${RUNTIME:-10}

# Two processes fault the page of their own files again and again. Two more clone the page, map the
# clone and remove it.
fault_shared() {
	python3 - $MNT "$RUNTIME" <<-'END'
		import fcntl, mmap, os, sys, time
		FICLONE = 0x40049409
		directory, end = sys.argv[1], time.monotonic() + float(sys.argv[2])

		def clone(source, path):
		    file = os.open(path, os.O_RDWR | os.O_CREAT)
		    fcntl.ioctl(file, FICLONE, source)
		    return file

		def fault(memory, file):
		    while time.monotonic() < end:
		        for _ in range(100):
		            assert memory[0] == ord("x")
		            memory.madvise(mmap.MADV_DONTNEED)

		def replace(memory, source):
		    path = f"{directory}/{os.getpid()}"
		    while time.monotonic() < end:
		        file = clone(source, path)
		        with mmap.mmap(file, 4096) as memory:
		            assert memory[0] == ord("x")
		            os.unlink(path)
		            os.close(file)

		with open(f"{directory}/source", "wb") as file:
		    file.write(b"x" * 4096)
		source = os.open(f"{directory}/source", os.O_RDWR)
		children = []
		for n, work in enumerate((fault, fault, replace, replace)):
		    file = clone(source, f"{directory}/{n}")
		    memory = mmap.mmap(file, 4096)
		    children.append(os.fork())
		    if children[-1] == 0:
		        work(memory, file)
		        os._exit(0)
		sys.exit(any(os.waitpid(child, 0)[1] for child in children))
	END
}

# Stock fs/dax.c warns when it considers a page unmapped that a process still maps.
shared() {
	mendfs_on "$NS" && fault_shared && rm $MNT/* && sync -f $MNT &&
		is stat -f -c %f $MNT "$(stat -f -c %b $MNT)" && unmount && fsck_clean "/dev/$DISK"
}

begin 1
require_ns "$KIND"
check "files that share a page" with_undo shared
finish
