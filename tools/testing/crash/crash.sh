#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Let the power fail at random moments while the machine works on mendfs, see what is left on its
# NVDIMM, and go on with that, over and over: fsck finds nothing to repair, and all that was synced
# is there.
#
#   KILLS=N		how often [6]
#   RUNTIME=SECONDS	go on for so long instead, and at least once in three of them
#   SEED=N		where the moments and the work begin [1]
#
# Before that, a guest does all short sequences of operations, while the plugin writes down what it
# stores. fsmodel makes of that the states that a power failure may leave, and checks them.
#
# A plugin of QEMU (lines.c) makes several images of what would be left, and the machine goes on
# until the last one. In every third round that is all that the guest has stored, whether it is in a
# cache or not. In the others it is what a machine leaves whose power fails: lines of the caches that
# nobody has written back are lost. In every other of these memory fails, too: of files, and one copy of
# metadata.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../../../scripts/lib.sh"

KILLS=${KILLS:-6} SEED=${SEED:-1} RUNTIME=${RUNTIME-}
kernel=$("$top/scripts/kernel" "${KERNEL:-stock}")
# shellcheck disable=SC1091
. "$kernel/tree/tools/testing/selftests/kselftest/ktap_helpers.sh"
here=$top/tools/testing/crash
work=$top/build/crash
host=$work/host small=$work/small
# At most, for a guest; and of moments in a round.
LIMIT=900 MOST=8
SIZE=192M SMALL=16M
# Sequences of three operations, and states of a moment that are checked, at most.
LONGER=${RUNTIME:-0} STATES=$((RUNTIME < 900 ? 32 + RUNTIME / 4 : 256))
# Where QEMU has the NVDIMM.
BASE=0x100000000
state=$SEED
# The process group of a guest that runs, the seeds of the runs that the device has files of, and how
# many other images there are.
vm='' kept='' had_failed='' others=0 bad=0 rounds=0 kills=0

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

# With an f, memory fails under the run.
seeds_of() # round
{
	local fails=
	[ $(($1 % 3)) != 2 ] || fails=f
	echo $((SEED * 1000000 + $1 * 2))$fails $((SEED * 1000000 + $1 * 2 + 1))$fails
}

# A guest in a process group of its own; sets vm.
start() # script, its arguments, folder of the NVDIMMs, how many, their size, command line, argument for QEMU
{
	rm -f "$host"/now/{up,checked}
	set -m
	SCRIPT=$here/$1 ARGS=$2 FILES=$host PMEM=nvdimm NVDIMM_FILES=$3 NVDIMMS=$4 NVDIMM_SIZE=$5 \
		LABELS=0 TIMEOUT=$LIMIT CONSOLE=$work/console APPEND="nokaslr $6" QEMU_ARGS=${7-} \
		"$top/scripts/vm" </dev/null >"$work/said" 2>&1 &
	vm=$!
	set +m
}

# A guest in which what is there is checked; with seeds there is new load.
load() # seeds, options for the runs, argument for QEMU
{
	boot load.sh "$others $BASE $kept -- $1" "$work" $((1 + others)) $SIZE "RUN_OPTIONS=$2" "${3-}"
}

# The guest that was started ends by itself.
ended()
{
	local status=0
	wait "$vm" || status=$?
	vm=
	[ $status = 0 ] || cat "$work/said"
	return $status
}

# How many operations a run had done.
operations() # file
{
	[ -s "$1" ] || { echo 0; return; }
	echo $(($(od -A n -t u8 "$1")))
}

tool() # name, argument...
{
	in_root "$top/build/tools/bin/$1" "${@:2}"
}

# Start, and see that the guest boots: with too much else to do, the host may be too slow for that.
boot() # as start
{
	local try end
	for try in 1 2 3; do
		start "$@"
		end=$((SECONDS + 90))
		until [ -e "$host/now/up" ] || [ $SECONDS -ge $end ] || ! kill -0 "$vm" 2>/dev/null; do
			sleep 0.1
		done
		[ ! -e "$host/now/up" ] || return 0
		finish
		echo "try $try: the guest did not boot"
	done
	return 1
}

# All short sequences of operations, on a small filesystem: all of it is looked at each time. It grows in some.
# The memory is not zeroes here, either.
do_sequences()
{
	head -c $SMALL /dev/zero | tr '\0' U >"$small/nvdimm0" &&
		tool mkfs.mendfs -q --metadata 2 --journal 8 --blocks 1024 "$small/nvdimm0" &&
		cp "$small/nvdimm0" "$small/first" &&
		boot sequences.sh "$LONGER $SEED" "$small" 1 $SMALL '' \
			"-plugin $work/lines.so,memory=$small/nvdimm0,base=$BASE,record=$small/trace" &&
		ended
}

# What may be left by power failures in them.
check_states()
{
	tool fsmodel states --longer "$LONGER" --seed "$SEED" --states "$STATES" --choice "$SEED" \
		--keep "$small/wrong" "$small/first" "$small/trace" "$small/nvdimm0"
}

