#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Stop the machine at a random moment while it works on mendfs, see what is on its NVDIMM, and go on
# with that, over and over: fsck finds nothing to repair, and all that was synced is there.
#
#   KILLS=N	how often [4]
#   SEED=N	where the moments and the work begin [1]
#
# Every other time QEMU is killed. All that the guest has stored is in memory then, whether it is in
# a cache or not. The other times QEMU stops itself, with a plugin (lines.c) that loses what a
# machine loses whose power fails: lines of the caches that nobody has written back.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../../../scripts/lib.sh"

KILLS=${KILLS:-4} SEED=${SEED:-1}
kernel=$("$top/scripts/kernel" "${KERNEL:-stock}")
# shellcheck disable=SC1091
. "$kernel/tree/tools/testing/selftests/kselftest/ktap_helpers.sh"
here=$top/tools/testing/crash
work=$top/build/crash
host=$work/host
LIMIT=240
state=$SEED
# The process group of a guest that runs, and the seeds of the runs that the device has files of.
vm='' kept='' bad=0

finish()
{
	[ -z "$vm" ] || kill -KILL -- "-$vm" 2>/dev/null || true
}

# A random number; sets number. $RANDOM begins anew in subshells.
below() # end
{
	state=$((state * 6364136223846793005 + 1442695040888963407))
	number=$(((state >> 33 & 0x3fffffff) % $1))
}

seeds_of() # round
{
	echo $((SEED * 1000000 + $1 * 2)) $((SEED * 1000000 + $1 * 2 + 1))
}

# The guest of a round, in a process group of its own; sets vm. What is there is checked; unless it
# is the last round there is new load.
start() # round, options for the runs, argument for QEMU...
{
	local new='' options=$2
	[ "$1" = "$KILLS" ] || new=$(seeds_of "$1")
	shift 2
	rm -f "$host"/{up,checked}
	set -m
	SCRIPT=$here/load.sh ARGS="$kept -- $new" FILES=$host PMEM=nvdimm NVDIMMS=1 LABELS=0 \
		NVDIMM_SIZE=192M NVDIMM_FILES=$work TIMEOUT=$LIMIT CONSOLE=$work/console \
		APPEND="nokaslr RUN_OPTIONS=$options" QEMU_ARGS="$*" \
		"$top/scripts/vm" </dev/null >"$work/said" 2>&1 &
	vm=$!
	set +m
}

# How many operations the first run of a round has done.
done_in() # round
{
	local file
	file=$host/$(seeds_of "$1" | cut -d' ' -f1)
	[ -s "$file" ] || { echo 0; return; }
	echo $(($(od -A n -t u8 "$file")))
}

# Kill QEMU and all that is around it when the load has come to a random point.
kill_at_random() # round
{
	below 200
	until [ "$(done_in "$1")" -gt "$number" ]; do
		kill -0 "$vm" 2>/dev/null || return
		sleep 0.01
	done
	kill -KILL -- "-$vm"
	wait "$vm" 2>/dev/null || true
	echo "killed after $(done_in "$1") operations"
}

# QEMU stops itself.
stop_at_random() # round
{
	wait "$vm" || true
	[ -s "$work/lost" ] || return
	echo "stopped after $(done_in "$1") operations, $(<"$work/lost")"
	# Each processor may have one on its way. More would mean that the plugin does not know all.
	[[ $(<"$work/lost") == *", "[0-2]" unseen" ]]
}

# The arguments that make QEMU stop at a random moment and lose a random part; sets plugin.
choose_plugin()
{
	local keeps=(0 10 50 90)
	plugin=$work/lines.so,memory=$work/nvdimm0,base=$(<"$host/resource"),said=$work/lost
	below 3
	below $((20 * 10 ** number))
	plugin+=,fences=$((1 + number))
	# In half of the cases it stops at the fence itself.
	below 400
	plugin+=,stores=$((number < 200 ? 0 : number - 200))
	below 4
	plugin+=,keep=${keeps[number]}
	below 1000000
	plugin+=,seed=$number
}

fsck()
{
	in_root "$top/build/tools/bin/fsck.mendfs" -n "$work/nvdimm0"
}

# Start, and see that the guest boots: with too much else to do, the host may be too slow for that.
boot() # as start
{
	local try end
	for try in 1 2 3; do
		start "$@"
		end=$((SECONDS + 90))
		until [ -e "$host/up" ] || [ $SECONDS -ge $end ] || ! kill -0 "$vm" 2>/dev/null; do
			sleep 0.1
		done
		[ ! -e "$host/up" ] || return 0
		finish
		echo "try $try: the guest did not boot"
	done
	return 1
}

# One round: what was there is checked, and the machine is stopped.
crash() # round
{
	local status=0
	rm -f "$work/lost"
	cp --sparse=always "$work/nvdimm0" "$work/before" 2>/dev/null || true
	# Where the NVDIMM is is known after the first boot.
	if [ $(($1 % 2)) = 0 ]; then
		boot "$1" '' && kill_at_random "$1" || status=1
	else
		choose_plugin
		boot "$1" --sync -plugin "$plugin" && stop_at_random "$1" || status=1
	fi
	vm=
	"$top/scripts/console-check" "$work/console" daxmf daxmf_pmem mendfs || status=1
	if [ $status != 0 ]; then
		cat "$work/said"
		return 1
	fi
	[ ! -e "$host/checked" ] || kept=$(seeds_of "$1")
	fsck
}

# The last round: all is there, and nothing is left when it is removed.
last()
{
	local status=0
	boot "$KILLS" '' && wait "$vm" || status=$?
	vm=
	[ $status = 0 ] || cat "$work/said"
	return $status
}

check() # name, command...
{
	local name=$1 status=0
	shift
	"$@" >"$work/output" 2>&1 || status=1
	sed 's/^/# /' "$work/output"
	if [ $status = 0 ]; then
		ktap_test_pass "$name"
	else
		ktap_test_fail "$name"
		bad=$((bad + 1))
	fi
}

build()
{
	in_root gcc -std=gnu11 -O2 -Wall -Wextra -Wno-unused-parameter -shared -fPIC \
		-o "$work/lines.so" "$here/lines.c"
}

rm -rf "$work"
mkdir -p "$host"
trap finish EXIT
ktap_print_header
ktap_set_plan $((KILLS + 2))
check "the plugin is built" build
for ((round = 0; round < KILLS && bad == 0; round++)); do
	check "crash $((round + 1))" crash "$round"
done
check "all is there, and can be removed" last
ktap_finished
