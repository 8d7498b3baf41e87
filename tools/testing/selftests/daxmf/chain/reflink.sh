#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Files share all, some or none of their blocks. Exactly the owners of the failed block are
# signalled.

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

# rewrite OFFSET -- write a block of the file clone, so that clone gets its own block.
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
	owners_signalled corrupt-pfn "${owners[@]}"
}

begin 7
require_ns "$KIND"
require xfs_on "$NS"
cd $MNT || exit
on_exit cd /
require make_files

check "a block of the shared half has three owners" \
	owners_signalled corrupt-pfn whole,offset=4K clone,offset=4K part,offset=4K stranger,offset=4K,quiet
check "a block of the other half has two owners" \
	owners_signalled corrupt-pfn whole,offset=160K clone,offset=160K part,offset=160K,quiet
check "a block of only the partial copy has one owner" \
	owners_signalled corrupt-pfn part,offset=164K whole,offset=164K,quiet
check "a block at two offsets of a file has an owner at each offset" \
	owners_signalled corrupt-pfn whole,offset=$HALF twice,offset=0 twice,offset=64K
require rewrite 8192
check "a copy that was written to is no longer an owner" \
	owners_signalled corrupt-pfn whole,offset=8K part,offset=8K clone,offset=8K,quiet
# The kernel maps a shared page only for the last process of a file that touches it.
check_ours "a process is signalled on touch if another process has mapped its page of the file since" \
	owners_signalled corrupt-pfn whole,offset=12K,late whole,offset=12K clone,offset=12K
check "the owners of thirty copies are signalled" \
	many_copies
finish
