# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The layout of mendfs, and cases of failed pages that several tests share.

# read_geometry -- read the superblock of DISK; sets BLOCKS, METADATA and JOURNAL, in blocks. See
# Documentation/mendfs-format.rst.
read_geometry() {
	read -r BLOCKS METADATA JOURNAL <<<"$(od -A n -t u8 -j 48 -N 24 -w24 "/dev/$DISK")"
	[ "$BLOCKS" = $(($(blockdev --getsize64 "/dev/$DISK") / PAGE)) ]
}

# superblock COPY, journal COPY BLOCK, metadata COPY BLOCK -- print the block number on the device.
superblock() {
	echo $(($1 * (BLOCKS - 1)))
}

journal() {
	echo $(($1 == 0 ? 1 + $2 : BLOCKS - 1 - JOURNAL + $2))
}

metadata() {
	echo $(($1 == 0 ? 1 + JOURNAL + $2 : BLOCKS - 1 - JOURNAL - METADATA + $2))
}

stays_bad() {
	fill stays 16 && poison_page stays 5 && remount && cannot_read stays 5 && cannot_touch stays 5 &&
		cannot_touch stays 5 write && same_except stays 5
}

written_whole() {
	fill whole 16 && poison_page whole 5 && cannot_read whole 5 && write_page whole 5 &&
		has_page whole 5 && same_except whole 5 && can_touch whole 5 && wait_repaired &&
		has_page whole 5
}

# A free page that fails is not allocated until it is repaired. The remount comes first, because an
# unmount waits until earlier failures are repaired.
free_fails() {
	local before

	remount && before=$(free_pages) && fill free 1 && FREE=$(address free 0) && rm free &&
		wait_for is free_pages "$before" && poison "$FREE" && is free_pages $((before - 1)) &&
		wait_for is free_pages "$before" && wait_repaired
}

# A page fails after a store through a mapping, before the kernel has written the page back.
dirty_fails() {
	fill dirty 16 && xfs_io -c 'mmap 0 64k' -c 'mwrite -S 5 8k 12k' dirty &&
		raise_machine_check "$(address dirty 3)" &&
		xfs_io -c fsync dirty && cannot_read dirty 3 && write_page dirty 3 &&
		has_page dirty 3 && xfs_io -c fsync dirty &&
		is sh -c "dd if=dirty bs=$PAGE skip=2 count=1 status=none | tr -d '\\5' | wc -c" 0
}

# until_full CALL -- evaluate a Python call with n = 0, 1, ... until it fails with ENOSPC.
until_full() {
	python3 - "$1" <<-'END'
		import errno, os, sys
		call = compile(sys.argv[1], "call", "eval")
		for n in range(10000):
		    try:
		        eval(call)
		    except OSError as error:
		        assert error.errno == errno.ENOSPC, error
		        assert n > 0, "the first call failed"
		        break
		else:
		    sys.exit(f"'{sys.argv[1]}' never fails")
	END
}
