#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The health of a DIMM with daxmf_pmem: ndctl monitor prints its events.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

health() {
	ndctl list -DH -d "$DIMM" | sed -n "s/.*\"$1\":\([^,]*\).*/\1/p"
}

reset_health() {
	ndctl inject-smart "$DIMM" --media-temperature-uninject >/dev/null
}

# ndctl monitor has the file with the flags of the DIMM open, because it polls this file.
monitor_waits() {
	readlink /proc/"$MONITOR"/fd/* | grep -q "/$DIMM/nfit/flags"
}

start_monitor() {
	ndctl monitor -d "$DIMM" --log="$TMP/events" &
	MONITOR=$!
	on_exit kill $MONITOR
	wait_for monitor_waits
}

gets_hot() {
	is health alarm_temperature false && start_monitor &&
		ndctl inject-smart "$DIMM" --media-temperature=99 >/dev/null &&
		wait_for grep -q '"dimm-media-temperature":true' "$TMP/events" &&
		is health alarm_temperature true
}

cools_down() {
	reset_health && is health alarm_temperature false && dax_read "/dev/$DISK" 0
}

begin 2
require_scrubs
require ns_bind "$NS"
DISK=$(ns_disk "$NS")
IFS=, read -r DIMM _ <"$ND/devices/$NS/../mapping0"
check "ndctl monitor prints that the media is too hot" gets_hot
check "the alarm ends when the media has cooled down" cools_down
finish
