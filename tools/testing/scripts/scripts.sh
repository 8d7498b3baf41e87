#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Test the scripts on the host, without a guest: failures, wrong input, and the computation of the
# results of tests.

# shellcheck source=tools/testing/on-host.sh
. "$(dirname "$0")/../on-host.sh"

# The cache
# ---------

# with_cache COMMAND: run a command in a shell with lib.sh and an empty cache.
with_cache()
{
	rm -rf "$work/cache"
	XDG_CACHE_HOME=$work/cache bash -c '. "$0/scripts/lib.sh"; '"$1" "$top"
}

leaves_nothing()
{
	[ -z "$(find "$work/cache/daxmf" -mindepth 1 ! -name '*.lock')" ]
}

builder_fails()
{
	# shellcheck disable=SC2016 # for the other shell
	fails_with "no luck" with_cache '
		build() { local entry; touch "$1/half"; die "no luck"; }
		cached thing build' && leaves_nothing
}

builder_is_stopped()
{
	local pid
	# shellcheck disable=SC2016 # for the other shell
	with_cache 'build() { touch "$1/half"; echo $BASHPID >"$0.pid"; sleep 60 & wait; }
		set -- ; cached thing build' "$work/stopped" &
	pid=$!
	until [ -e "$work/cache/daxmf/thing.tmp/half" ]; do
		sleep 0.05
	done
	pkill -TERM -f 'cached thing build'
	! wait $pid || return
	for ((pid = 0; pid < 100; pid++)); do
		leaves_nothing && return
		sleep 0.1
	done
	return 1
}

made_once()
{
	# shellcheck disable=SC2016 # for the other shell
	with_cache 'build() { echo built; echo content >"$1/file"; }
		cached thing build; cached thing build; cat "$cache/thing/file"' >"$work/out" &&
		printf 'built\ncontent\n' | diff - "$work/out"
}

# Kernel trees
# ------------

# Make a folder like a prepared tree, with these lines in its auto.conf.
make_tree() # release, line...
{
	rm -rf "$work/tree"
	mkdir -p "$work/tree"/{include/config,rust}
	touch "$work/tree"/{Module.symvers,rust/libkernel.rmeta}
	echo "$1" >"$work/tree/include/config/kernel.release"
	printf '%s\n' CONFIG_{RUST,FS_DAX,MEMORY_FAILURE}=y "${@:2}" >"$work/tree/include/config/auto.conf"
}

compiler_is() # argument of make, line of auto.conf
{
	make_tree 7.3.0 "$2"
	[ "$("$top/scripts/modules" inside compiler "$work/tree")" = "$1" ]
}

compiler_unknown()
{
	make_tree 7.3.0
	fails_with "does not say which compiler" "$top/scripts/modules" "$work/tree"
}

kernel_too_old()
{
	make_tree 7.1.9+deb13-amd64
	fails_with "too old, choose $OLDEST or newer" "$top/scripts/modules" "$work/tree" &&
		fails_with "KERNEL=7.1.9+deb13-amd64: too old, choose $OLDEST or newer" \
			"$top/scripts/modules" 7.1.9+deb13-amd64
}

kernel_without_rust()
{
	make_tree 7.3.0
	sed -i /RUST/d "$work/tree/include/config/auto.conf"
	fails_with "has no CONFIG_RUST" "$top/scripts/modules" "$work/tree"
}

# A tree of another release of the same series is refused, because its modules are for that release.
other_release()
{
	make_tree 7.2.12
	"$top/scripts/kernel" inside same_release 7.2.12 "$work/tree" &&
		fails_with "the tree is of kernel 7.2.12, not 7.2.6" \
			"$top/scripts/kernel" inside same_release 7.2.6 "$work/tree"
}

no_such_release()
{
	local release=7.3.99+deb13-amd64 entry
	fails_with "name a kernel" env KVER=7.3.4 "$top/scripts/kdir" || return
	entry=$cache/$("$top/scripts/kernel" inside tree_name $release tree)
	! KVER=$release "$top/scripts/kdir" >"$work/kdir" 2>&1 || return
	cat "$work/kdir"
	grep -q "^$SUITE-backports has no kernel $release, the newest of its flavour is 7" "$work/kdir" &&
		! grep -q unbound "$work/kdir" && [ ! -e "$entry" ] && [ ! -e "$entry.tmp" ] || return
	fails_with "has no kernel $release" "$top/scripts/modules" $release &&
		[ ! -e "$top/build/$release" ]
}

