# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2153 # PAGE is set by lib.sh
#
# Compares daxmf_pmem with nd_pmem.

# drivers_agree_on_disk COMMAND... -- check that the command prints the same with both drivers on
# NS, and that each driver reads the marks that the other driver wrote. DISK is the disk of NS.
drivers_agree_on_disk() {
	local driver before=

	rm -f "$TMP/nd_pmem" "$TMP/daxmf_pmem"
	for driver in daxmf_pmem nd_pmem daxmf_pmem; do
		ns_bind "$NS" $driver && DISK=$(ns_disk "$NS") || return
		[ -z "$before" ] || has_marks $before || fail "$driver does not read the marks of $before" || return
		# The third turn only reads.
		[ ! -e "$TMP/$driver" ] || break
		"$@" >"$TMP/$driver" && put_marks $driver || return
		before=$driver
	done
	cat "$TMP/nd_pmem"
	diff "$TMP/nd_pmem" "$TMP/daxmf_pmem"
}

# drivers_agree COMMAND... -- check that the command prints the same with DRIVER set to each driver.
drivers_agree() {
	local driver

	for driver in nd_pmem daxmf_pmem; do
		DRIVER=$driver "$@" >"$TMP/$driver" 2>"$TMP/errors" || {
			cat "$TMP/$driver" "$TMP/errors"
			return 1
		}
	done
	cat "$TMP/nd_pmem"
	diff "$TMP/nd_pmem" "$TMP/daxmf_pmem"
}

# put_marks WORD -- write a mark to the first and the last page of DISK.
put_marks() {
	local page

	for page in 0 "$(last_page)"; do
		echo "$1 $page" | dd of="/dev/$DISK" bs="$PAGE" seek="$page" oflag=direct \
			conv=sync,notrunc status=none || return
	done
}

has_marks() {
	local page

	for page in 0 "$(last_page)"; do
		dd if="/dev/$DISK" bs="$PAGE" skip="$page" count=1 iflag=direct status=none |
			grep -aqx "$1 $page" || return
	done
}

last_page() {
	echo $(($(cat "/sys/block/$DISK/size") * 512 / PAGE - 1))
}

# print_attributes -- print the attributes that tools read, and whether the disk is read-only when
# its region is. dax/write_cache is left out, because nd_pmem has this attribute without DAX, too.
print_attributes() {
	local only

	(cd "/sys/block/$DISK" && grep -s . size ro removable range ext_range \
		queue/{dax,write_cache,fua,rotational,add_random,iostats,nomerges,stable_writes} \
		queue/{logical_block_size,physical_block_size,minimum_io_size,optimal_io_size} \
		queue/{max_hw_sectors_kb,discard_max_bytes,write_zeroes_max_bytes,dma_alignment} \
		queue/{zoned,nr_zones})
	for only in 1 0; do
		echo $only >"$ND/devices/$NS/../read_only"
		echo "region read-only $only, disk $(cat "/sys/block/$DISK/ro")"
	done
}
