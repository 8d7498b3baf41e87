# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# NVDIMMs with a label area, and namespaces made by labels.

# dimm_has_labels NMEM -- check that the NVDIMM has a label area, with or without labels.
dimm_has_labels() {
	cat "$ND/devices/$1/available_slots" >/dev/null 2>&1
}

# find_labels -- find an NVDIMM with a label area; sets DIMM and REGION.
find_labels() {
	local dir

	for dir in "$ND"/devices/nmem*; do
		! dimm_has_labels "${dir##*/}" || DIMM=${dir##*/}
	done
	[ -n "$DIMM" ] || return
	for dir in "$ND"/devices/region*; do
		! grep -qs "^$DIMM," "$dir/mapping0" || REGION=${dir##*/}
	done
	[ -n "$REGION" ]
}

# with_labels COMMAND... -- run an ndctl command on DIMM while REGION is disabled.
with_labels() {
	ndctl disable-region "$REGION" && ndctl "$@" "$DIMM" && ndctl enable-region "$REGION"
}

# require_labels -- initialize the labels of an NVDIMM, and erase them at the end of the test; sets
# DIMM and REGION.
require_labels() {
	find_labels || skip_all "no NVDIMM with a label area"
	require with_labels init-labels -f
	on_exit with_labels zero-labels
}

# create_labelled SIZE ALIGN -- create a namespace in REGION; sets NS. SIZE must be a multiple of
# ALIGN; the smallest ALIGN is a page.
create_labelled() {
	local dir

	NS=$(cat "$ND/devices/$REGION/namespace_seed")
	dir=$ND/devices/$NS
	echo "$2" >"$ND/devices/$REGION/align" && cat /proc/sys/kernel/random/uuid >"$dir/uuid" &&
		echo "$1" >"$dir/size"
}

# delete_labelled -- delete the namespace NS.
delete_labelled() {
	drop_claim "$NS"
	echo 0 >"$ND/devices/$NS/size"
}
