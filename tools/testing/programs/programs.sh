#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Run the userspace programs on the host with output that cannot be written, and with missing input.

# shellcheck source=tools/testing/on-host.sh
. "$(dirname "$0")/../on-host.sh"

image=$work/image
config=$work/sys/kernel/config/daxmf_stack
counters=$work/sys/kernel/debug/daxmf_stack
root_options=(--bind "$work" "$work" --bind "$work/sys" /sys)

# program NAME ARGUMENT...: run the program with a folder of this test as /sys.
program()
{
	in_root "$top/build/tools/bin/$1" "${@:2}"
}

# ends STATUS NAME ARGUMENT...: check that the program ends with this exit status. Its output is in
# the files stdout and stderr.
ends()
{
	local wanted=$1 status=0
	program "${@:2}" >"$work/stdout" 2>"$work/stderr" </dev/null || status=$?
	echo "'${*:2}' ended with $status, and printed:"
	cat "$work/stdout" "$work/stderr"
	[ "$status" = "$wanted" ]
}

# Open a pipe without a reader as descriptor $broken.
open_broken_pipe()
{
	local reader
	rm -f "$work/pipe"
	mkfifo "$work/pipe"
	exec {reader}<>"$work/pipe"
	exec {broken}>"$work/pipe"
	exec {reader}>&-
}

# unwritten STATUS NAME ARGUMENT...: check that the program ends with this exit status if standard
# output is on a full disk or a pipe without a reader. For the disk it must print one line of error,
# and for the pipe none.
unwritten()
{
	local wanted=$1 status=0 broken
	shift
	program "$@" >/dev/full 2>"$work/full" </dev/null || status=$?
	echo "'$*' on a full disk ended with $status, and printed:"
	cat "$work/full"
	[ "$status" = "$wanted" ] &&
		[ "$(<"$work/full")" = "$1: standard output: No space left on device (os error 28)" ] ||
		return

	status=0
	open_broken_pipe
	program "$@" 1>&"$broken" 2>"$work/unread" </dev/null || status=$?
	exec {broken}>&-
	echo "'$*' to a pipe without a reader ended with $status, and printed:"
	cat "$work/unread"
	[ "$status" = "$wanted" ] && [ ! -s "$work/unread" ]
}

# Check the exit status if standard error cannot be written.
without_stderr() # status, name, argument...
{
	local status=0
	program "${@:2}" >/dev/null 2>/dev/full </dev/null || status=$?
	echo "'${*:2}' ended with $status"
	[ "$status" = "$1" ]
}

# Write the counters of a device of daxmf_stack as debugfs shows them.
count() # folder, received, delivered, declined, failed
{
	mkdir -p "$counters/$1"
	echo "$2" >"$counters/$1/received"
	echo "$3" >"$counters/$1/delivered"
	echo "$4" >"$counters/$1/declined"
	echo "$5" >"$counters/$1/failed"
}

# Write the files of two devices, with dm-0 attached to pmem0.
attached() # state
{
	rm -rf "$work/sys/kernel"
	mkdir -p "$config/pmem0/dm-0"
	count pmem0 3 2 1 0
	count pmem0/dm-0 2 2 0 0
	echo "${1:-attached}" >"$config/pmem0/dm-0/state"
}

# daxmf
# -----

lists()
{
	local lower='{"declined":1,"delivered":2,"failed":0,"received":3}'
	local upper='{"declined":0,"delivered":2,"failed":0,"received":2}'
	attached
	ends 0 daxmf stack list --json &&
		[ "$(<"$work/stdout")" = "[{\"device\":\"pmem0\",\"memory_failures\":$lower,\"uppers\":[{\"device\":\"dm-0\",\"memory_failures\":$upper,\"state\":\"attached\"}]}]" ] &&
		ends 0 daxmf stack list &&
		grep -qxE 'pmem0 +3 +2 +1 +0' "$work/stdout" &&
		grep -qxE '  dm-0 +2 +2 +0 +0' "$work/stdout" &&
		attached stale && ends 0 daxmf stack list &&
		grep -qxE '  dm-0 \(stale\) +2 +2 +0 +0' "$work/stdout"
}

