#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Failures from real machine checks, which the memory scrubber raises for pages of an NVDIMM.

KIND=${KIND:-nvdimm}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

begin 8
source_cases mce
finish
