#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Namespaces of an NVDIMM with labels: one with an aligned size, and one whose size page frames
# cannot cover.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

holder_is_notified() {
	create_labelled $((64 << 20)) $((16 << 20)) && is ns_kind "$NS" labelled && ns_bind "$NS" nd_pmem &&
		is cat "/sys/block/$(ns_disk "$NS")/queue/dax" 0 && ns_bind "$NS" &&
		hold "$(ns_disk "$NS")" && poison $(($(ns_start "$NS") + 5 * PAGE)) && is notified 1
	local status=$?

	release
	delete_labelled
	return $status
}

# The disk is the same as with nd_pmem. One line in the log says why the disk has no DAX.
one_page() {
	local status=0

	create_labelled $PAGE $PAGE && drivers_agree_on_disk print_attributes &&
		is cat "/sys/block/$DISK/queue/dax" 0 && ! has_counters "$DISK" &&
		says_only "gets no DAX: .* must be multiples of" &&
		echo "0 8" >"/sys/block/$DISK/badblocks" &&
		fails_with "Input/output error" dax_read "/dev/$DISK" 0 || status=1
	delete_labelled
	return $status
}

# says_only PATTERN -- check that the driver has logged one line about NS, and that this line
# matches. A line of the kernel's nvdimm core about the region is ignored.
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

check "the holder of a labelled namespace, which has no DAX with nd_pmem, is notified" \
	holder_is_notified
check "a namespace of one page has no DAX" \
	one_page
check "a namespace that was never given a size is refused" \
	never_sized
finish
