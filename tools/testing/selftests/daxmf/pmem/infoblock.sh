#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What becomes of a namespace whose info block is not as it should be: the same as with nd_pmem.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# make_blocks CHANGES... -- of the info block in $TMP/good; a file for each. Changes are FIELD=VALUE, with
# commas. The checksum is right, unless it is among them.
make_blocks() {
	python3 - "$TMP" "$@" <<-'END'
		import struct, sys
		FIELDS = dict(version_minor=(54, "<H"), dataoff=(56, "<Q"), mode=(72, "<I"),
			      start_pad=(76, "<I"), end_trunc=(80, "<I"), align=(84, "<I"),
			      page_size=(88, "<I"), page_struct_size=(92, "<H"), checksum=(4088, "<Q"))
		def checksum(block):
		    low = high = 0
		    for (word,) in struct.iter_unpack("<I", block):
		        low = (low + word) & 0xffffffff
		        high += low
		    return (high & 0xffffffff) << 32 | low
		good = open(f"{sys.argv[1]}/good", "rb").read()
		assert good.startswith(b"NVDIMM_PFN_INFO")
		for changes in sys.argv[2:]:
		    block = bytearray(good[:4088] + bytes(8))
		    fields = dict(change.split("=") for change in changes.split(","))
		    for field, value in fields.items():
		        place, code = FIELDS[field]
		        struct.pack_into(code, block, place, int(value, 0))
		    if "checksum" not in fields:
		        struct.pack_into("<Q", block, 4088, checksum(block))
		    open(f"{sys.argv[1]}/{changes}", "wb").write(block)
	END
}

# The info block lies in the second page of the namespace, which /dev/mem gives if no driver has it.
get_block() {
	dd if=/dev/mem of="$TMP/$1" bs=$PAGE skip=$(($(ns_get "$NS" resource) / PAGE + 1)) count=1 status=none
}

put_block() {
	dd if="$TMP/$1" of=/dev/mem bs=$PAGE seek=$(($(ns_get "$NS" resource) / PAGE + 1)) conv=notrunc \
		status=none && get_block now && cmp "$TMP/$1" "$TMP/now"
}

# report -- what has become of the namespace.
report() {
	local disk

	if ! disk=$(ns_disk "$NS"); then
		echo refused
	elif [ "$(ns_device "$NS")" = "$NS" ]; then
		# DAX on a raw namespace is not asked for.
		echo "raw, $(<"/sys/block/$disk/size") sectors"
	else
		echo "fsdax, $(<"/sys/block/$disk/size") sectors, DAX $(<"/sys/block/$disk/queue/dax")"
	fi
}

# found CHANGES -- what DRIVER makes of a namespace with such a block.
found() {
	local device

	disclaim "$NS" && put_block "$1" && echo 0 >$ND/drivers_autoprobe || return
	# What the namespace's probe makes of it, and then what the probe of that does.
	echo "$NS" >"$ND/drivers/$DRIVER/bind"
	device=$(ns_device "$NS")
	# The bus adds that one in its own time, and no other driver may have it then.
	[ "$device" = "$NS" ] || { wait_for test -e "$ND/devices/$device" &&
		echo "$device" >"$ND/drivers/$DRIVER/bind"; }
	echo 1 >$ND/drivers_autoprobe
	report
}

# claimed CHANGES -- what DRIVER makes of it where the device was made for the block as it was.
claimed() {
	ns_unbind "$NS"
	put_block "$1" || return
	echo "$PFN" >"$ND/drivers/$DRIVER/bind"
	report
}

# changed ATTRIBUTE VALUE -- the device says something else than the info block.
changed() {
	local was

	ns_unbind "$NS"
	was=$(ns_get "$PFN" "$1") && put_block good && echo "$2" >"$ND/devices/$PFN/$1" || return
	echo "$PFN" >"$ND/drivers/$DRIVER/bind"
	report
	echo "$was" >"$ND/devices/$PFN/$1"
}

# DAX of a padded namespace is wrong with nd_pmem, not given by ours, and refused to any driver.
padded() {
	! alike found "$1" || return
	grep -q "DAX 1" "$TMP/nd_pmem" && sed s/1$/0/ "$TMP/nd_pmem" | diff - "$TMP/daxmf_pmem" &&
		log_says "daxmf_pmem pfn.*: padded at its start" && ns_unbind "$NS" &&
		fails_with "Invalid argument" ns_bind "$NS" rust_dax_provider
}

# With nd_pmem the kernel warns of it, and leaves half of the memory mapped.
refused() {
	is found "$1" refused && log_says "daxmf_pmem pfn.*: info block cannot be used: EINVAL"
}

CHECKSUM=checksum=1
NO_ROOM=dataoff=$((2 << 20))
CUT_OFF=end_trunc=0xfff00000
OLDER=version_minor=1,dataoff=$((32 << 20))
# Its page map in memory: that of nd_pmem on the device does not fit.
PADDED=mode=1,start_pad=$((2 << 20))

begin 9
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
[ -e /dev/mem ] || skip_all "needs /dev/mem"
require_ns memmap
on_exit make_raw "$NS"
require load_driver nd_pmem
require load_driver daxmf_pmem
NO_DATA=dataoff=$(ns_get "$NS" size)
require make_fsdax "$NS" pmem
PFN=$(ns_device "$NS")
require ns_unbind "$NS"
require get_block good
require make_blocks $CHECKSUM "$NO_DATA" $NO_ROOM $CUT_OFF $OLDER $PADDED
check "a device that was set to something else" \
	alike changed mode ram
check "moved data, under a device that was made before" \
	alike claimed $OLDER
check "a wrong checksum, under a device that was made before" \
	alike claimed $CHECKSUM
check "a wrong checksum" \
	alike found $CHECKSUM
check "no data" \
	alike found "$NO_DATA"
check "no room for the page map" \
	refused $NO_ROOM
check "more cut off the end than there is" \
	alike found $CUT_OFF
check "an older version" \
	alike found $OLDER
check "padding at the start" \
	padded $PADDED
finish