# Check which release is the oldest if OLDEST_RELEASE has left the mirror.
oldest_of_series()
{
	local oldest=("$top/scripts/kernel" inside inside_with_network pick_oldest "$mirror") found
	found=$("${oldest[@]}" "$OLDEST.0+deb13-amd64")
	echo "the oldest is '$found'"
	[[ $found == "$OLDEST".*+deb13-amd64 ]] && [ -z "$("${oldest[@]}" 7.99.1+deb13-amd64)" ]
}

# Check the list of the releases of each suite, without those for clouds and real time.
lists_releases()
{
	"$top/scripts/kernel" inside inside_with_network pick_releases "$mirror" >"$work/releases" || return
	cat "$work/releases"
	grep -qxE "${OLDEST}[0-9.]*\+deb13-amd64" "$work/releases" &&
		grep -qxE '[0-9.]+\+deb14-amd64' "$work/releases" &&
		! grep -E 'cloud|rt|^[0-6]\.|^7\.[01]\.' "$work/releases"
}

comes_from() # release, suite, suite of the compilers
{
	[ "$(suite_of "$1") $(toolchain_of "$1")" = "$2 $3" ]
}

suites()
{
	comes_from 7.3.4+deb13-amd64 trixie-backports trixie && comes_from 7.2.13+deb14-amd64 sid sid &&
		comes_from 7.3-amd64 experimental sid && [ "$(toolchain_of debug)" = trixie ]
}

