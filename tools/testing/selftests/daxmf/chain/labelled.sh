#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Namespaces of an NVDIMM with labels: of a good size, too small, and not aligned.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# create SIZE ALIGN -- a namespace; sets NS. The smallest alignment comes from the page size only.
create() {
	NS=$(cat "$ND/devices/$REGION/namespace_seed")
	local dir=$ND/devices/$NS

	echo "$2" >"$ND/devices/$REGION/align" &&
		cat /proc/sys/kernel/random/uuid >"$dir/uuid" &&
		echo "$1" >"$dir/size"
}

destroy() {
	ns_unbind "$NS"
	echo 0 >"$ND/devices/$NS/size"
}

owners_are_told() {
	create $((512 << 20)) $((16 << 20)) && is ns_kind "$NS" labelled && xfs_on "$NS" &&
		fill $MNT/file 16 && share $MNT/file $MNT/clone &&
		told corrupt-pfn $MNT/file,offset=8K $MNT/clone,offset=8K &&
		unmount && destroy
}

# refused SIZE -- for its alignment; a namespace of a good size works right after.
refused() {
	local status=0

	create "$1" $PAGE && bind_fails "must be multiples of" "$NS" || status=1
	destroy
	create $((64 << 20)) $((16 << 20)) && ns_bind "$NS" || status=1
	destroy
	return $status
}

never_sized() {
	local seed

	seed=$(cat "$ND/devices/$REGION/namespace_seed")
	load_driver daxmf_pmem && fails_with "No such device" tee "$ND/drivers/daxmf_pmem/bind" <<<"$seed"
}

begin 4
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_labels

check "owners on a labelled namespace are told" \
	owners_are_told
check "a namespace of one page" \
	refused $PAGE
check "a namespace that is a page too short" \
	refused $(((64 << 20) - PAGE))
check "a namespace that was never given a size is refused" \
	never_sized
finish
