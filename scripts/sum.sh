# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The sum of the results of several runs. The last line of a run is "N passed, N failed", followed
# by ", N skipped" if N is not 0.

passed=0 failed=0 skipped=0

# add_result FILE: add the last line of a run's output. A run without such a line is a failure.
add_result()
{
	if [[ $(tail -n 1 "$1") =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed(,\ ([0-9]+)\ skipped)?$ ]]; then
		passed=$((passed + BASH_REMATCH[1]))
		failed=$((failed + BASH_REMATCH[2]))
		skipped=$((skipped + ${BASH_REMATCH[4]:-0}))
	else
		failed=$((failed + 1))
		return 1
	fi
}

# Print the sum. Fails if a test has failed.
print_sum()
{
	local sum="$passed passed, $failed failed"
	[ "$skipped" = 0 ] || sum+=", $skipped skipped"
	echo "$sum"
	[ "$failed" = 0 ]
}