# Each script that reads KERNEL refuses wrong values.
no_kernel()
{
	local wrong
	for wrong in old ../stock 7.2.6 7.2.6+deb13 +deb13-amd64 '7.2.6+deb 13-amd64' /.+x-amd64; do
		fails_with "KERNEL=$wrong: " env KERNEL="$wrong" T=chain "$top/scripts/test" &&
			fails_with "KERNEL=$wrong: " env KERNEL="$wrong" T=chain "$top/scripts/soak" &&
			fails_with "KERNEL=$wrong: " "$top/scripts/install" modules "$wrong" || return
		[[ $wrong == /* ]] || fails_with "KERNEL=$wrong: " "$top/scripts/modules" "$wrong" || return
	done
}

# Builds
# ------

second_build_waits()
{
	local modules=("$top/scripts/modules" inside with_lock "$work/out.d")
	mkfifo "$work/go"
	# shellcheck disable=SC2016 # for the other shell
	"${modules[@]}" bash -c 'echo begins; read -r <"$0"; echo ends' "$work/go" >"$work/first" &
	until grep -qs begins "$work/first"; do
		sleep 0.05
	done
	"${modules[@]}" cat "$work/first" >"$work/second" 2>"$work/waits" &
	until grep -qs "waiting for another run" "$work/waits"; do
		sleep 0.05
	done
	[ ! -s "$work/second" ] || return
	echo >"$work/go"
	wait
	grep ends "$work/second"
}

# Choice of tests
# ---------------

wrong_tests()
{
	fails_with "no group 'nothing'" env T=nothing "$top/scripts/test" &&
		fails_with "no test 'nothing' in chain" env T="stack chain/nothing" "$top/scripts/test" &&
		fails_with "need the debug kernel" env T=kunit "$top/scripts/test" &&
		fails_with "RUNTIME=long: not a number" env RUNTIME=long "$top/scripts/test"
}

# Results
# -------

# results_are LINE PASSED FAILED SKIPPED NAME...: run scripts/ktap on standard input. Check the
# numbers of cases, and that the last line of the output matches LINE.
results_are()
{
	local last=$1 counts="$2 $3 $4"
	shift 4
	rm -f "$work/counts"
	awk -f "$top/scripts/ktap" "$work/counts" "$@" >"$work/results"
	cat "$work/results" "$work/counts"
	[ "$(cat "$work/counts")" = "$counts" ] && tail -n 1 "$work/results" | grep -qE "^  $last"
}

passes()
{
	results_are 'ok 1 a # 2\.5 s, 1\.5 s idle$' 1 0 1 a <<-'END'
		#:test a
		1..2
		ok 1 one
		ok 2 two # SKIP no reason
		#:exit a 0 2500 1000
	END
}

case_fails()
{
	results_are 'not ok 1 a # 1 of 2 cases failed' 1 1 0 a <<-'END'
		#:test a
		1..2
		ok 1 one
		not ok 2 two
		#:exit a 1 100
	END
}

no_plan()
{
	results_are 'not ok 1 a # no plan' 1 1 0 a <<-'END'
		#:test a
		ok 1 one
		#:exit a 0 100
	END
}

too_few()
{
	results_are 'not ok 1 a # planned 2, ran 1' 1 1 0 a <<-'END'
		#:test a
		1..2
		ok 1 one
		#:exit a 0 100
	END
}

bad_status()
{
	results_are 'not ok 1 a # exit status 3' 1 1 0 a <<-'END'
		#:test a
		1..1
		ok 1 one
		#:exit a 3 100
	END
}

time_out()
{
	results_are 'not ok 1 a # time-out after 100\.0 s' 1 1 0 a <<-'END'
		#:test a
		1..2
		ok 1 one
		#:exit a 124 100000
	END
}

never_ends()
{
	results_are 'not ok 1 a # the test did not end' 1 1 0 a <<-'END'
		#:test a
		1..1
		ok 1 one
	END
}

never_run()
{
	results_are 'not ok 2 b # not run' 1 1 0 a b <<-'END'
		#:test a
		1..1
		ok 1 one
		#:exit a 0 100
	END
}

settings_list_tests()
{
	local settings name
	for settings in "$top"/tools/testing/selftests/daxmf/*/settings; do
		while read -r name; do
			[ -f "${settings%/*}/$name.sh" ] || { echo "$settings: no test '$name'"; return 1; }
		done < <(sed -nE 's/^(first|debug|soak|long)=//p' "$settings" | tr ' ' '\n')
	done
}

ktap_print_header
ktap_set_plan 26
check "a machine that is not amd64" fails_with "only amd64 kernels" setarch i686 "$top/scripts/root"
check "a cache entry whose builder fails leaves no files" builder_fails
check "a cache entry whose builder is stopped leaves no files" builder_is_stopped
check "a cache entry is made once" made_once
check "the compiler of a tree" compiler_is CC=x86_64-linux-gnu-gcc-14 \
	'CONFIG_CC_VERSION_TEXT=x86_64-linux-gnu-gcc-14 (Debian 14.2.0-19) 14.2.0'
check "the compiler of a tree, in quotes" compiler_is CC=gcc-14 \
	'CONFIG_CC_VERSION_TEXT="gcc-14 (Debian 14.2.0-19) 14.2.0"'
check "a tree that clang has built" compiler_is LLVM=1 CONFIG_CC_IS_CLANG=y
check "a tree without the name of its compiler" compiler_unknown
check "a kernel that is too old" kernel_too_old
check "a kernel without Rust" kernel_without_rust
check "a tree of another release" other_release
if (need_mirror) 2>"$work/mirror"; then
	check "a release that the mirror does not have" no_such_release
	check "the oldest release on the mirror" oldest_of_series
	check "all releases on the mirror" lists_releases
else
	ktap_test_skip "a release that the mirror does not have: $(<"$work/mirror")"
	ktap_test_skip "the oldest release on the mirror"
	ktap_test_skip "all releases on the mirror"
fi
check "the suite and the compilers of a release" suites
check "wrong values of KERNEL" no_kernel
check "a second build in a folder waits" second_build_waits
check "wrong names of tests" wrong_tests
check "the settings of each group list tests that exist" settings_list_tests
check "a test that passes" passes
check "a test with a case that fails" case_fails
check "a test without a plan" no_plan
check "a test with fewer results than planned" too_few
check "a test with a bad exit status" bad_status
check "a test that is stopped" time_out
check "a test that does not end, or is not run" eval 'never_ends && never_run'
ktap_finished
