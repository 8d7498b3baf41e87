#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Files that share all, a part or none of their blocks: exactly the owners of the failed block are
# told.

KIND=${KIND:-virtio}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

HALF=$((32 * PAGE))

make_files() {
	fill whole 64 &&
		share whole clone &&
		fill part 64 &&
		share whole part 0 0 $HALF &&
		fill twice 64 &&
		share whole twice $HALF 0 $PAGE &&
		share whole twice $HALF $((16 * PAGE)) $PAGE &&
		cp --reflink=never whole stranger
}

# A copy that was written to has a block of its own.
rewrite() {
	dd if=/dev/zero of=clone bs=$PAGE seek=$(($1 / PAGE)) count=1 conv=notrunc,fsync status=none
}

many_copies() {
	local -a owners=(many)
	local i

	fill many 4 || return
	for i in {1..30}; do
		share many "many.$i" || return
		owners+=("many.$i")
	done
	told corrupt-pfn "${owners[@]}"
}

begin 7
require_ns "$KIND"
require xfs_on "$NS"
cd $MNT || exit
on_exit cd /
require make_files

check "a block of the shared half has three owners" \
	told corrupt-pfn whole,offset=4K clone,offset=4K part,offset=4K stranger,offset=4K,quiet
check "a block of the other half has two" \
	told corrupt-pfn whole,offset=160K clone,offset=160K part,offset=160K,quiet
check "the partial copy's own block has one" \
	told corrupt-pfn part,offset=164K whole,offset=164K,quiet
check "a block that one file has at two offsets tells both" \
	told corrupt-pfn whole,offset=$HALF twice,offset=0 twice,offset=64K
require rewrite 8192
check "a copy that was written to is no longer an owner" \
	told corrupt-pfn whole,offset=8K part,offset=8K clone,offset=8K,quiet
# The kernel gives a shared page to the last process of a file that touches it.
check_ours "a process that another one of the same file took the page from is told on touch" \
	told corrupt-pfn whole,offset=12K,late whole,offset=12K clone,offset=12K
check "thirty copies are all told" \
	many_copies
finish
