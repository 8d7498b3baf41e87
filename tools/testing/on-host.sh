# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The frame of a test that runs on the host: the scripts' library, the kernel's ktap_helpers.sh, a
# folder work that goes with the test, and cases.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

kernel=$("$top/scripts/kernel" "${KERNEL:-stock}")
# shellcheck disable=SC1091
. "$kernel/tree/tools/testing/selftests/kselftest/ktap_helpers.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# One case, which passes if the command succeeds.
check() # name, command...
{
	local name=$1
	shift
	if "$@" >"$work/said" 2>&1; then
		ktap_test_pass "$name"
	else
		sed 's/^/# /' "$work/said"
		ktap_test_fail "$name"
	fi
}

# fails_with WORDS COMMAND...: it fails, and says no more than one line of its own, with these words.
fails_with()
{
	local words=$1 output
	shift
	! output=$("$@" 2>&1) || { echo "'$*' should have failed"; return 1; }
	echo "$output"
	[ "$(grep -vc '^==>' <<<"$output")" -le 1 ] && [[ $output == *"$words"* ]]
}
