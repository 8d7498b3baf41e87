#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Simulate power failures at random moments while a guest writes to mendfs. After each power
# failure, fsck must find nothing to repair, and all synced data must be there. The next guest
# continues with the filesystem that the last power failure left.
#
#   KILLS=N		number of power failures [6]
#   RUNTIME=SECONDS	run for this time instead, with at least one power failure in 3 seconds
#   SEED=N		seed of the moments and of the load [1]
#
# First, a guest runs all short sequences of operations, while a plugin of QEMU (lines.c, operand.c
# and record.c) records the stores of the guest. From this record, fsmodel makes the states that a
# power failure can leave, and checks them.
#
# Then come rounds of random load. In each round, the plugin makes images of what several power
# failures would leave. QEMU exits after the last image. There are three kinds of rounds, in turn:
#
# - The image has all stores of the guest, also those that are only in a cache.
# - The plugin discards the lines of the caches that were not written back.
# - The same, and memory fails, too: pages of files, and one copy of metadata blocks.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../../../scripts/lib.sh"

KILLS=${KILLS:-6} SEED=${SEED:-1} RUNTIME=${RUNTIME-}
kernel=$("$top/scripts/kernel" "${KERNEL:-stock}")
# shellcheck disable=SC1091
. "$kernel/tree/tools/testing/selftests/kselftest/ktap_helpers.sh"
here=$top/tools/testing/crash
work=$top/build/crash
host=$work/host small=$work/small
# The maximum run time of a guest, in seconds, and the maximum number of power failures in a round.
LIMIT=900 MOST=8
SIZE=192M SMALL=16M
# The number of sequences of three operations, and the maximum number of states checked at a moment.
LONGER=${RUNTIME:-0} STATES=$((RUNTIME < 900 ? 32 + RUNTIME / 4 : 256))
# The physical address of the NVDIMM in the guest.
BASE=0x100000000
state=$SEED
# vm		the process group of the running guest
# kept		the seeds of the runs whose files are on the device
# had_failed	set if memory of the device had failed before this round
# others	the number of other images, which the next guest checks
# bad		the number of failed cases
vm='' kept='' had_failed='' others=0 bad=0 rounds=0 kills=0

finish()
{
	[ -z "$vm" ] || kill -KILL -- "-$vm" 2>/dev/null || true
}

# Set number to a random number below the end. $RANDOM cannot be used because subshells reseed it.
random_below() # end
{
	state=$((state * 6364136223846793005 + 1442695040888963407))
	number=$(((state >> 33 & 0x3fffffff) % $1))
}

# Print the two seeds of a round. The suffix f means that memory fails during the run.
seeds_of() # round
{
	local fails=
	[ $(($1 % 3)) != 2 ] || fails=f
	echo $((SEED * 1000000 + $1 * 2))$fails $((SEED * 1000000 + $1 * 2 + 1))$fails
}

# Start a guest in its own process group, and set vm.
start() # script, its arguments, folder of the NVDIMMs, their number, their size, command line, argument for QEMU
{
	rm -f "$host"/now/{up,checked}
	set -m
	SCRIPT=$here/$1 ARGS=$2 FILES=$host PMEM=nvdimm NVDIMM_FILES=$3 NVDIMMS=$4 NVDIMM_SIZE=$5 \
		LABELS=0 TIMEOUT=$LIMIT CONSOLE=$work/console APPEND="nokaslr $6" QEMU_ARGS=${7-} \
		"$top/scripts/vm" </dev/null >"$work/vm.log" 2>&1 &
	vm=$!
	set +m
}

# Start a guest that checks the files on all images, and then runs new load if there are seeds.
start_load() # seeds, options for the runs, argument for QEMU
{
	boot load.sh "$others $BASE $kept -- $1" "$work" $((1 + others)) $SIZE "RUN_OPTIONS=$2" "${3-}"
}

# Wait until the guest exits by itself.
wait_for_exit()
{
	local status=0
	wait "$vm" || status=$?
	vm=
	[ $status = 0 ] || cat "$work/vm.log"
	return $status
}

# Print the number of operations that a run had finished.
operations() # file
{
	[ -s "$1" ] || { echo 0; return; }
	echo $(($(od -A n -t u8 "$1")))
}

tool() # name, argument...
{
	in_root "$top/build/tools/bin/$1" "${@:2}"
}

# Start a guest and wait until it is up, in up to 3 tries: a busy host can be too slow to boot it.
boot() # the arguments of start
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

# Run all short sequences of operations. The filesystem is small, because check_states() checks each
# of its states as a whole. It is smaller than the device, because some sequences grow it. The
# memory is filled with U, as in prepare().
run_sequences()
{
	head -c $SMALL /dev/zero | tr '\0' U >"$small/nvdimm0" &&
		tool mkfs.mendfs -q --metadata 2 --journal 8 --blocks 1024 "$small/nvdimm0" &&
		cp "$small/nvdimm0" "$small/first" &&
		boot sequences.sh "$LONGER $SEED" "$small" 1 $SMALL '' \
			"-plugin $work/lines.so,memory=$small/nvdimm0,base=$BASE,record=$small/trace" &&
		wait_for_exit
}

