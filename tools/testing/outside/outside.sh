#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Build a copy of a sample outside this tree, as Documentation/daxmf.rst says, and run it.

# shellcheck source=tools/testing/on-host.sh
. "$(dirname "$0")/../on-host.sh"

folder=$work/mine

# Write a Kbuild file with only the three lines from the documentation.
write_module()
{
	mkdir "$folder"
	cp "$top/samples/rust_dax_holder.rs" "$folder/my_holder.rs"
	grep -E '^ +(obj-m|rustflags-y|KBUILD_EXTRA_SYMBOLS) :?= ' "$top/Documentation/daxmf.rst" |
		tee "$folder/Kbuild"
	[ "$(wc -l <"$folder/Kbuild")" = 3 ]
}

builds()
{
	write_module && make -C "$top" modules M="$folder" && [ -f "$folder/my_holder.ko" ]
}

depends_on_daxmf()
{
	local depends
	root_options+=(--bind "$folder" "$folder")
	depends=$(in_root modinfo -F depends "$folder/my_holder.ko")
	echo "it depends on '$depends'"
	[ "$depends" = daxmf ]
}

# Load the module in a guest, where it claims a device, and check that it is notified of a failure.
holds()
{
	cat >"$folder/script" <<-'END'
		. /daxmf/selftests/lib.sh
		ns=$(ns_find memmap) && ns_bind "$ns" daxmf_pmem || exit
		insmod /host/my_holder.ko device="/dev/$(ns_disk "$ns")" &&
			poison $(($(ns_get "$ns" resource) + 0x100000)) &&
			is cat /sys/kernel/debug/rust_dax_holder/notified 1 && rmmod my_holder
	END
	SCRIPT=$folder/script FILES=$folder PMEM=memmap "$top/scripts/vm" </dev/null
}

not_there()
{
	make -C "$top" modules M="$work/none" >"$work/made" 2>&1 && return 1
	cat "$work/made"
	grep -q "^daxmf: M=$work/none: no Kbuild there" "$work/made"
}

ktap_print_header
ktap_set_plan 4
check "a copy of a sample is built" builds
check "the module depends on daxmf" depends_on_daxmf
check "the holder is notified of a failure" holds
check "a missing folder is refused" not_there
ktap_finished