# One round: what was there is checked, and the power fails several times.
work_on() # round, moments
{
	local options='' status=0
	local plugin=$work/lines.so,memory=$work/nvdimm0,base=$BASE,moments=$2
	plugin+=,told=$host/now,images=$work/next
	below 1000000
	plugin+=,seed=$number
	if [ $(($1 % 3)) = 0 ]; then
		plugin+=,keep=100
	else
		options=--sync
	fi
	rm -rf "$work/next"
	mkdir "$work/next"
	had_failed=
	[ ! -s "$host/now/failed" ] || had_failed=1
	load "$(seeds_of "$1")" "$options" "-plugin $plugin" || return
	wait "$vm" || true
	vm=
	"$top/scripts/console-check" "$work/console" daxmf daxmf_pmem mendfs || status=1
	[ -s "$work/next/said$2" ] || status=1
	[ $status = 0 ] || cat "$work/said"
	return $status
}

# What has failed holds something else when the machine starts again. Or it works again, as long as it still
# holds what it did.
spoil() # image, list
{
	local address
	[ -s "$2" ] || return 0
	below 2
	if [ -z "$had_failed" ] && [ "$number" = 0 ]; then
		echo "$(wc -l <"$2") pages had failed, and work again"
		rm "$2"
		return
	fi
	while read -r address; do
		head -c 4096 /dev/urandom |
			dd of="$1" bs=4096 seek=$(((address - BASE) / 4096)) conv=notrunc status=none || return
	done <"$2"
	echo "$(wc -l <"$2") pages have failed, and what they held is gone"
}

# Nothing is to be repaired; but for what has failed, with which nothing is lost.
look_for_damage() # image, whether something has failed
{
	local found

	if [ -z "$2" ]; then
		tool fsck.mendfs -n "$1"
		return
	fi
	# It fails if there is anything to repair.
	found=$(tool fsck.mendfs -n --json "$1") || true
	[[ $found == *'"losses":0,'* ]] || {
		echo "$found"
		return 1
	}
}

# What is left at a moment: an image for the next guest, with what it was told until then.
look_at() # round, moment, number of the image
{
	local image=$work/nvdimm$3 told=$work/next/told$2 seeds=$kept first failed=
	read -r first _ <<<"$(seeds_of "$1")"
	echo "after $(operations "$told/$first") operations: $(<"$work/next/said$2")"
	# Each processor may have one on its way. More would mean that the plugin does not know all.
	[[ $(<"$work/next/said$2") == *", "[0-2]" unseen" ]] || return
	mv "$work/next/nvdimm$2" "$image"
	[ ! -s "$told/failed" ] || failed=1
	spoil "$image" "$told/failed" || return
	[ ! -e "$told/checked" ] || seeds=$(seeds_of "$1")
	if [ "$3" = 0 ]; then
		kept=$seeds
		rm -f "$host/now/failed"
		[ ! -s "$told/failed" ] || cp "$told/failed" "$host/now"
	else
		rm -rf "${host:?}/$3"
		mv "$told" "$host/$3"
		echo "$seeds" >"$host/$3/seeds"
	fi
	look_for_damage "$image" "$failed"
}

# The last one is what the next round goes on with.
round() # round, moments
{
	local i
	check "round $(($1 + 1)): $2 power failures" work_on "$@"
	for ((i = 1; i <= $2 && bad == 0; i++)); do
		check "round $(($1 + 1)): what is left by power failure $i" look_at "$1" "$i" $((i % $2))
	done
	others=$(($2 - 1))
}

# The last round: all is there, and nothing is left when it is removed.
last()
{
	load '' '' && ended
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

# The device, and an image of it for each moment and for the next guest.
need_room()
{
	local need=$(((2 * MOST + 1) * ${SIZE%M} / 1024 + 1)) free
	free=$(($(df --output=avail -k "$work" | tail -n 1) >> 20))
	[ "$free" -ge "$need" ] || {
		ktap_skip_all "it needs $need GiB in $work, $free GiB are free"
		exit "$KSFT_SKIP"
	}
}

build()
{
	in_root gcc -std=gnu11 -O2 -Wall -Wextra -Wno-unused-parameter -shared -fPIC \
		-o "$work/lines.so" "$here/lines.c"
}

# The memory is not zeroes: a file that has what was there before must not look right.
prepare()
{
	build && head -c $SIZE /dev/zero | tr '\0' U >"$work/nvdimm0" &&
		tool mkfs.mendfs -q "$work/nvdimm0"
}

# How many there are in the next round, 0 after the last; sets moments. At least three rounds, as they
# are not the same.
next_round()
{
	moments=$(((KILLS + 2) / 3))
	[ $moments -le $MOST ] || moments=$MOST
	if [ "$rounds" -lt 3 ]; then
		:
	elif [ -n "$RUNTIME" ]; then
		moments=$((SECONDS < RUNTIME || kills < RUNTIME / 3 ? MOST : 0))
	else
		moments=$MOST
	fi
	[ -n "$RUNTIME" ] || [ $moments -le $((KILLS - kills)) ] || moments=$((KILLS - kills))
}

rm -rf "$work"
mkdir -p "$host/now" "$small"
trap finish EXIT
ktap_print_header
need_room
check "the plugin and the filesystem are made" prepare
check "all short sequences are done" do_sequences
check "a power failure leaves a state before or after each operation" check_states
while [ "$bad" = 0 ] && next_round && [ "$moments" -gt 0 ]; do
	round "$rounds" "$moments"
	rounds=$((rounds + 1)) kills=$((kills + moments))
done
check "all is there, and can be removed" last
# How many there are is known only now.
ktap_set_plan $((kills + rounds + 4))
ktap_finished