# uncounted FILE WORDS: check that the program reports that it cannot read FILE, and prints no JSON.
# Its table must have no numbers for the device of the file.
uncounted()
{
	ends 1 daxmf stack list --json && [ ! -s "$work/stdout" ] &&
		grep -qxF "daxmf: $1: $2" "$work/stderr" &&
		ends 1 daxmf stack list &&
		grep -qxE '  dm-0 +- +- +- +-' "$work/stdout" &&
		grep -qxE 'pmem0 +3 +2 +1 +0' "$work/stdout" &&
		grep -qxF "daxmf: $1: $2" "$work/stderr"
}

counter_missing()
{
	attached
	rm "$counters/pmem0/dm-0/declined"
	uncounted /sys/kernel/debug/daxmf_stack/pmem0/dm-0/declined \
		"No such file or directory (os error 2)"
}

state_missing()
{
	attached
	rm "$config/pmem0/dm-0/state"
	uncounted /sys/kernel/config/daxmf_stack/pmem0/dm-0/state \
		"No such file or directory (os error 2)"
}

counter_no_number()
{
	attached
	echo many >"$counters/pmem0/dm-0/failed"
	uncounted /sys/kernel/debug/daxmf_stack/pmem0/dm-0/failed "'many' is not a number"
}

daxmf_unwritten()
{
	attached
	unwritten 1 daxmf stack list && unwritten 1 daxmf stack list --json &&
		unwritten 1 daxmf --help && unwritten 1 daxmf --version
}

# mendfs
# ------

mkfs_unwritten()
{
	truncate -s 8M "$image"
	unwritten 1 mkfs.mendfs -f "$image" && unwritten 1 mkfs.mendfs -f --json "$image" &&
		unwritten 1 mkfs.mendfs --help && ends 0 fsck.mendfs -n "$image"
}

fsck_unwritten()
{
	ends 0 mkfs.mendfs -f "$image" &&
		unwritten 8 fsck.mendfs "$image" && unwritten 8 fsck.mendfs -v "$image" &&
		unwritten 8 fsck.mendfs --json "$image" && unwritten 8 fsck.mendfs --list "$image" &&
		unwritten 8 fsck.mendfs --help
}

# fsck must not repair anything if it cannot print its findings.
fsck_unprinted()
{
	ends 0 mkfs.mendfs -f "$image" &&
		dd if=/dev/zero of="$image" bs=4096 count=1 conv=notrunc status=none &&
		cp "$image" "$image.damaged" &&
		unwritten 8 fsck.mendfs -y "$image" && cmp "$image" "$image.damaged" &&
		ends 1 fsck.mendfs -y "$image" && ends 0 fsck.mendfs -n "$image"
}

# Programs of the tests
# ---------------------

mfbench_unwritten()
{
	echo "read 1.00" >"$work/bounds"
	unwritten 2 mfbench report --bounds "$work/bounds" --kernel 7.3 --commit none \
		--out "$work" read && unwritten 2 mfbench --help
}

fsmodel_unwritten()
{
	mkdir -p "$work/empty"
	unwritten 2 fsmodel run --ops 0 "$work/empty" &&
		unwritten 2 fsmodel check --progress "$work/none" "$work/empty" &&
		unwritten 2 fsmodel --help
}

mfchain_unwritten()
{
	unwritten 2 mfchain touch "$work/none" && unwritten 2 mfchain --help
}

stderr_unwritten()
{
	attached
	without_stderr 1 daxmf stack attach nothing && without_stderr 2 daxmf stack &&
		without_stderr 1 mkfs.mendfs "$work/none" && without_stderr 8 fsck.mendfs "$work/none" &&
		without_stderr 16 fsck.mendfs && without_stderr 2 mfbench report
}

mkdir "$work/sys"
"$top/scripts/tools" build
ktap_print_header
ktap_set_plan 12
check "daxmf: counters" lists
check "daxmf: a missing counter" counter_missing
check "daxmf: a counter that is not a number" counter_no_number
check "daxmf: a missing state" state_missing
check "daxmf: output that cannot be written" daxmf_unwritten
check "mkfs.mendfs: output that cannot be written" mkfs_unwritten
check "fsck.mendfs: output that cannot be written" fsck_unwritten
check "fsck.mendfs: no repair if the findings cannot be printed" fsck_unprinted
check "mfbench: output that cannot be written" mfbench_unwritten
check "mfchain: output that cannot be written" mfchain_unwritten
check "fsmodel: output that cannot be written" fsmodel_unwritten
check "messages that cannot be written" stderr_unwritten
ktap_finished
