# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The sample holder, rust_dax_holder.

# hold DISK [PARAMETER...] -- load rust_dax_holder, which claims the disk.
hold() {
	local disk=$1

	shift
	modprobe rust_dax_holder "device=/dev/$disk" "$@"
}

# hold_fails ERRNO PATH -- check that rust_dax_holder does not load, and that the kernel's log has
# the errno. The message of modprobe is not checked, because modprobe reports ENOENT as an unknown
# symbol. A kernel without CONFIG_SYMBOLIC_ERRNAME logs the errno as a number.
hold_fails() {
	local mark="hold $2 $RANDOM" number

	number=$(python3 -c "import errno; print(errno.$1)") || return
	log_mark "$mark"
	modprobe rust_dax_holder "device=$2" && fail "$2 can be held" && return 1
	log_says "rust_dax_holder: device=\"$2\" cannot be held: ($1|Error\\($number\\))\$" "$mark"
}

release() {
	rmmod rust_dax_holder
}

# notified -- print how many failures the holder was notified of.
notified() {
	cat /sys/kernel/debug/rust_dax_holder/notified
}
