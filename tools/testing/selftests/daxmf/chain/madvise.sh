#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Failures from madvise(MADV_HWPOISON).

KIND=${KIND:-virtio}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

begin 8
source_cases madvise
finish
