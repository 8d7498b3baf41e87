# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Loads and unloads kernel modules.

# Modules that a test can have loaded. A module comes before the modules that it uses.
MODULES=(daxmf_nospec daxmf_keep rust_dax_source mendfs daxmf_stack rust_dax_holder rust_dax_provider)
MODULES+=(daxmf_pmem nd_pmem daxmf hwpoison_inject)

module_loaded() {
	[ -d "/sys/module/$1" ]
}

# load_driver NAME -- load the driver, with autoprobe off, so that it binds no namespace.
load_driver() {
	[ -d "$ND/drivers/$1" ] && return
	modprobe libnvdimm && echo 0 >"$ND"/drivers_autoprobe || return
	modprobe "$1"
	local status=$?
	echo 1 >"$ND"/drivers_autoprobe
	[ $status = 0 ] || fail "modprobe $1 failed"
}

# settle -- wait until udev has handled all events. Try twice, because udevadm sometimes fails with
# "Broken pipe".
settle() {
	udevadm settle || udevadm settle
}

# unload NAME -- unload a module. Settle first, because udev can still have a disk of the driver
# open.
unload() {
	settle && rmmod "$1"
}

unload_modules() {
	local module status=0

	for module in "${MODULES[@]}"; do
		module_loaded "$module" || continue
		unload "$module" || status=1
	done
	return $status
}
