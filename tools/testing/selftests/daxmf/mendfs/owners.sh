#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Exactly the owners of a failed page are signalled. One case has a block with very many owners.
#
#   RUNTIME=SECONDS	if 60 or more, this block has a million owners; the duration of the test
#			does not depend on the value

KIND=${KIND:-virtio}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

HALF=$((32 * PAGE))
# MANY is the number of owners of one block. METADATA blocks have space for two records of each
# owner.
MANY=$((1 << 15))
[ "${RUNTIME:-0}" -lt 60 ] || MANY=$((1 << 20))
METADATA=$((2 * MANY / 63 + 500))

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

repairs() {
	fails_with "Input/output error" dax_read alone 2 &&
		dd if=/dev/zero of=alone bs=$PAGE seek=2 count=1 conv=notrunc,fsync status=none &&
		dax_read alone 2
}

# Two files with a block of very many owners are written, punched, truncated, mounted and removed.
# The block is freed with its last owner.
many_owners() {
	local free

	free=$(stat -f -c %f .) && make_self_shared many $MANY && is stat -f -c %f . $((free - 1)) &&
		is stat -c %b many $((8 * MANY)) || return
	share many other && rewrite_many other && xfs_io -c 'fpunch 40k 4k' many &&
		has_many other 7 && has_many many 9 && is stat -f -c %f . $((free - 2)) || return
	truncate -s 1M many && is stat -c %b many $((8 * 255)) && rm many && has_many other 100 &&
		is stat -f -c %f . $((free - 2)) || return
	stays && is stat -f -c %f . $((free - 2)) && has_many other 100 &&
		truncate -s 0 other && is stat -f -c %f . "$free" && rm other && stays
}

rewrite_many() {
	dd if=/dev/zero of="$1" bs=$PAGE seek=5 count=1 conv=notrunc,fsync status=none
}

# has_many FILE BLOCK -- check that the block has the data of make_self_shared().
has_many() {
	is dax_word "$1" "$2" many
}

dax_word() {
	dd if="$1" bs=$PAGE skip="$2" count=1 status=none | head -c 4
}

stays() {
	cd / && check_and_mount && cd $MNT || return
}

begin 10
require_ns "$KIND"
require mendfs_on "$NS" -m $METADATA
cd $MNT || exit
on_exit cd /
require make_files
require fill alone 16

# This case runs before any page fails, because repaired blocks would change the number of free
# blocks.
check "a block with very many owners" many_owners
for source in madvise corrupt-pfn; do
	check "the owner of an unshared page is signalled ($source)" \
		owners_signalled "$source" "alone,offset=$([ $source = madvise ] && echo 8K || echo 16K)" \
		stranger,offset=8K,quiet
done
check_ours "a page that failed cannot be read until it is written whole" repairs
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
check "fsck finds no damage" stays
finish
