#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The change counters of files and directories, which NFS uses, increase with each change. No system
# call returns them, so the test reads them from the media.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# version FILE -- print the change counter on the media.
version() {
	local number

	number=$(stat -c %i "$1") && sync -f $MNT &&
		fsck.mendfs --list "/dev/$DISK" | sed -n "s/^$number .*inode .*version=\([0-9]*\).*/\1/p"
}

# counts FILE COMMAND... -- check that the command increases the counter of the file.
counts() {
	local file=$1 before after

	# The kernel counts several changes as one until the counter is queried. Reading the inode
	# after a mount counts as a query.
	remount && before=$(version "$file") && "${@:2}" && after=$(version "$file") || return
	[ "$after" -gt "$before" ] || fail "'${*:2}': $after, and $before earlier"
}

store() {
	xfs_io -c 'mmap 0 4k' -c 'mwrite -S 7 0 100' file
}

write_here() {
	dd if=/dev/zero of=file bs=100 count=1 conv=notrunc status=none
}

contents() {
	fill file 4 && fill other 4 && counts file write_here && counts file store && counts file truncate -s 100 file &&
		counts file fallocate -l 8192 file && counts file xfs_io -c 'reflink other 0 0 4096' file
}

attributes() {
	counts file chmod 640 file && counts file chown 7 file && counts file touch file &&
		counts file setfattr -n user.a -v b file && counts file setfacl -m u:1000:r file &&
		counts file chattr +d file
}

names() {
	mkdir folder && counts . touch here && counts folder ln file folder/file && counts file ln file folder/again &&
		counts folder mv folder/file folder/moved && counts folder rm folder/moved &&
		counts file rm folder/again && counts . mv other folder/ && counts folder mkdir folder/in &&
		counts folder rmdir folder/in
}

# Neither a read nor a mount changes a counter.
reads() {
	local before

	remount && before=$(version file) && cat file >/dev/null && remount && ls -l . >/dev/null &&
		is version file "$before"
}

begin 4
require_ns "$KIND"
require mendfs_on "$NS"
cd $MNT || exit
on_exit cd /
check "contents" contents
check "attributes" attributes
check "names" names
check "reads change nothing" reads
finish
