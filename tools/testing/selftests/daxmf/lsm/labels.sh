#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# SELinux labels on mendfs: an inode gets its label when it is created.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

LABELLED=u:object_r:labelled

# policy -- print the smallest policy that SELinux accepts, in the oldest format. A file that a task
# of type "domain" creates in a directory of type "plain" gets the type "labelled". A file of mendfs
# without a label is "plain".
policy() {
	python3 - <<-END
		import struct, sys

		def words(*numbers):
		    return struct.pack("<%dI" % len(numbers), *numbers)

		def named(name, *numbers):
		    return words(len(name), *numbers) + name

		def bits(*which):
		    mask = sum(1 << bit for bit in which)
		    return words(64, 64, 1, 0) + struct.pack("<Q", mask) if which else words(64, 0, 0)

		def table(count, *entries):
		    return words(count, len(entries)) + b"".join(entries)

		kinds = [b"file", b"dir", b"lnk_file", b"fifo_file", b"sock_file", b"chr_file", b"blk_file"]
		process = named(b"process", 0, 1, 2, 2, 0) + named(b"transition", 1) + named(b"dyntransition", 2)
		domain, plain, labelled = 1, 2, 3
		out = words(0xf97cff8c) + named(b"SE Linux") + words(15, 4, 5, 6)
		# commons, classes, roles (object_r is implicit), types, users
		out += table(0)
		out += table(1 + len(kinds), process, *(named(kind, 0, 2 + i, 0, 0, 0) for i, kind in enumerate(kinds)))
		out += table(2, named(b"r", 2) + bits(1) + bits(0, 1, 2))
		out += table(3, named(b"domain", 1, 1), named(b"plain", 2, 1), named(b"labelled", 3, 1))
		out += table(1, named(b"u", 1) + bits(1))
		# type transitions
		out += words(len(kinds))
		for i in range(len(kinds)):
		    out += words(5, domain, plain, 2 + i, 0x10, labelled)
		# transitions between roles, and which are allowed
		out += words(0, 0)
		# initial security identifiers: kernel, security, unlabeled, file and so on
		out += words(27) + words(1, 1, 2, domain)
		for known in range(2, 28):
		    out += words(known, 1, 1, plain)
		# old filesystem contexts, ports, interfaces, nodes
		out += words(0, 0, 0, 0)
		out += words(1, 1) + named(b"mendfs") + words(1, 1, plain)
		# filesystems by path
		out += words(0)
		sys.stdout.buffer.write(out)
	END
}

load_policy() {
	mount -t selinuxfs none /sys/fs/selinux && on_exit umount /sys/fs/selinux &&
		policy >"$TMP/policy" && dd if="$TMP/policy" of=/sys/fs/selinux/load bs=1M status=none
}

label() {
	getfattr -h --only-values -n security.selinux "$1" | tr -d '\0'
}

makes() {
	touch file && mkdir dir && ln -s file link && mkfifo fifo && mknod device c 1 3 &&
		xfs_io -T -c 'flink unnamed' . && is label file $LABELLED
}

# After a mount, SELinux reads the labels from the media.
has_labels() {
	local name status=0

	remount || return
	for name in file dir link fifo device unnamed; do
		is label $name $LABELLED || status=1
	done
	is label . u:object_r:plain && [ $status = 0 ]
}

# A file gets its label from the directory that it is created in.
below() {
	touch dir/file && remount && is label dir/file $LABELLED
}

freed() {
	local free

	free=$(stat -f -c %d .) && makes_many && remount && [ "$(stat -f -c %d .)" -lt "$free" ] &&
		rm -r many && is stat -f -c %d . "$free"
}

makes_many() {
	local i

	mkdir many && for ((i = 0; i < 100; i++)); do
		echo >many/$i || return
	done
}

grep -qw selinuxfs /proc/filesystems || skip_all "needs SELinux: security=selinux"
begin 4
require_ns memmap
require load_policy
require use_mendfs "$NS"
check "new inodes have a label" makes
check "the labels are on the media" has_labels
check "a file in a labelled directory has a label" below
check "labels are freed with their inodes" freed
finish
