#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Test scripts/vm on the host: the output and the status of a script in the guest, and the reports
# of problems of the guest's kernel.

# shellcheck source=tools/testing/on-host.sh
. "$(dirname "$0")/../on-host.sh"

# run COMMAND...: run a command, and set status and output.
run()
{
	status=0
	output=$("$@" </dev/null 2>&1) || status=$?
}

in_guest() # shell script
{
	echo "$1" >"$work/script"
	SCRIPT=$work/script FILES=$work run "$top/scripts/vm"
}

# Check that the last command ended with this status and printed these words.
ended_with() # status, words
{
	[ "$status" = "$1" ] && [[ $output == *"$2"* ]] && return
	echo "status $status, not $1 with '$2', and this output:"
	echo "$output"
	return 1
}

script_ends()
{
	echo from the host >"$work/there"
	# shellcheck disable=SC2016 # the guest expands it
	in_guest 'echo "this is $(uname -n)"; tr a-z A-Z </host/there >/host/back; exit 7'
	ended_with 7 'this is daxmf'
}

folder_is_shared()
{
	grep -x 'FROM THE HOST' "$work/back"
}

kernel_panics()
{
	in_guest 'echo c >/proc/sysrq-trigger'
	ended_with 1 'vm: panic: '
}

time_is_over()
{
	TIMEOUT=8 in_guest 'sleep infinity'
	ended_with 124 'vm: time-out: stopped the guest after 8 s'
}

# All processors must run in one thread, see scripts/cpu.sh.
one_thread()
{
	local threads
	in_guest 'host-monitor info cpus; echo; nproc'
	ended_with 0 'thread_id=' || return
	threads=$(grep -o 'thread_id=[0-9]*' <<<"$output" | sort -u)
	echo "$output"
	[ "$(tail -n 1 <<<"$output")" = 2 ] && [ "$(wc -l <<<"$threads")" = 1 ]
}

refused() # variable=value, words
{
	run env SCRIPT="$work/script" "$1" "$top/scripts/vm"
	ended_with 1 "daxmf: $1: $2" && [[ $output != *booting* ]]
}

# Check that scripts/console-check reports the problem in this log. In the logs, one of our modules
# was changed to cause the problem.
reports() # file, words
{
	run "$top/scripts/console-check" "$top/tools/testing/vm/consoles/$1" daxmf_pmem daxmf
	ended_with 1 "vm: $2: "
}

ignores()
{
	run "$top/scripts/console-check" "$top/tools/testing/vm/consoles/$1" daxmf_pmem daxmf
	ended_with 0 "vm: note: a warning of the kernel's own: "
}

ktap_print_header
ktap_set_plan 17
check "a script's output and status come back" script_ends
check "the guest and the host share a folder" folder_is_shared
check "a panic is reported" kernel_panics
check "a time-out is reported" time_is_over
if [ "$("$top/scripts/accel")" = tcg ]; then
	check "emulated processors share a thread" one_thread
else
	ktap_test_skip "emulated processors share a thread: they are not emulated here"
fi
check "an unknown kernel is refused" refused KERNEL=old "no such kernel"
check "a size without a unit is refused" refused NVDIMM_SIZE=1 "not a size"
check "an unknown kind of memory is refused" refused PMEM=disk "choose from"
check "two buses with an NFIT are refused" refused PMEM=ars,nvdimm "ars takes the place of nvdimm"
check "a KASAN report is reported" reports kasan.log "KASAN report"
check "a lockdep report is reported" reports lockdep.log "lockdep report"
check "sleeping in atomic context is reported" reports sleep.log "BUG"
check "a leak is reported" reports leak.log "kernel memory leak"
check "an oops is reported" reports oops.log "oops"
check "a warning from our modules is reported" reports warning.log "WARN from our modules"
check "a warning of the kernel's own is ignored" ignores stock-warning.log
check "a warning in code of XFS that one of our modules has called is ignored" ignores called-warning.log
ktap_finished
