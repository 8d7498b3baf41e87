# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The library of tests that run on the host: the scripts' library, the kernel's ktap_helpers.sh, the
# folder $work, which is removed at the end, and functions for cases.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

kernel=$("$top/scripts/kernel" "${KERNEL:-stock}")
# shellcheck disable=SC1091
. "$kernel/tree/tools/testing/selftests/kselftest/ktap_helpers.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Run one case. It passes if the command succeeds.
check() # name, command...
{
	local name=$1
	shift
	if "$@" >"$work/output" 2>&1; then
		ktap_test_pass "$name"
	else
		sed 's/^/# /' "$work/output"
		ktap_test_fail "$name"
	fi
}

# fails_with WORDS COMMAND...: check that the command fails, and prints at most one line, with these words.
fails_with()
{
	local words=$1 output
	shift
	! output=$("$@" 2>&1) || { echo "'$*' did not fail"; return 1; }
	echo "$output"
	[ "$(grep -vc '^==>' <<<"$output")" -le 1 ] && [[ $output == *"$words"* ]]
}

# is COMMAND... OUTPUT: check that the command succeeds, and prints this.
is()
{
	local output
	output=$("${@:1:$#-1}") || return
	[ "$output" = "${*: -1}" ] || { diff <(echo "${*: -1}") <(echo "$output"); return 1; }
}