# Check the states that power failures during the sequences can leave.
check_states()
{
	tool fsmodel states --longer "$LONGER" --seed "$SEED" --states "$STATES" --choice "$SEED" \
		--keep "$small/wrong" "$small/first" "$small/trace" "$small/nvdimm0"
}

# Run the guest of a round until its last power failure.
run_guest() # round, moments
{
	local options='' status=0
	local plugin=$work/lines.so,memory=$work/nvdimm0,base=$BASE,moments=$2
	plugin+=,progress=$host/now,images=$work/next
	random_below 1000000
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
	start_load "$(seeds_of "$1")" "$options" "-plugin $plugin" || return
	wait "$vm" || true
	vm=
	"$top/scripts/console-check" "$work/console" daxmf daxmf_pmem mendfs || status=1
	[ -s "$work/next/summary$2" ] || status=1
	[ $status = 0 ] || cat "$work/vm.log"
	return $status
}

# Overwrite the failed pages with random bytes, because their contents are gone after a restart. Or,
# at random, do nothing, so that the pages are good again with their contents. This is possible only
# if no earlier round has overwritten the pages.
overwrite_failed() # image, list
{
	local address
	[ -s "$2" ] || return 0
	random_below 2
	if [ -z "$had_failed" ] && [ "$number" = 0 ]; then
		echo "$(wc -l <"$2") pages had failed, and are good again"
		rm "$2"
		return
	fi
	while read -r address; do
		head -c 4096 /dev/urandom |
			dd of="$1" bs=4096 seek=$(((address - BASE) / 4096)) conv=notrunc status=none || return
	done <"$2"
	echo "$(wc -l <"$2") pages have failed, and their contents are gone"
}

# Check that fsck finds nothing to repair. If memory has failed, fsck can find damage, but no loss.
check_fsck() # image, whether something has failed
{
	local found

	if [ -z "$2" ]; then
		tool fsck.mendfs -n "$1"
		return
	fi
	# fsck fails if there is anything to repair.
	found=$(tool fsck.mendfs -n --json "$1") || true
	[[ $found == *'"losses":0,'* ]] || {
		echo "$found"
		return 1
	}
}

# Check the image of a power failure, and prepare it for the next guest, with the progress of the
# runs until then.
check_image() # round, moment, number of the image
{
	local image=$work/nvdimm$3 progress=$work/next/progress$2 seeds=$kept first failed=
	read -r first _ <<<"$(seeds_of "$1")"
	echo "after $(operations "$progress/$first") operations: $(<"$work/next/summary$2")"
	# The plugin can miss the last store of each of the two processors. More missed stores are a
	# bug of the plugin.
	[[ $(<"$work/next/summary$2") == *", "[0-2]" unseen" ]] || return
	mv "$work/next/nvdimm$2" "$image"
	[ ! -s "$progress/failed" ] || failed=1
	overwrite_failed "$image" "$progress/failed" || return
	[ ! -e "$progress/checked" ] || seeds=$(seeds_of "$1")
	if [ "$3" = 0 ]; then
		kept=$seeds
		rm -f "$host/now/failed"
		[ ! -s "$progress/failed" ] || cp "$progress/failed" "$host/now"
	else
		rm -rf "${host:?}/$3"
		mv "$progress" "$host/$3"
		echo "$seeds" >"$host/$3/seeds"
	fi
	check_fsck "$image" "$failed"
}

# Run a round and check its images. The next round continues with the last image.
run_round() # round, moments
{
	local i
	check "round $(($1 + 1)): $2 power failures" run_guest "$@"
	for ((i = 1; i <= $2 && bad == 0; i++)); do
		check "round $(($1 + 1)): what power failure $i leaves" check_image "$1" "$i" $((i % $2))
	done
	others=$(($2 - 1))
}

# Check the files of the last round, and remove them all.
check_last()
{
	start_load '' '' && wait_for_exit
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

# Skip the test if there is no disk space for the device and the images of two rounds.
check_space()
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
	in_root gcc -std=gnu11 -O2 -Wall -Wextra -Wno-unused-parameter -shared -fPIC -fvisibility=hidden \
		-o "$work/lines.so" "$here"/{lines,operand,record}.c
}

# Fill the memory with U and not with zeroes, because a check could not distinguish old zeroes of a
# block from the zeroes of a file.
prepare()
{
	build && head -c $SIZE /dev/zero | tr '\0' U >"$work/nvdimm0" &&
		tool mkfs.mendfs -q "$work/nvdimm0"
}

# Set moments to the number of power failures in the next round, or to 0 after the last round. There
# are at least three rounds, one of each kind.
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
check_space
check "the plugin and the filesystem are made" prepare
check "all short sequences are run" run_sequences
check "a power failure leaves a state before or after each operation" check_states
while [ "$bad" = 0 ] && next_round && [ "$moments" -gt 0 ]; do
	run_round "$rounds" "$moments"
	rounds=$((rounds + 1)) kills=$((kills + moments))
done
check "all files are there, and can be removed" check_last
# The number of cases is known only now.
ktap_set_plan $((kills + rounds + 4))
ktap_finished
