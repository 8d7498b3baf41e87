#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Test scripts/vm, on the host: what comes of a script in the guest, and of a
# kernel that is in trouble.

# shellcheck source=tools/testing/on-host.sh
. "$(dirname "$0")/../on-host.sh"

# run COMMAND...: sets its status and output.
run()
{
	status=0
	output=$("$@" </dev/null 2>&1) || status=$?
}

in_guest() # command of a shell
{
	echo "$1" >"$work/script"
	SCRIPT=$work/script FILES=$work run "$top/scripts/vm"
}

# The last command ended with this status and said these words.
came_to() # status, words
{
	[ "$status" = "$1" ] && [[ $output == *"$2"* ]] && return
	echo "status $status, not $1 with '$2':"
	echo "$output"
	return 1
}

script_ends()
{
	echo from the host >"$work/there"
	# shellcheck disable=SC2016 # the guest expands it
	in_guest 'echo "this is $(uname -n)"; tr a-z A-Z </host/there >/host/back; exit 7'
	came_to 7 'this is daxmf'
}

folder_is_shared()
{
	grep -x 'FROM THE HOST' "$work/back"
}

kernel_panics()
{
	in_guest 'echo c >/proc/sysrq-trigger'
	came_to 1 'vm: panic: '
}

time_is_over()
{
	TIMEOUT=8 in_guest 'sleep infinity'
	came_to 124 'vm: time-out: the guest was stopped after 8 s'
}

# What one processor writes to another one's code is then seen.
one_thread()
{
	local threads
	in_guest 'host-monitor info cpus; echo; nproc'
	came_to 0 'thread_id=' || return
	threads=$(grep -o 'thread_id=[0-9]*' <<<"$output" | sort -u)
	echo "$output"
	[ "$(tail -n 1 <<<"$output")" = 2 ] && [ "$(wc -l <<<"$threads")" = 1 ]
}

refused() # variable=value, words
{
	run env SCRIPT="$work/script" "$1" "$top/scripts/vm"
	came_to 1 "daxmf: $1: $2" && [[ $output != *booting* ]]
}

# Consoles of kernels that were in trouble; a module of ours was made to fail.
told() # file, words
{
	run "$top/scripts/console-check" "$top/tools/testing/vm/consoles/$1" daxmf_pmem daxmf
	came_to 1 "vm: $2: "
}

not_ours()
{
	run "$top/scripts/console-check" "$top/tools/testing/vm/consoles/$1" daxmf_pmem daxmf
	came_to 0 "vm: note: a warning of the kernel's own: "
}

ktap_print_header
ktap_set_plan 17
check "a script's output and status come back" script_ends
check "the guest and the host share a folder" folder_is_shared
check "a panic is told" kernel_panics
check "a time-out is told" time_is_over
if [ "$("$top/scripts/accel")" = tcg ]; then
	check "emulated processors share a thread" one_thread
else
	ktap_test_skip "emulated processors share a thread: they are not emulated here"
fi
check "an unknown kernel is refused" refused KERNEL=old "there are"
check "a size without a unit is refused" refused NVDIMM_SIZE=1 "wanted is a size"
check "an unknown kind of memory is refused" refused PMEM=disk "there are"
check "two buses with an NFIT are refused" refused PMEM=ars,nvdimm "ars takes the place of nvdimm"
check "a KASAN report is told" told kasan.log "KASAN report"
check "a lockdep report is told" told lockdep.log "lockdep report"
check "sleeping in atomic context is told" told sleep.log "BUG"
check "a leak is told" told leak.log "kernel memory leak"
check "an oops is told" told oops.log "oops"
check "a warning from our modules is told" told warning.log "WARN from our modules"
check "a warning of the kernel's own is only noted" not_ours stock-warning.log
check "so is one of XFS, which we have called" not_ours called-warning.log
ktap_finished
