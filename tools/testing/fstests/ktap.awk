#!/usr/bin/awk -f
# SPDX-License-Identifier: GPL-2.0
#
# usage: ktap.awk SKIPS FAILURES
#
# Convert the output of the suite's check to KTAP. A skipped test fails if no line of SKIPS matches
# its reason. A test that passes fails if it is in FAILURES.
#
#   SKIPS     PATTERN # why it is skipped; PATTERN matches the reason in lower case
#   FAILURES  TEST # why it fails

BEGIN {
	skips = ARGV[1]
	failures = ARGV[2]
	ARGC = 1
	while ((getline line < skips) > 0)
		if (split_line())
			skip[++skip_count] = key
	while ((getline line < failures) > 0)
		if (split_line())
			expected[key] = why
}

function split_line(  at)
{
	if (line ~ /^#/ || (at = index(line, " # ")) == 0)
		return 0
	key = substr(line, 1, at - 1)
	why = substr(line, at + 3)
	sub(/ +$/, "", key)
	return 1
}

function result(name, is_good, note)
{
	print (is_good ? "ok " : "not ok ") ++count " " name (note == "" ? "" : " # " note)
	fflush()
}

function may_skip(reason,  i)
{
	for (i = 1; i <= skip_count; i++)
		if (tolower(reason) ~ skip[i])
			return 1
	return 0
}

{ sub(/\r$/, "") }

# NAME [TIME_BEFORE] OUTCOME; the outcome of a passed test is its time.
/^[a-z]+\/[0-9]+ / {
	name = $1
	outcome = $0
	sub(/^[^ ]+ +([0-9]+s \.\.\. *)?/, "", outcome)
	if (outcome ~ /^\[not run\]/) {
		sub(/^\[not run\] */, "", outcome)
		if (may_skip(outcome))
			result(name, 1, "SKIP " outcome)
		else
			result(name, 0, "not run: " outcome)
	} else if (outcome ~ /^[0-9]+s$/) {
		if (name in expected)
			result(name, 0, "it passes, remove it from the list of failures")
		else
			result(name, 1, outcome)
	} else if (name in expected)
		result(name, 1, "XFAIL " expected[name])
	else
		result(name, 0, outcome)
	next
}

/^$/ { next }
{ print "# " $0 }

END {
	if (!count)
		print "Bail out! no test was run"
	print "1.." count + 0
}
