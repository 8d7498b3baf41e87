#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Namespaces of an NVDIMM with labels: of a good size, and of one that page frames cannot have.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

holder_is_told() {
	label $((64 << 20)) $((16 << 20)) && is ns_kind "$NS" labelled && ns_bind "$NS" nd_pmem &&
		is cat "/sys/block/$(ns_disk "$NS")/queue/dax" 0 && ns_bind "$NS" &&
		hold "$(ns_disk "$NS")" && poison $(($(ns_start "$NS") + 5 * PAGE)) && is notified 1
	local status=$?

	release
	unlabel
	return $status
}

# A disk as with nd_pmem, and one line that says why it has no DAX.
one_page() {
	local status=0

	label $PAGE $PAGE && same attributes &&
		is cat "/sys/block/$DISK/queue/dax" 0 && ! has_counters "$DISK" &&
		says_only "gets no DAX: .* must be multiples of" &&
		echo "0 8" >"/sys/block/$DISK/badblocks" &&
		fails_with "Input/output error" dax_read "/dev/$DISK" 0 || status=1
	unlabel
	return $status
}

# says_only PATTERN -- the driver, of the namespace. The kernel has a word of its own.
says_only() {
	log_since | grep "^daxmf_pmem $NS: " | grep -v "region.* read-" | sort -u >"$TMP/lines"
	cat "$TMP/lines"
	is wc -l <"$TMP/lines" 1 && grep -q "$1" "$TMP/lines"
}

never_sized() {
	local seed

	seed=$(cat "$ND/devices/$REGION/namespace_seed")
	load_driver daxmf_pmem && fails_with "No such device" tee "$ND/drivers/daxmf_pmem/bind" <<<"$seed"
}

begin 3
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_labels

check "the holder of a labelled namespace, which has no DAX with nd_pmem, is told" \
	holder_is_told
check "a namespace of one page has no DAX" \
	one_page
check "a namespace that was never given a size is refused" \
	never_sized
finish
