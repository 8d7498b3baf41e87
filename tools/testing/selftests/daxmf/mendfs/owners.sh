#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Failures of a page of a file: exactly its owners are told.

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

rewrite() {
	dd if=/dev/zero of=clone bs=$PAGE seek=$(($1 / PAGE)) count=1 conv=notrunc,fsync status=none
}

heals() {
	fails_with "Input/output error" dax_read alone 2 &&
		dd if=/dev/zero of=alone bs=$PAGE seek=2 count=1 conv=notrunc,fsync status=none &&
		dax_read alone 2
}

stays() {
	cd / && again && cd $MNT || return
}

begin 9
require_ns "$KIND"
require mendfs_on "$NS"
cd $MNT || exit
on_exit cd /
require make_files
require fill alone 16

for source in madvise corrupt-pfn; do
	check "an owner of an unshared page is told ($source)" \
		told "$source" "alone,offset=$([ $source = madvise ] && echo 8K || echo 16K)" \
		stranger,offset=8K,quiet
done
check_ours "a page that failed cannot be read until it is written whole" heals
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
check "all is well on the media" stays
finish
