#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Compile each file of this folder against the crate daxmf, with the flags of a module. The files
# are safe code that must not compile. A mark in the line of an error gives its code and its words:
#
#	bio.end(Ok(())); //~ E0382 use of moved value: `bio`
#
# Where rustfmt would move such a mark, it is in the line below:
#
#	impl Holder for Counter {
#	    //~^ E0277 `Cell<u64>` cannot be shared between threads safely
#
# Without the marked lines the file must compile, so that nothing else is wrong. If the mistake and
# the error are in different lines, the lines of the mistake end in "//~ wrong", and only these are
# removed.

# shellcheck source=tools/testing/on-host.sh
. "$(dirname "$0")/../on-host.sh"

cases=("$top"/tools/testing/compile-fail/*.rs)
out=$top/build/${KERNEL:-stock}
root_options+=(--bind "$work" "$work")

compile() # file
{
	in_root env -C "$out" "${environment[@]}" RUSTC_BOOTSTRAP=1 rustc "${flags[@]}" -Awarnings \
		--crate-type rlib --crate-name case --emit=metadata -o "$work/case.rmeta" \
		--error-format=short "$1" 2>"$work/errors"
}

# Print the marks of a file, as lines of "LINE CODE WORDS".
marked()
{
	awk 'match($0, /\/\/~\^? E[0-9]+ /) {
		above = substr($0, RSTART + 3, 1) == "^"
		print NR - above, substr($0, RSTART + 4 + above)
	}' "$1"
}

# Print the errors of the compiler in the same form; line and code are 0 for an error without them.
found()
{
	sed -nE -e 's/^[^ ]*:([0-9]+):[0-9]+: error\[(E[0-9]+)\]: /\1 \2 /p; t' \
		-e '/^error: aborting due to/d' -e 's/^(.*: )?error(\[E[0-9]+\])?: /0 0 /p' "$work/errors"
}

# fails_as_marked FILE -- check that the file fails with all marked errors, and with no other
# errors.
fails_as_marked()
{
	local line code words
	marked "$1" >"$work/marked"
	[ -s "$work/marked" ] || { echo "no error is marked"; return 1; }
	! compile "$1" || { echo "it compiles"; return 1; }
	cat "$work/errors"
	found >"$work/found"
	cut -d ' ' -f 1,2 "$work/marked" | sort -u >"$work/wanted"
	cut -d ' ' -f 1,2 "$work/found" | sort -u | diff "$work/wanted" - || return
	while read -r line code words; do
		grep "^$line $code " "$work/found" | grep -qF -- "$words" ||
			{ echo "line $line: the error does not say '$words'"; return 1; }
	done <"$work/marked"
}

compiles_without()
{
	local what='E[0-9]'
	! grep -q '//~ wrong$' "$1" || what=wrong
	sed "/\/\/~ $what/d" "$1" >"$work/without.rs"
	compile "$work/without.rs" && return
	echo "without the marked lines:"
	cat "$work/errors"
	return 1
}

is_refused() # file
{
	! grep -nw unsafe "$1" && fails_as_marked "$1" && compiles_without "$1"
}

# Check that this test finds a wrong case. The case is bio-ended.rs, changed by the command of sed.
# The test must refuse it with these words.
judges() # words, command of sed
{
	sed "$2" "$top/tools/testing/compile-fail/bio-ended.rs" >"$work/wrong.rs"
	! is_refused "$work/wrong.rs" >"$work/judged" || { echo "it passed:"; cat "$work/wrong.rs"; return 1; }
	cat "$work/judged"
	grep -qF -- "$1" "$work/judged"
}

judges_all()
{
	judges "it compiles" 's/^    let .*\/\//    \/\//' &&
		judges "no error is marked" 's/\/\/~.*//' &&
		judges "9 E0382" 's/E0382/E0599/' &&
		judges "8 E0382" 's/^    bio.end.*/& \/\/~ E0382 of a moved value/' &&
		judges "does not say" 's/borrow of/use of/' &&
		judges "0 0" '2s/$/let/' &&
		judges "without the marked lines" 's/^    let .*/&\n    let _again = _is_fua;/' &&
		judges "unsafe" 's/^    bio.end.*/    unsafe { & }/'
}

"$top/scripts/modules" "${KERNEL:-stock}"
read_command "$out/samples/.rust_dax_holder.o.cmd"
ktap_print_header
ktap_set_plan $((1 + ${#cases[@]}))
check "wrong cases are found" judges_all
for case in "${cases[@]}"; do
	check "$(basename "$case" .rs)" is_refused "$case"
done
ktap_finished
