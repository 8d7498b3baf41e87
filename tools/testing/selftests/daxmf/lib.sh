# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The library of the daxmf tests. It sources the files lib/*.sh.
#
# A test sources this file, calls begin with its number of cases, runs each case by check, and ends
# with finish. A helper that sets something up registers the removal with on_exit. finish runs all
# removals, unloads the modules and searches the kernel's log for warnings.
#
#   DRIVER=nd_pmem KIND=memmap  run a test on the stock driver, which supports DAX on memmap

SELFTESTS=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
for helpers in "$SELFTESTS/../kselftest" /daxmf/kselftest; do
	# shellcheck disable=SC1091
	[ -e "$helpers/ktap_helpers.sh" ] && . "$helpers/ktap_helpers.sh" && break
done

DRIVER=${DRIVER:-daxmf_pmem}
# What daxmf_pmem does with a simulated failure. With "tell", its default, it only notifies the
# holder. With "list" it also lists the page as bad, as for a real failure.
SIMULATED=${SIMULATED:-list}
KIND=${KIND:-nvdimm}
ND=/sys/bus/nd
MNT=/mnt/daxmf
PAGE=4096
# The limit of wait_for(), in seconds. The debug kernel has three times the limit, as scripts/test
# has.
DEADLINE=60
[ "${KERNEL:-stock}" = stock ] || DEADLINE=$((DEADLINE * 3))

# shellcheck source=tools/testing/selftests/daxmf/lib/badblocks.sh
. "$SELFTESTS/lib/badblocks.sh"
# shellcheck source=tools/testing/selftests/daxmf/lib/compare.sh
. "$SELFTESTS/lib/compare.sh"
# shellcheck source=tools/testing/selftests/daxmf/lib/counters.sh
. "$SELFTESTS/lib/counters.sh"
# shellcheck source=tools/testing/selftests/daxmf/lib/failures.sh
. "$SELFTESTS/lib/failures.sh"
# shellcheck source=tools/testing/selftests/daxmf/lib/files.sh
. "$SELFTESTS/lib/files.sh"
# shellcheck source=tools/testing/selftests/daxmf/lib/filesystems.sh
. "$SELFTESTS/lib/filesystems.sh"
# shellcheck source=tools/testing/selftests/daxmf/lib/holder.sh
. "$SELFTESTS/lib/holder.sh"
# shellcheck source=tools/testing/selftests/daxmf/lib/labels.sh
. "$SELFTESTS/lib/labels.sh"
# shellcheck source=tools/testing/selftests/daxmf/lib/log.sh
. "$SELFTESTS/lib/log.sh"
# shellcheck source=tools/testing/selftests/daxmf/lib/mapped-devices.sh
. "$SELFTESTS/lib/mapped-devices.sh"
# shellcheck source=tools/testing/selftests/daxmf/lib/mendfs.sh
. "$SELFTESTS/lib/mendfs.sh"
# shellcheck source=tools/testing/selftests/daxmf/lib/modules.sh
. "$SELFTESTS/lib/modules.sh"
# shellcheck source=tools/testing/selftests/daxmf/lib/namespaces.sh
. "$SELFTESTS/lib/namespaces.sh"
# shellcheck source=tools/testing/selftests/daxmf/lib/page-frames.sh
. "$SELFTESTS/lib/page-frames.sh"
# shellcheck source=tools/testing/selftests/daxmf/lib/scrubs.sh
. "$SELFTESTS/lib/scrubs.sh"
# shellcheck source=tools/testing/selftests/daxmf/lib/stack.sh
. "$SELFTESTS/lib/stack.sh"
# shellcheck source=tools/testing/selftests/daxmf/lib/undo.sh
. "$SELFTESTS/lib/undo.sh"

# begin N -- start a test of N cases. finish() adds the case "nothing is left behind".
begin() {
	ktap_print_header
	[ "$(id -u)" = 0 ] || skip_all "needs root"
	TMP=$(mktemp -d)
	trap 'undo_all; rm -rf "$TMP"' EXIT
	trap 'exit 1' INT TERM
	LOG_MARK="daxmf selftest ${0##*/} $$"
	log_mark "$LOG_MARK"
	ktap_set_plan $(($1 + 1))
}

# check NAME COMMAND... -- one case, which passes if the command succeeds.
check() {
	local name=$1 status=0

	shift
	"$@" >"$TMP/out" 2>&1 </dev/null || status=$?
	sed 's/^/# /' "$TMP/out"
	if [ $status = 0 ]; then
		ktap_test_pass "$name"
	else
		ktap_test_fail "$name"
	fi
}

# check_ours NAME COMMAND... -- the same with daxmf_pmem. With another driver the case is skipped.
check_ours() {
	if [ "$DRIVER" = daxmf_pmem ]; then
		check "$@"
	else
		ktap_test_skip "$1"
	fi
}

# require COMMAND... -- run a step. If the step fails, the test fails and ends.
require() {
	"$@" >"$TMP/out" 2>&1 </dev/null && return
	sed 's/^/# /' "$TMP/out"
	ktap_exit_fail_msg "$*"
}

# skip_all WHY -- skip the whole test, because it cannot work here.
skip_all() {
	ktap_skip_all "$*"
	exit "$KSFT_SKIP"
}

# fail WHY... -- print why a case fails, and return 1.
fail() {
	echo "$*"
	return 1
}

# json_is COMMAND -- check that standard input matches the schema of "daxmf COMMAND --json".
json_is() {
	python3 "$SELFTESTS/json_is.py" "$1"
}

# fails_with WORDS COMMAND... -- check that the command fails and prints these words.
fails_with() {
	local words=$1 output

	shift
	output=$(LC_ALL=C "$@" 2>&1) && fail "'$*' should have failed" && return 1
	case $output in
	*"$words"*) ;;
	*) fail "'$*' printed '$output', not '$words'" ;;
	esac
}

# is COMMAND... VALUE -- check that the command succeeds and prints VALUE.
is() {
	local want=${*: -1} got

	got=$("${@:1:$#-1}") || return
	[ "$got" = "$want" ] || fail "'${*:1:$#-1}' is $got, not $want"
}

finish() {
	check "nothing is left behind" cleaned_up
	trap - EXIT
	rm -rf "$TMP"
	ktap_finished
}

cleaned_up() {
	local status=0

	undo_all
	unload_modules || status=1
	log_clean || status=1
	return $status
}

# wait_for COMMAND... -- repeat the command until it succeeds, at most for DEADLINE seconds.
wait_for() {
	local end=$((SECONDS + DEADLINE))

	until "$@" 2>/dev/null; do
		[ $SECONDS -lt $end ] || fail "'$*' did not succeed in $DEADLINE s" || return 1
		sleep 0.05
	done
}

# in_parallel COMMAND ARG... -- run the command once for each argument, all at the same time. All
# must succeed.
in_parallel() {
	local command=$1 arg job status=0
	local -a jobs

	shift
	for arg; do
		"$command" "$arg" &
		jobs+=($!)
	done
	for job in "${jobs[@]}"; do
		wait "$job" || status=1
	done
	return $status
}
