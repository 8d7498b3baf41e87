#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Failures from hwpoison-inject's corrupt-pfn.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

begin 8
source_cases corrupt-pfn
finish
