#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# udev loads daxmf_pmem if nd_pmem is blacklisted. With our configuration of modprobe, modprobe
# loads daxmf_pmem instead of nd_pmem. If the module daxmf_pmem does not exist, modprobe loads
# nd_pmem.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

CONF=/etc/modprobe.d/daxmf_pmem.conf

# configure FILE -- install a configuration of modprobe, and hide the blacklist on the kernel's
# command line.
configure() {
	sed 's/modprobe\.blacklist=[^ ]*//' /proc/cmdline >"$TMP/cmdline"
	mountpoint -q /proc/cmdline || mount --bind "$TMP/cmdline" /proc/cmdline || return
	# This changes the time of the folder, which udev checks.
	rm -f $CONF
	cp "$1" $CONF && udevadm control --reload
}

# loads DRIVER -- check that udev loads the driver when devices appear, and that the driver binds
# every namespace with a size.
loads() {
	local ns

	unload_modules && udevadm trigger --action=add --subsystem-match=nd && settle || return
	for ns in $(ns_find memmap) $(ns_find nvdimm); do
		is ns_driver "$ns" "$1" || return
	done
}

modprobe_loads() {
	unload_modules && modprobe nd_pmem || return
	module_loaded "$1" || fail "$1 is not loaded"
}

without_our_module() {
	local file status=0

	file=$(modinfo -n daxmf_pmem) && mv "$file" "$TMP" || return
	modprobe_loads nd_pmem && loads nd_pmem || status=1
	mv "$TMP/${file##*/}" "$file"
	return $status
}

restore() {
	rm -f $CONF
	umount /proc/cmdline
	udevadm control --reload
}

begin 4
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_ns memmap
on_exit restore
echo blacklist nd_pmem >"$TMP/blacklist"
require configure "$TMP/blacklist"
check "udev loads daxmf_pmem if nd_pmem is blacklisted" \
	loads daxmf_pmem
require configure /daxmf/tools/daxmf/daxmf_pmem.conf
check "udev loads daxmf_pmem instead of nd_pmem" \
	loads daxmf_pmem
check "modprobe loads daxmf_pmem instead of nd_pmem" \
	modprobe_loads daxmf_pmem
check "without the module, nd_pmem is loaded" \
	without_our_module
finish
