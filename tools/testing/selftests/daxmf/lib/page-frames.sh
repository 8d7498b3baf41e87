# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The flags of page frames, read from the kernel's memory.

# read_kernel_words ADDRESS|SYMBOL... -- print the 64 bits of kernel memory at each of these. A
# kprobe event reads them.
read_kernel_words() {
	local tracing=/sys/kernel/tracing

	echo "p:daxmf/peek __x64_sys_getppid $(printf '@%s:x64 ' "$@")" >$tracing/kprobe_events || return
	echo >$tracing/trace
	echo 1 >$tracing/events/daxmf/peek/enable
	sh -c : # a shell calls getppid()
	echo 0 >$tracing/events/daxmf/peek/enable
	sed -n 's/.*sys_getppid[^)]*) //; s/arg[0-9]*=//gp' $tracing/trace | head -n 1
	echo >$tracing/kprobe_events
}

# read_frame_flags ADDRESS... -- read the flags of the struct page of each address; sets FLAGS.
# /proc/kpageflags does not cover device memory.
read_frame_flags() {
	local address page_struct=64 pages=()

	VMEMMAP=${VMEMMAP:-$(read_kernel_words vmemmap_base)}
	for address; do
		pages+=("$(printf '%#x' $((VMEMMAP + address / (PAGE / page_struct))))")
	done
	read -ra FLAGS <<<"$(read_kernel_words "${pages[@]}")"
	[ ${#FLAGS[@]} = $# ]
}

# frame_poisoned FAILED GOOD -- check that the frame at the failed address has one more flag than
# the frame at the good address. Neither frame is in use, so this flag is PG_hwpoison.
frame_poisoned() {
	local failed good extra

	read_frame_flags "$1" "$2" || return
	failed=${FLAGS[0]} good=${FLAGS[1]}
	extra=$((failed ^ good))
	if [ $((failed & extra)) = 0 ] || [ $((extra & (extra - 1))) != 0 ]; then
		fail "flags of the failed frame: $failed, of the good one: $good"
	fi
}
